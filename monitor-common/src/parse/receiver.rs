//! What a receiver makes of a tunnel in UDP. Clients behind a NAT have the ports of tunnels, too: what no receiver would
//! take (a "MUST discard" of the tunnel's RFC or of IP's, and what Linux drops on its way in) is an ordinary datagram.
//!
//! Until the IP header inside has been found sound the tunnel is in doubt; with that it is one, and all that is wrong
//! further inside has a reason, since a router forwards without looking there.

use super::{
    Bytes, Reason, UDP_HEADER,
    header_walker::HeaderWalker,
    opaque,
    parts::{Doubt, Refused},
    protocol as known,
};
use crate::wire::{Opaque, Via};

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
        self.refused = if self.in_doubt() { Refused::Tunnel } else { Refused::No };
        Err(reason)
    }

    /// Takes a tunnel that is in doubt for an ordinary datagram: at the end of the step, so that this is there once for
    /// the kernel's verifier.
    #[inline(always)]
    pub(super) fn as_ordinary(&mut self) -> Result<(), Reason> {
        self.refused = Refused::Tunnel;
        Ok(())
    }

    /// The same of MPLS in UDP whose content is a pseudowire's, unless something else marks the datagram.
    #[inline(always)]
    pub(super) fn as_pseudowire(&mut self) -> Result<(), Reason> {
        self.refused = Refused::Pseudowire;
        Ok(())
    }

    /// Ends with a tunnel whose content is not followed, unless it is in doubt whether it is one.
    #[inline(always)]
    pub(super) fn unreadable(&mut self) -> Result<(), Reason> {
        if self.in_doubt() { self.as_ordinary() } else { self.finish_opaque(Opaque::Other) }
    }

    /// Ends with an ordinary datagram where a tunnel was in doubt.
    #[inline(always)]
    pub(super) fn ordinary(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let pseudowire = self.refused == Refused::Pseudowire;
        self.refused = Refused::No;
        if self.doubt == Doubt::Content {
            return self.finish_opaque(Opaque::Other);
        }
        let ports = frame.be32(self.datagram).ok_or(Reason::TruncatedTransport)?;
        let length = frame.be16(self.datagram + 4).ok_or(Reason::TruncatedTransport)?;
        let ports = ((ports >> 16) as u16, ports as u16);
        let what = opaque::udp(frame, self.datagram, self.limit, u32::from(length), ports);
        let what = what.ok_or(Reason::TruncatedTransport)?;
        self.finish_opaque(if pseudowire && what == Opaque::None { Opaque::Other } else { what })
    }

    /// Whether a receiver takes what begins here, in a tunnel that is in doubt, for an IPv4 packet (RFC 1122 3.2.1,
    /// RFC 1812 5.2.2; `ip_rcv_core`). A step of its own; the next one reads the header.
    ///
    /// # Errors
    /// It does not, or its bytes are outside the frame.
    #[inline(always)]
    pub(super) fn confirm_v4(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let first = frame.be32(self.offset).ok_or(Reason::TruncatedIp)?;
        let header = (first >> 24 & 0x0f) * 4;
        let total = match first & 0xffff {
            // A super-packet.
            0 => self.limit - self.offset,
            total => total,
        };
        if first >> 28 != 4 || header < IPV4_HEADER || header > total {
            return self.refuse(Reason::BadIpLength);
        }
        if self.offset + total > self.limit && !self.in_first_fragment {
            return self.refuse(Reason::BadIpLength);
        }
        if self.hidden {
            self.require(header, Reason::TruncatedIp)?;
            let sum = sum_of(frame, self.offset, header).ok_or(Reason::TruncatedIp)?;
            if sum != 0xffff {
                return self.refuse(Reason::BadIpLength);
            }
        }
        self.doubt = Doubt::None;
        Ok(())
    }

    /// The same for an IPv6 packet. It has no checksum: where the tunnel's header says little it has to fill the datagram
    /// to the byte, unless Teredo's addresses say more (RFC 4380 5.3.1, and RFC 6081 has trailers), and to come from and
    /// go to addresses that are assigned for anything.
    ///
    /// # Errors
    /// As [`Self::confirm_v4`].
    #[inline(always)]
    pub(super) fn confirm_v6(&mut self, frame: impl Bytes) -> Result<(), Reason> {
        let head = frame.be64(self.offset).ok_or(Reason::TruncatedIp)?;
        let source = frame.be64(self.offset + 8).ok_or(Reason::TruncatedIp)?;
        let destination = frame.be64(self.offset + 24).ok_or(Reason::TruncatedIp)?;
        let (payload, next) = ((head >> 16 & 0xffff) as u32, (head >> 8) as u8);
        let rest = self.limit - self.offset - IPV6_HEADER;
        if head >> 60 != 6 || (payload > rest && !self.in_first_fragment) {
            return self.refuse(Reason::BadIpLength);
        }
        if self.hidden {
            let teredo =
                self.via == Via::Teredo && (is_teredo(source) || is_link_local(source) || is_teredo(destination));
            // Without a length: a super-packet, which is TCP's, or a jumbogram.
            let fills = payload >= rest || (payload == 0 && matches!(next, known::TCP | known::HOP_BY_HOP));
            let fits = fills || self.via == Via::GtpU;
            let routed = fits && is_host(source) && is_anywhere(destination);
            if !(teredo || routed) {
                return self.refuse(Reason::BadIpLength);
            }
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

/// The sum over an IPv4 header, which is 0xffff if its checksum is right. `None`: it is outside the frame.
#[inline(always)]
fn sum_of(frame: impl Bytes, offset: u32, header: u32) -> Option<u64> {
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
    Some((sum >> 16) + (sum & 0xffff))
}

/// Of an address's first half: 2001::/32.
#[inline(always)]
const fn is_teredo(high: u64) -> bool {
    high >> 32 == 0x2001_0000
}

/// fe80::/10.
#[inline(always)]
const fn is_link_local(high: u64) -> bool {
    high >> 54 == 0xfe80 >> 6
}

/// What a host can have: 2000::/3, fc00::/7, fe80::/10.
#[inline(always)]
const fn is_host(high: u64) -> bool {
    high >> 61 == 1 || high >> 57 == 0xfc >> 1 || is_link_local(high)
}

/// Where a packet can go: besides, multicast, a translator of NAT64, a segment of SRv6 (5f00::/16).
#[inline(always)]
const fn is_anywhere(high: u64) -> bool {
    is_host(high) || high >> 56 == 0xff || high >> 32 == 0x0064_ff9b || high >> 48 == 0x5f00
}
