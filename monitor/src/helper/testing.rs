//! A helper's socket for tests, on which they answer as they like.

use std::{os::fd::OwnedFd, path::Path};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, recv, send,
    socket_with,
};

use super::{Answer, Helper, Question};

/// The socket, with the helper that is asked by it and the folder that it is in.
pub fn listening() -> (tempfile::TempDir, Helper, OwnedFd) {
    let folder = tempfile::tempdir().unwrap();
    let (helper, listener) = listen_in(folder.path());
    (folder, helper, listener)
}

/// The same in a folder that there is.
pub fn listen_in(folder: &Path) -> (Helper, OwnedFd) {
    let helper = Helper::at(folder.join("helper.sock"));
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(helper.socket()).unwrap()).unwrap();
    listen(&listener, 4).unwrap();
    (helper, listener)
}

/// Waits for a question, answers it, and gives it.
pub fn answer(listener: &OwnedFd, answer: impl FnOnce(Question) -> Answer) -> Question {
    let (peer, mut message) = (accept(listener).unwrap(), [0; 64]);
    let (_, length) = recv(&peer, &mut message[..], RecvFlags::empty()).unwrap();
    let question = Question::decode(&message[..length]).unwrap();
    send(&peer, &answer(question).encode(), SendFlags::NOSIGNAL).unwrap();
    question
}
