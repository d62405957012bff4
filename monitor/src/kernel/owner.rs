//! Who watches an interface: a name in its network namespace, which the kernel gives to one process and takes back when that
//! ends, however it does.

use std::{
    io,
    os::{
        fd::AsFd as _,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::{KernelError, sys};

/// That this process watches an interface. Whoever drops it leaves it to others.
#[derive(Debug)]
pub(super) struct Owner {
    // Nobody is ever answered: that it can be connected to says whose it is.
    _name: Option<UnixListener>,
}

fn name(ifindex: u32) -> String {
    format!("egress-monitor/{ifindex}")
}

impl Owner {
    /// Takes an interface of this thread's network namespace.
    ///
    /// # Errors
    /// Another egress-monitor has it.
    pub fn take(interface: &str, ifindex: u32) -> Result<Self, KernelError> {
        match SocketAddr::from_abstract_name(name(ifindex)).and_then(|name| UnixListener::bind_addr(&name)) {
            Ok(listener) => Ok(Self { _name: Some(listener) }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match living(ifindex) {
                Some(process) => Err(KernelError::Watched { interface: interface.to_owned(), process }),
                // Anybody can take a name. It keeps nobody from enforcing.
                None => {
                    tracing::warn!(
                        interface,
                        "another program has taken the name by which a second monitor is kept off"
                    );
                    Ok(Self { _name: None })
                }
            },
            Err(error) => Err(KernelError::map("can't say that an interface is watched")(error)),
        }
    }
}

/// The process that watches an interface; one that belongs to root or to our user.
pub(super) fn living(ifindex: u32) -> Option<u32> {
    let ask = || -> io::Result<_> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Whoever lets others wait is none of ours.
        connect(&socket, &SocketAddrUnix::new_abstract_name(name(ifindex).as_bytes())?)?;
        sys::peer(socket.as_fd())
    };
    let (pid, user) = ask().ok()?;
    (user == 0 || user == rustix::process::geteuid().as_raw()).then_some(pid)
}
