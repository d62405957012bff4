//! IPv4 (RFC 791), options skipped by the header length.

use super::{Bytes, Reason, l4};
use crate::wire::{Address, FlowKey};

const FRAGMENT_OFFSET: u16 = 0x1fff;
const FIXED_HEADER: usize = 20;

#[inline(always)]
pub(super) fn parse(frame: impl Bytes, offset: usize, key: &mut FlowKey) -> Result<(), Reason> {
    // The last field of the fixed header first: with it the rest is there.
    let destination = frame.be32(offset + 16).ok_or(Reason::TruncatedIp)?;
    let source = frame.be32(offset + 12).ok_or(Reason::TruncatedIp)?;
    let first = frame.u8(offset).ok_or(Reason::TruncatedIp)?;
    let total = usize::from(frame.be16(offset + 2).ok_or(Reason::TruncatedIp)?);
    let fragment = frame.be16(offset + 6).ok_or(Reason::TruncatedIp)?;
    let protocol = frame.u8(offset + 9).ok_or(Reason::TruncatedIp)?;
    if first >> 4 != 4 {
        return Err(Reason::BadIpVersion);
    }
    let header = usize::from(first & 0x0f) * 4;
    // A total length of 0 is a GSO super-packet beyond 64 KiB (BIG TCP, kernel 6.3): the frame's end holds.
    if header < FIXED_HEADER || (total != 0 && total < header) {
        return Err(Reason::BadIpLength);
    }
    // The options are not looked at, but have to be there.
    if header > FIXED_HEADER {
        frame.u8(offset + header - 1).ok_or(Reason::TruncatedIp)?;
    }
    key.source = Address::v4(source);
    key.destination = Address::v4(destination);
    key.ip_version = 4;
    if fragment & FRAGMENT_OFFSET != 0 {
        l4::later_fragment(protocol, key);
        return Ok(());
    }
    let payload = if total == 0 { usize::MAX } else { total - header };
    l4::parse(frame, offset + header, payload, protocol, key)
}
