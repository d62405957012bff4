//! Plain packets: every transport protocol and every standing.

use std::net::IpAddr;

use monitor_common::wire::{Class, Opaque, Via};

use super::{Case, build::*, case, flow, policy::*};

/// Why such a packet is not sent.
const NO_GROUP: &str = "its group is none of our wires";
/// The same.
const NO_WIRE: &str = "its address is none of our wires";

pub(super) fn cases() -> Vec<Case> {
    let all_routers = "ff02::2".parse().expect("an address");
    let solicited = "ff02::1:ff00:7".parse().expect("an address");
    let neighbour = "fe80::7".parse().expect("an address");
    let [ours, ours6, metadata, shared, segment] = ["10.9.9.9", "fd00::9", "169.254.169.254", "100.64.0.9", "5f00::9"]
        .map(|text| -> IpAddr { text.parse().expect("an address") });
    let clocks: IpAddr = "224.0.1.129".parse().expect("an address");
    let clocks6: IpAddr = "ff0e::181".parse().expect("an address");
    vec![
        case("udp_inside", "RFC 768", eth() / ip(IN) / udp(53) / payload(20), flow(IN, proto::UDP, 53)),
        case("udp6_inside", "RFC 768 in IPv6", eth() / ip(IN6) / udp(53) / payload(20), flow(IN6, proto::UDP, 53)),
        case("tcp_outside", "RFC 9293", eth() / ip(OUT) / tcp(22), flow(OUT, proto::TCP, 22)),
        case("tcp6_outside", "RFC 9293 in IPv6", eth() / ip(OUT6) / tcp(22), flow(OUT6, proto::TCP, 22)),
        case(
            "sctp",
            "RFC 9260: ports where TCP has them",
            eth() / ip(IN) / ports(proto::SCTP, 38412),
            flow(IN, proto::SCTP, 38412),
        ),
        case("dccp", "RFC 4340", eth() / ip(OUT6) / ports(proto::DCCP, 5001), flow(OUT6, proto::DCCP, 5001)),
        case("udp_lite", "RFC 3828", eth() / ip(OUT) / ports(proto::UDP_LITE, 5002), flow(OUT, proto::UDP_LITE, 5002)),
        case(
            "icmp_echo",
            "RFC 792: type 8, code 0 in place of a port",
            eth() / ip(IN) / icmp(8, 0),
            flow(IN, proto::ICMP, 0x0800),
        ),
        case("icmp_redirect", "type 5, code 1", eth() / ip(OUT) / icmp(5, 1), flow(OUT, proto::ICMP, 0x0501)),
        case("icmpv6_echo", "RFC 4443: type 128", eth() / ip(OUT6) / icmpv6(128, 0), flow(OUT6, proto::ICMPV6, 0x8000)),
        case(
            "ospf",
            "a protocol without ports",
            eth() / ip(UNPLACED) / raw(&[2; 24]).protocol(proto::OSPF),
            flow(UNPLACED, proto::OSPF, 0),
        ),
        case(
            "icmp_in_v6",
            "ICMP of IPv4 in IPv6: nonsense, but readable",
            eth() / ip(IN6) / icmp(8, 0),
            flow(IN6, proto::ICMP, 0x0800),
        ),
        case(
            "unplaced",
            "documentation (RFC 5737): no site says where it is",
            eth() / ip(UNPLACED) / udp(53),
            flow(UNPLACED, proto::UDP, 53).is(Class::Unknown),
        ),
        case(
            "unplaced6",
            "documentation (RFC 3849): no site says where it is",
            eth() / ip(UNPLACED6) / udp(53),
            flow(UNPLACED6, proto::UDP, 53).is(Class::Unknown),
        ),
        case(
            "private",
            "RFC 1918: no site says where it is",
            eth() / ip(ours) / udp(53),
            flow(ours, proto::UDP, 53).is(Class::Private),
        )
        .not_sent(NO_WIRE),
        case(
            "private6",
            "RFC 4193: no site says where it is",
            eth() / ip(ours6) / udp(53),
            flow(ours6, proto::UDP, 53).is(Class::Private),
        )
        .not_sent(NO_WIRE),
        case(
            "link_local_v4",
            "RFC 3927: a gateway that forwards it was met",
            eth() / ip(metadata) / tcp(80),
            flow(metadata, proto::TCP, 80).is(Class::LinkLocal),
        )
        .not_sent(NO_WIRE),
        case(
            "shared_address",
            "RFC 6598: a carrier's NAT is anywhere",
            eth() / ip(shared) / udp(53),
            flow(shared, proto::UDP, 53).is(Class::Unknown),
        )
        .not_sent(NO_WIRE),
        case(
            "segment",
            "RFC 9602: a segment of SRv6 is anywhere",
            eth() / ip(segment) / udp(53),
            flow(segment, proto::UDP, 53).is(Class::Unknown),
        )
        .not_sent(NO_WIRE),
        case(
            "link_local_opaque",
            "what else is noted of it stays",
            eth() / ip(neighbour) / udp(443) / payload(40),
            flow(neighbour, proto::UDP, 443).opaque(Opaque::Quic).is(Class::LinkLocal),
        ),
        case(
            "broadcast",
            "DHCP (RFC 2131): never leaves the link",
            eth() / ip(BROADCAST) / udp_from(68, 67) / payload(240),
            flow(BROADCAST, proto::UDP, 67).sent_from(68).is(Class::Local),
        ),
        // Multicast: with a time to live of 1 no router forwards it.
        case(
            "multicast_last_hop",
            "PTP (IEEE 1588, annex C) to 224.0.1.129 with a time to live of 1",
            eth() / ip(clocks).set(8, &[1]) / udp(319) / payload(44),
            flow(clocks, proto::UDP, 319).is(Class::Local),
        )
        .not_sent(NO_GROUP),
        case(
            "multicast6_last_hop",
            "the same to ff0e::181 with a hop limit of 1 (annex D)",
            eth() / ip(clocks6).set(7, &[1]) / udp(319) / payload(44),
            flow(clocks6, proto::UDP, 319).is(Class::Local),
        )
        .not_sent(NO_GROUP),
        case(
            "multicast_last_hop_options",
            "the same behind IP options: IGMP would have a router alert",
            eth() / ip(clocks).options(&[148, 4, 0, 0]).set(8, &[0]) / udp(319) / payload(44),
            flow(clocks, proto::UDP, 319).is(Class::Local),
        )
        .not_sent(NO_GROUP),
        case(
            "multicast_opaque",
            "what else is noted of it stays",
            eth() / ip(clocks).set(8, &[1]) / udp(443) / payload(44),
            flow(clocks, proto::UDP, 443).opaque(Opaque::Quic).is(Class::Local),
        )
        .not_sent(NO_GROUP),
        case(
            "multicast_routed",
            "with a time to live of 2 it goes on",
            eth() / ip(clocks).set(8, &[2]) / udp(319) / payload(44),
            flow(clocks, proto::UDP, 319).is(Class::Unknown),
        )
        .not_sent(NO_GROUP),
        case(
            "multicast6_routed",
            "with a hop limit of 2 it goes on",
            eth() / ip(clocks6).set(7, &[2]) / udp(319) / payload(44),
            flow(clocks6, proto::UDP, 319).is(Class::Unknown),
        )
        .not_sent(NO_GROUP),
        case(
            "multicast_in_tunnel",
            "on its last link behind a tunnel: where that ends decides",
            eth() / ip(IN) / ip(clocks).set(8, &[1]) / udp(319) / payload(44),
            flow(IN, proto::IPIP, 0).inner(Via::IpInIp, clocks, proto::UDP, 319).is(Class::Inside),
        )
        .not_sent(NO_GROUP),
        case(
            "multicast_routed_in_tunnel",
            "the same goes on behind the tunnel",
            eth() / ip(IN) / ip(clocks) / udp(319) / payload(44),
            flow(IN, proto::IPIP, 0).inner(Via::IpInIp, clocks, proto::UDP, 319).is(Class::Unknown),
        )
        .not_sent(NO_GROUP),
        case(
            "unicast_last_hop",
            "a time to live of 1 to one address: the next router may be told otherwise",
            eth() / ip(OUT).set(8, &[1]) / udp(53),
            flow(OUT, proto::UDP, 53),
        ),
        // The rule: udp/4500-4510 and tcp/443.
        case(
            "rule_udp",
            "inside the rule's port range",
            eth() / ip(RULED) / udp(4505),
            flow(RULED, proto::UDP, 4505).ruled(),
        ),
        case(
            "rule_udp_last",
            "the last port of the range",
            eth() / ip(RULED6) / udp(4510),
            flow(RULED6, proto::UDP, 4510).ruled(),
        ),
        case(
            "rule_udp_beyond",
            "one port beyond the range",
            eth() / ip(RULED) / udp(4511),
            flow(RULED, proto::UDP, 4511),
        ),
        case(
            "rule_udp_first",
            "the first port of the range, where ESP is carried in UDP, too",
            eth() / ip(RULED) / udp(4500) / payload(16),
            flow(RULED, proto::UDP, 4500).opaque(Opaque::EspInUdp).ruled(),
        ),
        case("rule_tcp", "tcp/443", eth() / ip(RULED6) / tcp(443), flow(RULED6, proto::TCP, 443).ruled()),
        case(
            "rule_other_protocol",
            "the right port of the wrong protocol",
            eth() / ip(RULED) / tcp(4505),
            flow(RULED, proto::TCP, 4505),
        ),
        case(
            "rule_sctp",
            "a port of TCP's in SCTP",
            eth() / ip(RULED6) / ports(proto::SCTP, 443),
            flow(RULED6, proto::SCTP, 443),
        ),
        // Neighbour discovery is ICMPv6 like any other: where it goes says how far.
        case(
            "router_solicitation",
            "RFC 4861: type 133 to all routers",
            eth() / ip(all_routers) / icmpv6(133, 0),
            flow(all_routers, proto::ICMPV6, 0x8500).is(Class::Local),
        ),
        case(
            "neighbour_solicitation",
            "type 135 to a solicited-node group",
            eth() / ip(solicited) / icmpv6(135, 0) / payload(16),
            flow(solicited, proto::ICMPV6, 0x8700).is(Class::Local),
        ),
        case(
            "neighbour_advertisement",
            "type 136 to a link-local address",
            eth() / ip(neighbour) / icmpv6(136, 0) / payload(16),
            flow(neighbour, proto::ICMPV6, 0x8800).is(Class::LinkLocal),
        ),
        case(
            "neighbour_solicitation_global",
            "type 135 to an address outside: a type is no scope",
            eth() / ip(OUT6) / icmpv6(135, 0) / payload(16),
            flow(OUT6, proto::ICMPV6, 0x8700).is(Class::Outside),
        ),
        case(
            "listener_report",
            "MLDv2 (RFC 9777) with a router alert before it",
            eth() / ip(all_routers) / hop_by_hop() / icmpv6(143, 0),
            flow(all_routers, proto::ICMPV6, 0x8f00).is(Class::Local),
        ),
    ]
}
