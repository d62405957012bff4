//! Transport header: ports, or ICMP type and code.

use super::{Bytes, Reason};
use crate::wire::FlowKey;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// Fills in protocol and ports from the transport header at `offset`; the IP packet says that `payload` bytes are
/// there.
#[inline(always)]
pub(super) fn parse(
    frame: impl Bytes,
    offset: usize,
    payload: usize,
    protocol: u8,
    key: &mut FlowKey,
) -> Result<(), Reason> {
    key.protocol = protocol;
    key.flags = 0;
    let (mut source, mut destination) = (0, 0);
    match protocol {
        TCP | UDP | SCTP | DCCP | UDP_LITE => {
            if payload < 4 {
                return Err(Reason::TruncatedTransport);
            }
            let ports = frame.be32(offset).ok_or(Reason::TruncatedTransport)?;
            source = (ports >> 16) as u16;
            destination = ports as u16;
        }
        ICMP | ICMPV6 => {
            if payload < 2 {
                return Err(Reason::TruncatedTransport);
            }
            destination = frame.be16(offset).ok_or(Reason::TruncatedTransport)?;
        }
        _ => {}
    }
    key.source_port = source;
    key.destination_port = destination;
    Ok(())
}

/// Fills in a fragment after the first: the protocol is known, the ports are in another packet.
#[inline(always)]
pub(super) fn later_fragment(protocol: u8, key: &mut FlowKey) {
    key.protocol = protocol;
    key.flags = 0;
    key.source_port = 0;
    key.destination_port = 0;
}
