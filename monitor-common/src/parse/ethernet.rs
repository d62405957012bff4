//! Ethernet II with 802.1Q and 802.1ad tags in the frame, and 802.3 with LLC. Offloaded tags are not in the frame and
//! change nothing here.

use super::{
    Bytes, Reason, ether_type as known,
    header_walker::{HeaderWalker, Layer},
    link_control::{ARP, Content, EAPOL, LLDP, MRP_MEDIA, MRP_MULTICAST, MRP_VLAN, PTP, RARP, SLOW_PROTOCOLS},
};
use crate::wire::Via;

const HEADER: u32 = 14;
const TAG: u32 = 4;
/// LLC and SNAP: two service access points, control, organisation, type.
const SNAP_HEADER: u32 = 8;
/// In-frame tags that are followed before the packet is [`Reason::VlanDepth`].
const MAX_TAGS: u32 = 3;

const PPPOE_DISCOVERY: u16 = 0x8863;
const PPPOE_SESSION: u16 = 0x8864;
const MACSEC: u16 = 0x88e5;
const PBB: u16 = 0x88e7;
const NSH: u16 = 0x894f;
/// Below this the field is an 802.3 length and an LLC header follows (STP, CDP…).
const FIRST_ETHERTYPE: u16 = 0x0600;

/// The spanning tree's access point, twice.
const SPANNING_TREE: u16 = 0x4242;

/// PAgP, PVST+, UDLD, CDP, VTP, DTP: Cisco's numbers in SNAP, none of which is an EtherType of control.
#[inline(always)]
const fn is_ciscos(number: u16) -> bool {
    matches!(number, 0x0104 | 0x010b | 0x0111 | 0x2000 | 0x2003 | 0x2004)
}

impl HeaderWalker {
    #[inline(always)]
    pub(super) fn ethernet(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        self.require(HEADER, Reason::TruncatedLink)?;
        self.next = frame.be16(self.offset + HEADER - 2).ok_or(Reason::TruncatedLink)?;
        self.link = self.offset;
        self.offset += HEADER;
        self.tags = 0;
        self.layer = Layer::EtherType;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn ether_type(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let reason = match self.next {
            known::IPV4 => {
                self.layer = Layer::Ipv4;
                return Ok(());
            }
            known::IPV6 => {
                self.layer = Layer::Ipv6;
                return Ok(());
            }
            known::VLAN | known::SERVICE_VLAN => return self.tag(frame),
            known::MPLS | known::MPLS_MULTICAST if self.in_tunnel() => {
                return self.enter_tunnel(Via::Mpls, 0, Layer::Mpls);
            }
            known::MPLS | known::MPLS_MULTICAST => Reason::Mpls,
            ARP | RARP | EAPOL | SLOW_PROTOCOLS | LLDP | MRP_MEDIA | MRP_VLAN | MRP_MULTICAST | PTP => {
                self.layer = Layer::Control;
                return Ok(());
            }
            PPPOE_DISCOVERY | PPPOE_SESSION => Reason::Pppoe,
            PBB => Reason::Pbb,
            NSH => Reason::Nsh,
            MACSEC => Reason::Macsec,
            next if next < FIRST_ETHERTYPE => return self.llc(frame),
            _ => Reason::NotIp,
        };
        self.not_ip(reason)
    }

    #[inline(always)]
    fn tag(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        if self.tags >= MAX_TAGS {
            return Err(Reason::VlanDepth);
        }
        self.tags += 1;
        self.require(TAG, Reason::TruncatedLink)?;
        self.next = frame.be16(self.offset + 2).ok_or(Reason::TruncatedLink)?;
        self.offset += TAG;
        Ok(())
    }

    /// 802.3 frames. The spanning tree's access point, and Cisco's protocols between neighbours, stay on the link. A
    /// SNAP header with an EtherType is followed (RFC 1042). Anything else might be forwarded.
    #[inline(always)]
    fn llc(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const SNAP: u16 = 0xaaaa;
        /// Control byte and organisation.
        const ETHERTYPE_FOLLOWS: u32 = 0x0300_0000;
        const BRIDGED_ETHERTYPE_FOLLOWS: u32 = 0x0300_00f8;
        const CISCO: u32 = 0x0300_000c;
        self.require(3, Reason::TruncatedLink)?;
        let length = u32::from(self.next);
        match frame.be16(self.offset).ok_or(Reason::TruncatedLink)? {
            SPANNING_TREE => return self.announced(SPANNING_TREE, length),
            SNAP => {}
            _ => return self.not_ip(Reason::NotIp),
        }
        self.require(SNAP_HEADER, Reason::TruncatedLink)?;
        let organisation = frame.be32(self.offset + 2).ok_or(Reason::TruncatedLink)?;
        let ether_type = frame.be16(self.offset + 6).ok_or(Reason::TruncatedLink)?;
        match organisation {
            ETHERTYPE_FOLLOWS | BRIDGED_ETHERTYPE_FOLLOWS if ether_type >= FIRST_ETHERTYPE => {
                self.next = ether_type;
                self.offset += SNAP_HEADER;
                Ok(())
            }
            CISCO if is_ciscos(ether_type) => self.announced(ether_type, length),
            _ => self.not_ip(Reason::NotIp),
        }
    }

    /// Control in LLC, of so many bytes by the 802.3 header.
    #[inline(always)]
    fn announced(&mut self, kind: u16, length: u32) -> Result<(), Reason> {
        self.next = kind;
        self.options_end = length;
        self.layer = Layer::Control;
        Ok(())
    }

    /// A frame that is announced as link-scope control. A step of its own, which the verifier follows once.
    #[inline(always)]
    pub(super) fn control(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const LEAST: u32 = 8;
        let size = self.limit - self.offset;
        if size < LEAST {
            return self.not_ip(Reason::LinkControlOdd);
        }
        let to = frame.be64(self.link).ok_or(Reason::TruncatedLink)? >> 16;
        let content = Content { to, size, head: frame.be64(self.offset).ok_or(Reason::TruncatedLink)? };
        let is_control = match self.next {
            SPANNING_TREE => content.is_spanning_tree(self.options_end),
            kind if is_ciscos(kind) => content.is_cisco(kind, self.options_end),
            kind => content.looks_like(kind),
        };
        self.not_ip(if is_control { Reason::LinkControl } else { Reason::LinkControlOdd })
    }

    /// A frame that is not IP. In a tunnel there is a flow all the same, that of the enclosing packet: control is for
    /// the link at the tunnel's other end, and where anything else ends up is not known.
    #[inline(always)]
    fn not_ip(&mut self, reason: Reason) -> Result<(), Reason> {
        if !self.in_tunnel() {
            return Err(reason);
        }
        if matches!(reason, Reason::LinkControl) { self.finish() } else { self.unreadable() }
    }
}
