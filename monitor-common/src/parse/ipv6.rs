//! IPv6 (RFC 8200) with a bounded chain of extension headers.

use super::{Bytes, Reason, l4};
use crate::wire::{Address, FlowKey};

/// Extension headers that are followed before the packet is [`Reason::ExtensionDepth`].
const MAX_EXTENSIONS: u32 = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

const FIXED_HEADER: usize = 40;

#[inline(always)]
pub(super) fn parse(frame: impl Bytes, offset: usize, key: &mut FlowKey) -> Result<(), Reason> {
    let low = frame.be64(offset + 32).ok_or(Reason::TruncatedIp)?;
    let high = frame.be64(offset + 24).ok_or(Reason::TruncatedIp)?;
    if frame.u8(offset).ok_or(Reason::TruncatedIp)? >> 4 != 6 {
        return Err(Reason::BadIpVersion);
    }
    let length = usize::from(frame.be16(offset + 4).ok_or(Reason::TruncatedIp)?);
    // A payload length of 0 is a jumbogram (RFC 2675) or a GSO super-packet: the frame's end holds.
    let payload = if length == 0 { usize::MAX } else { length };
    key.source = Address {
        high: frame.be64(offset + 8).ok_or(Reason::TruncatedIp)?,
        low: frame.be64(offset + 16).ok_or(Reason::TruncatedIp)?,
    };
    key.destination = Address { high, low };
    key.ip_version = 6;
    let mut next = frame.u8(offset + 6).ok_or(Reason::TruncatedIp)?;
    // How far into the payload the chain has come.
    let mut at = 0;
    for _ in 0..MAX_EXTENSIONS {
        let Some(unit) = extension_unit(next) else { break };
        let header = frame.be32(offset + FIXED_HEADER + at).ok_or(Reason::TruncatedExtension)?;
        if next == FRAGMENT && header & 0xfff8 != 0 {
            l4::later_fragment((header >> 24) as u8, key);
            return Ok(());
        }
        next = (header >> 24) as u8;
        at = frame.forget(at + 8 + (header as usize >> 16 & 0xff) * unit);
        if at > payload {
            return Err(Reason::TruncatedExtension);
        }
    }
    if extension_unit(next).is_some() {
        return Err(Reason::ExtensionDepth);
    }
    l4::parse(frame, offset + FIXED_HEADER + at, payload - at, next, key)
}

/// Bytes that one unit of an extension header's length field stands for, beyond the first eight; `None` for what
/// is no extension header. A fragment header has no length: its second byte is reserved.
#[inline(always)]
const fn extension_unit(next: u8) -> Option<usize> {
    match next {
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6 => Some(8),
        AUTHENTICATION => Some(4),
        FRAGMENT => Some(0),
        _ => None,
    }
}
