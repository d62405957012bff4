//! Ethernet II with 802.1Q and 802.1ad tags in the frame. Offloaded tags are beside the frame and change nothing here.

use super::{Bytes, Reason, ipv4, ipv6};
use crate::wire::FlowKey;

const HEADER: usize = 14;
const TAG: usize = 4;
/// In-frame tags that are followed before the packet is [`Reason::VlanDepth`].
const MAX_TAGS: u32 = 3;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const EAPOL: u16 = 0x888e;
const SLOW_PROTOCOLS: u16 = 0x8809;
const LLDP: u16 = 0x88cc;
const MRP_MEDIA: u16 = 0x88e3;
const PTP: u16 = 0x88f7;
/// Below this the field is an 802.3 length and an LLC header follows (STP, CDP…).
const FIRST_ETHERTYPE: u16 = 0x0600;

#[inline(always)]
pub(super) fn parse(frame: impl Bytes, key: &mut FlowKey) -> Result<(), Reason> {
    let mut kind = frame.be16(HEADER - 2).ok_or(Reason::TruncatedLink)?;
    let mut at = HEADER;
    for _ in 0..MAX_TAGS {
        if kind != VLAN && kind != SERVICE_VLAN {
            break;
        }
        kind = frame.be16(at + 2).ok_or(Reason::TruncatedLink)?;
        at = frame.forget(at + TAG);
    }
    match kind {
        IPV4 => ipv4::parse(frame, at, key),
        IPV6 => ipv6::parse(frame, at, key),
        VLAN | SERVICE_VLAN => Err(Reason::VlanDepth),
        ARP | EAPOL | SLOW_PROTOCOLS | LLDP | MRP_MEDIA | PTP => Err(Reason::LinkControl),
        _ if kind < FIRST_ETHERTYPE => llc(frame, at),
        _ => Err(Reason::NotIp),
    }
}

/// 802.3 frames: the spanning tree's SAP, and SNAP with a vendor's own protocols, stay on the link. Anything
/// else in LLC is not IP as this host's stack sends it, but could be carried on.
#[inline(always)]
fn llc(frame: impl Bytes, at: usize) -> Result<(), Reason> {
    const SPANNING_TREE: u16 = 0x4242;
    match frame.be16(at).ok_or(Reason::TruncatedLink)? {
        SPANNING_TREE => Err(Reason::LinkControl),
        _ => Err(Reason::NotIp),
    }
}
