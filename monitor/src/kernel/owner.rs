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

use netlink_packet_core::NlasIterator;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::{
    KernelError,
    diag::{dump, request},
    sys,
};

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
                Some(Living { process }) => Err(KernelError::Watched { interface: interface.to_owned(), process }),
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

/// A monitor that watches an interface: one that belongs to root or to our user.
pub(super) struct Living {
    /// `None`: so many wait to be connected to it that it can't be told.
    pub process: Option<u32>,
}

/// The one that watches an interface, if one does.
pub(super) fn living(ifindex: u32) -> Option<Living> {
    let ask = || -> io::Result<_> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new_abstract_name(name(ifindex).as_bytes())?)?;
        sys::peer(socket.as_fd())
    };
    match ask() {
        Ok((pid, user)) => is_ours(user).then_some(Living { process: Some(pid) }),
        // Whoever has filled its queue keeps nobody from being asked whose it is.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let users = dump(&listeners(), |payload| user_of(payload, &name(ifindex))).unwrap_or_default();
            users.into_iter().any(is_ours).then_some(Living { process: None })
        }
        Err(_) => None,
    }
}

fn is_ours(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// All Unix sockets that listen, with their names and whose they are (`struct unix_diag_req`, include/uapi/linux/unix_diag.h;
/// the user since 5.3).
fn listeners() -> Vec<u8> {
    const TCP_LISTEN: u32 = 10;
    const UDIAG_SHOW_NAME: u32 = 1;
    const UDIAG_SHOW_UID: u32 = 0x40;
    request(libc::AF_UNIX, &[1 << TCP_LISTEN, 0, UDIAG_SHOW_NAME | UDIAG_SHOW_UID, u32::MAX, u32::MAX])
}

/// Whose a listed socket is, if it has this abstract name.
fn user_of(payload: &[u8], name: &str) -> Option<u32> {
    /// Length of `struct unix_diag_msg`.
    const MESSAGE: usize = 16;
    const UNIX_DIAG_NAME: u16 = 0;
    const UNIX_DIAG_UID: u16 = 7;
    let (mut is_it, mut user) = (false, None);
    for attribute in NlasIterator::new(payload.get(MESSAGE..)?).flatten() {
        match attribute.kind() {
            UNIX_DIAG_NAME => is_it = attribute.value().strip_prefix(&[0]) == Some(name.as_bytes()),
            UNIX_DIAG_UID => user = attribute.value().try_into().ok().map(u32::from_ne_bytes),
            _ => {}
        }
    }
    user.filter(|_| is_it)
}
