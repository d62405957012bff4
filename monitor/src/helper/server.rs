//! The helper's side: the socket that the service manager holds in, answers out, one question at a time. A peer is root or
//! the daemon's user, asks one question, which is already there or comes at once, and is not waited for when it is answered.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, getsockname, recv,
        send,
        sockopt::{Timeout, set_socket_timeout, socket_acceptconn, socket_domain, socket_type},
    },
};

use super::{
    mount::MountPoint,
    processes::{self, OpenSockets},
    protocol::{Answer, LONGEST_QUESTION, Program, Question, Text, Why},
};
use crate::{error::CliError, kernel, privileges};

/// Without a question for so long it ends: the service manager starts it for the next one.
const IDLE: Duration = Duration::from_secs(10);
/// For a question to come from who has connected.
const QUESTION: Duration = Duration::from_millis(200);
/// For looking who has something open.
const LOOK: Duration = Duration::from_millis(500);

/// What the helper is told by who starts it; nobody who asks can say otherwise.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it mounts the BPF file system.
    pub bpffs: PathBuf,
    /// The mount namespace in which it does, by its file below /proc.
    pub mount_namespace: Option<PathBuf>,
}

/// Answers until nobody has asked for a while.
///
/// # Errors
/// It was not started by a service manager with its socket, or lacks a privilege.
pub fn run(options: Options) -> Result<(), CliError> {
    let unusable = |what: &str, error: io::Error| CliError::Unavailable(format!("{what}: {error}"));
    let Some(listener) = listener(kernel::inherited_sockets()) else {
        return Err(CliError::Usage(
            "the helper is started by its socket unit: `systemctl start egress-monitor-helper.socket`".into(),
        ));
    };
    let user = owner(&listener).map_err(|error| unusable("whose the socket is can't be told", error))?;
    let namespace = options.mount_namespace.as_ref().map(File::open).transpose();
    let namespace = namespace.map_err(|error| unusable("the mount namespace can't be opened", error))?;
    privileges::keep_of_helper().map_err(|error| unusable("capabilities can't be dropped", error))?;
    set_socket_timeout(&listener, Timeout::Recv, Some(IDLE)).map_err(|error| unusable("the socket", error.into()))?;
    let mount_point = MountPoint { bpffs: options.bpffs, namespace };
    let mut helper = Helper { user, mount_point, sockets: OpenSockets::default() };
    loop {
        match accept_with(&listener, SocketFlags::CLOEXEC) {
            Ok(peer) => helper.serve(&peer),
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => return Err(unusable("the socket", error.into())),
        }
    }
}

/// The one socket that it can use.
fn listener(sockets: Vec<OwnedFd>) -> Option<OwnedFd> {
    sockets.into_iter().find(|socket| {
        socket_domain(socket) == Ok(AddressFamily::UNIX)
            && socket_type(socket) == Ok(SocketType::SEQPACKET)
            && socket_acceptconn(socket) == Ok(true)
    })
}

/// The user whose the socket's file is, whom it serves.
fn owner(listener: &OwnedFd) -> io::Result<u32> {
    let address = SocketAddrUnix::try_from(getsockname(listener)?)?;
    let path = address.path().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let path = OsString::from_vec(path.to_bytes().to_vec());
    Ok(fs::symlink_metadata(path)?.uid())
}

struct Helper {
    /// Whom it answers beside root.
    user: u32,
    mount_point: MountPoint,
    /// Who had which open a moment ago.
    sockets: OpenSockets,
}

impl Helper {
    /// Takes one question and answers it. Nobody is told why he is not served.
    fn serve(&mut self, peer: &OwnedFd) {
        let Ok((pid, user)) = kernel::peer(peer.as_fd()) else { return };
        if user != 0 && user != self.user {
            tracing::warn!(pid, user, "refused: neither root nor the user whose the socket is");
            return;
        }
        let mut message = [0; LONGEST_QUESTION];
        let asked = set_socket_timeout(peer, Timeout::Recv, Some(QUESTION))
            .and_then(|()| recv(peer, &mut message[..], RecvFlags::TRUNC));
        let Ok((_, length @ 1..)) = asked else { return };
        // What is longer is none.
        let answer = match message.get(..length).map(Question::decode) {
            Some(Ok(question)) => self.answer(question, user),
            _ => Answer::None(Why::NotUnderstood),
        };
        // There is room for one answer; who has gone meanwhile does not want it.
        let _ = send(peer, &answer.encode(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    fn answer(&mut self, question: Question, user: u32) -> Answer {
        match question {
            Question::Program(id) => program(id),
            Question::Process { pid, started } => match processes::process(pid) {
                Some(process) if started.is_none_or(|started| started.get() == process.started) => {
                    Answer::Process(process)
                }
                _ => Answer::None(Why::Gone),
            },
            Question::Socket { inode, command } => {
                let mut holders = self.sockets.holders(inode, Instant::now() + LOOK);
                for process in holders.processes.iter_mut().filter(|_| command) {
                    process.command = processes::command_of(process);
                }
                Answer::Holders(holders)
            }
            Question::Mount => match self.mount_point.mount(user) {
                Ok(()) => Answer::Mounted(Text::of(self.mount_point.bpffs.as_os_str().as_encoded_bytes())),
                Err(error) => failed(&error.to_string()),
            },
        }
    }
}

fn failed(why: &str) -> Answer {
    tracing::warn!(why, "no answer");
    Answer::None(Why::Failed(Text::of(why.as_bytes())))
}

fn program(id: u32) -> Answer {
    match kernel::program_info(id) {
        Ok(kernel::ProgramInfo { tag, user, name }) => {
            let holders = processes::holders_of_program(id, Instant::now() + LOOK);
            Answer::Program(Program { tag, user, name: Text::of(&name), holders })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Answer::None(Why::Gone),
        Err(error) => failed(&format!("program {id}: {error}")),
    }
}
