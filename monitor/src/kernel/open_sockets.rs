//! The sockets of this network namespace that send past the hook, or may, as the kernel lists them. Called by the daemon,
//! where it begins to be enforced and with each epoch after.
//!
//! That a packet socket has PACKET_QDISC_BYPASS is told by nothing but the socket itself: packet(7)'s table has no such
//! column and `packet_diag` no such flag, so any may. An AF_XDP socket sends by the ring that it has for that
//! (`xdp_diag`); where the kernel has no such list, it has their number.

use std::{fs, io};

use monitor_common::bypass::Bypass;
use netlink_packet_core::NlasIterator;

use super::diag::{dump, request};
use crate::model::open_sockets::{OpenSocket, OpenSockets};

/// include/uapi/linux/xdp_diag.h.
const XDP_SHOW_INFO_AND_RINGS: u32 = 1 | 2;
const XDP_DIAG_INFO: u16 = 1;
const XDP_DIAG_UID: u16 = 2;
const XDP_DIAG_TX_RING: u16 = 4;

/// Length of `struct xdp_diag_msg`.
const XDP_DIAG_MSG: usize = 16;

/// Those of the calling thread's network namespace.
///
/// # Errors
/// They can't be listed.
pub fn open_sockets() -> io::Result<OpenSockets> {
    let mut sockets: Vec<OpenSocket> = packet_sockets(&fs::read_to_string("/proc/thread-self/net/packet")?).collect();
    let mut unlisted = 0;
    match xdp_sockets() {
        Ok(more) => sockets.extend(more),
        // No such list, or none of such sockets.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {
            unlisted = xdp_in_use(&fs::read_to_string("/proc/thread-self/net/protocols")?);
        }
        Err(error) => return Err(error),
    }
    sockets.sort_unstable_by_key(|socket| socket.inode);
    Ok(OpenSockets { sockets, unlisted })
}

/// The rows of packet(7)'s table: sk, references, type, protocol, interface, running, memory, user, inode.
fn packet_sockets(table: &str) -> impl Iterator<Item = OpenSocket> {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, _, ifindex, _, _, user, inode] = fields[..] else { return None };
        let (ifindex, user, inode) = (ifindex.parse().ok()?, user.parse().ok()?, inode.parse().ok()?);
        Some(OpenSocket { kind: Bypass::Packet, inode, user, ifindex })
    })
}

/// How many AF_XDP sockets the table of protocols says that there are.
fn xdp_in_use(table: &str) -> u32 {
    let row =
        table.lines().map(|line| line.split_whitespace()).find_map(|mut row| (row.next()? == "XDP").then_some(row));
    // Behind the name: the size of one.
    row.and_then(|mut row| row.nth(1)?.parse().ok()).unwrap_or(0)
}

/// All of them, with what they are bound to and their rings (`struct xdp_diag_req`).
fn xdp_sockets() -> io::Result<Vec<OpenSocket>> {
    dump(&request(libc::AF_XDP, &[0, XDP_SHOW_INFO_AND_RINGS, u32::MAX, u32::MAX]), xdp_socket)
}

/// A `struct xdp_diag_msg` with its attributes. `None`: it has no ring to send by.
fn xdp_socket(payload: &[u8]) -> Option<OpenSocket> {
    let number = |bytes: &[u8]| Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?));
    let (header, attributes) = payload.split_at_checked(XDP_DIAG_MSG)?;
    let mut socket = OpenSocket { kind: Bypass::Xdp, inode: number(&header[4..])?, user: 0, ifindex: 0 };
    let mut sends = false;
    for attribute in NlasIterator::new(attributes).flatten() {
        match attribute.kind() {
            XDP_DIAG_INFO => socket.ifindex = number(attribute.value())?,
            XDP_DIAG_UID => socket.user = number(attribute.value())?,
            XDP_DIAG_TX_RING => sends = true,
            _ => {}
        }
    }
    sends.then_some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::devices::tests::attribute;

    #[test]
    fn packet_sockets_are_read_from_the_kernels_table() {
        let table = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                     000000009d5e9747 2      3    0000   7     0 0      991    27641 \n\
                     000000009d5e9748 3      2    88cc   0     1 0      0      31 \n\
                     000000009d5e9749 3      2    88cc   x     1 0      0      31 \n";
        let socket = |inode, user, ifindex| OpenSocket { kind: Bypass::Packet, inode, user, ifindex };
        assert_eq!(packet_sockets(table).collect::<Vec<_>>(), [socket(27_641, 991, 7), socket(31, 0, 0)]);
        assert_eq!(packet_sockets("").count(), 0);
    }

    #[test]
    fn where_af_xdp_sockets_are_not_listed_their_number_is_known() {
        let table = "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re sp bi br ha uh gp em\n\
                     PACKET    1600      4      -1   NI       0   no   kernel      n  n  n\n\
                     XDP       1088      2      -1   NI       0   no   kernel      n  n  n\n";
        assert_eq!((xdp_in_use(table), xdp_in_use("")), (2, 0));
    }

    #[test]
    fn an_af_xdp_socket_is_one_that_sends_if_it_has_a_ring_for_that() {
        let word = |number: u32| number.to_ne_bytes();
        let mut message = vec![libc::AF_XDP as u8, 3, 0, 0];
        message.extend(word(77));
        message.extend([0; 8]);
        message.extend(attribute(XDP_DIAG_INFO, &[word(5), word(0)].concat()));
        message.extend(attribute(XDP_DIAG_UID, &word(1_000)));
        // The ring to receive by.
        message.extend(attribute(3, &word(64)));
        assert_eq!(xdp_socket(&message), None);
        message.extend(attribute(XDP_DIAG_TX_RING, &word(64)));
        let expected = OpenSocket { kind: Bypass::Xdp, inode: 77, user: 1_000, ifindex: 5 };
        assert_eq!(xdp_socket(&message), Some(expected));
        assert!((0..XDP_DIAG_MSG).all(|length| xdp_socket(&message[..length]).is_none()));
    }
}
