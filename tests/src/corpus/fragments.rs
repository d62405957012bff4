//! Fragments: the first one is read, the others have its flow.

use std::{net::IpAddr, ops::Range};

use monitor_common::{
    parse::Reason,
    wire::{Class, Opaque, Via},
};

use super::{Case, Stack, build::*, case, flow, met, policy::*};

/// A piece of IPv4 datagram `id` whose payload is `data`.
fn four(to: IpAddr, id: u16, data: &Stack, piece: Range<usize>, more: bool) -> Stack {
    ip(to).fragment(id, piece.start, more) / part(data.clone(), piece)
}

/// A piece of IPv6 datagram `id`.
fn six(to: IpAddr, id: u32, data: &Stack, piece: Range<usize>, more: bool) -> Stack {
    ip(to) / fragment(id, piece.start, more) / part(data.clone(), piece)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = order();
    cases.extend(content());
    cases.extend(inside_tunnels());
    cases
}

/// What may follow what.
fn order() -> Vec<Case> {
    let data = udp(53) / payload(56);
    let v4 = |id, piece: Range<usize>, more| eth() / four(OUT, id, &data, piece, more);
    let v6 = |id, piece: Range<usize>, more| eth() / six(OUT6, id, &data, piece, more);
    let whole4 = || flow(OUT, proto::UDP, 53);
    let whole6 = || flow(OUT6, proto::UDP, 53);
    let overlap = || met(Reason::FragmentOverlap, Class::Outside);
    let orphan = || met(Reason::FragmentWithoutFirst, Class::Outside);
    vec![
        case("fragment_first", "RFC 791: offset 0, more follow", v4(1, 0..24, true), whole4()),
        case("fragment_middle", "has no ports of its own", v4(2, 24..48, true), whole4()).after(v4(2, 0..24, true)),
        case("fragment_last", "after first and middle", v4(3, 48..64, false), whole4())
            .after(v4(3, 0..24, true))
            .after(v4(3, 24..48, true)),
        case("fragment_gap", "the one between is missing: lost, or another way", v4(4, 48..64, false), whole4())
            .after(v4(4, 0..24, true)),
        case("fragment6_first", "RFC 8200, 4.5", v6(5, 0..24, true), whole6()),
        case("fragment6_middle", "what follows its fragment header is data", v6(6, 24..48, true), whole6()).after(v6(
            6,
            0..24,
            true,
        )),
        case("fragment6_last", "after first and middle", v6(7, 48..64, false), whole6())
            .after(v6(7, 0..24, true))
            .after(v6(7, 24..48, true)),
        case(
            "fragment_tagged",
            "the same datagram behind a tag: the interface counts",
            eth().vlan(10) / four(OUT, 8, &data, 24..64, false),
            whole4(),
        )
        .after(v4(8, 0..24, true)),
        // Without the first.
        case("fragment_orphan", "no first", v4(9, 24..64, false), orphan()),
        case("fragment6_orphan", "no first", v6(10, 24..64, true), orphan()),
        case("fragment_other_id", "the first of another datagram", v4(11, 24..64, false), orphan()).after(v4(
            12,
            0..24,
            true,
        )),
        case("fragment6_other_id", "identifications differ in the upper half", v6(0x1_000d, 24..64, false), orphan())
            .after(v6(13, 0..24, true)),
        case(
            "fragment_other_protocol",
            "RFC 791: the protocol is part of the identity",
            v4(14, 24..64, false),
            orphan(),
        )
        .after(eth() / four(OUT, 14, &(tcp(22) / payload(20)), 0..24, true)),
        case(
            "fragment6_other_protocol",
            "RFC 8200: it is not, and only the first's counts",
            eth() / six(OUT6, 15, &(tcp(22) / payload(44)), 24..64, false),
            whole6(),
        )
        .after(v6(15, 0..24, true)),
        case("fragment_other_destination", "the first went elsewhere", v4(16, 24..64, false), orphan())
            .after(eth() / four(IN, 16, &data, 0..24, true)),
        case("fragment_after_last", "the datagram is over", v4(17, 24..48, true), orphan())
            .after(v4(17, 0..24, true))
            .after(v4(17, 48..64, false)),
        case("fragment_last_twice", "over is over", v4(18, 24..64, false), orphan())
            .after(v4(18, 0..24, true))
            .after(v4(18, 24..64, false)),
        case("fragment_reused_id", "after the last a first begins anew", v4(19, 24..64, false), whole4())
            .after(v4(19, 0..24, true))
            .after(v4(19, 24..64, false))
            .after(v4(19, 0..24, true)),
        // Overlapping.
        case("fragment_overlap", "RFC 1858: overwrites what was sent", v4(20, 16..40, true), overlap()).after(v4(
            20,
            0..24,
            true,
        )),
        case("fragment_over_ports", "RFC 3128: overwrites the ports", v4(21, 8..32, true), overlap()).after(v4(
            21,
            0..24,
            true,
        )),
        case("fragment_inside", "teardrop: ends before what it follows", v4(22, 8..16, false), overlap()).after(v4(
            22,
            0..24,
            true,
        )),
        case("fragment6_overlap", "RFC 5722", v6(23, 16..40, true), overlap()).after(v6(23, 0..24, true)),
        case("fragment_first_twice", "a first fragment again", v4(24, 0..24, true), overlap()).after(v4(
            24,
            0..24,
            true,
        )),
        case("fragment_out_of_order", "the third before the second", v4(25, 24..48, true), overlap())
            .after(v4(25, 0..24, true))
            .after(v4(25, 48..56, true)),
        case("fragment_middle_twice", "a middle fragment again", v6(26, 24..48, true), overlap())
            .after(v6(26, 0..24, true))
            .after(v6(26, 24..48, true)),
        // Lengths.
        case(
            "fragment_odd",
            "not the last, and no multiple of 8",
            eth() / four(IN, 27, &data, 0..20, true),
            Reason::BadIpLength,
        ),
        case("fragment6_odd", "the same", eth() / six(IN6, 28, &data, 0..20, true), Reason::BadIpLength),
        case(
            "fragment_odd_middle",
            "the same after a first",
            eth() / four(IN, 29, &data, 24..37, true),
            Reason::BadIpLength,
        )
        .after(eth() / four(IN, 29, &data, 0..24, true)),
        case(
            "fragment_too_far",
            "ping of death: past 65,535",
            eth() / ip(IN).fragment(30, 65_528, false) / part(data.clone(), 0..16),
            Reason::BadIpLength,
        )
        .after(eth() / four(IN, 30, &data, 0..24, true)),
        case(
            "fragment6_too_far",
            "the same",
            eth() / ip(IN6) / fragment(31, 65_528, false) / part(data.clone(), 0..16),
            Reason::BadIpLength,
        )
        .after(eth() / six(IN6, 31, &data, 0..24, true)),
        // No fragments.
        case("dont_fragment", "a flag that says nothing here", eth() / ip(OUT).set(6, &[0x40, 0]) / udp(53), whole4()),
        case(
            "whole_between",
            "a whole packet with the same identification changes nothing",
            v4(32, 24..64, false),
            whole4(),
        )
        .after(v4(32, 0..24, true))
        .after(eth() / ip(OUT).id(32) / udp(54)),
        case("atomic_between", "RFC 6946: nor does an atomic fragment", v6(33, 24..64, false), whole6())
            .after(v6(33, 0..24, true))
            .after(eth() / ip(OUT6) / fragment(33, 0, false) / udp(54)),
    ]
}

/// What first fragments have in them.
fn content() -> Vec<Case> {
    let short = |class| met(Reason::FragmentShort, class);
    let chain =
        extension(proto::DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]) / destination_options() / udp(53) / payload(40);
    let plain = udp(53) / payload(56);
    let ruled = udp(4505) / payload(56);
    let tunnel = ip(OUT) / udp(53) / payload(80);
    let overlay = udp(4789) / vxlan(9) / eth() / ip(OUT) / udp(53) / payload(80);
    let signed = ah() / udp(53) / payload(56);
    let ipip = || flow(IN, proto::IPIP, 0).inner(Via::IpInIp, OUT, proto::UDP, 53);
    let in_vxlan = || flow(IN, proto::UDP, 4789).inner(Via::Vxlan, OUT, proto::UDP, 53);
    let routed = |id, piece: Range<usize>, more| {
        eth() / ip(IN6) / type0(1, &[OUT6]) / fragment(id, piece.start, more) / part(plain.clone(), piece)
    };
    let loose = |id, piece: Range<usize>, more| {
        eth() / ip(IN).lsrr(4, &[OUT]).fragment(id, piece.start, more) / part(plain.clone(), piece)
    };
    vec![
        case(
            "fragment_tiny",
            "RFC 1858: TCP's flags are in the second, the ports in the first",
            eth() / four(OUT, 40, &(tcp(22) / payload(20)), 0..8, true),
            flow(OUT, proto::TCP, 22),
        ),
        case(
            "fragment_icmp",
            "type and code are the first's",
            eth() / four(OUT, 41, &(icmp(8, 0) / payload(40)), 24..48, false),
            flow(OUT, proto::ICMP, 0x0800),
        )
        .after(eth() / four(OUT, 41, &(icmp(8, 0) / payload(40)), 0..24, true)),
        case(
            "fragment_rule",
            "the rule holds for the later ones",
            eth() / four(RULED, 42, &ruled, 24..64, false),
            flow(RULED, proto::UDP, 4505).ruled(),
        )
        .after(eth() / four(RULED, 42, &ruled, 0..24, true)),
        case(
            "fragment6_rule",
            "the same in IPv6",
            eth() / six(RULED6, 43, &ruled, 24..64, false),
            flow(RULED6, proto::UDP, 4505).ruled(),
        )
        .after(eth() / six(RULED6, 43, &ruled, 0..24, true)),
        case(
            "fragment_no_rule",
            "a port beyond the rule",
            eth() / four(RULED, 44, &plain, 24..64, false),
            flow(RULED, proto::UDP, 53),
        )
        .after(eth() / four(RULED, 44, &plain, 0..24, true)),
        case(
            "fragment_esp_in_udp",
            "what the first cannot be read as, the later cannot either",
            eth() / four(OUT, 45, &(udp(4500) / payload(56)), 24..64, false),
            flow(OUT, proto::UDP, 4500).opaque(Opaque::EspInUdp),
        )
        .after(eth() / four(OUT, 45, &(udp(4500) / payload(56)), 0..24, true)),
        case(
            "fragment_wireguard",
            "of a message in pieces UDP's length says how long it is",
            eth() / four(OUT, 49, &(udp(33_333) / wireguard(4, 128)), 0..64, true),
            flow(OUT, proto::UDP, 33_333).opaque(Opaque::WireGuard),
        ),
        case(
            "fragment_esp",
            "ESP in fragments",
            eth() / four(OUT, 46, &(esp() / payload(40)), 16..56, false),
            flow(OUT, proto::ESP, 0).opaque(Opaque::Esp),
        )
        .after(eth() / four(OUT, 46, &(esp() / payload(40)), 0..16, true)),
        case(
            "fragment_ah",
            "AH before the ports",
            eth() / four(OUT, 47, &signed, 40..88, false),
            flow(OUT, proto::UDP, 53),
        )
        .after(eth() / four(OUT, 47, &signed, 0..40, true)),
        case(
            "fragment6_behind_options",
            "hop-by-hop options before the fragment header, others behind it",
            eth() / ip(OUT6) / hop_by_hop() / fragment(48, 0, true) / part(chain.clone(), 0..32),
            flow(OUT6, proto::UDP, 53),
        ),
        // First fragments that end too early.
        case(
            "fragment_empty",
            "RFC 791: a fragment has at least eight bytes, this one has none",
            eth() / four(OUT, 50, &plain, 0..0, true),
            met(Reason::BadIpLength, Class::Outside),
        ),
        case(
            "fragment6_short_chain",
            "RFC 7112: the chain of headers is not all in the first",
            eth() / six(OUT6, 51, &chain, 0..8, true),
            short(Class::Outside),
        ),
        case(
            "fragment6_no_ports",
            "RFC 7112: all extension headers, but no ports",
            eth() / six(IN6, 52, &chain, 0..16, true),
            short(Class::Inside),
        ),
        case("fragment_short_ah", "ends inside AH", eth() / four(OUT, 53, &signed, 0..16, true), short(Class::Outside)),
        case(
            "fragment_short_tunnel",
            "ends inside the inner IP header",
            eth() / four(IN, 54, &tunnel, 0..16, true),
            short(Class::Inside),
        ),
        case(
            "fragment_short_options",
            "ends inside the inner IP header's options",
            eth() / four(IN, 57, &(ip(OUT).options(&[1; 8]) / udp(53) / payload(80)), 0..24, true),
            short(Class::Outside),
        ),
        case(
            "fragment_short_vxlan",
            "ends inside the VXLAN header",
            eth() / four(OUT, 55, &overlay, 0..8, true),
            short(Class::Outside),
        ),
        case(
            "fragment_after_short",
            "a first that was not understood is none",
            eth() / four(OUT, 56, &signed, 40..88, false),
            met(Reason::FragmentWithoutFirst, Class::Outside),
        )
        .after(eth() / four(OUT, 56, &signed, 0..16, true)),
        // Tunnels and routes in fragments.
        case(
            "fragment_tunnel_first",
            "the inner packet is longer than the first fragment, as it should be",
            eth() / four(IN, 60, &tunnel, 0..40, true),
            ipip(),
        ),
        case(
            "fragment_tunnel_later",
            "goes where the first goes",
            eth() / four(IN, 61, &tunnel, 40..108, false),
            ipip(),
        )
        .after(eth() / four(IN, 61, &tunnel, 0..40, true)),
        case("fragment_vxlan_later", "the same in VXLAN", eth() / four(IN, 62, &overlay, 64..138, false), in_vxlan())
            .after(eth() / four(IN, 62, &overlay, 0..64, true)),
        case(
            "fragment_source_route",
            "the source route is in every fragment",
            loose(63, 24..64, false),
            flow(IN, proto::UDP, 53).inner(Via::SourceRoute, OUT, proto::UDP, 53),
        )
        .after(loose(63, 0..24, true)),
        case(
            "fragment6_routing",
            "the routing header is in every fragment",
            routed(64, 24..64, false),
            flow(IN6, proto::UDP, 53).inner(Via::RoutingHeader, OUT6, proto::UDP, 53),
        )
        .after(routed(64, 0..24, true)),
    ]
}

/// Fragments of inner packets.
fn inside_tunnels() -> Vec<Case> {
    let data = udp(53) / payload(64);
    let nested = gre() / four(OUT, 82, &data, 0..64, true);
    let other = gre() / four(OUT, 81, &data, 0..64, true);
    let again = gre() / four(OUT, 80, &data, 0..64, true);
    let third = gre() / four(IN_B, 85, &data, 0..40, true);
    let in_two = gre() / four(OUT, 84, &third, 0..64, true);
    let ipip = || flow(IN, proto::IPIP, 0);
    let other_source = ip(IN).set(12, &[192, 0, 2, 2]).fragment(88, 0, true) / part(ip(OUT) / data.clone(), 0..64);
    let other_source6 = ip(IN6).set(12, &[0, 9]) / fragment(90, 0, true) / part(data.clone(), 0..48);
    let in_gre = |id, piece: Range<usize>, more| eth() / ip(IN) / gre() / four(OUT, id, &data, piece, more);
    let in_v4 = |id, piece: Range<usize>, more| eth() / ip(IN) / six(OUT6, id, &data, piece, more);
    let to_gre = || flow(IN, proto::GRE, 0).inner(Via::Gre, OUT, proto::UDP, 53);
    let to_v4 = || flow(IN, proto::IPV6, 0).inner(Via::IpInIp, OUT6, proto::UDP, 53);
    vec![
        case("inner_fragment_first", "the inner packet is a first fragment", in_gre(70, 0..24, true), to_gre()),
        case("inner_fragment_later", "the inner packet is a later one", in_gre(71, 24..72, false), to_gre())
            .after(in_gre(71, 0..24, true)),
        case("inner_fragment6_later", "the same, IPv6 in IPv4", in_v4(72, 24..72, false), to_v4()).after(in_v4(
            72,
            0..24,
            true,
        )),
        case(
            "inner_fragment_orphan",
            "no first",
            in_gre(73, 24..72, false),
            met(Reason::FragmentWithoutFirst, Class::Outside),
        ),
        case(
            "inner_fragment_overlap",
            "overwrites what was sent",
            in_gre(74, 16..40, true),
            met(Reason::FragmentOverlap, Class::Outside),
        )
        .after(in_gre(74, 0..24, true)),
        case(
            "inner_fragment_short",
            "the inner first has no ports",
            eth() / ip(IN) / six(OUT6, 75, &(destination_options() / data.clone()), 0..8, true),
            met(Reason::FragmentShort, Class::Outside),
        ),
        case(
            "fragment_in_fragment",
            "the first fragment of a tunnel packet holds an inner first fragment",
            eth() / four(IN, 77, &nested, 0..48, true),
            to_gre(),
        ),
        case(
            "fragment_in_fragment_protocol",
            "one identification for both, and another protocol: another datagram",
            eth() / four(IN, 86, &(gre() / four(IN, 86, &data, 0..64, true)), 0..48, true),
            flow(IN, proto::GRE, 0).inner(Via::Gre, IN, proto::UDP, 53),
        ),
        case(
            "fragment_in_fragment_destination",
            "the same, another destination",
            eth() / four(IN, 87, &four(OUT, 87, &(ip(IN_B) / data.clone()), 0..64, true), 0..56, true),
            ipip().inner(Via::IpInIp, OUT, proto::IPIP, 0),
        ),
        case(
            "fragment_in_fragment_source",
            "the same, another source",
            eth() / four(IN, 88, &other_source, 0..56, true),
            ipip().inner(Via::IpInIp, OUT, proto::UDP, 53),
        ),
        case(
            "fragment6_in_fragment_destination",
            "in IPv6, and the destinations differ in the upper half only",
            eth() / six(IN6, 89, &six(OUT6, 89, &data, 0..48, true), 0..88, true),
            flow(IN6, proto::IPV6, 0).inner(Via::IpInIp, OUT6, proto::UDP, 53),
        ),
        case(
            "fragment6_in_fragment_source",
            "the same for the sources",
            eth() / six(IN6, 90, &other_source6, 0..88, true),
            flow(IN6, proto::IPV6, 0).inner(Via::IpInIp, IN6, proto::UDP, 53),
        ),
        case(
            "fragment6_in_fragment",
            "the inner IPv6 header's length counts, not where the piece around it ends",
            eth() / four(IN, 91, &(gre() / six(OUT6, 91, &data, 0..64, true)), 0..88, true),
            flow(IN, proto::GRE, 0).inner(Via::Gre, OUT6, proto::UDP, 53),
        ),
        case(
            "fragment_in_fragment_later",
            "the rest of the tunnel packet",
            eth() / four(IN, 78, &other, 48..88, false),
            to_gre(),
        )
        .after(eth() / four(IN, 78, &other, 0..48, true)),
        case(
            "fragment_after_nested",
            "the inner first came in a tunnel packet in pieces, the inner last comes in a whole one",
            eth() / ip(IN) / gre() / four(OUT, 80, &data, 64..72, false),
            to_gre(),
        )
        .after(eth() / four(IN, 79, &again, 0..48, true))
        .after(eth() / four(IN, 79, &again, 48..88, false)),
        case(
            "fragment_three_deep",
            "a first fragment in a first fragment in a first fragment",
            eth() / four(IN, 83, &in_two, 0..88, true),
            met(Reason::TooDeep, Class::Outside),
        ),
        case("inner_fragment_atomic", "an inner atomic fragment is whole", in_v4(76, 0..72, false), to_v4()),
    ]
}
