//! IPv4 (RFC 791), options skipped by the header length.

use super::{Bytes, Packet, Reason, l4};
use crate::wire::Address;

const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x1fff;

#[inline(always)]
pub(super) fn parse(frame: impl Bytes, offset: usize) -> Result<Packet, Reason> {
    let first = frame.u8(offset).ok_or(Reason::TruncatedIp)?;
    // Reading the last fixed field first proves the whole fixed header.
    let destination = frame.be32(offset + 16).ok_or(Reason::TruncatedIp)?;
    let source = frame.be32(offset + 12).ok_or(Reason::TruncatedIp)?;
    if first >> 4 != 4 {
        return Err(Reason::BadIpVersion);
    }
    let header = usize::from(first & 0x0f) * 4;
    let total = usize::from(frame.be16(offset + 2).ok_or(Reason::TruncatedIp)?);
    // A total length of 0 is a GSO super-packet beyond 64 KiB (BIG TCP, kernel 6.3): the frame's end holds.
    if header < 20 || (total != 0 && total < header) {
        return Err(Reason::BadIpLength);
    }
    let end = if total == 0 { usize::MAX } else { offset + total };
    let fragment = frame.be16(offset + 6).ok_or(Reason::TruncatedIp)?;
    let protocol = frame.u8(offset + 9).ok_or(Reason::TruncatedIp)?;
    let mut packet = Packet {
        source: Address::v4(source),
        destination: Address::v4(destination),
        protocol,
        ip_version: 4,
        ..Packet::default()
    };
    if fragment & MORE_FRAGMENTS_AND_OFFSET != 0 {
        packet.later_fragment = true;
        // The options may not be there: their end must still be in the frame.
        frame.u8(offset + header - 1).ok_or(Reason::TruncatedIp)?;
        return Ok(packet);
    }
    frame.u8(offset + header - 1).ok_or(Reason::TruncatedIp)?;
    l4::parse(frame, offset + header, end, protocol, &mut packet)?;
    Ok(packet)
}
