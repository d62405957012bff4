//! Content that nobody can read: where the packet goes is known, where its content ends up is not.

use monitor_common::wire::{Opaque, Via};

use super::{Case, build::*, case, flow, policy::*};

pub(super) fn cases() -> Vec<Case> {
    let udp_to = |port| flow(OUT, proto::UDP, port);
    let wg = |name, about, message: Layer, opaque| {
        case(name, about, eth() / ip(OUT) / udp(33_333) / message, udp_to(33_333).opaque(opaque))
    };
    let marked = |name, about, layer: Layer, opaque| {
        let protocol = layer.number();
        case(name, about, eth() / ip(OUT) / layer, flow(OUT, protocol, 0).opaque(opaque))
    };
    let plain = |protocol| payload(24).protocol(protocol);
    let other_port = |name, about, port| {
        case(name, about, eth() / ip(OUT) / udp(port) / payload(40), udp_to(port).opaque(Opaque::Other))
    };
    let esp_in_udp = || raw(&[0, 0, 0, 9, 0, 0, 0, 1, 0x5a, 0x5a, 0x5a, 0x5a]);
    vec![
        marked("esp", "RFC 4303", esp(), Opaque::Esp),
        case(
            "esp6_inside",
            "ESP to inside is marked, too",
            eth() / ip(IN6) / esp(),
            flow(IN6, proto::ESP, 0).opaque(Opaque::Esp),
        ),
        case(
            "esp_behind_ah",
            "AH and ESP (RFC 4301)",
            eth() / ip(OUT) / ah() / esp(),
            flow(OUT, proto::ESP, 0).opaque(Opaque::Esp),
        ),
        case(
            "esp_behind_options",
            "destination options and ESP",
            eth() / ip(OUT6) / destination_options() / esp(),
            flow(OUT6, proto::ESP, 0).opaque(Opaque::Esp),
        ),
        case(
            "esp_in_udp",
            "RFC 3948: to port 4500",
            eth() / ip(OUT) / udp(4500) / esp_in_udp(),
            udp_to(4500).opaque(Opaque::EspInUdp),
        ),
        case(
            "esp_in_udp_answer",
            "from port 4500, as through NAT",
            eth() / ip(OUT) / udp_from(4500, 61_000) / esp_in_udp(),
            udp_to(61_000).sent_from(4500).opaque(Opaque::EspInUdp),
        ),
        case(
            "ike_in_udp",
            "IKE behind the non-ESP marker belongs to it",
            eth() / ip(OUT6) / udp(4500) / payload(28).set(0, &[0, 0, 0, 0]),
            flow(OUT6, proto::UDP, 4500).opaque(Opaque::EspInUdp),
        ),
        case("tcp_4500", "TCP to port 4500 is TCP", eth() / ip(OUT) / tcp(4500), flow(OUT, proto::TCP, 4500)),
        wg("wireguard_initiation", "type 1, 148 bytes, at any port", wireguard(1, 148), Opaque::WireGuard),
        wg("wireguard_response", "type 2, 92 bytes", wireguard(2, 92), Opaque::WireGuard),
        wg("wireguard_cookie", "type 3, 64 bytes", wireguard(3, 64), Opaque::WireGuard),
        wg("wireguard_keepalive", "type 4, 32 bytes: no content", wireguard(4, 32), Opaque::WireGuard),
        wg("wireguard_data", "type 4, 32 and a multiple of 16 bytes", wireguard(4, 32 + 16 * 6), Opaque::WireGuard),
        wg("wireguard_odd_length", "no message of type 4 has this length", wireguard(4, 100), Opaque::None),
        wg("wireguard_long_initiation", "one byte too many", wireguard(1, 149), Opaque::None),
        wg("wireguard_long_response", "the same for type 2", wireguard(2, 93), Opaque::None),
        wg("wireguard_long_cookie", "the same for type 3", wireguard(3, 65), Opaque::None),
        wg("wireguard_short_data", "type 4 has at least 32 bytes", wireguard(4, 16), Opaque::None),
        wg("wireguard_type_5", "there is no such type", wireguard(5, 64), Opaque::None),
        wg("wireguard_reserved", "the three bytes after the type are 0", wireguard(1, 148).set(2, &[1]), Opaque::None),
        case(
            "wireguard_trailing",
            "bytes behind the UDP datagram inside the IP packet: UDP's length counts, the receiver takes no more",
            eth() / ip(OUT) / part(udp(33_333).set(4, &[0, 8 + 32]) / wireguard(4, 32 + 5), 0..8 + 32 + 5),
            udp_to(33_333).opaque(Opaque::WireGuard),
        ),
        case(
            "wireguard_padded",
            "padding of the frame is not the message's",
            (eth() / ip(OUT) / udp(33_333) / wireguard(4, 32)).pad(5),
            udp_to(33_333).opaque(Opaque::WireGuard),
        ),
        case(
            "wireguard_super_packet",
            "UDP without a length of its own: the IP packet's end holds",
            eth() / ip(OUT) / udp(33_333).set(4, &[0, 0]) / wireguard(4, 32),
            udp_to(33_333).opaque(Opaque::WireGuard),
        ),
        case(
            "wireguard_in_gre",
            "the innermost layer marks the whole",
            eth() / ip(IN) / gre() / ip(OUT) / udp(33_333) / wireguard(2, 92),
            flow(IN, proto::GRE, 0).inner(Via::Gre, OUT, proto::UDP, 33_333).opaque(Opaque::WireGuard),
        ),
        case(
            "quic_in_vxlan",
            "the same for UDP port 443",
            eth() / ip(IN) / udp(4789) / vxlan(9) / eth() / ip(OUT6) / udp(443) / payload(40),
            flow(IN, proto::UDP, 4789).inner(Via::Vxlan, OUT6, proto::UDP, 443).opaque(Opaque::Quic),
        ),
        case(
            "quic_port",
            "UDP to port 443",
            eth() / ip(OUT) / udp(443) / payload(40).set(0, &[0x40]),
            udp_to(443).opaque(Opaque::Quic),
        ),
        case(
            "quic_answer",
            "UDP from port 443",
            eth() / ip(OUT6) / udp_from(443, 61_000) / payload(40),
            flow(OUT6, proto::UDP, 61_000).sent_from(443).opaque(Opaque::Quic),
        ),
        case(
            "quic_v1",
            "RFC 9000: a long header at any port",
            eth() / ip(OUT) / udp(8443) / quic(1),
            udp_to(8443).opaque(Opaque::Quic),
        ),
        case(
            "quic_v2",
            "RFC 9369: version 2",
            eth() / ip(OUT) / udp(8443) / quic(0x6b33_43cf),
            udp_to(8443).opaque(Opaque::Quic),
        ),
        case(
            "quic_other_version",
            "a long header of a version that nobody defined",
            eth() / ip(OUT) / udp(8443) / quic(0x1234_5678),
            udp_to(8443),
        ),
        case(
            "quic_no_fixed_bit",
            "RFC 9000, 17.2: a long header without the fixed bit",
            eth() / ip(OUT) / udp(8443) / quic(1).set(0, &[0x80]),
            udp_to(8443),
        ),
        case(
            "quic_padded",
            "five bytes that would be a long header's first, and padding",
            (eth() / ip(OUT) / udp(8443) / raw(&[0xc0, 0, 0, 0, 1])).pad(13),
            udp_to(8443),
        ),
        case(
            "quic_short",
            "a short header cannot be told from anything else",
            eth() / ip(OUT) / udp(8443) / payload(40).set(0, &[0x40, 0, 0, 0, 1]),
            udp_to(8443),
        ),
        case("tcp_443", "TCP to port 443 is TCP", eth() / ip(OUT) / tcp(443), flow(OUT, proto::TCP, 443)),
        marked("ipcomp", "RFC 3173: compressed", plain(proto::IPCOMP), Opaque::Other),
        marked(
            "l2tp",
            "RFC 3931: sessions whose content nothing in the packet shows",
            plain(proto::L2TP),
            Opaque::Other,
        ),
        marked("minimal", "RFC 2004: minimal encapsulation", plain(proto::MINIMAL), Opaque::Other),
        marked("ip_within_ip", "protocol 94 (IANA: deprecated): nobody follows it", plain(94), Opaque::Other),
        marked("encapsulation", "RFC 1241: protocol 98", plain(98), Opaque::Other),
        other_port("openvpn", "UDP to OpenVPN's port", 1194),
        other_port("l2tp_in_udp", "RFC 2661: L2TP", 1701),
        other_port("lisp", "RFC 9300: LISP's data", 4341),
        case(
            "amt",
            "RFC 7450: automatic multicast tunneling, by its first byte",
            eth() / ip(OUT) / udp(2268) / payload(40).set(0, &[6]),
            udp_to(2268).opaque(Opaque::Other),
        ),
        case("amt_type", "there is no such type", eth() / ip(OUT) / udp(2268) / payload(40).set(0, &[8]), udp_to(2268)),
        other_port("capwap", "RFC 5415: CAPWAP's data", 5247),
        other_port("gue", "a draft: generic UDP encapsulation", 6080),
        case(
            "openvpn_answer",
            "from OpenVPN's port: nothing says so",
            eth() / ip(OUT) / udp_from(1194, 61_000) / payload(40),
            udp_to(61_000).sent_from(1194),
        ),
        case(
            "ipcomp6",
            "RFC 3173 in IPv6",
            eth() / ip(IN6) / plain(proto::IPCOMP),
            flow(IN6, proto::IPCOMP, 0).opaque(Opaque::Other),
        ),
    ]
}
