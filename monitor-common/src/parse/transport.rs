//! The header after IP: ports, ICMP type and code, or that of a tunnel.

use super::{Bytes, Reason, UDP_HEADER, header_walker::HeaderWalker, opaque, protocol as known, tunnel};
use crate::wire::Opaque;

impl HeaderWalker {
    #[inline(always)]
    pub(super) fn transport(&mut self, frame: impl Bytes, protocol: u8) -> Result<(), Reason> {
        match protocol {
            known::TCP | known::UDP | known::SCTP | known::DCCP | known::UDP_LITE => {
                self.require(4, Reason::TruncatedTransport)?;
                let ports = frame.be32(self.offset).ok_or(Reason::TruncatedTransport)?;
                let (source, destination) = ((ports >> 16) as u16, ports as u16);
                self.set_current_transport(frame, protocol, source, destination);
                if protocol == known::UDP { self.udp(frame, source, destination) } else { self.finish() }
            }
            known::ICMP | known::ICMPV6 => {
                self.require(2, Reason::TruncatedTransport)?;
                let kind = frame.be16(self.offset).ok_or(Reason::TruncatedTransport)?;
                self.set_current_transport(frame, protocol, 0, kind);
                self.finish()
            }
            known::ESP => self.finish_opaque(Opaque::Esp),
            known::IPCOMP | known::L2TP | known::MINIMAL_ENCAPSULATION | known::IP_WITHIN_IP | known::ENCAPSULATION => {
                self.finish_opaque(Opaque::Other)
            }
            _ => self.tunnel(frame, protocol),
        }
    }

    #[inline(always)]
    fn udp(&mut self, frame: impl Bytes, source: u16, destination: u16) -> Result<(), Reason> {
        let is_tunnel = tunnel::is_port(destination);
        if self.offset + UDP_HEADER > self.limit {
            // In a first fragment the rest of the header is in another packet.
            return if is_tunnel && self.in_first_fragment { Err(Reason::FragmentShort) } else { self.finish() };
        }
        if is_tunnel {
            return self.udp_tunnel(frame, destination);
        }
        let length = frame.be16(self.offset + 4).ok_or(Reason::TruncatedTransport)?;
        let what = opaque::udp(frame, self.offset, self.limit, u32::from(length), (source, destination));
        self.finish_opaque(what.ok_or(Reason::TruncatedTransport)?)
    }
}
