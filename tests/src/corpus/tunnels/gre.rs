//! GRE: IP, Ethernet and MPLS in it.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let to_outside = |header: Layer| eth() / ip(IN) / header / inner();
    let plain = |to| flow(to, proto::GRE, 0);
    let ends_in = || plain(IN).inner(Via::Gre, OUT, proto::UDP, 53);
    let other = || plain(OUT).opaque(Opaque::Other);
    let mut cases = Vec::new();
    cases.extend(three(names!("gre"), "RFC 2784: IPv4 in GRE in IPv4", Via::Gre, [FOUR, FOUR], GRE, |to| {
        eth() / ip(to) / gre()
    }));
    cases.extend(three(names!("gre_v6"), "RFC 7676: IPv6 in GRE in IPv6", Via::Gre, [SIX, SIX], GRE, |to| {
        eth() / ip(to) / gre()
    }));
    cases.extend(three(names!("gretap"), "Ethernet in GRE (0x6558)", Via::Gre, [FOUR, SIX], GRE, |to| {
        eth() / ip(to) / gre() / eth()
    }));
    cases.extend(three(names!("gre_mpls"), "RFC 4023: MPLS in GRE", Via::Mpls, [FOUR, FOUR], GRE, |to| {
        eth() / ip(to) / gre() / mpls(&[100, 200])
    }));
    cases.extend([
        case("gre_checksum", "C: four bytes more", to_outside(gre_with(0x80)), ends_in()),
        case("gre_key", "K (RFC 2890)", to_outside(gre_with(0x20)), ends_in()),
        case("gre_sequence", "S (RFC 2890)", to_outside(gre_with(0x10)), ends_in()),
        case("gre_all", "C, K and S", to_outside(gre_with(0xb0)), ends_in()),
        case(
            "gre_mpls_multicast",
            "the second EtherType of MPLS",
            eth() / ip(IN) / gre() / mpls(&[100]).ether(ether::MPLS_MULTICAST) / inner(),
            plain(IN).inner(Via::Mpls, OUT, proto::UDP, 53),
        ),
        case("gretap_vlan", "a tag in the inner frame", eth() / ip(IN) / gre() / eth().vlan(10) / inner(), ends_in()),
        case(
            "gretap_four_tags",
            "too many tags in the inner frame",
            eth() / ip(OUT) / gre() / eth().vlan(1).vlan(2).vlan(3).vlan(4) / inner(),
            met(Reason::VlanDepth, Class::Outside),
        ),
        case(
            "gretap_arp",
            "link-scope control in the inner frame: for the tunnel's end",
            eth() / ip(OUT) / gre() / eth() / arp(ether::ARP, 1),
            plain(OUT),
        ),
        case(
            "gretap_arp_long",
            "ARP of 1,454 bytes in the inner frame: nobody knows what",
            eth() / ip(OUT) / gre() / eth() / arp(ether::ARP, 1) / payload(1_408),
            flow(OUT, proto::GRE, 0).opaque(Opaque::Other),
        ),
        case(
            "gretap_stp",
            "spanning tree in the inner frame",
            eth() / ip(IN) / gre() / llc(0x42).set(0, &[1, 0x80, 0xc2, 0, 0, 0]) / control(0, &[0, 0, 2], 35),
            plain(IN),
        ),
        case(
            "gretap_pppoe",
            "what is not IP in the inner frame",
            eth() / ip(OUT) / gre() / eth() / payload(46).ether(0x8864),
            other(),
        ),
        case(
            "gretap_cut",
            "the packet ends inside the inner Ethernet header",
            eth() / ip(OUT) / gre() / part(eth() / inner(), 0..12),
            met(Reason::TruncatedLink, Class::Outside),
        ),
        case(
            "gretap_tag_cut",
            "the packet ends inside a tag of the inner frame",
            eth() / ip(OUT) / gre() / part(eth().vlan(10) / inner(), 0..16),
            met(Reason::TruncatedLink, Class::Outside),
        ),
        case(
            "gretap_llc_cut",
            "the packet ends inside the inner frame's LLC header",
            eth() / ip(OUT) / gre() / part(llc(0x42) / payload(35), 0..15),
            met(Reason::TruncatedLink, Class::Outside),
        ),
        case(
            "gretap_snap_cut",
            "the packet ends inside the inner frame's SNAP header",
            eth() / ip(OUT) / gre() / part(snap([0; 3], 0) / inner(), 0..20),
            met(Reason::TruncatedLink, Class::Outside),
        ),
        case(
            "gre_erspan",
            "a content that is not followed (ERSPAN)",
            eth() / ip(OUT) / gre_with(0x10) / payload(40).ether(0x88be),
            other(),
        ),
        case(
            "gre_nsh",
            "a content that is not followed (NSH)",
            eth() / ip(OUT) / gre() / payload(40).ether(0x894f),
            other(),
        ),
        case("gre_keepalive", "protocol 0 and nothing in it", eth() / ip(OUT) / gre().next(0), other()),
        case(
            "gre_routing",
            "R (RFC 1701): a list of hops that nobody follows",
            eth() / ip(OUT) / gre().set(0, &[0x40]) / inner(),
            met(Reason::BadTunnel, Class::Outside),
        ),
        case(
            "gre_version_1",
            "RFC 2637: PPTP",
            eth() / ip(OUT) / raw(&[0x30, 1, 0x88, 0x0b, 0, 4, 0, 9, 0, 0, 0, 1]).protocol(proto::GRE) / payload(4),
            met(Reason::BadTunnel, Class::Outside),
        ),
        case(
            "gre_cut",
            "the packet ends inside the GRE header",
            eth() / ip(OUT) / part(gre(), 0..3),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "gre_flags_cut",
            "the packet ends between GRE's flags and its version",
            eth() / ip(OUT) / part(gre(), 0..1),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "gre_key_cut",
            "the packet ends before the key that K announces",
            eth() / ip(OUT) / part(gre_with(0x20).next(ether::IPV4), 0..6),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "gre_not_4",
            "0x0800 with an IPv6 header",
            eth() / ip(OUT) / gre().next(ether::IPV4) / ip(IN6) / udp(53),
            met(Reason::BadIpVersion, Class::Outside),
        ),
    ]);
    cases
}
