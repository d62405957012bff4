//! Addresses at which cloud platforms serve the machines that they run: what is cut off with them is the platform, not a
//! neighbour. Named by `explain` and `check`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Which.
    pub address: IpAddr,
    /// What serves there, and whose it is.
    pub what: &'static str,
    /// IANA protocol number of its service.
    pub protocol: u8,
    /// Its port.
    pub port: u16,
}

const TCP: u8 = 6;

/// All that are known.
pub static ALL: [Platform; 3] = [
    Platform {
        address: IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
        what: "instance metadata of AWS, Azure, Google Cloud, Oracle and OpenStack",
        protocol: TCP,
        port: 80,
    },
    Platform {
        address: IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        what: "DNS, DHCP and health probes of Azure",
        protocol: TCP,
        port: 80,
    },
    Platform {
        address: IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        what: "instance metadata of AWS",
        protocol: TCP,
        port: 80,
    },
];

/// The platform's address that this one is.
pub fn lookup(address: IpAddr) -> Option<&'static Platform> {
    ALL.iter().find(|platform| platform.address == address)
}
