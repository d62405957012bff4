//! Addresses of one family as numbers: what readers, compiler and comparison share, whichever family it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// An address as a number: `u32` for IPv4, `u128` for IPv6.
pub trait Space: Copy + Ord + std::fmt::Debug + 'static {
    /// Length of an address in bits.
    const BITS: u32;
    /// The first address.
    const ZERO: Self;
    /// The last address.
    const LAST: Self;

    /// The address as a number.
    fn number(self) -> u128;
    /// The address with this number; `None` past the last one.
    fn from_number(number: u128) -> Option<Self>;
    /// The address after this one; `None` after the last.
    fn successor(self) -> Option<Self>;
    /// The address as such.
    fn ip(self) -> IpAddr;
    /// A network's first and last address; `None` for one of the other family.
    fn ends(network: &IpNetwork) -> Option<(Self, Self)>;
}

impl Space for u32 {
    const BITS: u32 = 32;
    const ZERO: Self = 0;
    const LAST: Self = Self::MAX;

    fn number(self) -> u128 {
        u128::from(self)
    }

    fn from_number(number: u128) -> Option<Self> {
        Self::try_from(number).ok()
    }

    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn ip(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }

    fn ends(network: &IpNetwork) -> Option<(Self, Self)> {
        match network {
            IpNetwork::V4(network) => Some((network.network().to_bits(), network.broadcast().to_bits())),
            IpNetwork::V6(_) => None,
        }
    }
}

impl Space for u128 {
    const BITS: u32 = 128;
    const ZERO: Self = 0;
    const LAST: Self = Self::MAX;

    fn number(self) -> u128 {
        self
    }

    fn from_number(number: u128) -> Option<Self> {
        Some(number)
    }

    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn ip(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }

    fn ends(network: &IpNetwork) -> Option<(Self, Self)> {
        match network {
            IpNetwork::V4(_) => None,
            IpNetwork::V6(network) => Some((network.network().to_bits(), network.broadcast().to_bits())),
        }
    }
}
