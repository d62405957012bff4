//! The header after IP: ports, ICMP type and code, or a tunnel's.

use super::{Bytes, Reason, opaque, protocol as known, tunnel, walk::Walk};
use crate::wire::Opaque;

pub(super) const UDP_HEADER: u32 = 8;

impl Walk {
    #[inline(always)]
    pub(super) fn transport(&mut self, frame: impl Bytes, protocol: u8) -> Result<(), Reason> {
        match protocol {
            known::TCP | known::UDP | known::SCTP | known::DCCP | known::UDP_LITE => {
                self.need(4, Reason::TruncatedTransport)?;
                let ports = frame.be32(self.offset).ok_or(Reason::TruncatedTransport)?;
                let (source, destination) = ((ports >> 16) as u16, ports as u16);
                self.carries(frame, protocol, source, destination);
                if protocol == known::UDP { self.udp(frame, source, destination) } else { self.finish() }
            }
            known::ICMP | known::ICMPV6 => {
                self.need(2, Reason::TruncatedTransport)?;
                let kind = frame.be16(self.offset).ok_or(Reason::TruncatedTransport)?;
                self.carries(frame, protocol, 0, kind);
                self.finish()
            }
            known::ESP => self.opaque(Opaque::Esp),
            known::IPCOMP | known::L2TP | known::MINIMAL_ENCAPSULATION | known::IP_WITHIN_IP | known::ENCAPSULATION => {
                self.opaque(Opaque::Other)
            }
            _ => self.tunnel(frame, protocol),
        }
    }

    #[inline(always)]
    fn udp(&mut self, frame: impl Bytes, source: u16, destination: u16) -> Result<(), Reason> {
        if tunnel::is_port(destination) {
            return self.udp_tunnel(frame, destination);
        }
        if self.offset + UDP_HEADER > self.limit {
            return self.finish();
        }
        let length = frame.be16(self.offset + 4).ok_or(Reason::TruncatedTransport)?;
        let what = opaque::udp(frame, self.offset, self.limit, u32::from(length), (source, destination));
        self.opaque(what.ok_or(Reason::TruncatedTransport)?)
    }
}
