//! The special-purpose address registries as a table: what a network is by its standard, so that no dataset or
//! overlay places it (they carry nonsense there). Read by the policy compiler, `explain` and `geo lookup`.
//!
//! From IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190), the multicast address
//! spaces (RFC 5771, RFC 2365, RFC 4291, RFC 7346) and the IPv6 address space: outside 2000::/3 nothing is
//! assigned for global use. Of the rows that hold an address the most specific one counts.
//!
//! [`Class::Local`] only where no router forwards, [`Class::LinkLocal`] where none should; [`Class::Private`] what
//! RFC 1918 and RFC 4193 have for networks of one's own; [`Class::Unknown`] everything else: a packet may go anywhere
//! (anycast, multicast, a carrier's NAT, what Linux forwards although no standard has it so).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use monitor_common::wire::{Class, Embedded};

/// A row: a network and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// Which addresses.
    pub network: IpNetwork,
    /// What they are to the policy. For rows with an embedded address that address decides instead.
    pub class: Class,
    /// Where such an address carries an IPv4 address.
    pub embedded: Embedded,
    /// The registry's name for it.
    pub name: &'static str,
    /// The standard.
    pub source: &'static str,
}

/// Every row, IPv4 before IPv6, each by first address and then the wider first, so that of nested rows a later
/// one overrides an earlier one.
pub fn table() -> &'static [Special] {
    static TABLE: LazyLock<Vec<Special>> = LazyLock::new(|| {
        let mut rows: Vec<Special> = V4.iter().map(|row| row.special()).collect();
        rows.extend(V6.iter().map(|row| row.special()));
        rows.extend(multicast_scopes());
        rows.sort_by_key(|row| (row.network.is_ipv6(), row.network.network(), row.network.prefix()));
        rows
    });
    &TABLE
}

/// The most specific row that holds the address; `None` for ordinary global addresses.
pub fn lookup(address: IpAddr) -> Option<&'static Special> {
    table().iter().filter(|row| row.network.contains(address)).max_by_key(|row| row.network.prefix())
}

struct Row<A>(A, u8, Class, Embedded, &'static str, &'static str);

impl Row<Ipv4Addr> {
    fn special(&self) -> Special {
        let &Row(address, prefix, class, embedded, name, source) = self;
        let network = Ipv4Network::new(address, prefix).expect("prefix lengths in the table are at most 32: tested");
        Special { network: network.into(), class, embedded, name, source }
    }
}

impl Row<Ipv6Addr> {
    fn special(&self) -> Special {
        let &Row(address, prefix, class, embedded, name, source) = self;
        let network = Ipv6Network::new(address, prefix).expect("prefix lengths in the table are at most 128: tested");
        Special { network: network.into(), class, embedded, name, source }
    }
}

const fn v4(a: [u8; 4], prefix: u8, class: Class, name: &'static str, source: &'static str) -> Row<Ipv4Addr> {
    Row(Ipv4Addr::new(a[0], a[1], a[2], a[3]), prefix, class, Embedded::None, name, source)
}

/// `a` are the first 16-bit groups and `last` is the eighth.
const fn v6(
    a: [u16; 5],
    last: u16,
    prefix: u8,
    class: Class,
    name: &'static str,
    source: &'static str,
) -> Row<Ipv6Addr> {
    Row(Ipv6Addr::new(a[0], a[1], a[2], a[3], a[4], 0, 0, last), prefix, class, Embedded::None, name, source)
}

const fn carrier(
    address: Ipv6Addr,
    prefix: u8,
    form: Embedded,
    name: &'static str,
    source: &'static str,
) -> Row<Ipv6Addr> {
    Row(address, prefix, Class::Unknown, form, name, source)
}

use Class::{LinkLocal, Local, Private, Unknown};

const V4: &[Row<Ipv4Addr>] = &[
    // Linux has sent and forwarded these like any other address since 5.3; only the first one means this host.
    v4([0, 0, 0, 0], 8, Unknown, "this network", "RFC 791"),
    v4([0, 0, 0, 0], 32, Local, "this host on this network", "RFC 1122"),
    v4([10, 0, 0, 0], 8, Private, "private use", "RFC 1918"),
    v4([100, 64, 0, 0], 10, Unknown, "shared address space (carrier-grade NAT)", "RFC 6598"),
    v4([127, 0, 0, 0], 8, Local, "loopback", "RFC 1122"),
    v4([169, 254, 0, 0], 16, LinkLocal, "link-local", "RFC 3927"),
    v4([172, 16, 0, 0], 12, Private, "private use", "RFC 1918"),
    v4([192, 0, 0, 0], 24, Unknown, "IETF protocol assignments", "RFC 6890"),
    v4([192, 0, 0, 0], 29, Unknown, "IPv4 service continuity prefix", "RFC 7335"),
    v4([192, 0, 0, 8], 32, Unknown, "IPv4 dummy address", "RFC 7600"),
    v4([192, 0, 0, 9], 32, Unknown, "port control protocol anycast", "RFC 7723"),
    v4([192, 0, 0, 10], 32, Unknown, "TURN anycast", "RFC 8155"),
    v4([192, 0, 0, 170], 31, Unknown, "NAT64/DNS64 discovery", "RFC 7050"),
    v4([192, 0, 2, 0], 24, Unknown, "documentation (TEST-NET-1)", "RFC 5737"),
    v4([192, 31, 196, 0], 24, Unknown, "AS112-v4 anycast", "RFC 7535"),
    v4([192, 52, 193, 0], 24, Unknown, "automatic multicast tunneling anycast", "RFC 7450"),
    v4([192, 88, 99, 0], 24, Unknown, "deprecated 6to4 relay anycast", "RFC 7526"),
    v4([192, 88, 99, 2], 32, Unknown, "6a44 relay anycast", "RFC 6751"),
    v4([192, 168, 0, 0], 16, Private, "private use", "RFC 1918"),
    v4([192, 175, 48, 0], 24, Unknown, "direct delegation AS112 anycast", "RFC 7534"),
    v4([198, 18, 0, 0], 15, Unknown, "benchmarking", "RFC 2544"),
    v4([198, 51, 100, 0], 24, Unknown, "documentation (TEST-NET-2)", "RFC 5737"),
    v4([203, 0, 113, 0], 24, Unknown, "documentation (TEST-NET-3)", "RFC 5737"),
    v4([224, 0, 0, 0], 4, Unknown, "multicast", "RFC 5771"),
    v4([224, 0, 0, 0], 24, Local, "multicast, local network control", "RFC 5771"),
    v4([239, 0, 0, 0], 8, Unknown, "multicast, administratively scoped", "RFC 2365"),
    v4([240, 0, 0, 0], 4, Unknown, "reserved", "RFC 1112"),
    v4([255, 255, 255, 255], 32, Local, "limited broadcast", "RFC 919"),
];

const V6: &[Row<Ipv6Addr>] = &[
    v6([0; 5], 0, 3, Unknown, "not assigned for global use", "RFC 4291"),
    carrier(Ipv6Addr::UNSPECIFIED, 96, Embedded::Low32, "IPv4-compatible, deprecated", "RFC 4291"),
    v6([0; 5], 0, 128, Local, "unspecified", "RFC 4291"),
    v6([0; 5], 1, 128, Local, "loopback", "RFC 4291"),
    carrier(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, Embedded::Low32, "IPv4-mapped", "RFC 4291"),
    carrier(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, Embedded::Low32, "IPv4/IPv6 translation", "RFC 6052"),
    // Where in it the IPv4 address stands is the operator's choice (`[zone] nat64`); most take a /96 of it.
    carrier(
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        Embedded::Low32,
        "IPv4/IPv6 translation, local use",
        "RFC 8215",
    ),
    v6([0x100, 0, 0, 0, 0], 0, 64, Unknown, "discard only", "RFC 6666"),
    v6([0x100, 0, 0, 1, 0], 0, 64, Unknown, "dummy prefix", "RFC 9780"),
    v6([0x2001, 0, 0, 0, 0], 0, 23, Unknown, "IETF protocol assignments", "RFC 2928"),
    carrier(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, Embedded::Teredo, "Teredo", "RFC 4380"),
    v6([0x2001, 1, 0, 0, 0], 1, 128, Unknown, "port control protocol anycast", "RFC 7723"),
    v6([0x2001, 1, 0, 0, 0], 2, 128, Unknown, "TURN anycast", "RFC 8155"),
    v6([0x2001, 1, 0, 0, 0], 3, 128, Unknown, "DNS-SD registration anycast", "RFC 9665"),
    v6([0x2001, 2, 0, 0, 0], 0, 48, Unknown, "benchmarking", "RFC 5180"),
    v6([0x2001, 3, 0, 0, 0], 0, 32, Unknown, "automatic multicast tunneling anycast", "RFC 7450"),
    v6([0x2001, 4, 0x112, 0, 0], 0, 48, Unknown, "AS112-v6 anycast", "RFC 7535"),
    v6([0x2001, 0x10, 0, 0, 0], 0, 28, Unknown, "ORCHID, deprecated", "RFC 4843"),
    v6([0x2001, 0x20, 0, 0, 0], 0, 28, Unknown, "ORCHIDv2", "RFC 7343"),
    v6([0x2001, 0x30, 0, 0, 0], 0, 28, Unknown, "drone remote identifiers", "RFC 9374"),
    v6([0x2001, 0xdb8, 0, 0, 0], 0, 32, Unknown, "documentation", "RFC 3849"),
    carrier(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Embedded::SixToFour, "6to4", "RFC 3056"),
    v6([0x2620, 0x4f, 0x8000, 0, 0], 0, 48, Unknown, "direct delegation AS112 anycast", "RFC 7534"),
    v6([0x3fff, 0, 0, 0, 0], 0, 20, Unknown, "documentation", "RFC 9637"),
    v6([0x4000, 0, 0, 0, 0], 0, 2, Unknown, "not assigned for global use", "RFC 4291"),
    v6([0x5f00, 0, 0, 0, 0], 0, 16, Unknown, "segment routing (SRv6) SIDs", "RFC 9602"),
    v6([0x8000, 0, 0, 0, 0], 0, 1, Unknown, "not assigned for global use", "RFC 4291"),
    v6([0xfc00, 0, 0, 0, 0], 0, 7, Private, "unique local", "RFC 4193"),
    v6([0xfe80, 0, 0, 0, 0], 0, 10, LinkLocal, "link-local", "RFC 4291"),
    v6([0xfec0, 0, 0, 0, 0], 0, 10, Unknown, "site-local, deprecated", "RFC 3879"),
    v6([0xff00, 0, 0, 0, 0], 0, 8, Unknown, "multicast", "RFC 4291"),
];

/// Multicast with a scope of its own: the scope is the second byte's low half, and
/// its high half are flags (transient, prefix-based, rendezvous point: RFC 4291, 3306, 3956), which don't matter.
fn multicast_scopes() -> impl Iterator<Item = Special> {
    const SCOPES: [(u16, Class, &str, &str); 6] = [
        (1, Local, "multicast, interface-local scope", "RFC 4291"),
        (2, Local, "multicast, link-local scope", "RFC 4291"),
        (3, Unknown, "multicast, realm-local scope", "RFC 7346"),
        (4, Unknown, "multicast, admin-local scope", "RFC 4291"),
        (5, Unknown, "multicast, site-local scope", "RFC 4291"),
        (8, Unknown, "multicast, organization-local scope", "RFC 4291"),
    ];
    (0..16_u16).flat_map(|flags| {
        SCOPES.map(|(scope, class, name, source)| {
            v6([0xff00 | flags << 4 | scope, 0, 0, 0, 0], 0, 16, class, name, source).special()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Space;

    fn class(address: &str) -> Option<(Class, Embedded)> {
        lookup(address.parse().unwrap()).map(|row| (row.class, row.embedded))
    }

    #[test]
    fn the_table_is_sorted_without_host_bits_and_overridden_in_order() {
        let rows = table();
        assert_eq!(rows.len(), V4.len() + V6.len() + 96);
        for row in rows {
            assert_eq!(row.network.ip(), row.network.network(), "{} has host bits set", row.network);
            assert!(u32::ends(&row.network).is_some() != u128::ends(&row.network).is_some());
        }
        for pair in rows.windows(2) {
            assert_ne!(pair[0].network, pair[1].network);
        }
        for (index, row) in rows.iter().enumerate() {
            for before in &rows[..index] {
                let inside = before.network.contains(row.network.network());
                assert!(
                    !inside || before.network.prefix() < row.network.prefix(),
                    "{} {}",
                    before.network,
                    row.network
                );
            }
        }
    }

    #[test]
    fn each_registry_entry_is_what_its_standard_says() {
        use Embedded::{Low32, None as Plain, SixToFour, Teredo};
        for (address, expected) in [
            ("0.0.0.0", Local),
            ("0.1.2.3", Unknown),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("100.64.0.0", Unknown),
            ("100.127.255.255", Unknown),
            ("127.255.255.255", Local),
            ("169.254.169.254", LinkLocal),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("192.0.0.1", Unknown),
            ("192.0.0.8", Unknown),
            ("192.0.0.9", Unknown),
            ("192.0.0.10", Unknown),
            ("192.0.0.11", Unknown),
            ("192.0.0.171", Unknown),
            ("192.0.2.255", Unknown),
            ("192.31.196.1", Unknown),
            ("192.52.193.1", Unknown),
            ("192.88.99.1", Unknown),
            ("192.168.255.255", Private),
            ("192.175.48.1", Unknown),
            ("198.19.255.255", Unknown),
            ("198.51.100.1", Unknown),
            ("203.0.113.1", Unknown),
            ("224.0.0.251", Local),
            ("224.0.1.1", Unknown),
            ("232.1.2.3", Unknown),
            ("239.255.255.250", Unknown),
            ("240.0.0.1", Unknown),
            ("255.255.255.254", Unknown),
            ("255.255.255.255", Local),
            ("::", Local),
            ("::1", Local),
            ("64:ff9b::1:0:0", Unknown),
            ("100::1", Unknown),
            ("100:0:0:1::1", Unknown),
            ("200::1", Unknown),
            ("1fff::1", Unknown),
            ("2001:1::1", Unknown),
            ("2001:1::3", Unknown),
            ("2001:1::4", Unknown),
            ("2001:2::1", Unknown),
            ("2001:2:1::1", Unknown),
            ("2001:3::1", Unknown),
            ("2001:4:112::1", Unknown),
            ("2001:1f::1", Unknown),
            ("2001:2f::1", Unknown),
            ("2001:3f::1", Unknown),
            ("2001:db8:ffff::1", Unknown),
            ("2620:4f:8000::1", Unknown),
            ("3fff:fff::1", Unknown),
            ("4000::1", Unknown),
            ("5f00::1", Unknown),
            ("5f01::1", Unknown),
            ("8000::1", Unknown),
            ("fbff::1", Unknown),
            ("fc00::1", Private),
            ("fdff::1", Private),
            ("fe00::1", Unknown),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Unknown),
            ("ff00::1", Unknown),
            ("ff01::1", Local),
            ("ff02::fb", Local),
            ("ff12::1", Local),
            ("ff32::1", Local),
            ("ff03::1", Unknown),
            ("ff05::2", Unknown),
            ("ff08::1", Unknown),
            ("ff18::1", Unknown),
            ("ff0e::101", Unknown),
            ("ff3e::1", Unknown),
        ] {
            assert_eq!(class(address), Some((expected, Plain)), "{address}");
        }
        for (address, expected) in [
            ("::ffff:8.8.8.8", Low32),
            ("::8.8.8.8", Low32),
            ("::2", Low32),
            ("64:ff9b::808:808", Low32),
            ("64:ff9b:1::808:808", Low32),
            ("64:ff9b:1:ffff:ffff:ffff:808:808", Low32),
            ("2001::1", Teredo),
            ("2002:808:808::1", SixToFour),
        ] {
            assert_eq!(class(address), Some((Unknown, expected)), "{address}");
        }
    }

    /// IANA's two registries, whole: network, the standard that it names, whether it is globally reachable (`-`: not
    /// applicable).
    const REGISTRIES: &str = "\
        0.0.0.0/8 791 no, 0.0.0.0/32 1122 no, 10.0.0.0/8 1918 no, 100.64.0.0/10 6598 no, 127.0.0.0/8 1122 no, \
        169.254.0.0/16 3927 no, 172.16.0.0/12 1918 no, 192.0.0.0/24 6890 no, 192.0.0.0/29 7335 no, 192.0.0.8/32 7600 no, \
        192.0.0.9/32 7723 yes, 192.0.0.10/32 8155 yes, 192.0.0.170/31 7050 no, 192.0.2.0/24 5737 no, \
        192.31.196.0/24 7535 yes, 192.52.193.0/24 7450 yes, 192.88.99.0/24 7526 -, 192.88.99.2/32 6751 -, \
        192.168.0.0/16 1918 no, 192.175.48.0/24 7534 yes, 198.18.0.0/15 2544 no, 198.51.100.0/24 5737 no, \
        203.0.113.0/24 5737 no, 240.0.0.0/4 1112 no, 255.255.255.255/32 919 no, \
        ::1/128 4291 no, ::/128 4291 no, ::ffff:0:0/96 4291 no, 64:ff9b::/96 6052 yes, 64:ff9b:1::/48 8215 no, \
        100::/64 6666 no, 100:0:0:1::/64 9780 no, 2001::/23 2928 -, 2001::/32 4380 -, 2001:1::1/128 7723 yes, \
        2001:1::2/128 8155 yes, 2001:1::3/128 9665 yes, 2001:2::/48 5180 no, 2001:3::/32 7450 yes, \
        2001:4:112::/48 7535 yes, 2001:10::/28 4843 -, 2001:20::/28 7343 yes, 2001:30::/28 9374 yes, \
        2001:db8::/32 3849 no, 2002::/16 3056 -, 2620:4f:8000::/48 7534 yes, 3fff::/20 9637 no, 5f00::/16 9602 no, \
        fc00::/7 4193 no, fe80::/10 4291 no";

    #[test]
    fn both_registries_are_there_whole_and_nothing_reachable_is_taken_for_private() {
        for entry in REGISTRIES.split(", ") {
            let [network, standard, reachable] = entry.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{entry}");
            };
            let network: IpNetwork = network.parse().unwrap();
            let row =
                table().iter().find(|row| row.network == network).unwrap_or_else(|| panic!("{network} is missing"));
            assert_eq!(row.source, format!("RFC {standard}"), "{network}");
            let is_own = matches!(standard, "1918" | "4193");
            assert_eq!(row.class == Private, is_own, "{network}");
            if reachable != "no" {
                assert_eq!(row.class, Unknown, "{network}");
            }
        }
        assert_eq!(REGISTRIES.split(", ").count(), 25 + 25);
        for row in table() {
            assert!(row.source.starts_with("RFC ") && !row.name.is_empty(), "{}", row.network);
        }
    }

    #[test]
    fn ordinary_addresses_are_left_to_the_datasets() {
        for address in [
            "1.0.0.0",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2000::1",
            "2001:200::1",
            "2001:db7::1",
            "2001:db9::1",
            "2003::1",
            "2a00:1450:4001::1",
            "2620:4f:8001::1",
            "3fff:1000::1",
            "3ffe::1",
        ] {
            assert_eq!(class(address), None, "{address}");
        }
    }

    #[test]
    fn every_ipv6_address_outside_2000_3_has_a_row() {
        for top in (0..=0xff_u128).filter(|top| top >> 5 != 1) {
            for low in [0, 1, u128::MAX >> 8] {
                let address = Ipv6Addr::from(top << 120 | low);
                assert!(lookup(address.into()).is_some(), "{address}");
            }
        }
    }
}
