//! Alerts about the monitor itself: conditions in, OCSF Detection Findings (class 2004) out, one when a condition
//! begins and one when it ends, so that a loss is never silent and never floods either.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    Alert, Host, Severity,
    ocsf::{device, metadata, milliseconds},
};
use monitor_policy::text::hex;

/// What can be wrong with the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Hook total and sums differ.
    ConservationBreach,
    /// A device sent more than passed its hook.
    UnaccountedEgress,
    /// The program is not on an interface any more that it was put on and that is still there.
    Detached,
    /// An epoch could not be closed.
    EpochFailed,
    /// An interface that was attached to is gone.
    InterfaceLost,
    /// The ring buffer was full. The alerts are rebuilt from the flow table.
    EventsLost,
    /// The flow table was full: sums are exact, flows are not all told apart.
    FlowTableOverflow,
    /// Alert lines did not reach a sink.
    AlertsLost,
    /// More flows alerted in an epoch than it makes alerts.
    AlertsSuppressed,
    /// A new configuration was refused.
    ReloadRefused,
    /// A rule has used up its budget of the day.
    BudgetUsedUp,
    /// The sums of the day can't be kept over a restart.
    BudgetState,
    /// The shadow policy that the configuration names does not compile.
    ShadowRefused,
    /// A new policy failed its check in the kernel; the one before it was put back, or could not be.
    PolicyRolledBack,
    /// A new policy was not confirmed in time; the one before it is in force again, or could not be put back.
    PolicyReturned,
    /// Rules end soon.
    RuleExpiring,
    /// Rules have ended while the monitor ran.
    RuleExpired,
    /// Rules will begin, or have begun.
    RuleBegins,
    /// A geo dataset is older than 90 days.
    StaleGeoData,
}

impl Condition {
    /// The metric label and `unmapped.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConservationBreach => "conservation_breach",
            Self::UnaccountedEgress => "unaccounted_egress",
            Self::Detached => "detached",
            Self::EpochFailed => "epoch_failed",
            Self::InterfaceLost => "interface_lost",
            Self::EventsLost => "events_lost",
            Self::FlowTableOverflow => "flow_table_overflow",
            Self::AlertsLost => "alerts_lost",
            Self::AlertsSuppressed => "alerts_suppressed",
            Self::ReloadRefused => "reload_refused",
            Self::BudgetUsedUp => "budget_used_up",
            Self::BudgetState => "budget_state",
            Self::ShadowRefused => "shadow_refused",
            Self::PolicyRolledBack => "policy_rolled_back",
            Self::PolicyReturned => "policy_returned",
            Self::RuleExpiring => "rule_expiring",
            Self::RuleExpired => "rule_expired",
            Self::RuleBegins => "rule_begins",
            Self::StaleGeoData => "stale_geo_data",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::ConservationBreach => "Packets counted at the hook and packets accounted for differ",
            Self::UnaccountedEgress => "Traffic left an interface without passing the hook",
            Self::Detached => "The program was taken off an interface",
            Self::EpochFailed => "An epoch could not be closed",
            Self::InterfaceLost => "An interface that was watched is gone",
            Self::EventsLost => "The event ring buffer was full",
            Self::FlowTableOverflow => "The flow table was full",
            Self::AlertsLost => "Alerts did not reach a sink",
            Self::AlertsSuppressed => "Too many flows to alert on each",
            Self::ReloadRefused => "A new configuration was refused, the old one stays in force",
            Self::BudgetUsedUp => "A rule has used up its budget of the day and is suspended",
            Self::BudgetState => "The day's budgets can't be kept over a restart",
            Self::ShadowRefused => "The shadow policy was refused, there is none",
            Self::PolicyRolledBack => "A new policy failed its check in the kernel and was taken back",
            Self::PolicyReturned => "A new policy was not confirmed in time and was taken back",
            Self::RuleExpiring => "Rules expire soon",
            Self::RuleExpired => "Rules have expired",
            Self::RuleBegins => "Rules begin",
            Self::StaleGeoData => "A geo dataset is older than 90 days",
        }
    }

    /// Whether each time counts, and not only that it has begun.
    const fn every_time(self) -> bool {
        matches!(
            self,
            Self::ConservationBreach | Self::UnaccountedEgress | Self::PolicyRolledBack | Self::PolicyReturned
        )
    }

    const fn severity(self) -> Severity {
        match self {
            Self::ConservationBreach | Self::UnaccountedEgress | Self::Detached | Self::PolicyRolledBack => {
                Severity::Critical
            }
            Self::PolicyReturned
            | Self::EpochFailed
            | Self::InterfaceLost
            | Self::AlertsLost
            | Self::AlertsSuppressed
            | Self::BudgetUsedUp
            | Self::RuleExpired => Severity::High,
            Self::EventsLost
            | Self::FlowTableOverflow
            | Self::ReloadRefused
            | Self::BudgetState
            | Self::RuleExpiring => Severity::Medium,
            Self::StaleGeoData | Self::ShadowRefused => Severity::Low,
            Self::RuleBegins => Severity::Informational,
        }
    }
}

/// What an alert says of a condition.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// For people.
    pub text: String,
    /// For [`Condition::UnaccountedEgress`], what was found where.
    pub unaccounted: Vec<Unaccounted>,
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), unaccounted: Vec::new() }
    }
}

/// What left an interface without passing the hook.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Unaccounted {
    /// Interface.
    pub interface: String,
    /// Epoch in which it was found.
    pub epoch: u32,
    /// Packets found in it.
    pub packets: u64,
    /// Their bytes, as far as they can be told.
    pub bytes: u64,
    /// Packets since the program was attached.
    pub total_packets: u64,
    /// Their bytes.
    pub total_bytes: u64,
}

/// Which conditions hold.
#[derive(Debug, Default)]
pub struct Conditions {
    /// Since when, UTC nanoseconds since 1970; of some conditions there are several, each of its own subject.
    open: BTreeMap<(Condition, String), i128>,
}

impl Conditions {
    /// Tells how a condition stands now: `detail` while it holds, `None` while not. An alert comes out when that
    /// changes; a [`Condition::every_time`] one alerts whenever it is told.
    pub fn tell(&mut self, host: &Host, condition: Condition, detail: Option<Detail>, now: i128) -> Option<Alert> {
        self.tell_of(host, (condition, ""), detail, now)
    }

    /// The same of a condition that can hold of several things at once, of one of them.
    pub fn tell_of(
        &mut self,
        host: &Host,
        (condition, subject): (Condition, &str),
        detail: Option<Detail>,
        now: i128,
    ) -> Option<Alert> {
        let key = (condition, subject.to_owned());
        match (detail, self.open.get(&key).copied()) {
            (Some(detail), open) if open.is_none() || condition.every_time() => {
                self.open.insert(key, now);
                Some(finding(host, (condition, subject), &detail, now, now, false))
            }
            (None, Some(since)) => {
                self.open.remove(&key);
                let detail =
                    if subject.is_empty() { "no longer so".into() } else { format!("'{subject}': no longer so") };
                Some(finding(host, (condition, subject), &Detail::from(detail.as_str()), since, now, true))
            }
            _ => None,
        }
    }

    /// The things of which a condition holds.
    pub fn subjects(&self, condition: Condition) -> Vec<String> {
        let of = self.open.keys().filter(|(other, _)| *other == condition);
        of.map(|(_, subject)| subject.clone()).collect()
    }

    /// Names of the conditions that hold, each with since when it first does.
    pub fn open(&self) -> impl Iterator<Item = (&'static str, i128)> {
        let mut first: BTreeMap<Condition, i128> = BTreeMap::new();
        for ((condition, _), since) in &self.open {
            first.entry(*condition).and_modify(|there| *there = (*there).min(*since)).or_insert(*since);
        }
        first.into_iter().map(|(condition, since)| (condition.name(), since))
    }
}

/// An alert on something that happens and is over: nothing that begins and ends. `subject` tells it from others of its
/// kind at the same time.
#[must_use]
pub fn notice(host: &Host, condition: Condition, subject: &str, text: &str, now: i128) -> Alert {
    finding(host, (condition, subject), &Detail::from(text), now, now, false)
}

fn finding(
    host: &Host,
    (condition, subject): (Condition, &str),
    detail: &Detail,
    since: i128,
    now: i128,
    closed: bool,
) -> Alert {
    let severity = if closed { Severity::Informational } else { condition.severity() };
    let activity = if closed { (3, "Close") } else { (1, "Create") };
    let identity = |what: &str| {
        let mut text = [&host.boot_id, &host.name, condition.name(), what, &since.to_string()].join("\0");
        if !subject.is_empty() {
            text += "\0";
            text += subject;
        }
        hex(&Sha256::digest(text.as_bytes())[..16])
    };
    let mut line = json!({
        "activity_id": activity.0,
        "activity_name": activity.1,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "type_uid": 200_400 + activity.0,
        "type_name": format!("Detection Finding: {}", activity.1),
        "severity_id": severity as u8,
        "severity": severity.name(),
        "time": milliseconds(now),
        "message": format!("{}: {}", condition.title(), detail.text),
        "is_alert": true,
        "status_id": if closed { 4 } else { 1 },
        "status": if closed { "Resolved" } else { "New" },
        "action_id": 3,
        "action": "Observed",
        "disposition_id": 19,
        "disposition": "Alert",
        "finding_info": {
            "uid": identity("finding"),
            "title": condition.title(),
            "desc": detail.text,
            "types": [condition.name()],
            "created_time": milliseconds(since),
        },
        "unmapped": { "type": condition.name() },
    });
    if !detail.unaccounted.is_empty() {
        line["unmapped"]["unaccounted"] = json!(detail.unaccounted);
    }
    line["metadata"] = metadata(&identity(activity.1));
    line["device"] = device(host);
    Alert { severity, kind: condition.name(), line: line.to_string().into() }
}
