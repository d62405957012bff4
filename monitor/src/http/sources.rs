//! A connection to the port in, whose it is out: the kernel says of each TCP socket of this host which user it belongs to
//! (sock_diag(7)), so that the port can be fair to users.

use std::{
    io,
    net::{IpAddr, SocketAddr as InetAddress},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::connections::Source;

/// `SOCK_DIAG_BY_FAMILY` (include/uapi/linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Bytes of a `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of a `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Of `idiag_uid` in a `struct inet_diag_msg`, which follows the header.
const UID: usize = HEADER + 64;

/// Asks the kernel.
#[derive(Debug)]
pub struct Sources(Option<Socket>);

impl Sources {
    /// In the network namespace of this thread. Where the kernel gives no such socket all sources are unknown.
    pub fn open() -> Self {
        let open = || {
            let socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok::<_, io::Error>(socket)
        };
        let opened = open();
        if let Err(error) = &opened {
            tracing::warn!(%error, "whose connections are is not known: the port is not fair to users");
        }
        Self(opened.ok())
    }

    /// Who has connected from `peer` to `own`, both on this host.
    pub fn of(&self, peer: InetAddress, own: InetAddress) -> Source {
        self.user(peer, own).map_or(Source::Unknown, Source::User)
    }

    fn user(&self, peer: InetAddress, own: InetAddress) -> Option<u32> {
        let socket = self.0.as_ref()?;
        socket.send(&request(peer, own), 0).ok()?;
        let mut reply = Vec::with_capacity(512);
        // The answer is there when the question has been sent; nothing else comes.
        socket.recv(&mut reply, libc::MSG_DONTWAIT).ok()?;
        let number = |at: usize| Some(u32::from_ne_bytes(reply.get(at..at + 4)?.try_into().ok()?));
        let kind = number(4)?.to_ne_bytes();
        (u16::from_ne_bytes([kind[0], kind[1]]) == SOCK_DIAG_BY_FAMILY).then(|| number(UID))?
    }
}

/// A `struct nlmsghdr` and the `struct inet_diag_req_v2` of the one socket from `peer` to `own`.
fn request(peer: InetAddress, own: InetAddress) -> Vec<u8> {
    const NLM_F_REQUEST: u16 = 1;
    const IPPROTO_TCP: u8 = 6;
    let family = if peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Number and sender: neither is needed.
    message.extend([0; 8]);
    // Family, protocol, no extension, padding; in every state.
    message.extend([family as u8, IPPROTO_TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    for address in [peer, own] {
        message.extend(address.port().to_be_bytes());
    }
    for address in [peer, own] {
        let mut bytes = [0; 16];
        match address.ip() {
            IpAddr::V4(four) => bytes[..4].copy_from_slice(&four.octets()),
            IpAddr::V6(six) => bytes = six.octets(),
        }
        message.extend(bytes);
    }
    // By whichever interface; without a cookie (INET_DIAG_NOCOOKIE).
    message.extend(0_u32.to_ne_bytes());
    message.extend([0xff; 8]);
    message
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connections_user_is_known_by_the_kernel() {
        let sources = Sources::open();
        let own = rustix::process::geteuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert_eq!(address, "[::1]:0", "a host has IPv4");
                continue;
            };
            let near = listener.local_addr().unwrap();
            let stream = TcpStream::connect(near).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            assert_eq!(sources.of(peer, near), Source::User(own), "{address}");
            drop(stream);
            // Nobody's, and the next question has an answer of its own.
            let nobody = InetAddress::new(near.ip(), 1);
            assert_eq!(sources.of(nobody, near), Source::Unknown);
        }
    }
}
