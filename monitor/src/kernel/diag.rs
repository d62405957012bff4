//! Lists of sockets that the kernel gives (sock_diag(7)).

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::devices::messages;

/// include/uapi/linux/netlink.h and sock_diag.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 1 | 0x300;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// What is asked for: the family, and the words of its request behind that.
pub(super) fn request(family: i32, words: &[u32]) -> Vec<u8> {
    let length = (HEADER + 4 + 4 * words.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, 0, 0, 0]);
    words.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
    bytes
}

/// What `each` makes of the sockets of the calling thread's network namespace.
///
/// # Errors
/// They can't be listed.
pub(super) fn dump<T>(request: &[u8], each: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request, 0)?;
    let mut sockets = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for (kind, payload) in messages(&datagram) {
            match kind {
                NLMSG_DONE => return Ok(sockets),
                NLMSG_ERROR => {
                    let code = payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => sockets.extend(each(payload)),
            }
        }
    }
}
