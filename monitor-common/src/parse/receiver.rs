//! What a receiver makes of a tunnel in UDP. Clients behind a NAT have the ports of tunnels, too: what no receiver would
//! take (a "MUST discard" of the tunnel's RFC or of IP's, and what Linux drops on its way in) is an ordinary datagram.
//!
//! Until the IP header inside has been found sound the tunnel is in doubt; with that it is one, and all that is wrong
//! further inside has a reason, since a router forwards without looking there.

use super::{Bytes, Reason, UDP_HEADER, header_walker::HeaderWalker, opaque, protocol as known};
use crate::wire::{Address, ON_LINK, Opaque, Via};

/// Whether a tunnel is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doubt {
    /// It is, or there is none.
    None = 0,
    /// If its content is: its header could be anything.
    Tunnel,
    /// Its header is one in all its fields, so that content which is none cannot be read.
    Content,
}

/// Bytes of an IPv4 header without options, and of an IPv6 header.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;

impl HeaderWalker {
    /// A UDP header begins at the current offset whose destination port is that of a tunnel. `hidden`: see the field.
    #[inline(always)]
    pub(super) fn doubt(&mut self, hidden: bool) {
        self.datagram = self.offset;
        self.doubt = Doubt::Tunnel;
        self.hidden = hidden;
    }

    /// The tunnel's header is one, if `sure` in all its fields.
    #[inline(always)]
    pub(super) fn believe(&mut self, sure: bool) {
        if sure {
            self.doubt = Doubt::Content;
        }
    }

    /// Whether it is still to be seen that the tunnel is one.
    #[inline(always)]
    pub(super) fn in_doubt(&self) -> bool {
        self.doubt != Doubt::None
    }

    /// Stops for this reason, or in a tunnel that is in doubt takes it for an ordinary datagram.
    #[inline(always)]
    pub(super) fn refuse(&mut self, reason: Reason) -> Result<(), Reason> {
        self.refused = self.in_doubt();
        Err(reason)
    }

    /// Ends with an ordinary datagram where a tunnel was in doubt.
    #[inline(always)]
    pub(super) fn ordinary(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        self.refused = false;
        if self.doubt == Doubt::Content {
            return self.finish_opaque(Opaque::Other);
        }
        let ports = frame.be32(self.datagram).ok_or(Reason::TruncatedTransport)?;
        let length = frame.be16(self.datagram + 4).ok_or(Reason::TruncatedTransport)?;
        let ports = ((ports >> 16) as u16, ports as u16);
        let what = opaque::udp(frame, self.datagram, self.limit, u32::from(length), ports);
        self.finish_opaque(what.ok_or(Reason::TruncatedTransport)?)
    }

    /// Ends with a tunnel whose content is not followed, unless it is in doubt whether it is one.
    #[inline(always)]
    pub(super) fn unreadable(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        if self.in_doubt() { self.ordinary(frame) } else { self.finish_opaque(Opaque::Other) }
    }

    /// Ends with MPLS in UDP whose content is a pseudowire's, unless something else marks the datagram.
    #[inline(always)]
    pub(super) fn pseudowire(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        self.unreadable(frame)?;
        if self.key.flags & !ON_LINK == Opaque::None as u8 { self.finish_opaque(Opaque::Other) } else { Ok(()) }
    }

    /// If the tunnel is in doubt: whether a receiver takes the IPv4 header at the current offset, of `header` bytes, for
    /// that of a packet of `total` bytes (RFC 1122 3.2.1, RFC 1812 5.2.2; `ip_rcv_core`).
    ///
    /// # Errors
    /// It does not, or its bytes are outside the frame.
    #[inline(always)]
    pub(super) fn confirm_v4(&mut self, frame: impl Bytes, header: u32, total: u32) -> Result<(), Reason> {
        if !self.in_doubt() {
            return Ok(());
        }
        if header < IPV4_HEADER || header > total || (self.offset + total > self.limit && !self.in_first_fragment) {
            return self.refuse(Reason::BadIpLength);
        }
        if self.hidden {
            self.require(header, Reason::TruncatedIp)?;
            if !has_checksum(frame, self.offset, header).ok_or(Reason::TruncatedIp)? {
                return self.refuse(Reason::BadIpLength);
            }
        }
        self.doubt = Doubt::None;
        Ok(())
    }

    /// The same for an IPv6 header. It has no checksum: where the tunnel's header says little it has to fill the datagram
    /// to the byte, unless Teredo's addresses say more (RFC 4380 5.3.1, and RFC 6081 has trailers), and to come from and
    /// go to addresses that are assigned for anything.
    ///
    /// # Errors
    /// As [`Self::confirm_v4`].
    #[inline(always)]
    pub(super) fn confirm_v6(
        &mut self,
        payload: u32,
        next: u8,
        source: Address,
        destination: Address,
    ) -> Result<(), Reason> {
        if !self.in_doubt() {
            return Ok(());
        }
        let rest = self.limit - self.offset - IPV6_HEADER;
        let fits = payload <= rest || self.in_first_fragment;
        // Without a length: a super-packet, which is TCP's, or a jumbogram.
        let fills = payload >= rest || (payload == 0 && matches!(next, known::TCP | known::HOP_BY_HOP));
        let teredo = self.via == Via::Teredo && (is_teredo(source) || is_link_local(source) || is_teredo(destination));
        let taken =
            !self.hidden || teredo || (is_host(source) && is_anywhere(destination) && (fills || self.via == Via::GtpU));
        if !(fits && taken) {
            return self.refuse(Reason::BadIpLength);
        }
        self.doubt = Doubt::None;
        Ok(())
    }

    /// The end of a UDP datagram is that of what it carries: its receiver takes no more.
    #[inline(always)]
    pub(super) fn end_with_datagram(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let length = u32::from(frame.be16(self.offset + 4).ok_or(Reason::TruncatedTransport)?);
        if length >= UDP_HEADER && self.offset + length < self.limit {
            self.limit = self.offset + length;
        }
        Ok(())
    }
}

/// Whether an IPv4 header's checksum is right. `None`: it is outside the frame.
#[inline(always)]
fn has_checksum(frame: impl Bytes, offset: u32, header: u32) -> Option<bool> {
    let (mut sum, mut at) = (0, 0);
    // Fifteen words at most.
    for _ in 0..15 {
        if at >= header {
            break;
        }
        sum += u64::from(frame.be32(offset + at)?);
        at += 4;
    }
    // Sums of whole words fold to what sums of their halves do.
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    Some(sum == 0xffff)
}

/// 2001::/32.
#[inline(always)]
const fn is_teredo(address: Address) -> bool {
    address.high >> 32 == 0x2001_0000
}

/// fe80::/10.
#[inline(always)]
const fn is_link_local(address: Address) -> bool {
    address.high >> 54 == 0xfe80 >> 6
}

/// What a host can have: 2000::/3, fc00::/7, fe80::/10.
#[inline(always)]
const fn is_host(address: Address) -> bool {
    address.high >> 61 == 1 || address.high >> 57 == 0xfc >> 1 || is_link_local(address)
}

/// Where a packet can go: besides, multicast, a translator of NAT64, a segment of SRv6 (5f00::/16).
#[inline(always)]
const fn is_anywhere(address: Address) -> bool {
    is_host(address) || address.high >> 56 == 0xff || address.high >> 32 == 0x0064_ff9b || address.high >> 48 == 0x5f00
}
