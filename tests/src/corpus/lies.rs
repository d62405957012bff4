//! IP and transport headers that lie or end too early.

use monitor_common::{parse::Reason, wire::Class};

use super::{Case, build::*, case, flow, met, policy::*};

pub(super) fn cases() -> Vec<Case> {
    let four = |at, lie: &[u8]| eth() / ip(IN).set(at, lie) / udp(53) / payload(20);
    let six = |at, lie: &[u8]| eth() / ip(IN6).set(at, lie) / udp(53) / payload(20);
    let short = |layer: Layer, bytes| eth() / ip(OUT) / part(layer, 0..bytes);
    let short6 = |layer: Layer, bytes| eth() / ip(OUT6) / part(layer, 0..bytes);
    let no_ports = || met(Reason::TruncatedTransport, Class::Outside);
    vec![
        // Versions.
        case(
            "v6_as_v4",
            "EtherType 0x0800 with an IPv6 header",
            eth().next(ether::IPV4) / ip(IN6) / udp(53),
            Reason::BadIpVersion,
        ),
        case(
            "v4_as_v6",
            "EtherType 0x86dd with an IPv4 header",
            eth().next(ether::IPV6) / ip(IN) / udp(53) / payload(20),
            Reason::BadIpVersion,
        ),
        case("version_0", "neither 4 nor 6", four(0, &[0x05]), Reason::BadIpVersion),
        case("version_5", "ST-II", six(0, &[0x50]), Reason::BadIpVersion),
        // IPv4 lengths.
        case("ihl_4", "a header of four words", four(0, &[0x44]), Reason::BadIpLength),
        case("ihl_0", "a header of nothing", four(0, &[0x40]), Reason::BadIpLength),
        case(
            "ihl_4_outside",
            "the same on the way outside",
            eth() / ip(OUT).set(0, &[0x44]) / udp(53),
            met(Reason::BadIpLength, Class::Outside),
        ),
        case(
            "ihl_beyond_outside",
            "a header longer than its packet on the way outside",
            eth() / ip(OUT).set(0, &[0x4f]) / udp(53),
            met(Reason::BadIpLength, Class::Outside),
        ),
        case(
            "ihl_beyond_total",
            "a header longer than its packet",
            eth() / ip(IN).set(0, &[0x4f]) / udp(53),
            Reason::BadIpLength,
        ),
        case("total_19", "a packet shorter than any header", four(2, &[0, 19]), Reason::BadIpLength),
        case(
            "total_below_header",
            "a packet shorter than its options",
            eth() / ip(IN).options(&[1; 8]).set(2, &[0, 24]) / udp(53),
            Reason::BadIpLength,
        ),
        case("total_beyond", "one byte more than there is", four(2, &[0, 49]), Reason::LengthBeyondFrame),
        case("total_far_beyond", "65,535 bytes", four(2, &[255, 255]), Reason::LengthBeyondFrame),
        case(
            "total_beyond_outside",
            "the same on the way outside",
            eth() / ip(OUT).set(2, &[255, 255]) / udp(53),
            met(Reason::LengthBeyondFrame, Class::Outside),
        ),
        case(
            "total_shorter",
            "trailing bytes are padding",
            eth() / ip(OUT).set(2, &[0, 28]) / udp(53).set(4, &[0, 8]) / payload(20),
            flow(OUT, proto::UDP, 53),
        ),
        case(
            "total_0",
            "a super-packet beyond 64 KiB (BIG TCP): the frame's end holds",
            eth() / ip(OUT).set(2, &[0, 0]) / tcp(22),
            flow(OUT, proto::TCP, 22),
        ),
        case(
            "total_0_no_ports",
            "the same, and the frame ends before the ports",
            eth() / ip(OUT).set(2, &[0, 0]) / part(tcp(22), 0..3),
            no_ports(),
        ),
        // IPv6 lengths.
        case("payload_beyond", "one byte more than there is", six(4, &[0, 29]), Reason::LengthBeyondFrame),
        case("payload_far_beyond", "65,535 bytes", six(4, &[255, 255]), Reason::LengthBeyondFrame),
        case(
            "payload_shorter",
            "trailing bytes are padding",
            eth() / ip(OUT6).set(4, &[0, 8]) / udp(53).set(4, &[0, 8]) / payload(20),
            flow(OUT6, proto::UDP, 53),
        ),
        // Frames that end too early.
        case("ip_missing", "an Ethernet header and nothing else", eth().next(ether::IPV4), Reason::TruncatedIp),
        case("v4_cut", "19 bytes of IPv4 header", (eth() / ip(IN) / udp(53)).cut(14 + 19), Reason::TruncatedIp),
        case(
            "v4_cut_tagged",
            "the same behind three tags",
            (eth().vlan(1).vlan(2).vlan(3) / ip(IN) / udp(53)).cut(26 + 12),
            Reason::TruncatedIp,
        ),
        case("v6_cut", "39 bytes of IPv6 header", (eth() / ip(IN6) / udp(53)).cut(14 + 39), Reason::TruncatedIp),
        case(
            "v4_frame_cut",
            "the header is whole, the rest is not there",
            (eth() / ip(IN) / udp(53)).cut(14 + 20),
            Reason::LengthBeyondFrame,
        ),
        case("v6_frame_cut", "the same", (eth() / ip(IN6) / udp(53)).cut(14 + 40), Reason::LengthBeyondFrame),
        // Packets that end before the ports.
        case("udp_empty", "no transport header at all", short(udp(53), 0), no_ports()),
        case("udp_cut", "three bytes of ports", short(udp(53), 3), no_ports()),
        case("udp_ports_only", "four bytes are enough to know the ports", short(udp(53), 4), flow(OUT, proto::UDP, 53)),
        case(
            "udp_cut_padded",
            "the ports are in the padding, not in the packet",
            (short(udp(53), 2)).pad(20),
            no_ports(),
        ),
        case("tcp6_cut", "two bytes of ports", short6(tcp(22), 2), no_ports()),
        case("sctp_cut", "three bytes of ports", short6(ports(proto::SCTP, 38412), 3), no_ports()),
        case("icmp_cut", "a type without its code", short(icmp(8, 0), 1), no_ports()),
        case("icmpv6_cut", "a type without its code", short6(icmpv6(128, 0), 1), no_ports()),
    ]
}
