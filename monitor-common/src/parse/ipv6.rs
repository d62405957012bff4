//! IPv6 (RFC 8200) with its extension headers in any order (and the authentication header after IPv4), routing headers
//! and jumbograms.

use super::{
    Bytes, Reason,
    header_walker::{HeaderWalker, Layer},
    protocol as known,
};
use crate::wire::{Address, Via, on_link};

const FIXED_HEADER: u32 = 40;
/// Extension headers that are followed after one IP header before the packet is [`Reason::ExtensionDepth`].
const MAX_EXTENSIONS: u32 = 8;

/// Bytes in one unit of an extension header's length field, which counts those beyond the first eight; `None` for what
/// is no extension header. A fragment header has no length: its second byte is reserved.
#[inline(always)]
const fn unit(ip_version: u8, next: u8) -> Option<u32> {
    match next {
        known::AUTHENTICATION => Some(4),
        _ if ip_version == 4 => None,
        known::HOP_BY_HOP
        | known::ROUTING
        | known::DESTINATION_OPTIONS
        | known::MOBILITY
        | known::HIP
        | known::SHIM6 => Some(8),
        known::FRAGMENT => Some(0),
        _ => None,
    }
}

impl HeaderWalker {
    #[inline(always)]
    pub(super) fn ipv6(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        self.require(FIXED_HEADER, Reason::TruncatedIp)?;
        if self.in_doubt() {
            return self.confirm_v6(frame);
        }
        let offset = self.offset;
        let low = frame.be64(offset + 32).ok_or(Reason::TruncatedIp)?;
        let high = frame.be64(offset + 24).ok_or(Reason::TruncatedIp)?;
        let source = Address {
            high: frame.be64(offset + 8).ok_or(Reason::TruncatedIp)?,
            low: frame.be64(offset + 16).ok_or(Reason::TruncatedIp)?,
        };
        let word = frame.be32(offset + 4).ok_or(Reason::TruncatedIp)?;
        if frame.u8(offset).ok_or(Reason::TruncatedIp)? >> 4 != 6 {
            return Err(Reason::BadIpVersion);
        }
        let payload = word >> 16;
        let next = (word >> 8) as u8;
        let group = (high >> 56) as u32 ^ 0xff;
        let flags = on_link(frame.index(word & 0xff, 0xff), frame.index(group, 0xff));
        self.enter_ip(frame, 6, source, Address { high, low }, flags)?;
        self.set_current_transport(frame, next, 0, 0);
        self.offset = offset + FIXED_HEADER;
        self.fixed_header_end = self.offset;
        self.next = u16::from(next);
        self.layer = Layer::Protocol;
        self.no_payload_length = payload == 0;
        if self.no_payload_length {
            // A jumbogram (RFC 2675), or a GSO super-packet, which ends where the enclosing packet does.
            self.expects_jumbo = next == known::HOP_BY_HOP;
            self.set_announced_end(self.limit)
        } else {
            self.set_announced_end(offset + FIXED_HEADER + payload)
        }
    }

    /// The next header of an IP header or of an extension header.
    #[inline(always)]
    pub(super) fn protocol(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let next = self.next as u8;
        if self.in_later_fragment {
            return self.finish();
        }
        match unit(self.ip_version, next) {
            Some(unit) => self.extension(frame, next, unit),
            None => self.transport(frame, next),
        }
    }

    #[inline(always)]
    fn extension(&mut self, frame: impl Bytes, kind: u8, unit: u32) -> Result<(), Reason> {
        if self.extensions >= MAX_EXTENSIONS {
            return Err(Reason::ExtensionDepth);
        }
        self.extensions += 1;
        self.require(8, Reason::TruncatedExtension)?;
        let word = frame.be32(self.offset).ok_or(Reason::TruncatedExtension)?;
        let size = 8 + (word >> 16 & 0xff) * unit;
        self.require(size, Reason::TruncatedExtension)?;
        self.next = (word >> 24) as u16;
        self.set_current_transport(frame, (word >> 24) as u8, 0, 0);
        let offset = self.offset;
        self.offset = offset + size;
        match kind {
            known::HOP_BY_HOP if self.expects_jumbo => {
                self.offset = offset + 2;
                self.options_end = offset + size;
                self.layer = Layer::JumboOption;
                Ok(())
            }
            known::ROUTING => self.routing(frame, offset, size, word),
            // Offset 0 and no more fragments: a whole packet (RFC 6946).
            known::FRAGMENT if word & 0xfff9 != 0 && self.no_payload_length => Err(Reason::BadIpLength),
            known::FRAGMENT if word & 0xfff9 != 0 => {
                let id = frame.be32(offset + 4).ok_or(Reason::TruncatedExtension)?;
                let payload = self.announced_end - self.offset;
                self.push_fragment(frame, 0, id, (word & 0xfff8) >> 3, payload, word & 1 != 0)
            }
            _ => Ok(()),
        }
    }

    /// A hop-by-hop option of a packet whose length is in one of them (RFC 2675).
    #[inline(always)]
    pub(super) fn jumbo_option(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        const PAD_ONE: u8 = 0;
        const JUMBO_PAYLOAD: u8 = 0xc2;
        let left = self.options_end - self.offset;
        if left == 0 {
            return Err(Reason::BadIpLength);
        }
        let kind = frame.u8(self.offset).ok_or(Reason::TruncatedExtension)?;
        if kind == PAD_ONE {
            self.offset += 1;
            return Ok(());
        }
        if left < 2 {
            return Err(Reason::BadIpLength);
        }
        let length = u32::from(frame.u8(self.offset + 1).ok_or(Reason::TruncatedExtension)?);
        if length + 2 > left {
            return Err(Reason::BadIpLength);
        }
        if kind != JUMBO_PAYLOAD {
            self.offset += length + 2;
            return Ok(());
        }
        if length != 4 {
            return Err(Reason::BadIpLength);
        }
        let payload = frame.be32(self.offset + 2).ok_or(Reason::TruncatedExtension)?;
        if payload <= 0xffff {
            return Err(Reason::BadIpLength);
        }
        self.offset = self.options_end;
        self.layer = Layer::Protocol;
        self.expects_jumbo = false;
        self.set_announced_end(self.fixed_header_end.saturating_add(payload))
    }

    /// Finds the addresses of a routing header that the packet has yet to visit.
    #[inline(always)]
    fn routing(&mut self, frame: impl Bytes, offset: u32, size: u32, word: u32) -> Result<(), Reason> {
        const SOURCE_ROUTE: u32 = 0; // RFC 5095
        const MOBILE: u32 = 2; // RFC 6275
        const RPL: u32 = 3; // RFC 6554
        const SEGMENTS: u32 = 4; // RFC 8754
        const ADDRESS: u32 = 16;
        let (kind, left) = (word >> 8 & 0xff, word & 0xff);
        if left == 0 {
            return Ok(());
        }
        let list = size - 8;
        let after = frame.be32(offset + 4).ok_or(Reason::TruncatedExtension)?;
        self.elided = 0;
        self.elided_last = 0;
        self.hop_step = ADDRESS;
        match kind {
            // The last addresses of the list, in order.
            SOURCE_ROUTE | MOBILE => {
                if list & (ADDRESS - 1) != 0 || left * ADDRESS > list || (kind == MOBILE && list != ADDRESS) {
                    return Err(Reason::BadRouting);
                }
                self.hop_offset = offset + size - left * ADDRESS;
            }
            // The same, without the leading bytes that they share with the destination.
            RPL => {
                self.elided = after >> 28;
                self.elided_last = after >> 24 & 0x0f;
                let padding = after >> 20 & 0x0f;
                self.hop_step = ADDRESS - self.elided;
                let last = padding + ADDRESS - self.elided_last;
                let bytes = last + (left - 1) * self.hop_step;
                if bytes > list || !(list - last).is_multiple_of(self.hop_step) {
                    return Err(Reason::BadRouting);
                }
                self.hop_offset = offset + size - bytes;
            }
            // The first addresses of the list, in reverse order.
            SEGMENTS => {
                let segments = (after >> 24) + 1;
                if left > segments || segments * ADDRESS > list {
                    return Err(Reason::BadRouting);
                }
                self.hop_offset = offset + 8 + (left - 1) * ADDRESS;
                self.hop_step = ADDRESS.wrapping_neg();
            }
            _ => return Err(Reason::BadRouting),
        }
        self.hops_left = left;
        self.layer = Layer::Ipv6Hop;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn ipv6_hop(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let elided = if self.hops_left == 1 { self.elided_last } else { self.elided };
        // The bytes before a compressed address are part of the headers too, so that reading all 16 is safe.
        let at = self.hop_offset - elided;
        let read = Address {
            high: frame.be64(at).ok_or(Reason::TruncatedExtension)?,
            low: frame.be64(at + 8).ok_or(Reason::TruncatedExtension)?,
        };
        let (high, low) = first_bytes(elided);
        let address = Address {
            high: self.destination.high & high | read.high & !high,
            low: self.destination.low & low | read.low & !low,
        };
        self.push_current_hop(frame, address, 6, Via::RoutingHeader)?;
        self.hop_offset = self.hop_offset.wrapping_add(self.hop_step);
        self.hops_left -= 1;
        if self.hops_left == 0 {
            self.layer = Layer::Protocol;
        }
        Ok(())
    }
}

/// A mask of the first `count` (below 16) bytes of an address.
#[inline(always)]
const fn first_bytes(count: u32) -> (u64, u64) {
    if count < 8 { (!(u64::MAX >> (count * 8)), 0) } else { (u64::MAX, !(u64::MAX >> ((count - 8) * 8))) }
}
