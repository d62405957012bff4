//! Ethernet, its tags, what is no IP, and devices without a link header.

use monitor_common::{
    parse::Reason,
    wire::{Link, Via},
};

use super::{Case, build::*, case, flow, policy::*};

const CISCO: [u8; 3] = [0, 0, 0x0c];
const ETHERTYPE: [u8; 3] = [0, 0, 0];
const RARP: u16 = 0x8035;
const LACP: u16 = 0x8809;
const LLDP: u16 = 0x88cc;
const PTP: u16 = 0x88f7;
/// Where the spanning tree goes.
const BRIDGES: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0];

pub(super) fn cases() -> Vec<Case> {
    let v4 = || ip(OUT) / udp(53) / payload(20);
    let v6 = || ip(OUT6) / udp(53) / payload(20);
    let to4 = || flow(OUT, proto::UDP, 53);
    let to6 = || flow(OUT6, proto::UDP, 53);
    let to_bridges = |last: u8| eth_to([1, 0x80, 0xc2, 0, 0, last]);
    let cisco = |protocol: u16| snap(CISCO, protocol).set(0, &[1, 0, 0x0c, 0xcc, 0xcc, 0xcc]);
    let other = |number: u16| eth() / payload(46).ether(number);
    vec![
        // Tags.
        case("untagged_v4", "Ethernet II, IPv4 (RFC 894)", eth() / v4(), to4()),
        case("untagged_v6", "Ethernet II, IPv6 (RFC 2464)", eth() / v6(), to6()),
        case("vlan", "one 802.1Q tag", eth().vlan(10) / v4(), to4()),
        case("vlan_priority", "an 802.1Q tag with priority 7 and VLAN 0", eth().vlan(0xe000) / v4(), to4()),
        case("service_vlan", "one 802.1ad tag", eth().service_vlan(10) / v6(), to6()),
        case("vlan_in_service_vlan", "802.1ad outside, 802.1Q inside", eth().service_vlan(10).vlan(20) / v4(), to4()),
        case("vlan_in_vlan", "two 802.1Q tags", eth().vlan(10).vlan(20) / v6(), to6()),
        case("service_vlan_in_vlan", "the tags the wrong way round", eth().vlan(10).service_vlan(20) / v4(), to4()),
        case("three_tags", "the deepest tag that is followed", eth().vlan(1).vlan(2).vlan(3) / v4(), to4()),
        case(
            "three_tags_mixed",
            "802.1ad twice, then 802.1Q",
            eth().service_vlan(1).service_vlan(2).vlan(3) / v6(),
            to6(),
        ),
        case("four_tags", "one tag too many", eth().vlan(1).vlan(2).vlan(3).vlan(4) / v4(), Reason::VlanDepth),
        case(
            "four_tags_mixed",
            "one tag too many, of another kind",
            eth().vlan(1).vlan(2).vlan(3).service_vlan(4) / v6(),
            Reason::VlanDepth,
        ),
        case(
            "tag_9100",
            "a tag of the time before 802.1ad: no tag to the kernel",
            eth().tag(0x9100, 10) / v4(),
            Reason::NotIp,
        ),
        case("tag_9100_in_vlan", "the same behind a tag", eth().vlan(10).tag(0x9100, 10) / v4(), Reason::NotIp),
        case("vlan_arp", "ARP behind a tag", eth().vlan(10) / arp(ether::ARP, 1), Reason::LinkControl),
        case("vlan_mpls", "MPLS behind a tag", eth().vlan(10) / mpls(&[100]) / v4(), Reason::Mpls),
        // Ends too early.
        case("cut_ethernet", "a frame of 13 bytes", (eth() / v4()).cut(13), Reason::TruncatedLink)
            .not_sent("the kernel sends no frame below 14 bytes"),
        case("cut_tag", "the frame ends inside its tag", Stack::from(eth().vlan(10)).cut(16), Reason::TruncatedLink),
        case(
            "cut_llc",
            "the frame ends inside its LLC header",
            Stack::from(llc(0x42).set(12, &[0, 1])).cut(15),
            Reason::TruncatedLink,
        ),
        case("padded", "a short frame filled up to 60 bytes", (eth() / ip(OUT) / udp(53)).pad(18), to4()),
        // Link-scope control.
        case("arp", "RFC 826: a request to all", eth_to([0xff; 6]) / arp(ether::ARP, 1), Reason::LinkControl),
        case("arp_reply", "an answer to one", eth() / arp(ether::ARP, 2), Reason::LinkControl),
        case(
            "rarp",
            "RFC 903: what a hypervisor announces after a live migration",
            eth_to([0xff; 6]) / arp(RARP, 3),
            Reason::LinkControl,
        ),
        case("lldp", "IEEE 802.1AB", to_bridges(0x0e) / control(LLDP, &[2, 7, 4], 300), Reason::LinkControl),
        case(
            "slow_protocols",
            "LACP (IEEE 802.3 annex 57A)",
            to_bridges(2) / control(LACP, &[1, 1, 1, 20], 110),
            Reason::LinkControl,
        ),
        case(
            "slow_oam",
            "OAM of the link (IEEE 802.3, 57), which may be long",
            to_bridges(2) / control(LACP, &[3, 0, 8], 1_400),
            Reason::LinkControl,
        ),
        case("eapol", "IEEE 802.1X: a start", to_bridges(3) / control(0x888e, &[2, 1, 0, 0], 46), Reason::LinkControl),
        case(
            "eapol_long",
            "EAP-TLS: long, and to one address",
            eth() / control(0x888e, &[3, 0, 5, 0xa4], 0x5a4 + 4),
            Reason::LinkControl,
        ),
        case(
            "mrp_media",
            "media redundancy (IEC 62439-2)",
            eth_to([1, 0x15, 0x4e, 0, 0, 1]) / control(0x88e3, &[0, 1, 2], 46),
            Reason::LinkControl,
        ),
        case(
            "mvrp",
            "multiple VLAN registration (IEEE 802.1ak)",
            to_bridges(0x21) / control(0x88f5, &[0, 1, 2], 46),
            Reason::LinkControl,
        ),
        case(
            "mmrp",
            "multiple MAC registration (IEEE 802.1ak)",
            to_bridges(0x20) / control(0x88f6, &[0, 1, 6], 46),
            Reason::LinkControl,
        ),
        case(
            "ptp",
            "precision time (IEEE 1588)",
            eth_to([1, 0x1b, 0x19, 0, 0, 0]) / control(PTP, &[0, 2, 0, 44], 46),
            Reason::LinkControl,
        ),
        case(
            "stp",
            "spanning tree in LLC (IEEE 802.1D)",
            llc(0x42).set(0, &BRIDGES) / control(0, &[0, 0, 2], 35),
            Reason::LinkControl,
        ),
        case("cdp", "Cisco discovery in SNAP", cisco(0x2000) / payload(30), Reason::LinkControl),
        case(
            "pvst",
            "spanning tree of each VLAN in SNAP",
            cisco(0x010b).set(5, &[0xcd]) / payload(35),
            Reason::LinkControl,
        ),
        case("pagp", "Cisco's port aggregation in SNAP", cisco(0x0104) / payload(30), Reason::LinkControl),
        case("udld", "Cisco's link detection in SNAP", cisco(0x0111) / payload(30), Reason::LinkControl),
        case("vtp", "Cisco's VLAN trunking in SNAP", cisco(0x2003) / payload(30), Reason::LinkControl),
        case("dtp", "Cisco's dynamic trunking in SNAP", cisco(0x2004) / payload(30), Reason::LinkControl),
        case("snap_arp", "ARP in SNAP (RFC 1042)", snap(ETHERTYPE, 0) / arp(ether::ARP, 1), Reason::LinkControl),
        // What only says that it is.
        case("arp_long", "ARP of 1,454 bytes", eth() / arp(ether::ARP, 1) / payload(1_408), Reason::LinkControlOdd),
        case("arp_short", "ARP of nothing", eth() / payload(0).ether(ether::ARP), Reason::LinkControlOdd),
        case(
            "arp_operation",
            "an operation that ARP does not have",
            eth() / arp(ether::ARP, 9),
            Reason::LinkControlOdd,
        ),
        case("rarp_operation", "ARP's operation in RARP", eth() / arp(RARP, 1), Reason::LinkControlOdd),
        case("lldp_unicast", "LLDP to one address", eth() / control(LLDP, &[2, 7, 4], 1_454), Reason::LinkControlOdd),
        case("lacp_unicast", "LACP to one address", eth() / control(LACP, &[1, 1], 1_454), Reason::LinkControlOdd),
        case("lacp_long", "LACP of 1,454 bytes", to_bridges(2) / control(LACP, &[1, 1], 1_454), Reason::LinkControlOdd),
        case("ptp_unicast", "PTP to one address", eth() / control(PTP, &[0, 2, 0, 44], 1_454), Reason::LinkControlOdd),
        case(
            "eapol_longer",
            "EAPOL with more behind it than it says",
            eth() / control(0x888e, &[2, 0, 0, 5], 1_454),
            Reason::LinkControlOdd,
        ),
        case(
            "stp_unicast",
            "spanning tree to one address",
            llc(0x42) / control(0, &[0, 0, 2], 35),
            Reason::LinkControlOdd,
        ),
        case(
            "cdp_unicast",
            "Cisco discovery to one address",
            snap(CISCO, 0x2000) / payload(30),
            Reason::LinkControlOdd,
        ),
        // 802.3.
        case("snap_v4", "IPv4 in SNAP (RFC 1042): IP like any other", snap(ETHERTYPE, 0) / v4(), to4()),
        case("snap_v6", "IPv6 in SNAP behind a tag", snap(ETHERTYPE, 0).in_vlan(10) / v6(), to6()),
        case(
            "snap_long",
            "a length of more than one byte is a length up to 0x05ff",
            snap(ETHERTYPE, 0) / ip(OUT) / udp(53) / payload(1_000),
            to4(),
        ),
        case(
            "first_ethertype",
            "0x0600 is the first EtherType, whatever its content looks like",
            eth() / payload(46).set(0, &[0x42, 0x42, 3]).ether(0x0600),
            Reason::NotIp,
        ),
        case(
            "snap_bridged",
            "IEEE 802.1H: the bridge tunnel's organisation, an EtherType follows too",
            snap([0, 0, 0xf8], ether::IPV4) / v4(),
            to4(),
        ),
        case(
            "snap_length",
            "below 0x0600 it is no EtherType, and no second length before LLC either",
            snap(ETHERTYPE, 0).next(0x0400) / payload(30).set(0, &[0x42, 0x42, 3]),
            Reason::NotIp,
        ),
        case(
            "snap_numbered",
            "RFC 1042: SNAP is in unnumbered information, this is not",
            snap(ETHERTYPE, 0).set(16, &[0]) / v4(),
            Reason::NotIp,
        ),
        case(
            "snap_cisco",
            "Cisco's organisation, a protocol that is not known",
            snap(CISCO, 0x9999) / payload(30),
            Reason::NotIp,
        ),
        case(
            "snap_vendor",
            "SNAP of a vendor that is not known",
            snap([0, 0x80, 0xc2], 7) / payload(30),
            Reason::NotIp,
        ),
        case("llc_netbios", "NetBIOS in LLC", llc(0xf0) / payload(30), Reason::NotIp),
        case("llc_is_is", "IS-IS in LLC (ISO 10589)", llc(0xfe) / payload(30), Reason::NotIp),
        // Routable, but not IP.
        case("profinet", "an EtherType that is not known", other(0x8892), Reason::NotIp),
        case("experiment", "the EtherType for local experiments", other(ether::EXPERIMENT), Reason::NotIp),
        case("mpls", "RFC 3032: routable by anyone with a label table", eth() / mpls(&[100, 200]) / v4(), Reason::Mpls),
        case(
            "mpls_multicast",
            "RFC 5332: the second EtherType",
            eth() / mpls(&[100]).ether(ether::MPLS_MULTICAST) / v4(),
            Reason::Mpls,
        ),
        case("pppoe_discovery", "RFC 2516", other(0x8863), Reason::Pppoe),
        case(
            "pppoe_session",
            "RFC 2516, with IPv4 inside",
            eth() / raw(&[0x11, 0, 0, 1, 0, 50, 0, 0x21]).ether(0x8864) / v4(),
            Reason::Pppoe,
        ),
        case(
            "pbb",
            "IEEE 802.1ah: Ethernet in Ethernet",
            eth() / raw(&[0, 0, 0, 9]).ether(0x88e7) / eth() / v4(),
            Reason::Pbb,
        ),
        case(
            "nsh",
            "service function chain (RFC 8300)",
            eth() / raw(&[0x0f, 0xc6, 1, 1, 0, 0, 9, 255]).ether(0x894f) / v4(),
            Reason::Nsh,
        ),
        case("macsec", "IEEE 802.1AE", other(0x88e5), Reason::Macsec),
        // Other links.
        case("bare_v4", "a device without link header", v4(), to4()).on(Link::Ip),
        case("bare_v6", "the same, IPv6", v6(), to6()).on(Link::Ip),
        case(
            "bare_tunnel",
            "a tunnel on a device without link header",
            ip(IN) / gre() / v4(),
            flow(IN, proto::GRE, 0).inner(Via::Gre, OUT, proto::UDP, 53),
        )
        .on(Link::Ip),
        case(
            "bare_version",
            "no link header, and neither 4 nor 6",
            ip(OUT).set(0, &[0x55]) / udp(53) / payload(20),
            Reason::BadIpVersion,
        )
        .on(Link::Ip),
        case("bare_cut", "no link header, and half of an IP header", v4().cut(10), Reason::TruncatedIp).on(Link::Ip),
        case("unknown_link", "a device with a link layer that is not known", v4(), Reason::UnknownLink)
            .on(Link::Other)
            .not_sent("it takes a device of such a kind"),
    ]
}
