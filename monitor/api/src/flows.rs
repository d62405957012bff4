//! The flow document: served at `/api/v1/flows`, summed at `/api/v1/totals`, printed by `egress-monitor flows`. Rows, the rest, what was evicted, what
//! overflowed and what was not parsed always sum to the hook total, in one document.

use std::net::IpAddr;

use monitor_common::verdict::Verdict;
use serde::{Deserialize, Serialize};

use crate::status::Sums;

/// Rows given when nobody says how many.
pub const DEFAULT_TOP: usize = 50;
/// Most rows given.
pub const MAX_TOP: usize = 100_000;

/// Seconds that `since` may go back.
pub const MAX_SINCE: u32 = 3_600;

/// A parameter that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// `top`.
    #[error("top={0}: from 1 to {MAX_TOP}")]
    Top(usize),
    /// `since`.
    #[error("since={0}: from 1 to {MAX_SINCE} seconds")]
    Since(u32),
}

/// Of every page with rows.
pub(crate) fn check_top(top: Option<usize>) -> Result<(), QueryError> {
    match top {
        Some(top) if top == 0 || top > MAX_TOP => Err(QueryError::Top(top)),
        _ => Ok(()),
    }
}

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
    /// Rule that let it through; `-` without one.
    Rule,
    /// Destination address.
    Peer,
}

impl By {
    /// Whether what it sums by is no address, so that `/api/v1/totals` has it.
    pub const fn is_total(self) -> bool {
        matches!(self, Self::Country | Self::Class | Self::Rule)
    }
}

/// The parameters of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsQuery {
    /// Sum by; none: flow by flow.
    pub by: Option<By>,
    /// Rows.
    pub top: Option<usize>,
    /// Only this verdict.
    pub verdict: Option<Verdict>,
    /// Only the last so many seconds.
    pub since: Option<u32>,
    /// 1: close the epoch first.
    pub fresh: Option<u8>,
}

impl FlowsQuery {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// What is out of its range.
    pub fn check(&self) -> Result<(), QueryError> {
        check_top(self.top)?;
        match self.since {
            Some(since) if since == 0 || since > MAX_SINCE => Err(QueryError::Since(since)),
            _ => Ok(()),
        }
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
    /// Rule that let it through.
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
}

/// Flows with the same key and verdict, summed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupRow {
    /// Country, class, network (`AS64500`, or `192.0.2.0/24` where no dataset says whose it is), rule or peer.
    pub key: String,
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

/// The document. Without a verdict asked for: rows + rest + evicted + overflow + unparsed = hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flows {
    /// Boot of the host, as in `status`.
    pub boot_id: String,
    /// Counting since, RFC 3339. Another one, or another boot: counters have begun anew. With `window_seconds`: where the
    /// window begins, up to a minute earlier than asked for, or later if the daemon has not counted for so long.
    pub since: String,
    /// The window that was asked for; everything here is what was counted in it.
    pub window_seconds: Option<u32>,
    /// Counted until the close of the last epoch.
    pub until: Option<String>,
    /// Its number.
    pub epoch: Option<u32>,
    /// Flow by flow; empty when `groups` was asked for.
    pub flows: Vec<FlowRow>,
    /// Summed; empty otherwise.
    pub groups: Vec<GroupRow>,
    /// What comes after the last row.
    pub rest: Part,
    /// Flows that the store no longer tells apart; by country, class and rule they are within the rows.
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
