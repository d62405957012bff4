//! Networks over networks: VXLAN and Geneve.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let vx = |to| eth() / ip(to) / udp(4789) / vxlan(9);
    let gn = |to| eth() / ip(to) / udp(6081) / geneve(&[]);
    let vx_with = |flags: &[u8]| eth() / ip(IN) / udp(4789) / vxlan(9).set(0, flags);
    let gpe = |next: u8| vxlan(9).set(0, &[0x0c, 0, 0, next]);
    let to_vxlan = |to| flow(to, proto::UDP, 4789);
    let to_geneve = |to| flow(to, proto::UDP, 6081);
    let ends_in = |flow: Flow, via| flow.inner(via, OUT, proto::UDP, 53);
    let mut cases = Vec::new();
    cases.extend(three(names!("vxlan"), "RFC 7348", Via::Vxlan, [FOUR, FOUR], udp_to(4789), |to| vx(to) / eth()));
    cases.extend(three(names!("vxlan_v6"), "RFC 7348 over IPv6", Via::Vxlan, [SIX, SIX], udp_to(4789), |to| {
        vx(to) / eth()
    }));
    cases.extend(three(names!("geneve"), "RFC 8926, Ethernet", Via::Geneve, [FOUR, FOUR], udp_to(6081), |to| {
        gn(to) / eth()
    }));
    cases.extend(three(
        names!("geneve_ip"),
        "RFC 8926, IP without Ethernet",
        Via::Geneve,
        [SIX, FOUR],
        udp_to(6081),
        gn,
    ));
    cases.extend([
        case(
            "vxlan_linux",
            "the port that Linux had before it was assigned",
            eth() / ip(IN) / udp(8472) / vxlan(9) / eth() / inner(),
            ends_in(flow(IN, proto::UDP, 8472), Via::Vxlan),
        ),
        case(
            "vxlan_tags",
            "tags outside and inside",
            eth().vlan(10) / ip(IN) / udp(4789) / vxlan(9) / eth().vlan(20).vlan(30) / inner(),
            ends_in(to_vxlan(IN), Via::Vxlan),
        ),
        case(
            "vxlan_six_tags",
            "three tags in each frame",
            eth().vlan(1).vlan(2).vlan(3) / ip(IN) / udp(4789) / vxlan(9) / eth().vlan(4).vlan(5).vlan(6) / inner(),
            ends_in(to_vxlan(IN), Via::Vxlan),
        ),
        case(
            "vxlan_extension",
            "extension headers before and in it",
            eth() / ip(IN6) / destination_options() / udp(4789) / vxlan(9) / eth() / ip(OUT6) / hop_by_hop() / udp(53),
            to_vxlan(IN6).inner(Via::Vxlan, OUT6, proto::UDP, 53),
        ),
        case(
            "vxlan_no_i",
            "without the I flag: most receivers take no such frame, some do",
            eth() / ip(IN) / udp(4789) / vxlan(9).set(0, &[0]) / eth() / inner(),
            ends_in(to_vxlan(IN), Via::Vxlan),
        ),
        case("vxlan_tcp", "TCP to VXLAN's port is TCP", eth() / ip(IN) / tcp(4789), flow(IN, proto::TCP, 4789)),
        case(
            "vxlan_udp_lite",
            "so is UDP-Lite no UDP",
            eth() / ip(IN) / ports(proto::UDP_LITE, 4789) / eth() / inner(),
            flow(IN, proto::UDP_LITE, 4789),
        ),
        case(
            "vxlan_from",
            "from VXLAN's port to another: nothing says VXLAN",
            eth() / ip(IN) / udp_from(4789, 53) / vxlan(9) / eth() / inner(),
            flow(IN, proto::UDP, 53).sent_from(4789),
        ),
        case("vxlan_arp", "ARP in it: for the tunnel's end", vx(OUT) / eth() / arp(ether::ARP, 1), to_vxlan(OUT)),
        case(
            "vxlan_mpls",
            "MPLS in the inner frame is followed",
            vx(IN) / eth() / mpls(&[100]) / inner(),
            ends_in(to_vxlan(IN), Via::Mpls),
        ),
        case(
            "vxlan_mpls_multicast",
            "the second EtherType of MPLS in the inner frame",
            vx(IN) / eth() / mpls(&[100]).ether(ether::MPLS_MULTICAST) / inner(),
            ends_in(to_vxlan(IN), Via::Mpls),
        ),
        case(
            "vxlan_macsec",
            "an inner frame that cannot be read",
            vx(OUT) / eth() / payload(46).ether(0x88e5),
            to_vxlan(OUT).opaque(Opaque::Other),
        ),
        case(
            "vxlan_cut",
            "the packet ends inside the VXLAN header: no receiver takes it for one",
            eth() / ip(OUT) / udp(4789) / part(vxlan(9), 0..6),
            to_vxlan(OUT),
        ),
        case(
            "vxlan_frame_cut",
            "the packet ends inside the inner Ethernet header",
            vx(OUT) / part(eth(), 0..10),
            to_vxlan(OUT).opaque(Opaque::Other),
        ),
        case(
            "vxlan_ip_cut",
            "the packet ends inside the inner IP header",
            vx(OUT) / part(eth() / ip(IN6) / udp(53), 0..30),
            to_vxlan(OUT).opaque(Opaque::Other),
        ),
        case(
            "vxlan_ports_cut",
            "the inner packet is sound to a router, and has no room for ports",
            vx(IN) / eth() / ip(OUT) / part(udp(53), 0..2),
            met(Reason::TruncatedTransport, Class::Outside),
        ),
        case(
            "vxlan_reserved",
            "reserved bits, which RFC 7348 has receivers ignore",
            vx_with(&[0xf8, 1, 2, 3]) / eth() / inner(),
            ends_in(to_vxlan(IN), Via::Vxlan),
        ),
        case(
            "vxlan_reserved_other",
            "the same around a content that is not followed: it may be anything",
            vx_with(&[0xf8, 1, 2, 3]) / eth() / payload(46).ether(0x88e5),
            to_vxlan(IN),
        ),
        case(
            "vxlan_quic",
            "an answer to a client that has this port",
            eth() / ip(IN) / udp_from(443, 4789) / payload(40).set(0, &[0x4c]),
            to_vxlan(IN).sent_from(443).opaque(Opaque::Quic),
        ),
        case(
            "vxlan_gpe",
            "VXLAN-GPE announces IPv4",
            eth() / ip(IN) / udp(4790) / gpe(1) / inner(),
            ends_in(flow(IN, proto::UDP, 4790), Via::Vxlan),
        ),
        case(
            "vxlan_gpe_v6",
            "VXLAN-GPE announces IPv6, at VXLAN's port as Linux can have it",
            eth() / ip(IN) / udp(4789) / gpe(2) / ip(OUT6) / udp(53),
            to_vxlan(IN).inner(Via::Vxlan, OUT6, proto::UDP, 53),
        ),
        case(
            "vxlan_gpe_ethernet",
            "VXLAN-GPE announces Ethernet",
            eth() / ip(IN) / udp(4790) / gpe(3) / eth() / inner(),
            ends_in(flow(IN, proto::UDP, 4790), Via::Vxlan),
        ),
        case(
            "vxlan_gpe_as_frame",
            "VXLAN-GPE announces IPv4, and a frame follows, as a receiver has it that ignores the flag",
            eth() / ip(IN) / udp(4789) / gpe(1) / eth() / inner(),
            ends_in(to_vxlan(IN), Via::Vxlan),
        ),
        case(
            "vxlan_gpe_mpls",
            "VXLAN-GPE announces MPLS",
            eth() / ip(IN) / udp(4790) / gpe(5) / mpls(&[100]) / inner(),
            ends_in(flow(IN, proto::UDP, 4790), Via::Mpls),
        ),
        case(
            "vxlan_gpe_nsh",
            "VXLAN-GPE announces a network service header",
            eth() / ip(OUT) / udp(4790) / gpe(4) / payload(40),
            flow(OUT, proto::UDP, 4790).opaque(Opaque::Other),
        ),
        case(
            "vxlan_gpe_version",
            "VXLAN-GPE of version 1, which receivers drop",
            eth() / ip(OUT) / udp(4790) / gpe(1).set(0, &[0x1c]) / inner(),
            flow(OUT, proto::UDP, 4790),
        ),
        case("geneve_mpls", "MPLS in it", gn(IN) / mpls(&[100]) / inner(), ends_in(to_geneve(IN), Via::Mpls)),
        case(
            "geneve_options",
            "options of twelve bytes to step over",
            eth() / ip(IN) / udp(6081) / geneve(&[1, 2, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0]) / eth() / inner(),
            ends_in(to_geneve(IN), Via::Geneve),
        ),
        case(
            "geneve_longest_options",
            "options of 252 bytes",
            eth() / ip(IN) / udp(6081) / geneve(&[0; 252]) / eth() / inner(),
            ends_in(to_geneve(IN), Via::Geneve),
        ),
        case(
            "geneve_options_cut",
            "options beyond the packet",
            eth() / ip(OUT) / udp(6081) / geneve(&[]).set(0, &[9]).next(ether::BRIDGED) / payload(20),
            to_geneve(OUT),
        ),
        case(
            "geneve_cut",
            "the packet ends inside the Geneve header",
            eth() / ip(OUT) / udp(6081) / part(geneve(&[]), 0..7),
            to_geneve(OUT),
        ),
        case("geneve_empty", "the packet ends before the Geneve header", eth() / ip(OUT) / udp(6081), to_geneve(OUT)),
        case(
            "geneve_version",
            "version 1: receivers must drop it (RFC 8926, 3.4)",
            eth() / ip(OUT) / udp(6081) / geneve(&[]).set(0, &[0x40]) / eth() / inner(),
            to_geneve(OUT),
        ),
        case(
            "geneve_quic",
            "an answer to a client that has this port",
            eth() / ip(IN) / udp_from(443, 6081) / payload(40).set(0, &[0x41]),
            to_geneve(IN).sent_from(443).opaque(Opaque::Quic),
        ),
        case(
            "geneve_reserved",
            "reserved bits, which receivers ignore",
            eth() / ip(IN) / udp(6081) / geneve(&[]).set(1, &[0x3f]) / eth() / inner(),
            ends_in(to_geneve(IN), Via::Geneve),
        ),
        case(
            "geneve_reserved_other",
            "the same around a content that is not followed: it may be anything",
            eth() / ip(IN) / udp(6081) / geneve(&[]).set(1, &[0x3f]) / payload(40).ether(0x894f),
            to_geneve(IN),
        ),
        case(
            "geneve_other",
            "a content that is neither Ethernet nor IP",
            gn(OUT) / payload(40).ether(0x894f),
            to_geneve(OUT).opaque(Opaque::Other),
        ),
    ]);
    cases
}
