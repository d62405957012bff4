//! IPv4 options, source routes, AH.

use monitor_common::{
    parse::Reason,
    wire::{Class, Via},
};

use super::{Case, Flow, build::*, case, flow, met, policy::*};

pub(super) fn cases() -> Vec<Case> {
    let with = |options: &[u8]| eth() / ip(OUT).options(options) / tcp(22);
    let loose = |pointer, hops: &[_]| eth() / ip(IN).lsrr(pointer, hops) / udp(53);
    let plain = || flow(IN, proto::UDP, 53);
    let ends_in = |flow: Flow, to| flow.inner(Via::SourceRoute, to, proto::UDP, 53);
    let bad = |options: &[u8]| eth() / ip(IN).options(options) / udp(53);
    let nine = [IN, IN_B, IN, IN_B, IN, IN_B, IN, IN_B, OUT];
    vec![
        // Options that move the ports.
        case("nop", "RFC 791: one word of no-operation", with(&[1; 4]), flow(OUT, proto::TCP, 22)),
        case("longest_header", "40 bytes of options", with(&[1; 40]), flow(OUT, proto::TCP, 22)),
        case("router_alert", "RFC 2113", with(&[148, 4, 0, 0]), flow(OUT, proto::TCP, 22)),
        case(
            "record_route",
            "an option that is a list of addresses, but of where the packet was",
            with(&[7, 11, 4, 198, 51, 100, 1, 198, 51, 100, 2]),
            flow(OUT, proto::TCP, 22),
        ),
        case(
            "timestamp",
            "with addresses asked for",
            with(&[68, 12, 5, 1, 198, 51, 100, 1, 0, 0, 0, 0]),
            flow(OUT, proto::TCP, 22),
        ),
        case("unknown_option", "a number for experiments (RFC 4727)", with(&[30, 4, 0, 0]), flow(OUT, proto::TCP, 22)),
        // Source routes: all hops from the pointer on are destinations.
        case(
            "lsrr_last",
            "loose source route, the last hop outside",
            loose(4, &[IN, IN_B, OUT]),
            ends_in(plain(), OUT),
        ),
        case("lsrr_first", "the first hop outside", loose(4, &[OUT, IN, IN_B]), ends_in(plain(), OUT)),
        case("lsrr_middle", "the middle hop outside", loose(4, &[IN, OUT, IN_B]), ends_in(plain(), OUT)),
        case("lsrr_two_outside", "of equals the last", loose(4, &[OUT, IN, OUT_B]), ends_in(plain(), OUT_B)),
        case("lsrr_inside", "every hop inside", loose(4, &[IN_B, IN]), ends_in(plain(), IN)),
        case(
            "lsrr_from_outside",
            "the header's own destination is the hop outside",
            eth() / ip(OUT).lsrr(4, &[IN]) / udp(53),
            ends_in(flow(OUT, proto::UDP, 53), IN),
        ),
        case(
            "lsrr_passed",
            "the hop outside is behind, before the pointer",
            loose(8, &[OUT, IN_B]),
            ends_in(plain(), IN_B),
        ),
        case("lsrr_exhausted", "the pointer is past the end: all hops are behind", loose(12, &[OUT, OUT_B]), plain()),
        case("lsrr_empty", "a source route without hops", loose(4, &[]), plain()),
        case("lsrr_longest", "nine hops, as many as the header has room for", loose(4, &nine), ends_in(plain(), OUT)),
        case(
            "lsrr_rule",
            "a hop has the packet's own protocol and port: the rule covers them",
            eth() / ip(IN).lsrr(4, &[RULED]) / udp(4505),
            flow(IN, proto::UDP, 4505).inner(Via::SourceRoute, RULED, proto::UDP, 4505),
        ),
        case("lsrr_no_rule", "here it does not", loose(4, &[RULED, IN]), ends_in(plain(), RULED)),
        case(
            "ssrr_last",
            "strict source route, the last hop outside",
            eth() / ip(IN).ssrr(4, &[IN_B, OUT]) / udp(53),
            ends_in(plain(), OUT),
        ),
        case(
            "ssrr_first",
            "the first hop outside",
            eth() / ip(IN).ssrr(4, &[OUT, IN_B]) / udp(53),
            ends_in(plain(), OUT),
        ),
        case(
            "ssrr_middle",
            "the middle hop outside",
            eth() / ip(IN).ssrr(4, &[IN_B, OUT, IN]) / udp(53),
            ends_in(plain(), OUT),
        ),
        case(
            "lsrr_after_end",
            "a source route after the end of the options is none",
            bad(&[0, 131, 7, 4, 198, 18, 0, 7]),
            plain(),
        ),
        case(
            "lsrr_after_options",
            "record route first, source route behind it",
            eth() / ip(IN).options(&[7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 198, 18, 0, 7]) / udp(53),
            ends_in(plain(), OUT),
        ),
        // Options that lie.
        case("option_length_0", "would never end", bad(&[7, 0, 4, 0]), met(Reason::BadOptions, Class::Inside)),
        case("option_length_1", "shorter than itself", bad(&[68, 1, 5, 0]), met(Reason::BadOptions, Class::Inside)),
        case(
            "option_past_header",
            "longer than the header",
            bad(&[148, 8, 0, 0]),
            met(Reason::BadOptions, Class::Inside),
        ),
        case(
            "option_without_length",
            "the header ends after the option's type",
            bad(&[1, 1, 1, 148]),
            met(Reason::BadOptions, Class::Inside),
        ),
        case(
            "option_without_length_at_end",
            "the same, and the packet ends there too",
            eth() / ip(IN).options(&[1, 1, 1, 148]),
            met(Reason::BadOptions, Class::Inside),
        ),
        case(
            "lsrr_pointer_low",
            "a pointer into the option's own head",
            loose(3, &[OUT]),
            met(Reason::BadOptions, Class::Inside),
        ),
        case(
            "lsrr_pointer_odd",
            "a pointer between two hops",
            loose(6, &[IN, OUT]),
            met(Reason::BadOptions, Class::Inside),
        ),
        case(
            "lsrr_half_hop",
            "the last hop does not fit",
            bad(&[131, 9, 4, 198, 51, 100, 8, 198, 18, 0]),
            met(Reason::BadOptions, Class::Inside),
        ),
        case(
            "lsrr_past_header",
            "hops beyond the header",
            bad(&[131, 11, 4, 198, 18, 0, 7, 0]),
            met(Reason::BadOptions, Class::Inside),
        ),
        case(
            "bad_option_outside",
            "a lie on the way outside",
            eth() / ip(OUT).options(&[7, 0, 4, 0]) / udp(53),
            met(Reason::BadOptions, Class::Outside),
        ),
        // AH is followed after IPv4, too.
        case("ah", "RFC 4302: the ports are behind it", eth() / ip(OUT) / ah() / udp(53), flow(OUT, proto::UDP, 53)),
        case(
            "ah_rule",
            "a rule sees the ports behind AH",
            eth() / ip(RULED) / ah() / tcp(443),
            flow(RULED, proto::TCP, 443).ruled(),
        ),
        case(
            "v6_options_in_v4",
            "IPv6's destination options behind IPv4 are a protocol without ports",
            eth() / ip(OUT) / destination_options() / udp(53),
            flow(OUT, proto::DESTINATION_OPTIONS, 0),
        ),
        case(
            "ah_cut",
            "the packet ends inside AH",
            eth() / ip(OUT) / part(ah() / udp(53), 0..16),
            met(Reason::TruncatedExtension, Class::Outside),
        ),
    ]
}
