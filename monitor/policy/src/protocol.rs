//! Protocol numbers and names, in one table: numbers are IANA's *Assigned Internet Protocol Numbers*, names its keywords
//! in lower case where people use those. Used by whoever reads port ranges and targets, and by whoever shows flows.

use std::net::{IpAddr, SocketAddr};

/// A protocol that has a name here.
struct Protocol {
    number: u8,
    name: &'static str,
    /// Whether rules, `explain` and `diff` show the name. They show the number of the others, as scripts that read
    /// them have it; flows and alerts name all.
    named_in_rules: bool,
}

const fn protocol(number: u8, name: &'static str, named_in_rules: bool) -> Protocol {
    Protocol { number, name, named_in_rules }
}

/// By number.
const PROTOCOLS: [Protocol; 16] = [
    protocol(1, "icmp", true),
    protocol(2, "igmp", false),
    protocol(4, "ipip", false),
    protocol(TCP, "tcp", true),
    protocol(17, "udp", true),
    protocol(33, "dccp", true),
    protocol(41, "ipv6", false),
    protocol(47, "gre", true),
    protocol(50, "esp", true),
    protocol(51, "ah", true),
    protocol(58, "ipv6-icmp", true),
    protocol(89, "ospf", false),
    protocol(103, "pim", false),
    protocol(112, "vrrp", false),
    protocol(132, "sctp", true),
    protocol(136, "udplite", true),
];

/// TCP (RFC 9293).
pub const TCP: u8 = 6;

/// The protocol's name; `None` for those that are not in the table.
pub fn name(number: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|known| known.number == number).map(|known| known.name)
}

/// The protocol as rules, `explain` and `diff` show it: by name, or by number.
pub fn label(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|known| known.number == number && known.named_in_rules);
    known.map_or_else(|| number.to_string(), |known| known.name.into())
}

/// The number of the protocol with this name, in any case.
pub fn number(name: &str) -> Option<u8> {
    // What tcpdump, nftables and most people call it.
    let name =
        if ["icmpv6", "icmp6"].iter().any(|other| name.eq_ignore_ascii_case(other)) { "ipv6-icmp" } else { name };
    PROTOCOLS.iter().find(|known| known.name.eq_ignore_ascii_case(name)).map(|known| known.number)
}

/// A protocol by name, or by number from 1 to 255: 0 stands for every protocol in a rule row.
pub fn parse(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number(text).or_else(|| text.parse().ok().filter(|number| *number != 0 && digits))
}

/// Whether packets of the protocol start with two ports: TCP, UDP (RFC 768), DCCP (RFC 4340), SCTP (RFC 9260), UDP-Lite
/// (RFC 3828).
pub const fn has_ports(number: u8) -> bool {
    matches!(number, TCP | 17 | 33 | 132 | 136)
}

/// Address, and port where the protocol has one.
pub fn endpoint(address: IpAddr, port: u16, protocol: u8) -> String {
    if has_ports(protocol) { SocketAddr::new(address, port).to_string() } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_and_each_name_is_there_once_and_names_lead_back_to_their_numbers() {
        assert!(PROTOCOLS.is_sorted_by(|a, b| a.number < b.number));
        for known in &PROTOCOLS {
            assert_eq!((name(known.number), parse(known.name)), (Some(known.name), Some(known.number)));
            assert_eq!(parse(&label(known.number)), Some(known.number));
        }
    }

    #[test]
    fn a_protocol_without_a_name_is_shown_and_written_by_number() {
        assert_eq!((name(200), label(200), parse("200")), (None, "200".to_owned(), Some(200)));
        assert_eq!((name(89), label(89), parse("ospf")), (Some("ospf"), "89".to_owned(), Some(89)));
        for (name, number) in
            [("TCP", 6), ("Udp", 17), ("icmpv6", 58), ("ICMPv6", 58), ("icmp6", 58), ("IPv6-ICMP", 58)]
        {
            assert_eq!(parse(name), Some(number), "{name}");
        }
        for wrong in ["", "0", "256", "+6", "tpc"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
