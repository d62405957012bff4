//! An address family as the policy compiler sees it: IPv4 as `u32`, IPv6 as `u128`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::layers::Address;
use crate::geo::special::Special;

/// Addresses of one family as the configuration and the registries give them.
pub(crate) trait Family: Address {
    /// A network's first and last address; `None` for the other family.
    fn network(network: &IpNetwork) -> Option<(Self, Self)>;
    /// A special-purpose range's; `None` for the other family.
    fn special(special: &Special) -> Option<(Self, Self)>;
    /// For messages.
    fn show(self) -> IpAddr;
    /// In network order.
    fn write(self, bytes: &mut Vec<u8>);
}

impl Family for u32 {
    fn network(network: &IpNetwork) -> Option<(Self, Self)> {
        match network {
            IpNetwork::V4(v4) => Some((v4.network().to_bits(), v4.broadcast().to_bits())),
            IpNetwork::V6(_) => None,
        }
    }
    fn special(special: &Special) -> Option<(Self, Self)> {
        special.ends_v4()
    }
    fn show(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }
    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_be_bytes());
    }
}

impl Family for u128 {
    fn network(network: &IpNetwork) -> Option<(Self, Self)> {
        match network {
            IpNetwork::V4(_) => None,
            IpNetwork::V6(v6) => Some((v6.network().to_bits(), v6.broadcast().to_bits())),
        }
    }
    fn special(special: &Special) -> Option<(Self, Self)> {
        special.ends_v6()
    }
    fn show(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }
    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_be_bytes());
    }
}
