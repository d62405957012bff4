//! ICMP and ICMPv6 echo by raw sockets, so that no package is needed and the amount is exact.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// What came of echo requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pinged {
    /// Requests that were sent.
    pub requests: u64,
    /// Answers that came.
    pub replies: u64,
}

/// Sends `count` echo requests of `payload` bytes from `source` to `destination`, waiting at most `time` for each
/// answer.
///
/// # Errors
/// Not root, or the kernel refuses an address.
pub fn ping(source: IpAddr, destination: IpAddr, count: u16, payload: usize, time: Duration) -> Result<Pinged> {
    let v4 = destination.is_ipv4();
    let (domain, protocol) = if v4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol)).context("a raw socket (needs root)")?;
    socket.bind(&SocketAddr::new(source, 0).into()).with_context(|| format!("binding to {source}"))?;
    let identifier = (std::process::id() as u16).to_be_bytes();
    let mut result = Pinged::default();
    for sequence in 0..count {
        let request = echo(v4, identifier, sequence.to_be_bytes(), payload);
        match socket.send_to(&request, &SocketAddr::new(destination, 0).into()) {
            Ok(_) => {}
            // The monitor dropped it; whether a raw socket hears of that depends on the family.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) => return Err(error).with_context(|| format!("an echo request to {destination}")),
        }
        result.requests += 1;
        if answered(&mut socket, v4, identifier, sequence.to_be_bytes(), time).context("waiting for an answer")? {
            result.replies += 1;
        }
    }
    Ok(result)
}

/// The length of the Ethernet frame that carries an echo request with `payload` bytes.
#[must_use]
pub const fn echo_frame(destination: IpAddr, payload: usize) -> u64 {
    (14 + if destination.is_ipv4() { 20 } else { 40 } + 8 + payload) as u64
}

/// An echo request (RFC 792, RFC 4443). The kernel fills in the checksum of ICMPv6 alone.
fn echo(v4: bool, identifier: [u8; 2], sequence: [u8; 2], payload: usize) -> Vec<u8> {
    let mut packet = vec![if v4 { 8 } else { 128 }, 0, 0, 0];
    packet.extend(identifier);
    packet.extend(sequence);
    packet.resize(8 + payload, 0x55);
    if v4 {
        let mut sum: u32 =
            packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        packet[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    packet
}

/// Reads until the answer comes or `time` is over; other ICMP messages come to this socket too.
fn answered(socket: &mut Socket, v4: bool, identifier: [u8; 2], sequence: [u8; 2], time: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + time;
    let mut buffer = vec![0_u8; 65_536];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // A raw IPv4 socket gives the IP header too.
        let header = if v4 { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
        let message = buffer.get(header..length).unwrap_or_default();
        let wanted = if v4 { 0 } else { 129 };
        if message.first() == Some(&wanted)
            && message.get(4..6) == Some(&identifier)
            && message.get(6..8) == Some(&sequence)
        {
            return Ok(true);
        }
    }
}
