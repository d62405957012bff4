//! GTP-U.

use super::*;

pub(super) fn cases() -> Vec<Case> {
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
            plain(OUT),
        ),
        case("gtp_empty", "the packet ends before the GTP header", eth() / ip(OUT) / udp(2152), plain(OUT)),
        case(
            "gtp_sequence_cut",
            "the packet ends inside the sequence number that S announces",
            eth() / ip(OUT) / udp(2152) / part(gtp(2, 255, &[0, 1, 0, 0]), 0..10),
            plain(OUT).opaque(Opaque::Other),
        ),
        case(
            "gtp_extension_missing",
            "the packet ends before the extension header that is announced",
            tunnel(OUT, 4, &[0, 0, 0, 0x85]),
            plain(OUT).opaque(Opaque::Other),
        ),
        case(
            "gtp_extension_cut",
            "the packet ends inside an extension header",
            tunnel(OUT, 4, &[0, 0, 0, 0x85, 4, 0, 0, 0]),
            plain(OUT).opaque(Opaque::Other),
        ),
        case(
            "gtp_extension_empty",
            "an extension header of length 0 would never end",
            tunnel(OUT, 4, &[0, 0, 0, 0x85, 0, 0, 0, 0]) / inner(),
            plain(OUT).opaque(Opaque::Other),
        ),
        case(
            "gtp_ip_cut",
            "the packet ends inside the inner header",
            tunnel(OUT, 0, &[]) / part(ip(IN) / udp(53), 0..12),
            plain(OUT).opaque(Opaque::Other),
        ),
    ]);
    cases
}
