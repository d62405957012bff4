//! MPLS, Ethernet in IP, Teredo.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let label = |to| eth() / ip(to) / udp(6635) / mpls(&[100, 200]);
    // From 2001:0:0:1::.
    let teredo_packet = || {
        ip(OUT6).next(proto::NONE.into()).set(4, &[0, 0]).set(8, &[0x20, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    };
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
            flow(OUT, proto::UDP, 6635),
        ),
        case("mpls_in_udp_empty", "nothing behind the labels", label(OUT), flow(OUT, proto::UDP, 6635)),
        case(
            "mpls_in_udp_time_is_up",
            "the first label's time to live is 1: whoever receives it drops it (RFC 3032, 2.4.2)",
            eth() / ip(OUT) / udp(6635) / mpls(&[100, 200]).set(3, &[1]) / inner(),
            flow(OUT, proto::UDP, 6635),
        ),
        case(
            "mpls_in_udp_checksum",
            "the inner header's checksum is wrong: whoever receives it drops it (RFC 1812, 5.2.2)",
            label(OUT) / part(ip(IN) / udp(53), 0..28).set(8, &[7]),
            flow(OUT, proto::UDP, 6635),
        ),
        case(
            "mpls_in_udp_options",
            "a checksum over options, too",
            label(IN) / ip(OUT).options(&[1, 1, 1, 1, 148, 4, 0, 0]) / udp(53),
            flow(IN, proto::UDP, 6635).inner(Via::Mpls, OUT, proto::UDP, 53),
        ),
        case(
            "mpls_in_udp_v6_shorter",
            "an IPv6 packet that does not fill the datagram: nothing else in it says that it is one",
            label(OUT) / part(ip(IN6) / udp(53) / payload(20), 0..68).set(5, &[20]),
            flow(OUT, proto::UDP, 6635),
        ),
        case(
            "mpls_in_udp_trailing",
            "what is behind the datagram in its packet is nobody's",
            eth()
                / ip(IN)
                / part(udp(6635).set(5, &[60]) / mpls(&[100]) / ip(OUT6).set(4, &[0, 8]) / udp(53) / payload(4), 0..64),
            flow(IN, proto::UDP, 6635).inner(Via::Mpls, OUT6, proto::UDP, 53),
        ),
        case(
            "mpls_in_udp_quic",
            "an answer to a client that has this port",
            eth() / ip(IN) / udp_from(443, 6635) / payload(40).set(0, &[0x41]),
            flow(IN, proto::UDP, 6635).sent_from(443).opaque(Opaque::Quic),
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
            eth() / ip(OUT) / etherip() / eth() / arp(ether::ARP, 1),
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
        case("teredo_empty", "nothing behind the UDP header", eth() / ip(OUT) / udp(3544), flow(OUT, proto::UDP, 3544)),
        case(
            "teredo_indication",
            "RFC 4380: an origin indication comes first",
            eth() / ip(IN) / udp(3544) / payload(8).set(0, &[0, 0]) / ip(OUT6),
            flow(IN, proto::UDP, 3544).inner(Via::Teredo, OUT6, proto::NONE, 0),
        ),
        case(
            "teredo_authentication",
            "RFC 4380: an authentication header comes first, with a client's identifier and a value",
            eth() / ip(IN) / udp(3544) / raw(&[&[0, 1, 2, 4][..], &[9; 2 + 4 + 9]].concat()) / ip(OUT6) / udp(53),
            flow(IN, proto::UDP, 3544).inner(Via::Teredo, OUT6, proto::UDP, 53),
        ),
        case(
            "teredo_both",
            "RFC 4380: an authentication header, then an origin indication",
            eth() / ip(IN) / udp(3544) / raw(&[&[0, 1, 0, 0][..], &[9; 9], &[0; 8]].concat()) / ip(OUT6) / udp(53),
            flow(IN, proto::UDP, 3544).inner(Via::Teredo, OUT6, proto::UDP, 53),
        ),
        case(
            "teredo_order",
            "the other order is none",
            eth() / ip(OUT) / udp(3544) / raw(&[&[0; 8][..], &[0, 1, 0, 0], &[9; 9]].concat()) / ip(IN6) / udp(53),
            flow(OUT, proto::UDP, 3544),
        ),
        case(
            "teredo_trailer",
            "RFC 6081: a trailer behind the packet, which comes from a Teredo address",
            eth() / ip(IN) / udp(3544) / teredo_packet() / payload(8),
            flow(IN, proto::UDP, 3544).inner(Via::Teredo, OUT6, proto::NONE, 0),
        ),
        case(
            "teredo_shorter",
            "the same from another address: receivers must drop it",
            eth() / ip(OUT) / udp(3544) / ip(IN6).set(4, &[0, 0]) / payload(8),
            flow(OUT, proto::UDP, 3544),
        ),
        case(
            "teredo_quic",
            "an answer to a client that has this port",
            eth() / ip(IN) / udp_from(443, 3544) / payload(60).set(0, &[0x60]),
            flow(IN, proto::UDP, 3544).sent_from(443).opaque(Opaque::Quic),
        ),
        case("teredo_v4", "IPv4 in it is no Teredo", eth() / ip(IN) / udp(3544) / inner(), flow(IN, proto::UDP, 3544)),
    ]);
    cases
}
