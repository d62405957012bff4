//! The flow document: served at `/api/v1/flows`, summed at `/api/v1/totals`, printed by `egress-monitor flows`. Rows, the rest, what was evicted, what
//! overflowed and what was not parsed always sum to the hook total, in one document.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use monitor_common::{verdict::Verdict, wire::Class};
use monitor_policy::geo::Country;
use serde::{Deserialize, Serialize};

pub use crate::query::{MAX_SINCE, MAX_TOP, QueryError};
use crate::{
    head::Head,
    query::{ago, check_top, flag, list},
    status::Sums,
};

/// Rows given when nobody says how many.
pub const DEFAULT_TOP: usize = 50;
/// What flows are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Destination country.
    Country,
    /// What the destination is to the policy: inside, outside…
    Class,
    /// Destination network: autonomous system where a dataset says which, else /24, /48.
    Network,
    /// Deciding rule; `-` in JSON is the zone default.
    Rule,
    /// Destination address, with its country and, where another address decided, that one.
    Peer,
    /// Source address.
    Source,
    /// Source and destination address, with the country.
    #[serde(rename = "source,peer")]
    #[value(name = "source,peer")]
    SourcePeer,
    /// Destination port.
    Port,
    /// Interface that it left by.
    Interface,
}

impl By {
    /// Whether what it sums by is no address, so that `/api/v1/totals` has it.
    pub const fn is_total(self) -> bool {
        matches!(self, Self::Country | Self::Class | Self::Rule)
    }
}

/// The parameters of the page. Those that choose flows are lists with commas between; a flow is chosen that is in each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsQuery {
    /// Sum by; none: flow by flow.
    pub by: Option<By>,
    /// Rows.
    pub top: Option<usize>,
    /// Only these verdicts.
    pub verdict: Option<String>,
    /// Only these countries.
    pub country: Option<String>,
    /// Only these classes.
    pub class: Option<String>,
    /// Only what these rules decided; `-`: what none did.
    pub rule: Option<String>,
    /// Only from these networks.
    pub source: Option<String>,
    /// Only to these networks.
    pub peer: Option<String>,
    /// Only to these ports.
    pub port: Option<String>,
    /// Only by these interfaces.
    pub interface: Option<String>,
    /// 1: only what enforce drops, or would.
    pub would_drop: Option<u8>,
    /// 1: only what was seen in the epoch closed last.
    pub active: Option<u8>,
    /// Only the last so many seconds, or `1h`.
    #[serde(default, deserialize_with = "ago")]
    pub since: Option<u32>,
    /// Only until so many seconds ago, or `30min`; without `since` from as far back as is kept.
    #[serde(default, deserialize_with = "ago")]
    pub until: Option<u32>,
    /// 1: close the epoch first.
    pub fresh: Option<u8>,
}

/// Which flows are chosen, as it was read from a [`FlowsQuery`]; an empty list: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Verdicts.
    pub verdicts: Vec<Verdict>,
    /// Countries.
    pub countries: Vec<Country>,
    /// Classes.
    pub classes: Vec<Class>,
    /// Rules by id; `-`: none.
    pub rules: Vec<String>,
    /// Networks of sources.
    pub sources: Vec<IpNetwork>,
    /// Networks of destinations.
    pub peers: Vec<IpNetwork>,
    /// Destination ports.
    pub ports: Vec<u16>,
    /// Interfaces by name.
    pub interfaces: Vec<String>,
    /// Only what was seen in the epoch closed last.
    pub active: bool,
}

impl FlowsQuery {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// What is out of its range.
    pub fn check(&self) -> Result<(), QueryError> {
        check_top(self.top)?;
        for (name, seconds) in [("since", self.since), ("until", self.until)] {
            if let Some(seconds) = seconds.filter(|seconds| *seconds == 0 || *seconds > MAX_SINCE) {
                return Err(QueryError::Seconds(name, seconds));
            }
        }
        match (self.window(), self.until) {
            (Some((since, _)), Some(until)) if since <= until || self.active == Some(1) => {
                Err(QueryError::Until { since, until })
            }
            _ => self.filter().map(drop),
        }
    }

    /// The window that is asked for: from how many seconds ago until how many.
    pub fn window(&self) -> Option<(u32, u32)> {
        (self.since.is_some() || self.until.is_some())
            .then(|| (self.since.unwrap_or(MAX_SINCE), self.until.unwrap_or(0)))
    }

    /// Which flows are chosen.
    ///
    /// # Errors
    /// A value that none of them can have.
    pub fn filter(&self) -> Result<FlowFilter, QueryError> {
        let verdict = |text: &str| Verdict::ALL.into_iter().find(|verdict| verdict.name() == text);
        let class = |text: &str| Class::ALL.into_iter().find(|class| class.name() == text);
        let text = |text: &str| Some(text.to_owned());
        let mut verdicts = list("verdict", self.verdict.as_deref(), "allowed, observed or denied", verdict)?;
        if flag("would_drop", self.would_drop)? {
            let dropped = [Verdict::Observed, Verdict::Denied];
            verdicts = if verdicts.is_empty() { dropped.into() } else { verdicts };
            verdicts.retain(|verdict| dropped.contains(verdict));
            if verdicts.is_empty() {
                let (parameter, value) = ("would_drop", "1".to_owned());
                return Err(QueryError::Value { parameter, value, expected: "what is allowed is not dropped" });
            }
        }
        Ok(FlowFilter {
            verdicts,
            countries: list("country", self.country.as_deref(), "a country's code", |text| Country::parse(text).ok())?,
            classes: list("class", self.class.as_deref(), "a class, such as outside", class)?,
            rules: list("rule", self.rule.as_deref(), "a rule's id", text)?,
            sources: list("source", self.source.as_deref(), "a network or an address", |text| text.parse().ok())?,
            peers: list("peer", self.peer.as_deref(), "a network or an address", |text| text.parse().ok())?,
            ports: list("port", self.port.as_deref(), "a port's number", |text| text.parse().ok())?,
            interfaces: list("interface", self.interface.as_deref(), "an interface's name", text)?,
            active: flag("active", self.active)?,
        })
    }
}

impl FlowFilter {
    /// Whether sums that are kept by interface, country, class, verdict and rule know what is chosen.
    pub fn is_of_sums(&self) -> bool {
        self.sources.is_empty() && self.peers.is_empty() && self.ports.is_empty() && !self.active
    }

    /// Whether it names no address and no port, nor a time: what `/api/v1/totals` takes.
    pub fn is_total(&self) -> bool {
        self.is_of_sums() && self.interfaces.is_empty()
    }
}

/// Who announces a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AutonomousSystem {
    /// Number.
    pub number: u32,
    /// Name; empty where the dataset has none.
    pub name: String,
}

/// A inner destination in flows and alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InnerDocument {
    /// Where.
    pub destination: IpAddr,
    /// Its port; ICMP: type × 256 + code.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// By what the packet gets there.
    pub via: String,
    /// The IPv4 address that this one carries.
    pub embedded: Option<EmbeddedAddress>,
}

/// An IPv4 address inside an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EmbeddedAddress {
    /// Where.
    pub destination: IpAddr,
    /// By what it is carried.
    pub via: String,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlowRow {
    /// Interface that it left by.
    pub interface: String,
    /// Source address.
    pub source: IpAddr,
    /// Source port; 0 without.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; ICMP: type × 256 + code.
    pub destination_port: u16,
    /// Who announces the destination, where a dataset says.
    pub autonomous_system: Option<AutonomousSystem>,
    /// IANA protocol number.
    pub protocol: u8,
    /// Its name, where it has one here.
    pub protocol_name: Option<String>,
    /// Where its packets go on to: the end of a source route or tunnel, else the IPv4 address that the destination
    /// carries.
    pub inner: Option<InnerDocument>,
    /// The IPv4 address that the destination carries, where `inner` is another one.
    pub embedded: Option<EmbeddedAddress>,
    /// What of it cannot be read: esp, wireguard, quic…
    pub opaque: Option<String>,
    /// The one of all these destinations that country, class and rule are those of: the strictest; none: it is a hop on
    /// the way that is not kept.
    pub decided_by: Option<IpAddr>,
    /// Its country.
    pub country: String,
    /// inside, outside…
    pub class: String,
    /// Deciding rule; none: the zone default.
    pub rule: Option<String>,
    /// allowed, observed, denied.
    pub verdict: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// First packet, RFC 3339.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
    /// Seen in the epoch closed last: it is going on.
    #[serde(default)]
    pub active: bool,
}

/// Flows with the same key and verdict, summed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupRow {
    /// What they have in common: country, class, network (`AS64500`, or `192.0.2.0/24` where no dataset says whose it is),
    /// rule, peer, source, port or interface; of source and peer the source.
    pub key: String,
    /// Of source and peer the peer.
    #[serde(default)]
    pub peer: Option<IpAddr>,
    /// The country, where they have a peer in common.
    #[serde(default)]
    pub country: Option<String>,
    /// The address that country and verdict are those of, where that is another than the peer's.
    #[serde(default)]
    pub decided_by: Option<IpAddr>,
    /// The autonomous system's name.
    pub name: Option<String>,
    /// allowed, observed, denied.
    pub verdict: String,
    /// How many flows.
    pub flows: u64,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// First packet of any, RFC 3339.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
    /// One of them was seen in the epoch closed last: it is going on.
    #[serde(default)]
    pub active: bool,
}

/// Packets without a flow, for one reason, on all interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReasonRow {
    /// Why.
    pub reason: String,
    /// What that means, in a sentence.
    pub meaning: String,
    /// Let through.
    pub passed: Sums,
    /// Dropped.
    pub dropped: Sums,
}

/// Flows that have no row, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Part {
    /// How many flows.
    pub flows: u64,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// The document: rows + rest + other + evicted + overflow + unparsed = hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flows {
    /// Whose.
    #[serde(flatten)]
    pub head: Head,
    /// Counting since, RFC 3339. Another one, or another boot: counters have begun anew. With `window_seconds`: where the
    /// window begins, up to a minute (or an epoch, where that is longer) earlier than asked for, or later if the daemon has
    /// not counted for so long.
    pub since: String,
    /// The window that was asked for; everything here is what was counted in it.
    pub window_seconds: Option<u32>,
    /// Seconds before the close of the last epoch that it was to end at; none: it goes on to there.
    #[serde(default)]
    pub window_until_seconds: Option<u32>,
    /// Whether all of it is here: the daemon has counted for so long, and kept what it counted.
    pub window_complete: Option<bool>,
    /// Counted until the close of the last epoch. With `window_until_seconds`: where the window ends, up to a minute (or an
    /// epoch) later than asked for.
    pub until: Option<String>,
    /// Its number.
    pub epoch: Option<u32>,
    /// Flow by flow; empty when `groups` was asked for.
    pub flows: Vec<FlowRow>,
    /// Summed; empty otherwise.
    pub groups: Vec<GroupRow>,
    /// Whether there are more rows than were asked for: `rest` is what they come to. A sum over the rows is not all then.
    pub truncated: bool,
    /// What comes after the last row.
    pub rest: Part,
    /// What was not asked for.
    #[serde(default)]
    pub other: Part,
    /// Flows that the store no longer tells apart, whether they were asked for or not; by country, class and rule they are within the rows.
    pub evicted: Part,
    /// What the kernel's flow table had no place for.
    pub overflow: Sums,
    /// What has no flow.
    pub unparsed: Sums,
    /// The same by reason.
    pub unparsed_reasons: Vec<ReasonRow>,
    /// Everything that passed the hooks.
    pub hook: Sums,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(of: FlowsQuery) -> Result<FlowFilter, String> {
        of.filter().map_err(|error| error.to_string())
    }

    #[test]
    fn lists_are_read_and_what_nothing_can_be_is_refused_with_what_it_can() {
        let some = |text: &str| Some(text.to_owned());
        let query = || FlowsQuery::default();
        assert_eq!(filter(query()), Ok(FlowFilter::default()));
        let both = filter(FlowsQuery { country: some("CN, sg"), port: some("443,80"), ..query() }).unwrap();
        assert_eq!((both.countries, both.ports), (vec![Country(*b"CN"), Country(*b"SG")], vec![443, 80]));
        for (of, why) in [
            (FlowsQuery { verdict: some("dropped"), ..query() }, "verdict=dropped: allowed, observed or denied"),
            (FlowsQuery { country: some("XQ"), ..query() }, "country=XQ: a country's code"),
            (FlowsQuery { peer: some("example.org"), ..query() }, "peer=example.org: a network or an address"),
            (FlowsQuery { port: some("443,"), ..query() }, "port=: a port's number"),
            (FlowsQuery { active: Some(2), ..query() }, "active=2: 0 or 1"),
            (
                FlowsQuery { would_drop: Some(1), verdict: some("allowed"), ..query() },
                "would_drop=1: what is allowed is not dropped",
            ),
        ] {
            assert_eq!(filter(of), Err(why.to_owned()));
        }
        let dropped = filter(FlowsQuery { would_drop: Some(1), verdict: some("denied,allowed"), ..query() }).unwrap();
        assert_eq!(dropped.verdicts, [Verdict::Denied]);
    }

    #[test]
    fn a_window_begins_before_it_ends_and_is_within_the_hour() {
        let check = |since, until, active| {
            let query = FlowsQuery { active, since, until, ..FlowsQuery::default() };
            query.check().map(|()| query.window()).map_err(|error| error.to_string())
        };
        assert_eq!(check(None, None, None), Ok(None));
        assert_eq!(check(Some(60), None, Some(1)), Ok(Some((60, 0))));
        assert_eq!(check(Some(3_600), Some(1_800), None), Ok(Some((3_600, 1_800))));
        assert_eq!(check(None, Some(1_800), None), Ok(Some((3_600, 1_800))));
        assert_eq!(check(None, Some(3_601), None), Err("until=3601: from 1 to 3600 seconds ago".into()));
        assert_eq!(check(Some(0), None, None), Err("since=0: from 1 to 3600 seconds ago".into()));
        let refused = "until=60: later than since=60, and without active";
        assert_eq!(check(Some(60), Some(60), None), Err(refused.into()));
        let refused = "until=60: later than since=3600, and without active";
        assert_eq!(check(None, Some(60), Some(1)), Err(refused.into()));
    }
}
