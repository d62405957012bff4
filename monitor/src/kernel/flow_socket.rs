//! The socket that a flow of this host's own goes out by, as the kernel has it in its tables (`tcp_diag`, `udp_diag`). Called
//! for flows that an alert is about to be made of. It looks after the packet has left: whoever was quick is gone.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::NlasIterator;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with};

use super::diag;

/// include/uapi/linux/inet_diag.h.
const INET_DIAG_CGROUP_ID: u16 = 21;

/// `TCP_LISTEN` (include/net/tcp_states.h).
const LISTENS: u8 = 10;

/// Length of `struct inet_diag_msg`.
const MESSAGE: usize = 72;

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSocket {
    /// Its number, which /proc/PID/fd has too; 0: nobody has it open any more, or not yet.
    pub inode: u64,
    /// Whose it is.
    pub user: u32,
    /// The id of the control group in which it was made (kernel 5.8).
    pub cgroup: Option<u64>,
    /// It takes connections, and this is one that nobody has taken, or that is over.
    pub listens: bool,
}

/// The socket in the calling thread's network namespace that sends from `local` to `remote`. `interface`: index of the one that
/// it sends by, since a socket may be bound to it. `None`: there is none, or the protocol has no such table.
///
/// # Errors
/// The tables can't be asked.
pub fn socket_of(
    protocol: u8,
    local: SocketAddr,
    remote: SocketAddr,
    interface: u32,
) -> io::Result<Option<FlowSocket>> {
    let (source, destination) = match i32::from(protocol) {
        libc::IPPROTO_TCP => (local, remote),
        // As the packets that it gets (net/ipv4/udp_diag.c, udp_dump_one).
        libc::IPPROTO_UDP => (remote, local),
        _ => return Ok(None),
    };
    match diag::one(&request(protocol, source, destination, interface), read) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The index of an interface in the calling thread's network namespace, by its name.
///
/// # Errors
/// There is none.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let any = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(any, name)?)
}

/// A `struct inet_diag_req_v2`.
fn request(protocol: u8, source: SocketAddr, destination: SocketAddr, interface: u32) -> Vec<u8> {
    let family = if source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = vec![family as u8, protocol, 0, 0];
    // In whatever state.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    for end in [source, destination] {
        let mut words = [0; 16];
        match end.ip() {
            IpAddr::V4(address) => words[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => words = address.octets(),
        }
        bytes.extend(words);
    }
    bytes.extend(interface.to_ne_bytes());
    // Whatever its cookie.
    bytes.extend([0xff; 8]);
    bytes
}

/// A `struct inet_diag_msg` with its attributes.
fn read(payload: &[u8]) -> Option<FlowSocket> {
    let (message, attributes) = payload.split_at_checked(MESSAGE)?;
    let word = |at: usize| Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?));
    let cgroup = NlasIterator::new(attributes).flatten().find(|attribute| attribute.kind() == INET_DIAG_CGROUP_ID);
    let cgroup = cgroup.and_then(|attribute| Some(u64::from_ne_bytes(attribute.value().try_into().ok()?)));
    Some(FlowSocket { user: word(64)?, inode: word(68)?.into(), cgroup, listens: message[1] == LISTENS })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{TcpListener, TcpStream, UdpSocket},
        os::{fd::AsRawFd, unix::fs::MetadataExt as _},
    };

    use super::*;
    use crate::kernel::ControlGroups;

    const TCP: u8 = libc::IPPROTO_TCP as u8;
    const UDP: u8 = libc::IPPROTO_UDP as u8;

    fn inode(socket: &impl AsRawFd) -> u64 {
        fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().ino()
    }

    #[track_caller]
    fn found(protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<(u64, bool)> {
        socket_of(protocol, local, remote, 0).unwrap().map(|socket| {
            assert_eq!(socket.user, rustix::process::geteuid().as_raw());
            (socket.inode, socket.listens)
        })
    }

    #[test]
    fn each_end_of_a_connection_is_found_and_when_it_is_over_nobody_has_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let (near, far) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert_eq!(found(TCP, near, far), Some((inode(&client), false)));
            assert_eq!(found(TCP, far, near), Some((inode(&server), false)));
            // Whoever takes connections answers for those that it has not.
            let stranger = SocketAddr::new(near.ip(), 1);
            assert_eq!(found(TCP, far, stranger), Some((inode(&listener), true)));
            drop((server, listener));
            assert!(found(TCP, far, stranger).is_none());
            assert_eq!(found(TCP, near, far), Some((inode(&client), false)));
        }
    }

    #[test]
    fn datagrams_are_those_of_the_socket_that_has_the_port_connected_or_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (one, other) = (UdpSocket::bind(address).unwrap(), UdpSocket::bind(address).unwrap());
            let (near, far) = (one.local_addr().unwrap(), other.local_addr().unwrap());
            assert_eq!(found(UDP, near, far), Some((inode(&one), false)));
            one.connect(far).unwrap();
            assert_eq!(found(UDP, near, far), Some((inode(&one), false)));
            // What is connected sends nowhere else.
            assert_eq!(found(UDP, near, SocketAddr::new(far.ip(), 1)), None);
            drop(one);
            assert_eq!(found(UDP, near, far), None);
        }
        // A socket of both versions sends to the older one, too.
        let both = UdpSocket::bind("[::]:0").unwrap();
        let near = SocketAddr::from(([127, 0, 0, 1], both.local_addr().unwrap().port()));
        assert_eq!(found(UDP, near, "127.0.0.1:9".parse().unwrap()), Some((inode(&both), false)));
        assert_eq!(found(132, near, near), None, "there is no table for SCTP here");
    }

    #[test]
    fn the_control_group_is_that_of_who_made_it() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let near = socket.local_addr().unwrap();
        let found = socket_of(UDP, near, near, 0).unwrap().unwrap();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        assert_eq!(ControlGroups::default().path(found.cgroup.unwrap()).as_deref(), Some(own));
    }
}
