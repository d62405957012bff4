//! IPv6 extension headers, routing headers, jumbograms.

use std::net::IpAddr;

use monitor_common::{
    parse::Reason,
    wire::{Class, Via},
};

use super::{Case, Flow, build::*, case, flow, met, policy::*};

pub(super) fn cases() -> Vec<Case> {
    let plain = || flow(IN6, proto::UDP, 53);
    let outside = || flow(OUT6, proto::UDP, 53);
    let behind = |header: Layer| eth() / ip(OUT6) / header / udp(53);
    let routed = |header: Layer| eth() / ip(IN6) / header / udp(53);
    let ends_in = |flow: Flow, to| flow.inner(Via::RoutingHeader, to, proto::UDP, 53);
    let options = |count: usize| (0..count).fold(eth() / ip(OUT6), |chain, _| chain / destination_options());
    let many = |count: usize, last: IpAddr| type0(count as u8, &[&vec![IN6; count - 1], [last].as_slice()].concat());
    vec![
        // Each kind, and all.
        case("hop_by_hop", "RFC 8200, 4.3", behind(hop_by_hop()), outside()),
        case("destination_options", "RFC 8200, 4.6", behind(destination_options()), outside()),
        case(
            "long_options",
            "an option header of 24 bytes",
            behind(extension(proto::DESTINATION_OPTIONS, &PADDING)),
            outside(),
        ),
        case("ah6", "RFC 4302: its length counts words of four bytes", behind(ah()), outside()),
        case(
            "mobility",
            "RFC 6275: ends the chain by no next header",
            eth() / ip(OUT6) / extension(proto::MOBILITY, &[5, 0, 0, 0, 0, 0]),
            flow(OUT6, proto::NONE, 0),
        ),
        case(
            "mobility_udp",
            "a chain that goes on after it",
            behind(extension(proto::MOBILITY, &[5, 0, 0, 0, 0, 0])),
            outside(),
        ),
        case("hip", "RFC 7401", behind(extension(proto::HIP, &[1; 38])), outside()),
        case("shim6", "RFC 5533", behind(extension(proto::SHIM6, &[0x80; 6])), outside()),
        case(
            "atomic_fragment",
            "RFC 6946: offset 0 and no more is whole",
            behind(fragment(0x6001, 0, false)),
            outside(),
        ),
        case(
            "atomic_fragment_reserved",
            "RFC 8200, 4.5: reserved where others have their length, and two bits before M: ignored",
            behind(fragment(0x6003, 0, false).set(1, &[1]).set(3, &[6])),
            outside(),
        )
        .after(behind(fragment(0x6003, 0, false).set(1, &[1]).set(3, &[6]))),
        case(
            "all_extensions",
            "all eight kinds in one chain",
            eth()
                / ip(OUT6)
                / hop_by_hop()
                / destination_options()
                / type0(0, &[IN6])
                / fragment(0x6002, 0, false)
                / ah()
                / extension(proto::MOBILITY, &[5; 6])
                / extension(proto::HIP, &[1; 6])
                / extension(proto::SHIM6, &[0x80; 6])
                / tcp(22),
            flow(OUT6, proto::TCP, 22),
        ),
        case(
            "odd_order",
            "hop-by-hop in the middle: no router looks, we do",
            eth() / ip(OUT6) / destination_options() / hop_by_hop() / udp(53),
            outside(),
        ),
        case("eight_extensions", "the longest chain that is followed", options(8) / udp(53), outside()),
        case("nine_extensions", "one more", options(9) / udp(53), met(Reason::ExtensionDepth, Class::Outside)),
        case(
            "no_next_header",
            "RFC 8200, 4.7: bytes that follow mean nothing",
            eth() / ip(IN6).next(59) / payload(8),
            flow(IN6, proto::NONE, 0),
        ),
        case(
            "extension_rule",
            "a rule sees the ports behind the chain",
            eth() / ip(RULED6) / hop_by_hop() / destination_options() / udp(4505),
            flow(RULED6, proto::UDP, 4505).ruled(),
        ),
        case(
            "extension_cut",
            "the packet ends inside an extension header",
            eth() / ip(OUT6) / part(extension(proto::DESTINATION_OPTIONS, &PADDING), 0..8),
            met(Reason::TruncatedExtension, Class::Outside),
        ),
        case(
            "extension_beyond",
            "an extension header longer than the packet",
            behind(destination_options().set(1, &[9])),
            met(Reason::TruncatedExtension, Class::Outside),
        ),
        case(
            "extension_missing",
            "the chain announces one more, and the packet ends",
            eth() / ip(OUT6) / destination_options().next(60),
            met(Reason::TruncatedExtension, Class::Outside),
        ),
        // Routing headers: all segments left are destinations.
        case(
            "type0_last",
            "RFC 5095 (deprecated, but forwarded): the last address outside",
            routed(type0(2, &[IN6_B, OUT6])),
            ends_in(plain(), OUT6),
        ),
        case("type0_first", "the first address outside", routed(type0(2, &[OUT6, IN6_B])), ends_in(plain(), OUT6)),
        case(
            "type0_middle",
            "the middle address outside",
            routed(type0(3, &[IN6_B, OUT6, IN6])),
            ends_in(plain(), OUT6),
        ),
        case(
            "type0_two_outside",
            "of equals the last",
            routed(type0(3, &[OUT6, IN6, OUT6_B])),
            ends_in(plain(), OUT6_B),
        ),
        case("type0_inside", "all addresses inside", routed(type0(2, &[IN6, IN6_B])), ends_in(plain(), IN6_B)),
        case(
            "type0_through_outside",
            "the header's own destination is outside",
            behind(type0(1, &[IN6])),
            ends_in(outside(), IN6),
        ),
        case(
            "type0_passed",
            "the address outside is behind: one segment left",
            routed(type0(1, &[OUT6, IN6_B])),
            ends_in(plain(), IN6_B),
        ),
        case("type0_done", "no segments left", routed(type0(0, &[OUT6])), plain()),
        case(
            "type0_rule",
            "an address has the packet's own protocol and port",
            eth() / ip(IN6) / type0(1, &[RULED6]) / tcp(443),
            flow(IN6, proto::TCP, 443).inner(Via::RoutingHeader, RULED6, proto::TCP, 443),
        ),
        case(
            "type0_behind_options",
            "behind other extension headers",
            eth()
                / ip(IN6)
                / hop_by_hop()
                / destination_options()
                / type0(1, &[OUT6])
                / destination_options()
                / udp(53),
            ends_in(plain(), OUT6),
        ),
        case(
            "type0_sixteen",
            "as many further destinations as are followed",
            routed(many(16, OUT6)),
            ends_in(plain(), OUT6),
        ),
        case("type0_seventeen", "one more", routed(many(17, IN6_B)), met(Reason::TooDeep, Class::Inside)),
        case("type2", "RFC 6275: the home address", routed(routing(2, 1, [0; 4], &[OUT6])), ends_in(plain(), OUT6)),
        case("type2_done", "already at home", routed(routing(2, 0, [0; 4], &[OUT6])), plain()),
        case(
            "rpl",
            "RFC 6554, whole addresses, the first one outside",
            routed(rpl(2, 0, 0, &[OUT6, IN6_B])),
            ends_in(plain(), OUT6),
        ),
        case(
            "rpl_compressed",
            "RFC 6554: eight bytes elided of each, padded",
            routed(rpl(2, 8, 8, &[IN6_B, IN6])),
            ends_in(plain(), IN6),
        ),
        case(
            "rpl_last",
            "all but the last compressed, the last one outside",
            routed(rpl(2, 15, 4, &[IN6_B, OUT6])),
            ends_in(plain(), OUT6),
        ),
        case(
            "rpl_fifteen",
            "as compressed as can be, seen from outside",
            behind(rpl(2, 15, 15, &[OUT6_B, OUT6])),
            ends_in(outside(), OUT6),
        ),
        case(
            "rpl_middle",
            "the middle address outside, the one before it passed",
            routed(rpl(2, 4, 4, &[IN6_B, OUT6, IN6])),
            ends_in(plain(), OUT6),
        ),
        case(
            "srh_end",
            "RFC 8754: the end of the path, first in the list, outside",
            routed(srh(1, &[IN6, OUT6])),
            ends_in(plain(), OUT6),
        ),
        case("srh_next", "the next segment outside", routed(srh(2, &[IN6, OUT6, IN6_B])), ends_in(plain(), OUT6)),
        case(
            "srh_middle",
            "a segment in the middle of the path outside",
            routed(srh(3, &[IN6, IN6_B, OUT6, IN6])),
            ends_in(plain(), OUT6),
        ),
        case(
            "srh_two_outside",
            "of equals the last on the way, which stands first in the list",
            routed(srh(2, &[IN6, OUT6, OUT6_B])),
            ends_in(plain(), OUT6_B),
        ),
        case(
            "srh_passed",
            "the segments outside are behind",
            routed(srh(1, &[OUT6, OUT6_B, IN6, IN6_B])),
            ends_in(plain(), IN6_B),
        ),
        case(
            "srh_reduced",
            "the first segment only in the header's destination (RFC 8754, 4.1.1)",
            routed(srh(2, &[OUT6, IN6_B])),
            ends_in(plain(), OUT6),
        ),
        case("srh_done", "no segments left", routed(srh(0, &[OUT6, IN6])), plain()),
        case(
            "srh_tlv",
            "a TLV behind the segment list",
            routed(srh_with_padding(1, &[IN6, OUT6])),
            ends_in(plain(), OUT6),
        ),
        case(
            "routing_unknown",
            "RFC 8200, 4.4: an unknown type with segments left",
            routed(routing(9, 1, [0; 4], &[IN6])),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "routing_nimrod",
            "type 1, never deployed, to outside",
            behind(routing(1, 1, [0; 4], &[IN6])),
            met(Reason::BadRouting, Class::Outside),
        ),
        case(
            "routing_unknown_done",
            "an unknown type without segments left is passed over",
            routed(routing(9, 0, [0; 4], &[OUT6])),
            plain(),
        ),
        case(
            "type0_beyond",
            "more segments left than addresses",
            routed(type0(3, &[IN6, IN6_B])),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "type0_odd",
            "RFC 2460: an odd length holds no whole addresses",
            routed(extension(proto::ROUTING, &[&[0, 1, 0, 0, 0, 0], [0; 24].as_slice()].concat())),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "type2_beyond",
            "two segments left of one",
            routed(routing(2, 2, [0; 4], &[IN6])),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "type2_two",
            "RFC 6275, 6.4.1: it holds one address, here are two",
            routed(routing(2, 1, [0; 4], &[IN6, IN6_B])),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "rpl_beyond",
            "more segments left than addresses",
            routed(rpl(4, 8, 8, &[IN6, IN6_B])),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "rpl_misaligned",
            "RFC 6554, 4.2: what is there is no whole number of addresses",
            routed(rpl(1, 8, 8, &[IN6_B, IN6]).set(4, &[0x78])),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "srh_beyond",
            "segments left beyond the list",
            routed(srh(5, &[IN6, IN6_B])),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "srh_list_beyond",
            "a last entry that the header has no room for",
            routed(srh(3, &[IN6, IN6_B]).set(4, &[2])),
            met(Reason::BadRouting, Class::Inside),
        ),
        case(
            "srh_list_beyond_unused",
            "the same, and what is left would be there",
            routed(srh(1, &[IN6, OUT6]).set(4, &[2])),
            met(Reason::BadRouting, Class::Inside),
        ),
        // Lengths.
        case(
            "v6_length_0",
            "no length and no hop-by-hop: a super-packet (BIG TCP), the frame's end holds",
            eth() / ip(OUT6).set(4, &[0, 0]) / tcp(22),
            flow(OUT6, proto::TCP, 22),
        ),
        case(
            "jumbogram",
            "RFC 2675: 65,536 bytes",
            eth() / ip(OUT6).set(4, &[0, 0]) / jumbo(65_536) / udp(53) / payload(65_520),
            outside(),
        )
        .not_sent("larger than any MTU here"),
        case(
            "jumbogram_second_options",
            "hop-by-hop options a second time, now with nothing to say",
            eth() / ip(OUT6).set(4, &[0, 0]) / jumbo(65_544) / hop_by_hop() / udp(53) / payload(65_520),
            outside(),
        )
        .not_sent("larger than any MTU here"),
        case(
            "jumbo_small",
            "a jumbo length that fits into 16 bits",
            eth() / ip(IN6).set(4, &[0, 0]) / jumbo(16) / udp(53),
            Reason::BadIpLength,
        ),
        case(
            "jumbo_missing",
            "no length, hop-by-hop options, and no jumbo among them",
            eth() / ip(IN6).set(4, &[0, 0]) / hop_by_hop() / udp(53),
            Reason::BadIpLength,
        ),
        case("jumbo_missing_before", "the same has no bearing on the next packet", behind(hop_by_hop()), outside())
            .after(eth() / ip(IN6).set(4, &[0, 0]) / hop_by_hop() / udp(53)),
        case(
            "jumbo_option_length",
            "a jumbo option of two bytes",
            eth() / ip(IN6).set(4, &[0, 0]) / jumbo(65_536).set(3, &[2]) / udp(53),
            Reason::BadIpLength,
        ),
        case(
            "jumbo_option_past_header",
            "an option longer than the header that it is in",
            eth() / ip(IN6).set(4, &[0, 0]) / extension(proto::HOP_BY_HOP, &[5, 9, 0, 0, 0, 0]) / udp(53),
            Reason::BadIpLength,
        ),
        case(
            "jumbo_option_without_length",
            "the header, and with it the packet, ends after an option's type",
            eth() / ip(IN6).set(4, &[0, 0]) / extension(proto::HOP_BY_HOP, &[1, 3, 0, 0, 0, 5]),
            Reason::BadIpLength,
        ),
        case(
            "jumbo_behind_options",
            "Pad1 and another option before the jumbo option: 65,536 bytes",
            eth()
                / ip(OUT6).set(4, &[0, 0])
                / extension(proto::HOP_BY_HOP, &[0, 5, 1, 0, 0xc2, 4, 0, 1, 0, 0, 0, 0, 0, 0])
                / udp(53)
                / payload(65_512),
            outside(),
        )
        .not_sent("larger than any MTU here"),
        case(
            "jumbo_beyond",
            "a jumbo length beyond the frame",
            eth() / ip(IN6).set(4, &[0, 0]) / jumbo(70_000) / udp(53),
            Reason::LengthBeyondFrame,
        ),
    ]
}

/// A PadN option for an option header of 24 bytes.
const PADDING: [u8; 22] = {
    let mut option = [0; 22];
    option[0] = 1;
    option[1] = 20;
    option
};

/// A segment routing header with a PadN TLV of eight bytes behind its list.
fn srh_with_padding(left: u8, path: &[IpAddr]) -> Layer {
    let units = path.len() as u8 * 2 + 1;
    srh(left, path).extended(&[4, 6, 0, 0, 0, 0, 0, 0]).set(1, &[units])
}
