//! Tunnels: each with content to inside, to outside, and through outside to inside; then what is peculiar to it.

use std::net::IpAddr;

use monitor_common::{
    parse::Reason,
    wire::{Class, Opaque, Via},
};

use super::{Case, Flow, Group, Stack, build::*, case, flow, met, policy::*};

/// Where an outer or an inner header goes, by family: inside, outside.
const FOUR: [IpAddr; 2] = [IN, OUT];
const SIX: [IpAddr; 2] = [IN6, OUT6];

/// The names of a tunnel's three cases.
macro_rules! names {
    ($name:literal) => {
        [$name, concat!($name, "_to_outside"), concat!($name, "_through_outside")]
    };
}

/// The three cases that each tunnel has; `wrap` makes everything around the inner packet, `outer` is what the flow's
/// key has for protocol and port.
fn three(
    names: [&'static str; 3],
    about: &'static str,
    via: Via,
    families: [[IpAddr; 2]; 2],
    outer: (u8, u16),
    wrap: impl Fn(IpAddr) -> Stack,
) -> [Case; 3] {
    let [[outer_in, outer_out], [inner_in, inner_out]] = families;
    let make = |name, about, to, inner| {
        let packet = wrap(to) / ip(inner) / udp(53) / payload(20);
        case(name, about, packet, flow(to, outer.0, outer.1).inner(via, inner, proto::UDP, 53))
    };
    [
        make(names[0], about, outer_in, inner_in),
        make(names[1], "the same, the content goes outside", outer_in, inner_out),
        make(names[2], "the same, the tunnel goes outside", outer_out, inner_in),
    ]
}

/// GRE's key is the protocol only.
const GRE: (u8, u16) = (proto::GRE, 0);

const fn udp_to(port: u16) -> (u8, u16) {
    (proto::UDP, port)
}

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group { title: "IP in IP", cases: ip_in_ip() },
        Group { title: "GRE", cases: gre_cases() },
        Group { title: "VXLAN, Geneve", cases: overlays() },
        Group { title: "GTP-U", cases: gtp_cases() },
        Group { title: "MPLS, Ethernet in IP, Teredo", cases: others() },
        Group { title: "Tunnels in tunnels", cases: nesting() },
    ]
}

fn inner() -> Stack {
    ip(OUT) / udp(53) / payload(20)
}

fn ip_in_ip() -> Vec<Case> {
    let families = |name, about, families, protocol| {
        three(name, about, Via::IpInIp, families, (protocol, 0), |to| Stack::from(eth()) / ip(to))
    };
    let ipip = |to, inner, port| flow(to, proto::IPIP, 0).inner(Via::IpInIp, inner, proto::UDP, port);
    let mut cases = Vec::new();
    cases.extend(families(names!("ipip"), "RFC 2003: IPv4 in IPv4", [FOUR, FOUR], proto::IPIP));
    cases.extend(families(names!("six_in_four"), "RFC 4213: IPv6 in IPv4", [FOUR, SIX], proto::IPV6));
    cases.extend(families(names!("four_in_six"), "RFC 2473: IPv4 in IPv6", [SIX, FOUR], proto::IPIP));
    cases.extend(families(names!("six_in_six"), "RFC 2473: IPv6 in IPv6", [SIX, SIX], proto::IPV6));
    cases.extend([
        case(
            "ipip_outside_twice",
            "tunnel and content go outside: the place is the tunnel's",
            eth() / ip(OUT_B) / inner(),
            ipip(OUT_B, OUT, 53),
        ),
        case(
            "ipip_rule_inside",
            "the rule sees the content's ports",
            eth() / ip(IN) / ip(RULED) / udp(4505),
            ipip(IN, RULED, 4505),
        ),
        case(
            "ipip_rule_not",
            "the rule does not cover the content",
            eth() / ip(IN) / ip(RULED) / udp(53),
            ipip(IN, RULED, 53),
        ),
        case(
            "ipip_local",
            "content for the local link",
            eth() / ip(IN) / ip(BROADCAST) / udp(67),
            ipip(IN, BROADCAST, 67),
        ),
        case(
            "ipip_icmp",
            "content without ports",
            eth() / ip(IN) / ip(OUT) / icmp(8, 0),
            flow(IN, proto::IPIP, 0).inner(Via::IpInIp, OUT, proto::ICMP, 0x0800),
        ),
        case(
            "ipip_source_route",
            "a source route in the content",
            eth() / ip(IN) / ip(IN_B).lsrr(4, &[OUT]) / udp(53),
            flow(IN, proto::IPIP, 0).inner(Via::SourceRoute, OUT, proto::UDP, 53),
        ),
        case(
            "ipip_behind_source_route",
            "a source route around a tunnel: its hop has the tunnel's protocol",
            eth() / ip(IN).lsrr(4, &[OUT]) / ip(IN_B) / udp(53),
            flow(IN, proto::IPIP, 0).inner(Via::SourceRoute, OUT, proto::IPIP, 0),
        ),
        case(
            "srv6",
            "RFC 8986: a segment list around IPv4",
            eth() / ip(IN6) / srh(1, &[IN6, IN6_B]) / ip(OUT) / udp(53),
            flow(IN6, proto::IPIP, 0).inner(Via::IpInIp, OUT, proto::UDP, 53),
        ),
        case(
            "six_in_four_extensions",
            "extension headers in the content",
            eth() / ip(IN) / ip(OUT6) / hop_by_hop() / destination_options() / udp(53),
            flow(IN, proto::IPV6, 0).inner(Via::IpInIp, OUT6, proto::UDP, 53),
        ),
        case(
            "ipip_not_4",
            "protocol 4 with an IPv6 header",
            eth() / ip(OUT).next(4) / ip(IN6) / udp(53),
            met(Reason::BadIpVersion, Class::Outside),
        ),
        case(
            "ipv6_not_6",
            "protocol 41 with an IPv4 header",
            eth() / ip(OUT).next(41) / ip(IN) / udp(53) / payload(20),
            met(Reason::BadIpVersion, Class::Outside),
        ),
        case(
            "ipip_cut",
            "the packet ends inside the inner header",
            eth() / ip(OUT) / part(ip(IN) / udp(53), 0..16),
            met(Reason::TruncatedIp, Class::Outside),
        ),
        case(
            "ipip_beyond",
            "the inner packet is longer than the outer one",
            eth() / ip(OUT) / part(ip(IN) / udp(53) / payload(20), 0..40),
            met(Reason::LengthBeyondFrame, Class::Outside),
        ),
        case(
            "ipip_beyond_padded",
            "the same, with padding where the rest would be",
            (eth() / ip(OUT) / part(ip(IN) / udp(53) / payload(8), 0..30)).pad(6),
            met(Reason::LengthBeyondFrame, Class::Outside),
        ),
        case(
            "ipip_ports_cut",
            "the inner packet has no room for ports",
            eth() / ip(IN) / ip(OUT) / part(udp(53), 0..2),
            met(Reason::TruncatedTransport, Class::Outside),
        ),
        case(
            "ipip_shorter",
            "the inner packet is shorter than the outer one: trailing bytes",
            eth() / ip(IN) / ip(OUT).set(2, &[0, 28]) / udp(53).set(4, &[0, 8]) / payload(20),
            ipip(IN, OUT, 53),
        ),
    ]);
    cases
}

fn gre_cases() -> Vec<Case> {
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
            eth() / ip(OUT) / gre() / eth() / payload(46).ether(ether::ARP),
            plain(OUT),
        ),
        case(
            "gretap_stp",
            "spanning tree in the inner frame",
            eth() / ip(IN) / gre() / llc(0x42) / payload(35),
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

fn overlays() -> Vec<Case> {
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

fn gtp_cases() -> Vec<Case> {
    let plain = |to| flow(to, proto::UDP, 2152);
    let tunnel = |to, flags, optional: &[u8]| eth() / ip(to) / udp(2152) / gtp(flags, 255, optional);
    let ends_in = || plain(IN).inner(Via::GtpU, OUT, proto::UDP, 53);
    let mut cases = Vec::new();
    cases.extend(three(names!("gtp"), "3GPP TS 29.281: a G-PDU", Via::GtpU, [FOUR, FOUR], udp_to(2152), |to| {
        tunnel(to, 0, &[])
    }));
    cases.extend(three(names!("gtp_v6"), "IPv6 in it and around it", Via::GtpU, [SIX, SIX], udp_to(2152), |to| {
        tunnel(to, 0, &[])
    }));
    cases.extend([
        case("gtp_sequence", "S: four bytes more", tunnel(IN, 2, &[0, 1, 0, 0]) / inner(), ends_in()),
        case("gtp_pdu_number", "PN: four bytes more", tunnel(IN, 1, &[0, 0, 1, 0]) / inner(), ends_in()),
        case(
            "gtp_no_extension",
            "E, and no extension header follows",
            tunnel(IN, 4, &[0, 0, 0, 0]) / inner(),
            ends_in(),
        ),
        case(
            "gtp_extension",
            "5G: a PDU session container",
            tunnel(IN, 4, &[0, 0, 0, 0x85, 1, 0x10, 9, 0]) / inner(),
            ends_in(),
        ),
        case(
            "gtp_extensions",
            "all flags, two extension headers",
            tunnel(IN, 7, &[0, 1, 1, 0x85, 1, 0x10, 9, 0x20, 2, 0, 0, 0, 0, 0, 0, 0]) / inner(),
            ends_in(),
        ),
        case(
            "gtp_next_without_e",
            "without E the next extension type means nothing",
            tunnel(IN, 2, &[0, 1, 0, 0x85]) / inner(),
            ends_in(),
        ),
        case(
            "gtp_echo",
            "an echo request carries nothing",
            eth() / ip(OUT) / udp(2152) / gtp(2, 1, &[0, 1, 0, 0]),
            plain(OUT),
        ),
        case(
            "gtp_end_marker",
            "an end marker carries nothing",
            eth() / ip(IN) / udp(2152) / gtp(0, 254, &[]),
            plain(IN),
        ),
        case(
            "gtp_not_ip",
            "a PDU session of another type",
            tunnel(OUT, 0, &[]) / payload(40),
            plain(OUT).opaque(Opaque::Other),
        ),
        case(
            "gtp_cut",
            "the packet ends inside the GTP header",
            eth() / ip(OUT) / udp(2152) / part(gtp(0, 255, &[]), 0..6),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "gtp_empty",
            "the packet ends before the GTP header",
            eth() / ip(OUT) / udp(2152),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "gtp_sequence_cut",
            "the packet ends inside the sequence number that S announces",
            eth() / ip(OUT) / udp(2152) / part(gtp(2, 255, &[0, 1, 0, 0]), 0..10),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "gtp_extension_missing",
            "the packet ends before the extension header that is announced",
            tunnel(OUT, 4, &[0, 0, 0, 0x85]),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "gtp_extension_cut",
            "the packet ends inside an extension header",
            tunnel(OUT, 4, &[0, 0, 0, 0x85, 4, 0, 0, 0]),
            met(Reason::TruncatedTunnel, Class::Outside),
        ),
        case(
            "gtp_extension_empty",
            "an extension header of length 0 would never end",
            tunnel(OUT, 4, &[0, 0, 0, 0x85, 0, 0, 0, 0]) / inner(),
            met(Reason::BadTunnel, Class::Outside),
        ),
        case(
            "gtp_ip_cut",
            "the packet ends inside the inner header",
            tunnel(OUT, 0, &[]) / part(ip(IN) / udp(53), 0..12),
            met(Reason::TruncatedIp, Class::Outside),
        ),
    ]);
    cases
}

fn others() -> Vec<Case> {
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
            "IPv6 behind the labels, told by its first four bits",
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

fn nesting() -> Vec<Case> {
    let ipip = |to| flow(to, proto::IPIP, 0);
    let full = |to| ip(to).options(&[1; 40]);
    let chained = |to| (0..8).fold(Stack::from(ip(to)), |packet, _| packet / destination_options());
    let sixteen = [&[IN6; 15], [IN6_B].as_slice()].concat();
    vec![
        case(
            "three_headers",
            "GRE in VXLAN, the last header outside",
            eth() / ip(IN) / udp(4789) / vxlan(9) / eth() / ip(IN_B) / gre() / inner(),
            flow(IN, proto::UDP, 4789).inner(Via::Gre, OUT, proto::UDP, 53),
        ),
        case(
            "three_headers_middle",
            "the header in the middle outside",
            eth() / ip(IN) / gre() / ip(OUT) / ip(IN_B) / udp(53),
            flow(IN, proto::GRE, 0).inner(Via::Gre, OUT, proto::IPIP, 0),
        ),
        case(
            "three_headers_inside",
            "all inside: the innermost",
            eth() / ip(IN) / gre() / ip(IN_B) / ip(IN) / udp(53),
            flow(IN, proto::GRE, 0).inner(Via::IpInIp, IN, proto::UDP, 53),
        ),
        case(
            "three_headers_two_outside",
            "of equals the innermost",
            eth() / ip(IN) / ip(OUT) / gre() / ip(OUT_B) / udp(53),
            ipip(IN).inner(Via::Gre, OUT_B, proto::UDP, 53),
        ),
        case(
            "three_headers_rule",
            "what a rule lets through is less strict than what none does",
            eth() / ip(IN) / gre() / ip(OUT) / ip(RULED) / udp(4505),
            flow(IN, proto::GRE, 0).inner(Via::Gre, OUT, proto::IPIP, 0),
        ),
        case(
            "four_headers",
            "as many as are followed, the last one outside",
            eth() / ip(IN) / ip(IN_B) / ip(IN6) / ip(OUT6) / udp(53),
            ipip(IN).inner(Via::IpInIp, OUT6, proto::UDP, 53),
        ),
        case(
            "four_headers_mixed",
            "GTP-U in Geneve in GRE, and the second header outside",
            eth()
                / ip(IN)
                / gre()
                / ip(OUT6)
                / udp(6081)
                / geneve(&[])
                / eth()
                / ip(IN_B)
                / udp(2152)
                / gtp(0, 255, &[])
                / ip(IN)
                / udp(53),
            flow(IN, proto::GRE, 0).inner(Via::Gre, OUT6, proto::UDP, 6081),
        ),
        case(
            "five_headers",
            "one more",
            eth() / ip(IN) / ip(IN_B) / ip(IN) / ip(IN_B) / ip(IN) / udp(53),
            met(Reason::TooDeep, Class::Inside),
        ),
        case(
            "five_headers_outside",
            "one more, the fourth outside",
            eth() / ip(IN) / ip(IN_B) / ip(IN) / ip(OUT) / ip(IN) / udp(53),
            met(Reason::TooDeep, Class::Outside),
        ),
        case(
            "sixteen_and_a_tunnel",
            "sixteen segments, and a tunnel as the seventeenth destination",
            eth() / ip(IN6) / type0(16, &sixteen) / ip(IN) / udp(53),
            met(Reason::TooDeep, Class::Inside),
        ),
        case(
            "esp_in_tunnel",
            "what cannot be read in what can",
            eth() / ip(IN) / gre() / ip(OUT) / esp(),
            flow(IN, proto::GRE, 0).inner(Via::Gre, OUT, proto::ESP, 0).opaque(Opaque::Esp),
        ),
        case(
            "gre_other_in_tunnel",
            "a GRE content that is not followed, inside of one that is",
            eth() / ip(IN) / ip(OUT) / gre() / payload(40).ether(0x88be),
            ipip(IN).inner(Via::IpInIp, OUT, proto::GRE, 0).opaque(Opaque::Other),
        ),
        case(
            "routing_in_tunnel",
            "a routing header in a tunnel",
            eth() / ip(IN) / udp(4789) / vxlan(9) / eth() / ip(IN6) / srh(1, &[IN6, OUT6]) / tcp(22),
            flow(IN, proto::UDP, 4789).inner(Via::RoutingHeader, OUT6, proto::TCP, 22),
        ),
        case(
            "super_packet_in_tunnel",
            "BIG TCP in a tunnel: neither header has a length",
            eth() / ip(IN).set(2, &[0, 0]) / ip(OUT).set(2, &[0, 0]) / tcp(22) / payload(20),
            ipip(IN).inner(Via::IpInIp, OUT, proto::TCP, 22),
        ),
        case(
            "four_headers_options",
            "four headers full of no-operations are no reason to stop",
            eth() / full(IN) / full(IN_B) / full(IN) / full(OUT) / udp(53),
            ipip(IN).inner(Via::IpInIp, OUT, proto::UDP, 53),
        ),
        case(
            "four_headers_extensions",
            "nor are four headers with eight extension headers each",
            [IN6_B, IN6, OUT6].into_iter().fold(eth() / chained(IN6), |packet, to| packet / chained(to)) / udp(53),
            flow(IN6, proto::IPV6, 0).inner(Via::IpInIp, OUT6, proto::UDP, 53),
        ),
        case(
            "routes_in_tunnel",
            "two source routes of nine hops are more further destinations than are followed",
            eth() / ip(IN).lsrr(4, &[IN_B; 9]) / ip(IN_B).lsrr(4, &[IN; 9]) / udp(53),
            met(Reason::TooDeep, Class::Inside),
        ),
        case(
            "truncated_in_tunnel",
            "the innermost of three headers is cut, the second outside",
            eth() / ip(IN) / gre() / ip(OUT) / part(ip(IN_B) / udp(53), 0..19),
            met(Reason::TruncatedIp, Class::Outside),
        ),
    ]
}
