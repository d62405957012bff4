//! Networks over networks: VXLAN and Geneve.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let vx = |to| eth() / ip(to) / udp(4789) / vxlan(9);
    let gn = |to| eth() / ip(to) / udp(6081) / geneve(&[]);
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
            "without the I flag it is no VXLAN",
            eth() / ip(IN) / udp(4789) / vxlan(9).set(0, &[0]) / eth() / inner(),
            to_vxlan(IN),
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
        case(
            "vxlan_arp",
            "ARP in it: for the tunnel's end",
            vx(OUT) / eth() / payload(46).ether(ether::ARP),
            to_vxlan(OUT),
        ),
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
            "the packet ends inside the VXLAN header",
            eth() / ip(OUT) / udp(4789) / part(vxlan(9), 0..6),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "vxlan_frame_cut",
            "the packet ends inside the inner Ethernet header",
            vx(OUT) / part(eth(), 0..10),
            met(Reason::TruncatedLink, Class::Outside),
        ),
        case(
            "vxlan_ip_cut",
            "the packet ends inside the inner IP header",
            vx(OUT) / part(eth() / ip(IN6) / udp(53), 0..30),
            met(Reason::TruncatedIp, Class::Outside),
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
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "geneve_cut",
            "the packet ends inside the Geneve header",
            eth() / ip(OUT) / udp(6081) / part(geneve(&[]), 0..7),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "geneve_empty",
            "the packet ends before the Geneve header",
            eth() / ip(OUT) / udp(6081),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "geneve_version",
            "version 1",
            eth() / ip(OUT) / udp(6081) / geneve(&[]).set(0, &[0x40]) / eth() / inner(),
            met(Reason::BadTunnel, Class::Outside),
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
