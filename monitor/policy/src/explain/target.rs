//! What a person asks about: `ADDR`, `ADDR:PORT`, `[V6]:PORT`, each with `/PROTOCOL` behind it. Called by `explain`.

use std::{net::IpAddr, str::FromStr};

use crate::protocol;

/// A destination in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// The port, where one was given.
    pub port: Option<u16>,
    /// IANA protocol number, where one was given; TCP where only a port was.
    pub protocol: Option<u8>,
}

/// Characters of a text that is refused which its error shows.
const LONGEST_SHOWN: usize = 80;

/// Ports that are asked about so often that an address which ends like one is doubted.
const USUAL: [u16; 12] = [22, 25, 53, 80, 123, 443, 465, 587, 853, 993, 8080, 8443];

/// Why a text, of which each has the beginning, is no destination.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    /// No address, or a port that is none.
    #[error(
        "'{0}' is not an IP address; names are not resolved: write 192.0.2.1, 192.0.2.1:443, [2001:db8::1]:443, each with /tcp or /udp if you like"
    )]
    NoAddress(String),
    /// A protocol that has neither a known name nor a number up to 255.
    #[error("'{0}': unknown protocol: write one such as tcp, udp or icmp behind the '/', or its number")]
    UnknownProtocol(String),
    /// A network, most likely.
    #[error("'{0}' may be a network: write --network {0} if it is, or the protocol behind the '/' by its name")]
    Network(String),
    /// A port with a protocol that has none.
    #[error("'{0}': this protocol has no ports: leave the port out")]
    NoPorts(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let refuse = |fault: fn(String) -> TargetError| {
            Err(fault(text.chars().take(LONGEST_SHOWN).flat_map(char::escape_debug).collect()))
        };
        let (place, protocol) = match text.split_once('/') {
            None => (text, None),
            Some((place, name)) => match protocol::number(name).or_else(|| name.parse().ok()) {
                Some(number) => (place, Some(number)),
                None => return refuse(TargetError::UnknownProtocol),
            },
        };
        let (address, port) = if let Ok(address) = place.parse::<IpAddr>() {
            (address, None)
        } else if let Ok(socket) = place.parse::<std::net::SocketAddr>() {
            (socket.ip(), Some(socket.port()))
        } else if let Some(address) = place
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok())
        {
            (address.into(), None)
        } else {
            return refuse(TargetError::NoAddress);
        };
        // A number of no protocol that anybody uses, or where the address could be a network's of that length.
        let length = text.split_once('/').and_then(|(_, number)| number.parse().ok()).filter(|_| port.is_none());
        let network = |length: u8| {
            let network = ipnetwork::IpNetwork::new(address, length);
            network.is_ok_and(|network| network.network() == address || protocol::name(length).is_none())
        };
        if length.is_some_and(network) {
            return refuse(TargetError::Network);
        }
        if port.is_some() && protocol.is_some_and(|number| !protocol::has_ports(number)) {
            return refuse(TargetError::NoPorts);
        }
        Ok(Self { address, port, protocol: protocol.or(port.map(|_| protocol::TCP)) })
    }
}

impl Target {
    /// What somebody may have meant otherwise: `2001:db8::1:53` is an address, and looks like one with a port.
    pub fn doubt(text: &str) -> Option<String> {
        let place = text.split('/').next().unwrap_or(text);
        let (address, port) = place.rsplit_once(':')?;
        let _: std::net::Ipv6Addr = place.parse().ok()?;
        let (address, port): (std::net::Ipv6Addr, u16) = (address.parse().ok()?, port.parse().ok()?);
        USUAL.contains(&port).then(|| {
            format!("'{place}' is taken for an address; port {port} of {address} is written [{address}]:{port}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read() {
        for (text, address, port, protocol) in [
            ("8.8.8.8", "8.8.8.8", None, None),
            ("8.8.8.8:53", "8.8.8.8", Some(53), Some(6)),
            ("8.8.8.8:53/udp", "8.8.8.8", Some(53), Some(17)),
            ("8.8.8.8/icmp", "8.8.8.8", None, Some(1)),
            ("8.8.8.8/89", "8.8.8.8", None, Some(89)),
            ("2001:db8::1", "2001:db8::1", None, None),
            ("[2001:db8::1]", "2001:db8::1", None, None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443), Some(6)),
            ("[2001:db8::1]:443/sctp", "2001:db8::1", Some(443), Some(132)),
            ("2001:db8::1/udp", "2001:db8::1", None, Some(17)),
            ("10.0.0.0/udp", "10.0.0.0", None, Some(17)),
            ("8.8.8.8/17", "8.8.8.8", None, Some(17)),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(text.parse(), Ok(Target { address, port, protocol }), "{text}");
        }
    }

    #[test]
    fn an_address_that_looks_like_one_with_a_port_is_doubted() {
        for text in ["2001:db8::1:53", "2001:db8::1:53/udp"] {
            let doubt = Target::doubt(text).unwrap();
            assert_eq!(
                doubt,
                "'2001:db8::1:53' is taken for an address; port 53 of 2001:db8::1 is written [2001:db8::1]:53"
            );
        }
        for text in
            ["2001:db8::53", "2001:db8::1:beef", "2001:db8:0:0:0:0:1:53", "[2001:db8::1]:53", "64:ff9b::808:808", "::1"]
        {
            assert_eq!(Target::doubt(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_what_to_write() {
        let complaint = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        for text in ["", "example.org", "8.8.8.8:", "8.8.8.8:65536", "8.8.8.256", "[8.8.8.8]:1", "2001:db8::1]:443"] {
            assert_eq!(
                complaint(text),
                format!(
                    "'{text}' is not an IP address; names are not resolved: write 192.0.2.1, 192.0.2.1:443, [2001:db8::1]:443, each with /tcp or \
                     /udp if you like"
                )
            );
        }
        assert_eq!(
            complaint("8.8.8.8/24x"),
            "'8.8.8.8/24x': unknown protocol: write one such as tcp, udp or icmp behind the '/', or its number"
        );
        for network in ["10.64.8.0/24", "10.64.8.5/24", "10.0.0.0/17", "8.8.8.8/32", "2001:db8::/32", "2001:db8::1/128"]
        {
            assert_eq!(
                complaint(network),
                format!(
                    "'{network}' may be a network: write --network {network} if it is, or the protocol behind the '/' by \
                     its name"
                )
            );
        }
        assert_eq!(complaint("8.8.8.8:1/icmp"), "'8.8.8.8:1/icmp': this protocol has no ports: leave the port out");
        assert!(complaint("\u{1b}[2J").starts_with("'\\u{1b}[2J' is"));
    }
}
