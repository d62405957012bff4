//! Who has a connection open with this host now. The text of `/proc/net/tcp` and its like in, needs out. Called by its
//! parent.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Need, Peer, TCP, UDP};

/// The kernel's tables of the network namespace, and their protocol.
pub(super) const TABLES: [(&str, u8); 4] =
    [("/proc/net/tcp", TCP), ("/proc/net/tcp6", TCP), ("/proc/net/udp", UDP), ("/proc/net/udp6", UDP)];

/// `TCP_ESTABLISHED`, which a connected UDP socket has too, and `TCP_LISTEN`.
const ESTABLISHED: &str = "01";
const LISTENS: &str = "0A";

/// proc_net_tcp.rst: number, local and remote address with port, state. A last line that is cut is left out.
pub(super) fn read(text: &str, protocol: u8) -> Vec<Need> {
    let lines = || {
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some((end(words.next()?)?, end(words.next()?)?, words.next()?))
        })
    };
    let served: BTreeSet<u16> = lines().filter(|(.., state)| *state == LISTENS).map(|((_, port), ..)| port).collect();
    let of = |((_, source), (address, port), state): ((IpAddr, u16), (IpAddr, u16), &str)| {
        // Of a service here the other port means nothing.
        let by = if served.contains(&source) { format!("port {source} here") } else { format!("port {port} there") };
        let (peer, source_port) = (Peer::At(address), Some(source));
        let open = state == ESTABLISHED && port != 0 && !address.to_canonical().is_loopback();
        open.then_some(Need { what: "open connection", by, peer, protocol, port, source_port })
    };
    lines().filter_map(of).collect()
}

/// An address in words of 32 bits as they are in memory, and a port.
fn end(written: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = written.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = std::array::from_fn(|at| words[at / 4][at % 4]);
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some((address, port))
}
