//! The kernel's tables of sockets as text (`/proc/net/tcp` and its like) in, rows out. Called by whoever asks who listens, or
//! who has a connection open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRow<'a> {
    /// Its own end.
    pub local: SocketAddr,
    /// The other one.
    pub remote: SocketAddr,
    /// Such as [`LISTENS`].
    pub state: &'a str,
    /// Whose it is.
    pub user: u32,
    /// Its number.
    pub inode: u64,
}

/// `TCP_LISTEN`, and `TCP_ESTABLISHED`, which a connected UDP socket has too (include/net/tcp_states.h).
pub const LISTENS: &str = "0A";
/// See [`LISTENS`].
pub const ESTABLISHED: &str = "01";

/// The rows of a table (proc_net_tcp.rst); what is none is left out.
pub fn sockets(table: &str) -> impl Iterator<Item = SocketRow<'_>> {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, _, _, _, user, _, inode, ..] = fields[..] else { return None };
        let (user, inode) = (user.parse().ok()?, inode.parse().ok()?);
        Some(SocketRow { local: end(local)?, remote: end(remote)?, state, user, inode })
    })
}

/// An address in words of 32 bits as they are in memory, and a port.
fn end(written: &str) -> Option<SocketAddr> {
    let (address, port) = written.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = std::array::from_fn(|at| words[at / 4][at % 4]);
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}
