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

/// A network as packets have it: IPv4 in the notation of IPv6 (`::ffff:192.0.2.0/120`), which a dual-stack socket shows and
/// no packet has, is IPv4.
pub fn unmapped(network: IpNetwork) -> IpNetwork {
    let IpNetwork::V6(v6) = network else { return network };
    let mapped = v6.ip().to_ipv4_mapped().zip(v6.prefix().checked_sub(96));
    mapped.and_then(|(ip, prefix)| IpNetwork::new(ip.into(), prefix).ok()).unwrap_or(network)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_of_mapped_addresses_alone_are_ipv4() {
        for (network, expected) in [
            ("::ffff:198.18.2.0/120", "198.18.2.0/24"),
            ("::ffff:10.0.0.0/112", "10.0.0.0/16"),
            ("::ffff:c612:201/128", "198.18.2.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
            ("::198.18.2.0/120", "::198.18.2.0/120"),
            ("64:ff9b::198.18.2.0/120", "64:ff9b::198.18.2.0/120"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("198.18.2.0/24", "198.18.2.0/24"),
        ] {
            let [network, expected]: [IpNetwork; 2] = [network, expected].map(|text| text.parse().unwrap());
            assert_eq!(unmapped(network), expected);
        }
    }
}
