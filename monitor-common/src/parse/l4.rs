//! Transport header: ports, or ICMP type and code.

use super::{Bytes, Packet, Reason};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// Fills in protocol and ports from the transport header at `offset`. `end` is where the IP packet says it ends.
#[inline(always)]
pub(super) fn parse(
    frame: impl Bytes,
    offset: usize,
    end: usize,
    protocol: u8,
    packet: &mut Packet,
) -> Result<(), Reason> {
    packet.protocol = protocol;
    match protocol {
        TCP | UDP | SCTP | DCCP | UDP_LITE => {
            if offset + 4 > end {
                return Err(Reason::TruncatedTransport);
            }
            let ports = frame.be32(offset).ok_or(Reason::TruncatedTransport)?;
            packet.source_port = (ports >> 16) as u16;
            packet.destination_port = ports as u16;
        }
        ICMP | ICMPV6 => {
            if offset + 2 > end {
                return Err(Reason::TruncatedTransport);
            }
            packet.destination_port = frame.be16(offset).ok_or(Reason::TruncatedTransport)?;
        }
        _ => {}
    }
    Ok(())
}
