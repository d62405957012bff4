//! The status document, served at `/api/v1/status` and printed by `egress-monitor status`: what is in it, and in which
//! order. The daemon fills it.

use std::ops::AddAssign;

use monitor_common::wire::Counters;
use monitor_policy::times::Upcoming;
use serde::{Deserialize, Serialize};

pub use crate::tamper::{BypassOpen, BypassRefused, OpenSocketStatus, ProgramAhead, TamperStatus, TamperedStatus};
use crate::{
    clock::ClockStatus,
    mode::{LastGood, ModeByHand},
    reload::PendingStatus,
};

/// Packets and bytes, as a device counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How full one half of a table of flows is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Occupancy {
    /// How many places the epoch had in use.
    pub used: usize,
    /// How many there are.
    pub capacity: u32,
}

/// The four sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sums {
    /// skbs.
    pub packets: u64,
    /// Packets on the wire.
    pub segments: u64,
    /// Bytes of the skbs.
    pub bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
}

impl From<&Counters> for Sums {
    fn from(counters: &Counters) -> Self {
        let Counters { packets, segments, bytes, wire_bytes } = *counters;
        Self { packets, segments, bytes, wire_bytes }
    }
}

impl AddAssign<&Self> for Sums {
    fn add_assign(&mut self, other: &Self) {
        self.packets += other.packets;
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.wire_bytes += other.wire_bytes;
    }
}

impl Sums {
    /// Adds `counters`.
    pub fn add(&mut self, counters: &Counters) {
        *self += &counters.into();
    }
}

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyStatus {
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// In force since, RFC 3339.
    pub since: String,
    /// The same in seconds.
    pub age_seconds: i64,
    /// Rules in it.
    pub rules: usize,
    /// Of these, how many decided nothing since they are in force: see `/api/v1/rules`.
    pub never_hit: usize,
    /// Ids of those whose daily budget is used up.
    pub suspended: Vec<String>,
    /// The policy that is evaluated beside it; none where the configuration names none.
    pub shadow: Option<ShadowStatus>,
    /// That it is the last good one, and why; none: it is what the configuration says, or said.
    pub last_good: Option<LastGood>,
}

/// The shadow policy, in short: see `/api/v1/policy/shadow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShadowStatus {
    /// Its digest.
    pub digest: Option<String>,
    /// Why it was refused.
    pub refused: Option<String>,
    /// Compared since, RFC 3339.
    pub since: Option<String>,
    /// Allowed now, and it denies it.
    pub stricter: Sums,
    /// Denied now, and it allows it.
    pub looser: Sums,
}

/// A geo dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DatasetStatus {
    /// Name or file.
    pub name: String,
    /// Version.
    pub version: String,
    /// Built when, RFC 3339.
    pub built: Option<String>,
    /// Age in days.
    pub age_days: Option<i64>,
    /// Older than 90 days.
    pub stale: bool,
}

/// An interface: attached how, and what was counted there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InterfaceStatus {
    /// Name.
    pub interface: String,
    /// `tcx` or `clsact`; none: not attached now.
    pub hook: Option<String>,
    /// Whether the program is on it now: `attached`, `detached` (somebody took it off), `gone` (the interface is),
    /// `unknown`. None: it was never attached.
    pub state: Option<String>,
    /// Programs of others that have their say before ours.
    pub ahead: u32,
    /// What they are, in their order; the role 'metrics' has none.
    pub programs_ahead: Vec<ProgramAhead>,
    /// What it is, or was when something was counted there last: see [`DeviceStatus::role`]. Sums over interfaces are over
    /// edges: what others count is seen there again. None: it is not known.
    pub role: Option<String>,
    /// Attached since, RFC 3339.
    pub since: Option<String>,
    /// Everything that passed the hook.
    pub total: Sums,
    /// Of that, what we dropped.
    pub dropped: Sums,
    /// Sum of absolute residuals; all 0 or a defect.
    pub residual: Sums,
    /// What the network card counted; none until it was read with an epoch.
    pub nic: Option<NicStatus>,
}

/// The helper, which finds out what the daemon has no privileges for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HelperStatus {
    /// Whether it has answered the last question; none: it was not asked yet.
    pub answers: Option<bool>,
    /// Why not.
    pub why: Option<String>,
}

/// A network device: what it is, and whether it is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceStatus {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// `edge` (packets leave the host by it), `inner` (before they are encrypted), `guest`, `transit` (they pass another
    /// device), `none`.
    pub role: String,
    /// Its kind, such as `veth` or `bridge`; hardware mostly has none.
    pub kind: Option<String>,
    /// Whether it is up.
    pub up: bool,
    /// Watched since, RFC 3339. None: it is not watched.
    pub since: Option<String>,
    /// Why it is not watched, or how it is counted.
    pub why: Option<String>,
    /// Whether it should be watched: if it sends and is not, that is the finding `unwatched_egress`.
    pub wanted: bool,
    /// What it sent before it was watched; of one that is not, since it was found.
    pub unwatched: Amount,
}

/// What the device sent, held against what passed the hook. All since the program was attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NicStatus {
    /// What it counts as a packet: `skbs`, `segments`, `undetermined`.
    pub counts: String,
    /// Sent, as the device counts.
    pub sent: Amount,
    /// Sent before, since the device was made.
    pub before_attach: Amount,
    /// Of that, while the program was being attached.
    pub while_attaching: Amount,
    /// Dropped by us, as the device would have counted it.
    pub dropped_by_us: Amount,
    /// Packets that the queueing disciplines dropped.
    pub qdisc_drops: u64,
    /// Packets that wait there.
    pub in_flight: u64,
    /// Packets that the device says it dropped.
    pub device_drops: u64,
    /// Packets that filters behind the hook dropped or sent another way, each segment of a super-packet as one. Those that
    /// came back passed the hook twice.
    pub filtered: u64,
    /// Packets that passed the hook and that nobody counted behind it, for no known reason.
    pub lost: u64,
    /// As many at most left without passing the hook and are not in `unaccounted` (yet): what passed it and is neither
    /// sent nor known to be lost.
    pub hidden_at_most: u64,
    /// Why the device's counters can't be held against what passed its hook: then nothing of it is unaccounted. None: they
    /// are.
    pub not_comparable: Option<String>,
    /// Sent without passing the hook: proven, never shrinks.
    pub unaccounted: Amount,
}

/// Sums by interface, country, class and verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupStatus {
    /// Interface.
    pub interface: String,
    /// Country.
    pub country: String,
    /// inside, outside…
    pub class: String,
    /// allowed, observed, denied.
    pub verdict: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Packets without a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnparsedStatus {
    /// Interface.
    pub interface: String,
    /// Why.
    pub reason: String,
    /// Let through.
    pub passed: Sums,
    /// Dropped.
    pub dropped: Sums,
}

/// What one interface counted in one epoch: hook = flows + overflow + unparsed, in all four sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EpochInterface {
    /// Interface.
    pub interface: String,
    /// Everything that passed the hook.
    pub hook: Sums,
    /// Of that, what has a flow.
    pub flows: Sums,
    /// What the flow table had no place for.
    pub overflow: Sums,
    /// What has no flow.
    pub unparsed: Sums,
    /// Of flows and overflow, what the policy denied and enforce mode dropped; and of the unparsed, what was dropped.
    pub dropped: Sums,
}

/// The epoch closed last, and what it counted alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EpochStatus {
    /// Its number: from 0 on, or from where what was taken over ended.
    pub number: u32,
    /// Began when, RFC 3339.
    pub began: String,
    /// Closed when.
    pub closed: String,
    /// Epochs in the totals.
    pub count: u64,
    /// Flows in it.
    pub flows: usize,
    /// The kernel's flow table. A flow that a CPU and the table have, or several CPUs, counts in each.
    pub flow_table: Occupancy,
    /// The flow caches of all CPUs.
    pub flow_cache: Occupancy,
    /// The logs of flows that gave way to others in them.
    pub flow_log: Occupancy,
    /// Ring-buffer events that it lost.
    pub events_lost: u64,
    /// By interface.
    pub interfaces: Vec<EpochInterface>,
    /// By interface, country, class and verdict.
    pub totals: Vec<GroupStatus>,
}

/// What was lost, by kind; every one is 0 on a good day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Losses {
    /// Ring-buffer events; their alerts were rebuilt.
    pub events: u64,
    /// Packets counted by country but not by flow: the kernel's table was full.
    pub overflow_packets: u64,
    /// Flows summed up because the store was full.
    pub flows_evicted: u64,
    /// Alert lines that a sink did not take.
    pub alerts_unwritten: u64,
    /// Alert lines that found the queue full.
    pub alerts_queue_full: u64,
    /// Epochs that could not be closed in time (their traffic comes with the next).
    pub epochs_failed: u64,
    /// Reloads refused.
    pub reloads_refused: u64,
    /// Of these, policies that failed their check in the kernel and were taken back.
    pub policies_rolled_back: u64,
    /// Policies that nobody confirmed in time.
    pub policies_reverted: u64,
}

/// Alerts made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AlertCount {
    /// Severity.
    pub severity: String,
    /// `egress` or a finding.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// Where alerts go, and how far that is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// `stdout`, `file`, `webhook`, `alertmanager`, `syslog` or `journal`.
    pub kind: String,
    /// What it promises of what it has taken: `durable`, `at least once` or `handed over`.
    pub promise: String,
    /// Alerts that are kept and that it has not taken.
    pub backlog: u64,
    /// For how long the oldest of these has waited.
    pub oldest_seconds: u64,
}

/// A finding that is open now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FindingStatus {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// How bad, in OCSF's words.
    pub severity: String,
    /// What is wrong, in a sentence.
    pub title: String,
    /// What to do about it.
    pub hint: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Host name.
    pub host: String,
    /// Boot of the host, as the kernel names it.
    pub boot_id: String,
    /// `device.uid` of its alerts; none where `/etc/machine-id` is not there.
    #[serde(default)]
    pub device_uid: Option<String>,
    /// Time of this document, RFC 3339.
    pub time: String,
    /// Running since, RFC 3339. Every count here is since then and only grows: another `started` or `boot_id` says that
    /// it began anew.
    pub started: String,
    /// The same in seconds.
    pub uptime_seconds: i64,
    /// Since when the totals count: before `started`, where this daemon took over what an earlier one left.
    pub totals_since: String,
    /// Bytes that the kernel part's maps take.
    pub kernel_memory_bytes: u64,
    /// Sockets refused since `started` that would have sent past the hook.
    #[serde(default)]
    pub bypass_refused: BypassRefused,
    /// Sockets that were open before they would have been.
    #[serde(default)]
    pub bypass_open: BypassOpen,
    /// `observe` or `enforce`.
    pub mode: String,
    /// Who set it, where that is not the configuration.
    pub mode_by_hand: Option<ModeByHand>,
    /// `zone.name`.
    pub zone: String,
    /// `zone.inside` as written.
    pub inside: String,
    /// Why it is not to be relied on; none when it is.
    pub not_ready: Option<String>,
    /// What is wrong now.
    pub findings: Vec<FindingStatus>,
    /// The policy.
    pub policy: PolicyStatus,
    /// Whether it is yet to be confirmed, until when, and what comes back then; none: it stays.
    pub unconfirmed: Option<PendingStatus>,
    /// Rules that begin, end within 30 days or have ended, soonest first: at most 50.
    pub rule_times: Vec<Upcoming>,
    /// How many more there are.
    pub rule_times_left_out: usize,
    /// Why the last reload was refused.
    pub reload_error: Option<String>,
    /// Why a restart will not know which policy holds.
    pub state_error: Option<String>,
    /// The helper.
    pub helper: HelperStatus,
    /// The clocks that rules and budgets go by.
    pub clock: ClockStatus,
    /// Datasets.
    pub datasets: Vec<DatasetStatus>,
    /// The dataset of autonomous systems; none where none is named.
    pub asn: Option<DatasetStatus>,
    /// Whether somebody changed what it put into the kernel.
    pub tamper: TamperStatus,
    /// Interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Every device that is up or is to be watched, edges first: at most 4,096.
    pub coverage: Vec<DeviceStatus>,
    /// How many more there are.
    pub coverage_left_out: usize,
    /// The last epoch.
    pub epoch: Option<EpochStatus>,
    /// Sums of what was classified since the start.
    pub totals: Vec<GroupStatus>,
    /// What was not.
    pub unparsed: Vec<UnparsedStatus>,
    /// Losses.
    pub losses: Losses,
    /// Alerts.
    pub alerts: Vec<AlertCount>,
    /// Where they go.
    #[serde(default)]
    pub sinks: Vec<SinkStatus>,
    /// What can't be seen.
    pub blind_spots: Vec<String>,
}
