//! Segmentation offloads of an interface, by the ethtool ioctl so that no package is needed. With them off every
//! skb on the wire is one packet of at most the MTU; with them on a virtual device carries super-packets.

use std::{io, os::fd::AsRawFd as _};

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};

use crate::netns::Namespace;

/// `ETHTOOL_STSO`, `ETHTOOL_SGSO`, `ETHTOOL_SGRO` of linux/ethtool.h.
const SETTERS: [(u32, &str); 3] =
    [(0x1f, "TCP segmentation"), (0x24, "generic segmentation"), (0x2c, "generic receive")];

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Turns TSO, GSO and GRO of `interface` on or off.
///
/// # Errors
/// There is no such interface, or it cannot.
pub fn set(namespace: &Namespace, interface: &str, on: bool) -> Result<()> {
    for (command, what) in SETTERS {
        let state = if on { "on" } else { "off" };
        ethtool(namespace, interface, command, u32::from(on))
            .with_context(|| format!("turning {what} offload of {interface} {state}"))?;
    }
    Ok(())
}

/// Whether `interface` takes super-packets of TCP as they are; of UDP it goes on as before.
///
/// # Errors
/// There is no such interface, or it cannot.
pub fn tcp_segmentation(namespace: &Namespace, interface: &str, on: bool) -> Result<()> {
    let (command, what) = SETTERS[0];
    ethtool(namespace, interface, command, on.into()).with_context(|| format!("turning {what} on or off"))?;
    Ok(())
}

/// Whether `interface` computes checksums; if not, the kernel does, and cuts up what it would have cut up.
///
/// # Errors
/// There is no such interface, or it cannot.
pub fn checksums(namespace: &Namespace, interface: &str, on: bool) -> Result<()> {
    // ETHTOOL_STXCSUM of linux/ethtool.h.
    ethtool(namespace, interface, 0x17, u32::from(on)).context("turning checksum offload on or off")?;
    Ok(())
}

/// Whether `interface` takes packets with an 802.1Q tag beside the frame; if not, the kernel puts it into the frame
/// after the hooks.
///
/// # Errors
/// There is no such interface, or it cannot.
pub fn take_tags(namespace: &Namespace, interface: &str, on: bool) -> Result<()> {
    // ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ETH_FLAG_TXVLAN of linux/ethtool.h.
    let (get, set, tags) = (0x25, 0x26, 1 << 7);
    let state = if on { "on" } else { "off" };
    ethtool(namespace, interface, get, 0)
        .and_then(|flags| ethtool(namespace, interface, set, if on { flags | tags } else { flags & !tags }))
        .with_context(|| format!("turning VLAN offload of {interface} {state}"))?;
    Ok(())
}

/// One command with one value; gives the value that the kernel leaves.
fn ethtool(namespace: &Namespace, interface: &str, command: u32, data: u32) -> Result<u32> {
    namespace.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).context("a socket for ethtool")?;
        let mut value = Value { command, data };
        // SAFETY: all-zero bytes are a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays 0.
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the request names an interface and points to a value that outlives the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result == 0 { Ok(value.data) } else { Err(io::Error::last_os_error().into()) }
    })
}
