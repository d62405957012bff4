//! IPv6 (RFC 8200) with a bounded chain of extension headers.

use super::{Bytes, Packet, Reason, l4};
use crate::wire::Address;

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
pub(super) fn parse(frame: impl Bytes, offset: usize) -> Result<Packet, Reason> {
    let low = frame.be64(offset + 32).ok_or(Reason::TruncatedIp)?;
    let high = frame.be64(offset + 24).ok_or(Reason::TruncatedIp)?;
    if frame.u8(offset).ok_or(Reason::TruncatedIp)? >> 4 != 6 {
        return Err(Reason::BadIpVersion);
    }
    let payload = usize::from(frame.be16(offset + 4).ok_or(Reason::TruncatedIp)?);
    // A payload length of 0 is a jumbogram (RFC 2675) or a GSO super-packet: the frame's end holds.
    let end = if payload == 0 { usize::MAX } else { offset + FIXED_HEADER + payload };
    let mut packet = Packet {
        source: Address {
            high: frame.be64(offset + 8).ok_or(Reason::TruncatedIp)?,
            low: frame.be64(offset + 16).ok_or(Reason::TruncatedIp)?,
        },
        destination: Address { high, low },
        ip_version: 6,
        ..Packet::default()
    };
    let mut next = frame.u8(offset + 6).ok_or(Reason::TruncatedIp)?;
    let mut at = offset + FIXED_HEADER;
    for _ in 0..MAX_EXTENSIONS {
        let length = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6 => {
                8 + 8 * usize::from(frame.u8(at + 1).ok_or(Reason::TruncatedExtension)?)
            }
            AUTHENTICATION => 8 + 4 * usize::from(frame.u8(at + 1).ok_or(Reason::TruncatedExtension)?),
            FRAGMENT => {
                let fragment = frame.be16(at + 2).ok_or(Reason::TruncatedExtension)?;
                if fragment & 0xfff8 != 0 {
                    packet.later_fragment = true;
                    packet.protocol = frame.u8(at).ok_or(Reason::TruncatedExtension)?;
                    return Ok(packet);
                }
                8
            }
            _ => {
                l4::parse(frame, at, end, next, &mut packet)?;
                return Ok(packet);
            }
        };
        if at + length > end {
            return Err(Reason::TruncatedExtension);
        }
        next = frame.u8(at).ok_or(Reason::TruncatedExtension)?;
        at += length;
    }
    match next {
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6 => {
            Err(Reason::ExtensionDepth)
        }
        _ => {
            l4::parse(frame, at, end, next, &mut packet)?;
            Ok(packet)
        }
    }
}
