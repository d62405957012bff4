//! What a person asks about: `ADDR`, `ADDR:PORT`, `[V6]:PORT`, each with `/PROTOCOL` behind it. Called by `explain`.

use std::{net::IpAddr, str::FromStr};

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

/// Not a destination.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no destination: {1}")]
pub struct TargetError(String, &'static str);

const PROTOCOLS: [(&str, u8); 10] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("sctp", 132),
    ("udplite", 136),
];

/// A protocol's name, or its number.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    PROTOCOLS.iter().find(|(_, known)| *known == number).map_or_else(|| number.to_string(), |(name, _)| (*name).into())
}

/// The protocol with this name, or with this number from 1 on.
#[must_use]
pub fn protocol_number(text: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    known.or_else(|| text.parse().ok().filter(|number| *number != 0 && text.bytes().all(|byte| byte.is_ascii_digit())))
}

/// Whether packets of a protocol have ports that rules can name.
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let refuse = |mend| {
            let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
            Err(TargetError(shown, mend))
        };
        let (place, protocol) = match text.split_once('/') {
            None => (text, None),
            Some((place, name)) => match PROTOCOLS.iter().find(|(known, _)| *known == name) {
                Some((_, number)) => (place, Some(*number)),
                None => match name.parse() {
                    Ok(number) => (place, Some(number)),
                    Err(_) => return refuse("write a protocol such as tcp, udp or icmp behind the '/', or its number"),
                },
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
            return refuse("write 192.0.2.1, 192.0.2.1:443, [2001:db8::1]:443, each with /tcp or /udp if you like");
        };
        if port.is_some() && protocol.is_some_and(|protocol| !has_ports(protocol)) {
            return refuse("this protocol has no ports: leave the port out");
        }
        Ok(Self { address, port, protocol: protocol.or(port.map(|_| 6)) })
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
        ] {
            let address = address.parse().unwrap();
            assert_eq!(text.parse(), Ok(Target { address, port, protocol }), "{text}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_what_to_write() {
        let complaint = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        for text in ["", "example.org", "8.8.8.8:", "8.8.8.8:65536", "8.8.8.256", "[8.8.8.8]:1", "2001:db8::1]:443"] {
            assert_eq!(
                complaint(text),
                format!(
                    "'{text}' is no destination: write 192.0.2.1, 192.0.2.1:443, [2001:db8::1]:443, each with /tcp or \
                     /udp if you like"
                )
            );
        }
        assert_eq!(
            complaint("8.8.8.8/24x"),
            "'8.8.8.8/24x' is no destination: write a protocol such as tcp, udp or icmp behind the '/', or its number"
        );
        assert_eq!(
            complaint("8.8.8.8:1/icmp"),
            "'8.8.8.8:1/icmp' is no destination: this protocol has no ports: leave the port out"
        );
        assert!(complaint("\u{1b}[2J").starts_with("'\\u{1b}[2J' is"));
    }
}
