//! Link-scope control, told by its form: protocol by protocol where it is sent, how long it is, and what its first bytes
//! are. An EtherType alone says nothing: bridges forward whatever has one to any address that is no group's of the link.
//!
//! | protocol | to | bytes | begins with |
//! |---|---|---|---|
//! | ARP (RFC 826), RARP (RFC 903) | any address | 28 to 50 | Ethernet or IEEE 802, IPv4, 6 and 4, one of its two operations |
//! | LLDP (IEEE 802.1AB) | the three nearest bridges' groups | 9 to 1,500 | a chassis ID |
//! | LACP, markers, ESMC (IEEE 802.3 57A) | slow protocols' group | 4 to 128 | subtype 1, 2 or 10, version 1 or 2 |
//! | OAM (IEEE 802.3 57) | slow protocols' group | 4 to 1,500 | subtype 3 |
//! | EAPOL (IEEE 802.1X) | any address | as it says, and padding | version 1 to 3, type 0 to 8 |
//! | MRP (IEC 62439-2) | its groups | 4 to 128 | version 1 |
//! | MVRP, MMRP (IEEE 802.1ak) | customer or provider bridges' groups | 4 to 1,500 | version 0 |
//! | PTP (IEEE 1588 annex F) | its two groups | as it says up to 512, and padding | version 2, a message type |
//! | STP (IEEE 802.1D) in LLC | customer or provider bridges' group | as it says up to 1,500 | protocol 0 |
//! | PVST+ in SNAP | Cisco's group for it | as it says up to 1,500 | |
//! | CDP, VTP, DTP, PAgP, UDLD in SNAP | Cisco's group | as it says up to 1,500 | |

/// EtherTypes.
pub(super) const ARP: u16 = 0x0806;
pub(super) const RARP: u16 = 0x8035;
pub(super) const SLOW_PROTOCOLS: u16 = 0x8809;
pub(super) const EAPOL: u16 = 0x888e;
pub(super) const LLDP: u16 = 0x88cc;
pub(super) const MRP_MEDIA: u16 = 0x88e3;
pub(super) const MRP_VLAN: u16 = 0x88f5;
pub(super) const MRP_MULTICAST: u16 = 0x88f6;
pub(super) const PTP: u16 = 0x88f7;

/// Bytes to which a card fills up what follows an Ethernet header, and as many as a tag has.
const FILLED: u32 = 50;
/// The longest content of an Ethernet frame.
const LONGEST: u32 = 1_500;

/// A frame's content: where it goes, and what it begins with.
#[derive(Clone, Copy)]
pub(super) struct Content {
    /// Destination of the frame, in the lower 48 bits.
    pub to: u64,
    /// Bytes of it.
    pub size: u32,
    /// The first eight of them.
    pub head: u64,
}

impl Content {
    /// Whether it goes to one of the bridges' groups, 01:80:c2:00:00:00 to 3f, by the last byte's bit.
    #[inline(always)]
    const fn to_bridges(self, groups: u64) -> bool {
        self.to >> 6 == 0x0180_c200_0000 >> 6 && groups >> (self.to & 0x3f) & 1 != 0
    }

    /// Whether there are so many bytes, and no more than a card adds.
    #[inline(always)]
    const fn is_as_long_as(self, length: u32, most: u32) -> bool {
        length <= self.size && self.size <= if length < FILLED - 4 { FILLED } else { length + 4 } && length <= most
    }

    /// Whether it has the form of what this EtherType announces.
    #[inline(always)]
    pub(super) const fn looks_like(self, ether_type: u16) -> bool {
        let head = (self.head >> 32) as u32;
        let (first, second) = ((head >> 24) as u8, (head >> 16) as u8);
        match ether_type {
            ARP | RARP => {
                let operation = self.head as u16;
                matches!(head, 0x0001_0800 | 0x0006_0800)
                    && self.head as u32 >> 16 == 0x0604
                    && (if ether_type == ARP { matches!(operation, 1 | 2) } else { matches!(operation, 3 | 4) })
                    && 28 <= self.size
                    && self.size <= FILLED
            }
            LLDP => {
                // Nearest customer bridge, nearest that is no two-port relay, nearest bridge.
                self.to_bridges(1 | 1 << 0x03 | 1 << 0x0e)
                    && head >> 25 == 1
                    && matches!(head >> 16 & 0x1ff, 2..=256)
                    && self.size <= LONGEST
            }
            SLOW_PROTOCOLS => {
                self.to_bridges(1 << 0x02)
                    && match first {
                        1 | 2 => matches!(second, 1 | 2) && self.size <= 128,
                        3 => self.size <= LONGEST,
                        10 => self.size <= 128,
                        _ => false,
                    }
            }
            EAPOL => matches!(first, 1..=3) && second <= 8 && self.is_as_long_as(4 + (head & 0xffff), u32::MAX),
            MRP_MEDIA => self.to >> 8 == 0x0001_154e_0000 && head >> 16 == 1 && self.size <= 128,
            MRP_VLAN => self.to_bridges(1 << 0x21 | 1 << 0x0d) && first == 0 && self.size <= LONGEST,
            MRP_MULTICAST => self.to_bridges(1 << 0x20) && first == 0 && self.size <= LONGEST,
            PTP => {
                (self.to == 0x011b_1900_0000 || self.to_bridges(1 << 0x0e))
                    && matches!(first & 0x0f, 0..=3 | 8..=13)
                    && second & 0x0f == 2
                    && self.is_as_long_as(head & 0xffff, 512)
            }
            _ => false,
        }
    }

    /// Whether it has the form of a spanning tree's message of `length` bytes, which begins with LLC's three.
    #[inline(always)]
    pub(super) const fn is_spanning_tree(self, length: u32) -> bool {
        self.to_bridges(1 | 1 << 0x08) && self.head >> 24 == 0x42_4203_0000 && self.is_as_long_as(length, LONGEST)
    }

    /// Whether it has the form of what Cisco's devices tell each other in SNAP, of `length` bytes.
    #[inline(always)]
    pub(super) const fn is_cisco(self, protocol: u16, length: u32) -> bool {
        const SPANNING_TREE: u16 = 0x010b;
        const GROUP: u64 = 0x0100_0ccc_cccc;
        self.to == if protocol == SPANNING_TREE { GROUP + 1 } else { GROUP } && self.is_as_long_as(length, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn content(to: u64, size: u32, head: u64) -> Content {
        Content { to, size, head }
    }

    const HOST: u64 = 0x0200_0000_0002;
    const ARP_REQUEST: u64 = 0x0001_0800_0604_0001;

    #[test]
    fn arp_and_rarp_are_28_bytes_and_padding_to_any_address() {
        for size in [28, 46, 50] {
            assert!(content(HOST, size, ARP_REQUEST).looks_like(ARP), "{size}");
        }
        for size in [0, 27, 51, 1_454] {
            assert!(!content(HOST, size, ARP_REQUEST).looks_like(ARP), "{size}");
        }
        let with = |operation: u64| content(0xffff_ffff_ffff, 46, ARP_REQUEST & !0xffff | operation);
        assert_eq!((0..6).filter(|o| with(*o).looks_like(ARP)).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((0..6).filter(|o| with(*o).looks_like(RARP)).collect::<Vec<_>>(), [3, 4]);
        for bit in 16..64 {
            // Ethernet is 1, and IEEE 802 is 6, which is two bits off.
            assert!(!content(HOST, 46, ARP_REQUEST ^ 1 << bit).looks_like(ARP), "{bit}");
        }
    }

    #[test]
    fn what_has_groups_goes_to_no_other_address() {
        let known: [(u16, u64, &[u64]); 6] = [
            (LLDP, 0x0207_0400_0000_0000, &[0x0180_c200_0000, 0x0180_c200_0003, 0x0180_c200_000e]),
            (SLOW_PROTOCOLS, 0x0101_0114_0000_0000, &[0x0180_c200_0002]),
            (MRP_VLAN, 0x0001_0000_0000_0000, &[0x0180_c200_0021, 0x0180_c200_000d]),
            (MRP_MULTICAST, 0x0001_0000_0000_0000, &[0x0180_c200_0020]),
            (PTP, 0x0002_002c_0000_0000, &[0x011b_1900_0000, 0x0180_c200_000e]),
            (MRP_MEDIA, 0x0001_0000_0000_0000, &[0x0115_4e00_0001, 0x0115_4e00_0002]),
        ];
        for (kind, head, groups) in known {
            for to in groups {
                assert!(content(*to, 46, head).looks_like(kind), "{kind:#06x} {to:012x}");
                for bit in 0..48 {
                    let other = to ^ 1 << bit;
                    let is_group = groups.contains(&other) || (kind == MRP_MEDIA && bit < 8);
                    assert_eq!(content(other, 46, head).looks_like(kind), is_group, "{kind:#06x} {other:012x}");
                }
            }
            assert!(!content(HOST, 1_454, head).looks_like(kind), "{kind:#06x}");
            for size in [129, 1_501] {
                assert_eq!(
                    content(groups[0], size, head).looks_like(kind),
                    size == 129 && matches!(kind, LLDP | MRP_VLAN | MRP_MULTICAST),
                    "{kind:#06x} of {size}"
                );
            }
        }
    }

    #[test]
    fn eapol_may_be_long_and_unicast_and_is_as_long_as_it_says() {
        let eap = |length: u64| 0x0300_0000_0000_0000 | length << 32;
        for (length, size, is) in [
            (1_450, 1_454, true),
            (1_450, 1_458, true),
            (1_450, 1_459, false),
            (1_450, 1_453, false),
            (8_996, 9_000, true),
            (0, 4, true),
            (0, 50, true),
            (0, 51, false),
            (0, 1_454, false),
            (0xffff, 1_454, false),
        ] {
            assert_eq!(content(HOST, size, eap(length)).looks_like(EAPOL), is, "{length} in {size}");
        }
        let first = |version: u64, kind: u64| content(HOST, 46, version << 56 | kind << 48).looks_like(EAPOL);
        assert_eq!((0..=255).filter(|version| first(*version, 1)).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((0..=255).filter(|kind| first(2, *kind)).count(), 9);
    }

    #[test]
    fn spanning_trees_and_ciscos_go_to_their_groups_and_are_as_long_as_they_say() {
        let tree = |to, size, length| content(to, size, 0x4242_0300_0002_0000).is_spanning_tree(length);
        assert!(tree(0x0180_c200_0000, 46, 38) && tree(0x0180_c200_0008, 46, 38));
        assert!(!tree(HOST, 46, 38) && !tree(0x0180_c200_0000, 1_454, 38) && !tree(0x0180_c200_0000, 46, 47));
        assert!(!content(0x0180_c200_0000, 46, 0x4242_0301_0002_0000).is_spanning_tree(38));
        let cisco = |to, protocol| content(to, 400, 0).is_cisco(protocol, 400);
        assert_eq!([cisco(0x0100_0ccc_cccc, 0x2000), cisco(0x0100_0ccc_cccd, 0x2000)], [true, false]);
        assert_eq!([cisco(0x0100_0ccc_cccc, 0x010b), cisco(0x0100_0ccc_cccd, 0x010b)], [false, true]);
        assert!(!content(0x0100_0ccc_cccc, 1_454, 0).is_cisco(0x2000, 400));
    }

    #[test]
    fn of_unicast_frames_of_1454_bytes_with_random_content_none_is_control() {
        let mut random = fastrand::Rng::with_seed(14);
        for kind in [ARP, RARP, SLOW_PROTOCOLS, LLDP, MRP_MEDIA, MRP_VLAN, MRP_MULTICAST, PTP] {
            for _ in 0..10_000 {
                let frame = content(HOST, 1_454, random.u64(..));
                assert!(!frame.looks_like(kind), "{kind:#06x}: {:016x}", frame.head);
            }
        }
    }
}
