//! What the kernel says of sockets (sock_diag(7)): lists of them, and one.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::devices::messages;

/// include/uapi/linux/netlink.h and sock_diag.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// For a list: the family, and the words of its request behind that.
pub(super) fn request(family: i32, words: &[u32]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_ne_bytes());
    message(NLM_F_DUMP, &[family as u8, 0, 0, 0].into_iter().chain(words).collect::<Vec<_>>())
}

fn message(flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    bytes
}

fn ask(message: &[u8]) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(message, 0)?;
    Ok(socket)
}

fn refusal(payload: &[u8]) -> io::Error {
    let code = payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    io::Error::from_raw_os_error(-code)
}

/// What `read` makes of the one socket of the calling thread's network namespace that is asked for.
///
/// # Errors
/// There is none, or it can't be asked for.
pub(super) fn one<T>(payload: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
    let (datagram, _) = ask(&message(0, payload))?.recv_from_full()?;
    match messages(&datagram).next() {
        Some((NLMSG_ERROR, payload)) => Err(refusal(payload)),
        Some((SOCK_DIAG_BY_FAMILY, payload)) => read(payload).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// What `each` makes of the sockets of the calling thread's network namespace.
///
/// # Errors
/// They can't be listed.
pub(super) fn dump<T>(request: &[u8], each: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
    let socket = ask(request)?;
    let mut sockets = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for (kind, payload) in messages(&datagram) {
            match kind {
                NLMSG_DONE => return Ok(sockets),
                NLMSG_ERROR => return Err(refusal(payload)),
                _ => sockets.extend(each(payload)),
            }
        }
    }
}
