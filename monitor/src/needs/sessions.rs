//! Who has a connection open with this host now. The text of `/proc/net/tcp` and its like in, needs out. Called by its
//! parent.

use std::collections::BTreeSet;

use super::{Need, Peer, TCP, UDP};
use crate::kernel::{ESTABLISHED, LISTENS, SocketRow, sockets};

/// The kernel's tables of the network namespace, and their protocol.
pub(super) const TABLES: [(&str, u8); 4] =
    [("/proc/net/tcp", TCP), ("/proc/net/tcp6", TCP), ("/proc/net/udp", UDP), ("/proc/net/udp6", UDP)];

/// Whoever has one open. A last line that is cut is left out.
pub(super) fn read(text: &str, protocol: u8) -> Vec<Need> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let served: BTreeSet<u16> =
        sockets(whole).filter(|socket| socket.state == LISTENS).map(|socket| socket.local.port()).collect();
    let of = |SocketRow { local, remote, state, .. }: SocketRow<'_>| {
        let (source, port) = (local.port(), remote.port());
        // Of a service here the other port means nothing.
        let by = if served.contains(&source) { format!("port {source} here") } else { format!("port {port} there") };
        let (peer, source_port) = (Peer::At(remote.ip()), Some(source));
        let open = state == ESTABLISHED && port != 0 && !remote.ip().to_canonical().is_loopback();
        open.then_some(Need { what: "open connection", by, peer, protocol, port, source_port })
    };
    sockets(whole).filter_map(of).collect()
}
