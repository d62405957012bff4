//! MPLS, Ethernet in IP, Teredo.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let label = |to| eth() / ip(to) / udp(6635) / mpls(&[100, 200]);
    let plain = |to, protocol| flow(to, protocol, 0);
    let mut cases = Vec::new();
    cases.extend(three(names!("mpls_in_udp"), "RFC 7510", Via::Mpls, [FOUR, FOUR], udp_to(6635), label));
    cases.extend(three(names!("mpls_in_ip"), "RFC 4023", Via::Mpls, [SIX, SIX], (proto::MPLS, 0), |to| {
        eth() / ip(to) / mpls(&[100])
    }));
    cases.extend(three(names!("etherip"), "RFC 3378", Via::Ethernet, [FOUR, FOUR], (proto::ETHERIP, 0), |to| {
        eth() / ip(to) / etherip() / eth()
    }));
    cases.extend(three(
        names!("ethernet_in_v6"),
        "RFC 8986: next header 143",
        Via::Ethernet,
        [SIX, FOUR],
        (proto::ETHERNET, 0),
        |to| eth() / ip(to) / eth(),
    ));
    cases.extend(three(names!("teredo"), "RFC 4380: IPv6 in UDP", Via::Teredo, [FOUR, SIX], udp_to(3544), |to| {
        eth() / ip(to) / udp(3544)
    }));
    cases.extend([
        case(
            "mpls_in_udp_v6",
            "IPv6 behind the labels, recognised by its first four bits",
            label(IN) / ip(OUT6) / udp(53),
            flow(IN, proto::UDP, 6635).inner(Via::Mpls, OUT6, proto::UDP, 53),
        ),
        case(
            "mpls_in_udp_pseudowire",
            "a control word behind the labels",
            label(OUT) / payload(40).set(0, &[0, 0, 0, 1]),
            flow(OUT, proto::UDP, 6635).opaque(Opaque::Other),
        ),
        case(
            "mpls_in_udp_endless",
            "no bottom of the stack before the packet ends",
            eth() / ip(OUT) / udp(6635) / mpls(&[100, 200]).set(6, &[0]),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "mpls_in_udp_empty",
            "nothing behind the labels",
            label(OUT),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "mpls_in_ip_pseudowire",
            "no IP behind the labels",
            eth() / ip(OUT) / mpls(&[100]) / payload(40),
            plain(OUT, proto::MPLS).opaque(Opaque::Other),
        ),
        case(
            "etherip_version",
            "version 4 of a protocol that knows 3",
            eth() / ip(OUT) / etherip().set(0, &[0x40]) / eth() / inner(),
            met(Reason::BadTunnel, Class::Outside),
        ),
        case(
            "etherip_cut",
            "the packet ends inside the EtherIP header",
            eth() / ip(OUT) / part(etherip(), 0..1),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "etherip_arp",
            "ARP in it",
            eth() / ip(OUT) / etherip() / eth() / payload(46).ether(ether::ARP),
            plain(OUT, proto::ETHERIP),
        ),
        case(
            "ethernet_in_v6_vlan",
            "a tag and IPv6 in it",
            eth() / ip(IN6) / eth().vlan(10) / ip(OUT6) / udp(53),
            plain(IN6, proto::ETHERNET).inner(Via::Ethernet, OUT6, proto::UDP, 53),
        ),
        case(
            "ethernet_in_v6_cut",
            "the packet ends inside the inner Ethernet header",
            eth() / ip(OUT6) / part(eth(), 0..9),
            met(Reason::TruncatedLink, Class::Outside),
        ),
        case(
            "teredo_bubble",
            "no content but the addresses",
            eth() / ip(IN) / udp(3544) / ip(OUT6),
            flow(IN, proto::UDP, 3544).inner(Via::Teredo, OUT6, proto::NONE, 0),
        ),
        case(
            "teredo_empty",
            "nothing behind the UDP header",
            eth() / ip(OUT) / udp(3544),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "teredo_indication",
            "RFC 4380: an origin indication comes first: no IPv6 header",
            eth() / ip(IN) / udp(3544) / payload(8).set(0, &[0, 0]) / ip(OUT6),
            flow(IN, proto::UDP, 3544),
        ),
        case("teredo_v4", "IPv4 in it is no Teredo", eth() / ip(IN) / udp(3544) / inner(), flow(IN, proto::UDP, 3544)),
    ]);
    cases
}
