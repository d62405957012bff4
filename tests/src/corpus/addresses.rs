//! IPv6 addresses that carry an IPv4 address: the IPv4 address decides.

use std::net::IpAddr;

use monitor_common::wire::{Class, Via};

use super::{Case, build::*, case, flow, policy::*};

const NOT_OURS: &str = "the address is not for our wires";

pub(super) fn cases() -> Vec<Case> {
    let to = |name, about, address: &str, place| {
        let to: IpAddr = address.parse().expect("an address");
        case(name, about, eth() / ip(to) / udp(53), flow(to, proto::UDP, 53).is(place))
    };
    let translated: IpAddr = "2001:db8:64::198.19.0.7".parse().expect("an address");
    let hop: IpAddr = "2001:db8:64::198.18.0.7".parse().expect("an address");
    let in_hop =
        |flow: super::Flow, via| super::Flow { inner: Some((hop, proto::UDP, 53, via)), ..flow }.is(Class::Outside);
    vec![
        // NAT64: every length of RFC 6052, 2.2. 198.18.0.7 is c612:0007, 198.51.100.7 is c633:6407.
        to("nat64_96", "RFC 6052, a prefix of 96 bits", "2001:db8:64::c612:7", Class::Outside),
        to("nat64_96_inside", "the same, the address inside is inside", "2001:db8:64::c633:6407", Class::Inside),
        to(
            "nat64_64",
            "a prefix of 64 bits: bits 64 to 71 stay free",
            "2001:db8:6700:64:c6:1200:700:0",
            Class::Outside,
        ),
        to("nat64_64_inside", "the same, inside", "2001:db8:6700:64:c6:3364:700:0", Class::Inside),
        to("nat64_56", "a prefix of 56 bits", "2001:db8:6600:56c6:12:7::", Class::Outside),
        to("nat64_56_inside", "the same, inside", "2001:db8:6600:56c6:33:6407::", Class::Inside),
        to("nat64_48", "a prefix of 48 bits", "2001:db8:6500:c612:0:700::", Class::Outside),
        to("nat64_48_inside", "the same, inside", "2001:db8:6500:c633:64:700::", Class::Inside),
        to("nat64_40", "a prefix of 40 bits", "2001:db8:64c6:1200:7::", Class::Outside),
        to("nat64_40_inside", "the same, inside", "2001:db8:64c6:3364:7::", Class::Inside),
        to("nat64_32", "a prefix of 32 bits", "3fff:640:c612:7::", Class::Outside).not_sent(NOT_OURS),
        to("nat64_32_inside", "the same, inside", "3fff:640:c633:6407::", Class::Inside).not_sent(NOT_OURS),
        to("nat64_unplaced", "an address inside that no site knows", "2001:db8:64::192.0.2.99", Class::Unknown),
        case(
            "nat64_rule",
            "the rule for the address inside covers it",
            eth() / ip(translated) / udp(4505),
            flow(translated, proto::UDP, 4505).is(Class::Outside).ruled(),
        ),
        case(
            "nat64_no_rule",
            "here it does not",
            eth() / ip(translated) / udp(53),
            flow(translated, proto::UDP, 53).is(Class::Outside),
        ),
        case(
            "nat64_in_gre",
            "in a tunnel",
            eth() / ip(IN) / gre() / ip(hop) / udp(53),
            in_hop(flow(IN, proto::GRE, 0), Via::Gre),
        ),
        case(
            "nat64_in_routing",
            "in a routing header",
            eth() / ip(IN6) / type0(1, &[hop]) / udp(53),
            in_hop(flow(IN6, proto::UDP, 53), Via::RoutingHeader),
        ),
        // Those that the standards know.
        to("nat64_well_known", "64:ff9b::/96 (RFC 6052)", "64:ff9b::198.18.0.7", Class::Outside).not_sent(NOT_OURS),
        to("nat64_well_known_inside", "the same, inside", "64:ff9b::198.51.100.7", Class::Inside).not_sent(NOT_OURS),
        to(
            "nat64_local_use",
            "64:ff9b:1::/48 (RFC 8215): in the last 32 bits unless the operator says otherwise",
            "64:ff9b:1::198.18.0.7",
            Class::Outside,
        )
        .not_sent(NOT_OURS),
        to("six_to_four", "2002::/16 (RFC 3056): bits 16 to 47", "2002:c612:7::1", Class::Outside).not_sent(NOT_OURS),
        to("six_to_four_inside", "the same, inside", "2002:c633:6407::1", Class::Inside).not_sent(NOT_OURS),
        to(
            "teredo_address",
            "2001::/32 (RFC 4380): the last 32 bits, inverted",
            "2001:0:c633:6407::39ed:fff8",
            Class::Outside,
        )
        .not_sent(NOT_OURS),
        to("teredo_address_inside", "the same, inside", "2001:0:c612:7::39cc:9bf8", Class::Inside).not_sent(NOT_OURS),
        to("mapped", "::ffff:0:0/96 (RFC 4291)", "::ffff:198.18.0.7", Class::Outside).not_sent(NOT_OURS),
        to("compatible", "::/96 (RFC 4291, deprecated)", "::198.18.0.7", Class::Outside).not_sent(NOT_OURS),
        // ISATAP: where a prefix of one's own is, the host part names the tunnel's other end.
        to(
            "isatap",
            "RFC 5214: prefix inside, tunnel's end outside: the stricter one",
            "2001:db8:1::5efe:198.18.0.7",
            Class::Outside,
        ),
        to("isatap_global", "the same with the universal bit", "2001:db8:1::200:5efe:198.18.0.7", Class::Outside),
        to("isatap_inside", "prefix and tunnel's end inside", "2001:db8:1::5efe:198.51.100.7", Class::Inside),
        to(
            "isatap_prefix_outside",
            "prefix outside, tunnel's end inside",
            "2001:db8:2::5efe:198.51.100.7",
            Class::Outside,
        ),
    ]
}
