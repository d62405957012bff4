//! Tunnels in tunnels.

use super::*;

pub(super) fn cases() -> Vec<Case> {
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
