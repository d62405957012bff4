//! What of a line the sinks need that don't hand it on as it is: how bad, of what type, where.

use serde_json::Value;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The incident's kind, or the finding's name.
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
    /// Who the finding or the incident is, from its beginning to its end; empty of a flow, as versions before 0.7 told it.
    pub id: String,
    /// When that began, in milliseconds since 1970.
    pub began: i64,
    /// Of incidents: country, rule, the destinations' network, what was done; else empty.
    pub country: String,
    /// See [`country`](Self::country).
    pub rule: String,
    /// See [`country`](Self::country).
    pub network: String,
    /// See [`country`](Self::country).
    pub verdict: String,
    /// The unit that sends, where it is known.
    pub unit: String,
    /// The zone's name.
    pub zone: String,
}

impl Facts {
    /// Those of a line.
    pub fn of(line: &[u8]) -> Self {
        // A line that was sealed is JSON.
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (incident, finding) = (text("/metadata/correlation_uid"), text("/finding_info/uid"));
        // Versions before 0.7 said neither of a flow; their lines may still wait.
        let kind = text("/unmapped/type");
        let over = if line["class_uid"] == 2004 { 3 } else { 2 };
        let time = line["time"].as_i64().unwrap_or(0);
        Self {
            kind: if kind.is_empty() { "egress".to_owned() } else { kind },
            severity: text("/severity"),
            level: line["severity_id"].as_u64().unwrap_or(0),
            message: text("/message"),
            host: text("/device/hostname"),
            time,
            over: line["activity_id"] == over,
            id: if incident.is_empty() { finding } else { incident },
            began: line["start_time"].as_i64().unwrap_or(time),
            country: text("/unmapped/country"),
            rule: text("/unmapped/rule"),
            network: text("/unmapped/network"),
            verdict: text("/unmapped/verdict"),
            unit: text("/unmapped/attribution/unit"),
            zone: text("/metadata/tenant_uid"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_and_a_finding_say_what_they_are() {
        let incident = br#"{"class_uid":4001,"activity_id":1,"severity_id":4,"severity":"High","time":2000,
            "start_time":1000,"message":"left","device":{"hostname":"h"},
            "metadata":{"correlation_uid":"cd","tenant_uid":"eu"},
            "unmapped":{"type":"egress","country":"SG","rule":null,"verdict":"observed","network":"198.51.100.0/24"}}"#;
        let facts = Facts::of(incident);
        assert_eq!((facts.kind.as_str(), facts.network.as_str()), ("egress", "198.51.100.0/24"));
        assert_eq!((facts.id.as_str(), facts.zone.as_str(), facts.began), ("cd", "eu", 1_000));
        assert_eq!((facts.priority(), facts.over, facts.at()), (3, false, "1970-01-01T00:00:02.000Z".into()));
        let over = std::str::from_utf8(incident).unwrap().replace("\"activity_id\":1", "\"activity_id\":2");
        assert!(Facts::of(over.as_bytes()).over);
        let finding = br#"{"class_uid":2004,"activity_id":3,"severity_id":1,"unmapped":{"type":"gap"},
            "finding_info":{"uid":"ab"}}"#;
        let facts = Facts::of(finding);
        assert_eq!((facts.kind.as_str(), facts.over, facts.priority()), ("gap", true, 6));
        assert_eq!((facts.id.as_str(), facts.network.as_str()), ("ab", ""));
    }
}
