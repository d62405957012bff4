//! What of a line the sinks need that don't hand it on as it is: how bad, of what type, where.

use std::net::IpAddr;

use serde_json::Value;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `egress`, or the finding's name.
    pub kind: String,
    /// `High`…
    pub severity: String,
    /// OCSF: 1 informational to 5 critical.
    pub level: u64,
    /// One line for people.
    pub message: String,
    /// Host name.
    pub host: String,
    /// Milliseconds since 1970.
    pub time: i64,
    /// Whether it says that something is over.
    pub over: bool,
    /// Who the finding is, from its beginning to its end; else empty.
    pub finding: String,
    /// Of flows: country, rule, destination's network, what was done; else empty.
    pub country: String,
    /// See [`country`](Self::country).
    pub rule: String,
    /// See [`country`](Self::country).
    pub network: String,
    /// See [`country`](Self::country).
    pub verdict: String,
}

impl Facts {
    /// Those of a line.
    pub fn of(line: &[u8]) -> Self {
        // A line that was sealed is JSON.
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = text("/unmapped/type");
        let address = text("/dst_endpoint/ip").parse::<IpAddr>().ok();
        Self {
            kind: if kind.is_empty() { "egress".to_owned() } else { kind },
            severity: text("/severity"),
            level: line["severity_id"].as_u64().unwrap_or(0),
            message: text("/message"),
            host: text("/device/hostname"),
            time: line["time"].as_i64().unwrap_or(0),
            over: line["class_uid"] == 2004 && line["activity_id"] == 3,
            finding: text("/finding_info/uid"),
            country: text("/unmapped/country"),
            rule: text("/unmapped/rule"),
            network: address.map(network).unwrap_or_default(),
            verdict: text("/unmapped/verdict"),
        }
    }

    /// RFC 5424: 2 critical, 3 error, 4 warning, 5 notice, 6 informational.
    pub const fn priority(&self) -> u64 {
        match self.level {
            5.. => 2,
            4 => 3,
            3 => 4,
            2 => 5,
            _ => 6,
        }
    }

    /// When, as RFC 3339 in UTC.
    pub fn at(&self) -> String {
        timestamp(self.time)
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub(super) fn timestamp(time: i64) -> String {
    jiff::Timestamp::from_millisecond(time).map_or_else(|_| "-".to_owned(), |time| format!("{time:.3}"))
}

/// The /24 or /48 that an address is in.
fn network(address: IpAddr) -> String {
    let length = if address.is_ipv4() { 24 } else { 48 };
    ipnetwork::IpNetwork::new(address, length).map_or_else(|_| String::new(), |of| format!("{}/{length}", of.network()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_and_a_finding_say_what_they_are() {
        let flow = br#"{"class_uid":4001,"severity_id":4,"severity":"High","time":1000,"message":"left","device":{"hostname":"h"},
            "dst_endpoint":{"ip":"198.51.100.9"},"unmapped":{"country":"SG","rule":null,"verdict":"observed"}}"#;
        let facts = Facts::of(flow);
        assert_eq!((facts.kind.as_str(), facts.network.as_str()), ("egress", "198.51.100.0/24"));
        assert_eq!((facts.priority(), facts.over, facts.at()), (3, false, "1970-01-01T00:00:01.000Z".into()));
        let finding = br#"{"class_uid":2004,"activity_id":3,"severity_id":1,"unmapped":{"type":"gap"},
            "finding_info":{"uid":"ab"}}"#;
        let facts = Facts::of(finding);
        assert_eq!((facts.kind.as_str(), facts.over, facts.priority()), ("gap", true, 6));
        assert_eq!((facts.finding.as_str(), facts.network.as_str()), ("ab", ""));
        assert_eq!(network("2001:db8:1:2::3".parse().unwrap()), "2001:db8:1::/48");
    }
}
