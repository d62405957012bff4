//! The documents of incidents: those that are open, served at `/api/v1/incidents`, and one of them with its largest flows,
//! at `/api/v1/incident`, printed by `egress-monitor alerts show`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    attribution::Attribution,
    flows::{FlowRow, Part},
    head::Head,
    status::Sums,
};

/// The page of one incident.
pub const PAGE: &str = "/api/v1/incident";

/// Flows that are shown of one incident.
pub const MOST: usize = 100;

/// One that is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IncidentRow {
    /// Who it is: `metadata.correlation_uid` of its alerts.
    pub id: String,
    /// `egress`, `egress_others`, `egress_answers`, `egress_overflow`, `egress_unparsed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How bad: `Low` to `High`.
    pub severity: String,
    /// What its destinations are to the policy; none of packets without a flow.
    pub class: Option<String>,
    /// allowed, observed, denied.
    pub verdict: String,
    /// Where they are; none of packets without a flow, and of flows to any country.
    pub country: Option<String>,
    /// The rule that decides; none: the zone default.
    pub rule: Option<String>,
    /// The network that they are in, /24 or /48.
    pub network: Option<String>,
    /// Where forwarded packets come from; none: this host.
    pub source: Option<IpAddr>,
    /// Why packets have no flow.
    pub reason: Option<String>,
    /// The interface by which they leave, of packets without a flow.
    pub interface: Option<String>,
    /// First packet, RFC 3339.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
    /// Flows.
    pub flows: u64,
    /// Different destinations, 64 at most.
    pub peers: u64,
    /// Whether there were more.
    pub more_peers: bool,
    /// Who sends; none where nobody looked: of packets without a flow, and of flows from many.
    pub attribution: Option<Attribution>,
    /// Everything of closed epochs.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Those that are open, the worst first, then by bytes on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Incidents {
    /// Whose.
    #[serde(flatten)]
    pub head: Head,
    /// Until the close of this epoch, RFC 3339.
    pub until: Option<String>,
    /// The incidents.
    pub incidents: Vec<IncidentRow>,
}

/// One of them: rows + rest = the incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OneIncident {
    /// Whose.
    #[serde(flatten)]
    pub head: Head,
    /// It.
    pub incident: IncidentRow,
    /// Its largest flows, by bytes on the wire, [`MOST`] at most.
    pub flows: Vec<FlowRow>,
    /// All others. None: some of the flows are older than the incident, or than this daemon, and so their sums are others
    /// than their part of it.
    pub rest: Option<Part>,
}

/// Which one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentQuery {
    /// Its id.
    pub id: String,
    /// 1: close the epoch first.
    pub fresh: Option<u8>,
}
