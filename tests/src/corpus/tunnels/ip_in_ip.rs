//! IP in IP.

use super::*;

pub(super) fn cases() -> Vec<Case> {
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
