//! Alerts that are kept: a page of them, served at `/api/v1/alerts` and printed by `egress-monitor alerts`, which of
//! them are chosen, and who has acknowledged what. Lines are handed on byte by byte, so that the checksum in each still
//! holds.

use monitor_policy::geo::Country;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::query::MAX_LIMIT;
use crate::query::{QueryError, ago, list};

/// The page.
pub const PAGE: &str = "/api/v1/alerts";
/// Where one is acknowledged.
pub const ACKNOWLEDGE: &str = "/api/v1/alerts/ack";

/// Characters of a note.
pub const MAX_NOTE: usize = 500;

/// The type of what says that all is well: chosen by name alone.
const HEARTBEAT: &str = "heartbeat";

/// How bad an alert can be, by OCSF's number.
const SEVERITIES: [(&str, u64); 5] = [("Informational", 1), ("Low", 2), ("Medium", 3), ("High", 4), ("Critical", 5)];

/// The parameters of the page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsQuery {
    /// Only those behind this number. Without it and `since`: the latest.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Only what happened, or was told, in the last so many seconds, or `10min`.
    #[serde(default, deserialize_with = "ago")]
    pub since: Option<u32>,
    /// Only what is as bad or worse.
    pub severity: Option<String>,
    /// Only these types: `egress`, or findings; without it all but `heartbeat`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Only flows to these countries.
    pub country: Option<String>,
}

impl AlertsQuery {
    /// Which alerts are chosen, at `now` (milliseconds since 1970).
    ///
    /// # Errors
    /// A value that nothing can have.
    pub fn filter(&self, now: i64) -> Result<AlertFilter, QueryError> {
        let level = |text: &str| SEVERITIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, of)| *of);
        let word = |text: &str| {
            let is_word = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            is_word.then(|| text.to_owned())
        };
        let severities = "informational, low, medium, high or critical";
        let levels = list("severity", self.severity.as_deref(), severities, level)?;
        Ok(AlertFilter {
            level: levels.into_iter().min().unwrap_or(0),
            kinds: list("type", self.kind.as_deref(), "egress, or a finding's name", word)?,
            countries: list("country", self.country.as_deref(), "a country's code", |text| Country::parse(text).ok())?,
            since: self.since.map(|seconds| now - i64::from(seconds) * 1_000),
        })
    }

    /// As it is asked for.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let all = [
            ("after", self.after.map(|after| after.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("since", self.since.map(|since| since.to_string())),
            ("severity", self.severity.clone()),
            ("type", self.kind.clone()),
            ("country", self.country.clone()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// How many are given at most.
    ///
    /// # Errors
    /// None, or too many.
    pub fn limit(&self) -> Result<usize, QueryError> {
        let limit = self.limit.unwrap_or(MAX_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) { Ok(limit) } else { Err(QueryError::Limit(limit)) }
    }
}

/// Which alerts are chosen, as it was read from an [`AlertsQuery`]; what is empty chooses all, but heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// OCSF's number of a severity: as bad or worse.
    pub level: u64,
    /// Types.
    pub kinds: Vec<String>,
    /// Countries.
    pub countries: Vec<Country>,
    /// Milliseconds since 1970.
    pub since: Option<i64>,
}

impl AlertFilter {
    /// Whether an alert is chosen.
    pub fn chooses(&self, alert: &Told) -> bool {
        let country = || Country::parse(&alert.country).is_ok_and(|of| self.countries.contains(&of));
        alert.level >= self.level
            && (if self.kinds.is_empty() { alert.kind != HEARTBEAT } else { self.kinds.contains(&alert.kind) })
            && (self.countries.is_empty() || country())
            && self.since.is_none_or(|since| alert.at() >= since)
    }
}

/// What a line says of itself, as far as it matters for choosing, showing and acknowledging it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its number; 0: none.
    pub sequence: u64,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.correlation_uid`; empty: none.
    pub correlation: String,
    /// When it happened, milliseconds since 1970.
    pub time: i64,
    /// When that was told; where the line does not say so, the same.
    pub logged: i64,
    /// OCSF's number of the severity.
    pub level: u64,
    /// Its name.
    pub severity: String,
    /// `egress`, or the finding's name.
    pub kind: String,
    /// Of a flow; else empty.
    pub country: String,
    /// The sentence for people.
    pub message: String,
}

impl Told {
    /// Of a line; `None`: it is no alert.
    pub fn of(line: &[u8]) -> Option<Self> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Metadata {
            sequence: u64,
            uid: String,
            correlation_uid: Option<String>,
            logged_time: Option<i64>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Unmapped {
            #[serde(rename = "type")]
            kind: Option<String>,
            country: Option<String>,
        }
        #[derive(Deserialize)]
        struct Line {
            time: i64,
            severity_id: u64,
            severity: String,
            message: String,
            #[serde(default)]
            metadata: Metadata,
            #[serde(default)]
            unmapped: Unmapped,
        }
        let Line { time, severity_id, severity, message, metadata, unmapped } = serde_json::from_slice(line).ok()?;
        Some(Self {
            sequence: metadata.sequence,
            uid: metadata.uid,
            correlation: metadata.correlation_uid.unwrap_or_default(),
            time,
            logged: metadata.logged_time.unwrap_or(time),
            level: severity_id,
            severity,
            kind: unmapped.kind.unwrap_or_else(|| "egress".to_owned()),
            country: unmapped.country.unwrap_or_default(),
            message,
        })
    }

    /// When it was told, or happened: the later.
    pub fn at(&self) -> i64 {
        self.time.max(self.logged)
    }

    /// Whether it is meant: by its number, its uid, or that of what it belongs to.
    pub fn is(&self, id: &str) -> bool {
        number(id).is_some_and(|number| number == self.sequence)
            || (!id.is_empty() && (self.uid == id || self.correlation == id))
    }
}

/// The number that a name of an alert is. No uid is one: they are longer.
pub fn number(id: &str) -> Option<u64> {
    id.parse().ok().filter(|number: &u64| number.to_string() == id && *number > 0)
}

/// The document: a page of what is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Alerts {
    /// Alerts by number, as they were written; each follows `docs/alert.schema.json`.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Value>"))]
    pub alerts: Vec<Box<RawValue>>,
    /// What comes next is behind this number: `?after=`.
    pub next: u64,
    /// Whether there is more by now.
    pub truncated: bool,
    /// The number of the latest alert; 0: there is none.
    pub latest: u64,
    /// Whether alerts are on disk. If not, these are the latest in memory, without numbers.
    pub on_disk: bool,
    /// Numbers that were to come and are not there: they went at `[alerts] keep`, or are damaged.
    pub missing: Vec<Missing>,
    /// Which of the alerts on this page somebody has acknowledged.
    pub acknowledged: Vec<Acknowledged>,
    /// Alerts lost since the start: they found no room.
    pub lost: u64,
    /// Alerts written to disk since the start.
    pub written: u64,
}

/// Numbers without an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Missing {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// Who has acknowledged what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Acknowledged {
    /// The `metadata.uid` of one alert, or the `metadata.correlation_uid` of all that belong together.
    pub id: String,
    /// The number of the latest alert that was meant.
    pub sequence: u64,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub message: String,
    /// Why, in the words of whoever did it.
    pub note: Option<String>,
    /// Who: user, login and command.
    pub by: String,
    /// When, RFC 3339.
    pub time: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, level: u64, country: &str, time: i64) -> Told {
        Told { kind: kind.into(), level, country: country.into(), time, logged: time, ..Told::default() }
    }

    fn query(severity: &str, kind: &str, country: &str) -> AlertsQuery {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        AlertsQuery { severity: some(severity), kind: some(kind), country: some(country), ..AlertsQuery::default() }
    }

    #[test]
    fn each_filter_chooses_what_it_names_and_together_they_choose_what_is_in_all() {
        let alerts = [
            told("egress", 4, "SG", 10_000),
            told("egress", 3, "CN", 20_000),
            told("killed", 4, "", 30_000),
            told("detached", 5, "", 40_000),
            told("heartbeat", 1, "", 41_000),
        ];
        let chosen = |query: &AlertsQuery| -> Vec<usize> {
            let filter = query.filter(50_000).expect("a filter");
            (0..alerts.len()).filter(|at| filter.chooses(&alerts[*at])).collect()
        };
        assert_eq!(chosen(&query("", "", "")), [0, 1, 2, 3]);
        assert_eq!(chosen(&query("", "heartbeat", "")), [4]);
        assert_eq!(chosen(&query("high", "", "")), [0, 2, 3]);
        assert_eq!(chosen(&query("CRITICAL", "", "")), [3]);
        assert_eq!(chosen(&query("", "killed, egress", "")), [0, 1, 2]);
        assert_eq!(chosen(&query("", "", "sg,CN")), [0, 1]);
        assert_eq!(chosen(&query("high", "egress", "SG,CN")), [0]);
        assert_eq!(chosen(&AlertsQuery { since: Some(25), ..AlertsQuery::default() }), [2, 3]);
        // Told later than it happened.
        let late = Told { logged: 45_000, ..told("egress", 4, "SG", 10_000) };
        assert!(AlertsQuery { since: Some(10), ..AlertsQuery::default() }.filter(50_000).unwrap().chooses(&late));
    }

    #[test]
    fn what_nothing_can_have_is_refused_with_what_it_can() {
        for (of, why) in [
            (query("worse", "", ""), "severity=worse: informational, low, medium, high or critical"),
            (query("", "Egress!", ""), "type=Egress!: egress, or a finding's name"),
            (query("", "", "XQ"), "country=XQ: a country's code"),
        ] {
            assert_eq!(of.filter(0).map_err(|error| error.to_string()), Err(why.to_owned()));
        }
        for (limit, given) in [(None, Some(1_000)), (Some(1), Some(1)), (Some(0), None), (Some(1_001), None)] {
            assert_eq!(AlertsQuery { limit, ..AlertsQuery::default() }.limit().ok(), given);
        }
    }

    #[test]
    fn a_line_says_what_it_is_and_by_which_names_it_is_meant() {
        let line = br#"{"time":5,"severity_id":4,"severity":"High","message":"left","metadata":{"sequence":17,
            "uid":"ab","correlation_uid":"cd","logged_time":7},"unmapped":{"country":"SG","rule":null}}"#;
        let told = Told::of(line).expect("an alert");
        assert_eq!((told.kind.as_str(), told.country.as_str(), told.at(), told.level), ("egress", "SG", 7, 4));
        for (id, is) in
            [("17", true), ("ab", true), ("cd", true), ("7", false), ("", false), ("0", false), ("017", false)]
        {
            assert_eq!(told.is(id), is, "{id}");
        }
        let finding = br#"{"time":5,"severity_id":1,"severity":"Low","message":"m","unmapped":{"type":"gap"}}"#;
        let told = Told::of(finding).expect("an alert");
        assert_eq!((told.kind.as_str(), told.at(), told.is("0"), told.is("")), ("gap", 5, false, false));
        assert_eq!((Told::of(b"{}"), Told::of(b"[")), (None, None));
    }
}
