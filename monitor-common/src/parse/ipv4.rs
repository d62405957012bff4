//! IPv4 (RFC 791) with its source routes.

use super::{
    Bytes, Reason,
    header_walker::{HeaderWalker, Layer},
};
use crate::wire::{Address, Via, on_link};

const FIXED_HEADER: u32 = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

impl HeaderWalker {
    /// The first header on a device without link layer, or in a tunnel whose header does not announce its content.
    #[inline(always)]
    pub(super) fn ip(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let short = if self.in_tunnel() { Reason::TruncatedTunnel } else { Reason::TruncatedIp };
        self.require(1, short)?;
        self.layer = match frame.u8(self.offset).ok_or(short)? >> 4 {
            4 => Layer::Ipv4,
            6 => Layer::Ipv6,
            // A pseudowire's control word, or its channel's (RFC 4385): what a router by its labels takes.
            0 | 1 if self.in_doubt() && self.via == Via::Mpls => return self.as_pseudowire(),
            _ if self.in_tunnel() => return self.unreadable(),
            _ => return Err(Reason::BadIpVersion),
        };
        Ok(())
    }

    #[inline(always)]
    pub(super) fn ipv4(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        self.require(FIXED_HEADER, Reason::TruncatedIp)?;
        if self.in_doubt() {
            return self.confirm_v4(frame);
        }
        let offset = self.offset;
        // The last field of the fixed header first: if it is there, so is the rest.
        let destination = Address::v4(frame.be32(offset + 16).ok_or(Reason::TruncatedIp)?);
        let source = Address::v4(frame.be32(offset + 12).ok_or(Reason::TruncatedIp)?);
        let first = frame.u8(offset).ok_or(Reason::TruncatedIp)?;
        let total = u32::from(frame.be16(offset + 2).ok_or(Reason::TruncatedIp)?);
        let id = u32::from(frame.be16(offset + 4).ok_or(Reason::TruncatedIp)?);
        let fragment = frame.be16(offset + 6).ok_or(Reason::TruncatedIp)?;
        let [time_to_live, protocol] = frame.be16(offset + 8).ok_or(Reason::TruncatedIp)?.to_be_bytes();
        if first >> 4 != 4 {
            return Err(Reason::BadIpVersion);
        }
        let header = u32::from(first & 0x0f) * 4;
        let available = self.limit - offset;
        let group = (destination.low as u32 >> 28) ^ 0xe;
        let flags = on_link(frame.index(time_to_live.into(), 0xff), frame.index(group, 0xff));
        self.enter_ip(frame, 4, source, destination, flags)?;
        self.set_current_transport(frame, protocol, 0, 0);
        let is_fragment = fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0;
        // A total length of 0 is a GSO super-packet beyond 64 KiB (BIG TCP, kernel 6.3): it ends where the
        // enclosing packet does. Such a packet is no fragment.
        let has_length = total != 0;
        let total = if has_length { total } else { available };
        if header < FIXED_HEADER || header > total || (is_fragment && !has_length) {
            return Err(Reason::BadIpLength);
        }
        self.set_announced_end(offset + total)?;
        self.require(header, Reason::TruncatedIp)?;
        self.next = u16::from(protocol);
        self.offset = offset + FIXED_HEADER;
        self.options_end = offset + header;
        self.layer = Layer::Ipv4Option;
        if is_fragment {
            let start = u32::from(fragment & FRAGMENT_OFFSET);
            self.push_fragment(frame, protocol, id, start, total - header, fragment & MORE_FRAGMENTS != 0)?;
        }
        Ok(())
    }

    /// Records where the packet ends according to its IP header.
    #[inline(always)]
    pub(super) fn set_announced_end(&mut self, end: u32) -> Result<(), Reason> {
        self.announced_end = end;
        if end <= self.limit {
            self.limit = end;
        } else if !self.in_first_fragment {
            return Err(Reason::LengthBeyondFrame);
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn ipv4_option(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let left = self.options_end - self.offset;
        let kind = if left == 0 { END } else { frame.u8(self.offset).ok_or(Reason::TruncatedIp)? };
        if kind == END {
            self.offset = self.options_end;
            self.layer = Layer::Protocol;
            return Ok(());
        }
        if kind == NO_OPERATION {
            self.offset += 1;
            return Ok(());
        }
        if left < 2 {
            return Err(Reason::BadOptions);
        }
        let length = u32::from(frame.u8(self.offset + 1).ok_or(Reason::TruncatedIp)?);
        if length < 2 || length > left {
            return Err(Reason::BadOptions);
        }
        if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
            // Type, length, pointer (from 1, to the next address), and addresses.
            if length < 3 || length & 3 != 3 {
                return Err(Reason::BadOptions);
            }
            let pointer = u32::from(frame.u8(self.offset + 2).ok_or(Reason::TruncatedIp)?);
            if pointer < 4 || pointer & 3 != 0 {
                return Err(Reason::BadOptions);
            }
            if pointer < length {
                self.hop_offset = self.offset + pointer - 1;
                self.hops_left = (length + 1 - pointer) / 4;
                self.layer = Layer::Ipv4Hop;
            }
        }
        self.offset += length;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn ipv4_hop(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let address = Address::v4(frame.be32(self.hop_offset).ok_or(Reason::TruncatedIp)?);
        self.push_current_hop(frame, address, 4, Via::SourceRoute)?;
        self.hop_offset += 4;
        self.hops_left -= 1;
        if self.hops_left == 0 {
            self.layer = Layer::Ipv4Option;
        }
        Ok(())
    }
}
