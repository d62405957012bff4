//! The consumers that only look at an epoch and at what is in force, and raise a finding where something is wrong:
//! what is not watched and should be, sums that do not add up, losses, old datasets, rules that begin and end.

use std::collections::BTreeMap;

use monitor_common::{bypass::Bypass, parse::Reason};
use monitor_policy::times::{self, Notice};

use super::pipeline::{Consumer, Findings};
use crate::{
    model::{
        ClosedEpoch, Coverage, FindingKind, OpenSockets,
        coverage::{Covered, Role},
        identities::Identities,
        open_sockets::OpenSocket,
        refresh::AsideKind,
        rfc3339, seconds,
        snapshot::{BypassReport, InterfaceCounts},
    },
    store::MonitorState,
};

/// Devices or sockets that are named in one finding.
const NAMED: usize = 20;

/// What is not watched and should be.
#[derive(Debug, Default)]
pub struct Covering {
    stopping: bool,
}

impl Covering {
    fn report(&self, state: &MonitorState, findings: &mut Findings<'_>) {
        // That nothing is attached any more is no news.
        if self.stopping {
            return;
        }
        let Coverage { unfit, no_slot, error, .. } = &state.coverage;
        let mut unavailable: BTreeMap<&str, String> =
            unfit.iter().map(|(pattern, why)| (pattern.as_str(), format!("'{pattern}': {why}"))).collect();
        let refused = |device: &&Covered| device.refused && !no_slot.contains(&device.name);
        for device in state.coverage.devices.iter().filter(refused) {
            unavailable.insert(&device.name, format!("{}: {}", device.name, device.why));
        }
        if let Some(error) = error {
            unavailable.insert("", error.clone());
        }
        let leaking = state.coverage.leaking().map(|device| (device.name.as_str(), device.leak())).collect();
        report_each(FindingKind::InterfaceUnavailable, unavailable, findings);
        report_each(FindingKind::UnwatchedEgress, leaking, findings);
        let detail = (!no_slot.is_empty()).then(|| {
            let more = match no_slot.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let names = no_slot.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("{names}{more} can't be told apart from others")
        });
        findings.report(FindingKind::TooManyInterfaces, detail);
        let blind =
            |device: &&Covered| device.role == Role::Inner && device.up && device.since.is_none() && !device.wanted;
        let blind = state.coverage.devices.iter().filter(blind).map(|device| device.name.as_str());
        let blind: Vec<&str> = blind.collect();
        let detail = (!blind.is_empty())
            .then(|| format!("{}: of what is sent there only the tunnel is seen, where it leaves", blind.join(", ")));
        findings.report(FindingKind::TunnelNotWatched, detail);
    }
}

/// Raises a finding for each of these things, and resolves it for all others.
fn report_each(kind: FindingKind, of: BTreeMap<&str, String>, findings: &mut Findings<'_>) {
    let over = findings.subjects(kind).filter(|subject| !of.contains_key(subject));
    for subject in over.map(str::to_owned).collect::<Vec<_>>() {
        findings.report_of((kind, &subject), None::<String>);
    }
    for (subject, detail) in of {
        findings.report_of((kind, subject), Some(detail));
    }
}

impl Consumer for Covering {
    fn begin(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.report(state, findings);
    }

    fn publish(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.report(state, findings);
    }

    fn covered(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.report(state, findings);
    }

    fn stopping(&mut self) {
        self.stopping = true;
    }
}

/// Hook totals and sums that differ.
#[derive(Debug, Default)]
pub struct Conservation;

impl Consumer for Conservation {
    fn publish(&mut self, epoch: &ClosedEpoch<'_>, _: &mut MonitorState, findings: &mut Findings<'_>) {
        let mut detail = Vec::new();
        let number = epoch.snapshot.epoch;
        for (name, residual) in epoch.breaches() {
            let interface = epoch.identities.interfaces.get(name);
            let (packets, bytes) = (residual.packets.cast_signed(), residual.bytes.cast_signed());
            tracing::error!(interface, epoch = number, packets, bytes, "conservation breach");
            detail
                .push(format!("{interface}, epoch {number}: hook minus accounted is {packets} packets, {bytes} bytes"));
        }
        findings.report(FindingKind::ConservationBreach, (!detail.is_empty()).then(|| detail.join("; ")));
    }
}

/// How many eighths of a table of names are in use when that is to be known.
const NEARLY_FULL: usize = 7;

/// Events and flows for which there was no place, and names for which there will be none.
#[derive(Debug, Default)]
pub struct Losses;

impl Consumer for Losses {
    fn publish(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let snapshot = epoch.snapshot;
        let lost = snapshot.events_lost;
        let detail = (lost > 0).then(|| {
            format!("{lost} events in epoch {}; their alerts were rebuilt from the flow table", snapshot.epoch)
        });
        findings.report(FindingKind::EventsLost, detail);
        let sums = snapshot.interfaces.iter().flat_map(|interface| interface.overflow.values());
        let overflow: u64 = sums.map(|counters| counters.packets).sum();
        let detail = (overflow > 0).then(|| {
            format!(
                "{overflow} packets in epoch {} are counted by country but not by flow; alerts for new flows among \
                 them are missing. Raise [monitor] flows (now {}) or shorten [monitor] epoch",
                snapshot.epoch, snapshot.fill.table.capacity
            )
        });
        findings.report(FindingKind::FlowTableOverflow, detail);
        findings.report(FindingKind::LinkControlOdd, link_control_odd(epoch));
        let Identities { interfaces, rules } = &*state.traffic.identities;
        let tables = [
            (rules.is_beyond(0, NEARLY_FULL), "rule ids", rules.len(), rules.limit()),
            (interfaces.is_beyond(0, NEARLY_FULL), "interface names", interfaces.len(), interfaces.limit()),
        ];
        let of = |(_, what, used, limit): (bool, &str, usize, usize)| {
            format!("{used} of at most {limit} {what} are in use by policies and flows: further ones are all (other)")
        };
        let full: Vec<String> = tables.into_iter().filter(|(full, ..)| *full).map(of).collect();
        findings.report(FindingKind::NamesRunOut, (!full.is_empty()).then(|| full.join("; ")));
    }
}

/// What there is to say of frames that are announced as link-scope control and have another form.
fn link_control_odd(epoch: &ClosedEpoch<'_>) -> Option<String> {
    let of = |interface: &InterfaceCounts| {
        let sums = interface.unparsed.get(&Reason::LinkControlOdd)?;
        let (passed, dropped) = (sums.passed.packets, sums.dropped.packets);
        Some(format!("{}: {passed} passed, {dropped} dropped", interface.name))
    };
    let of: Vec<String> = epoch.snapshot.interfaces.iter().filter_map(of).collect();
    (!of.is_empty()).then(|| format!("in epoch {}: {}", epoch.snapshot.epoch, of.join("; ")))
}

/// A port that somebody else has, and a control socket that can't be made.
#[derive(Debug, Default)]
pub struct Http;

impl Http {
    fn report(state: &MonitorState, findings: &mut Findings<'_>) {
        let detail = state.http_error.as_ref().map(|why| match &state.neighbours.port {
            Some(who) => format!("{why}; it is {who}"),
            None => why.clone(),
        });
        findings.report(FindingKind::HttpUnavailable, detail);
        findings.report(FindingKind::ControlUnavailable, state.control_error.clone());
    }
}

impl Consumer for Http {
    fn begin(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        Self::report(state, findings);
    }

    fn review(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        Self::report(state, findings);
    }
}

/// What is in force otherwise than the files say, and what a restart will not know.
#[derive(Debug, Default)]
pub struct Exceptions;

impl Exceptions {
    fn report(state: &MonitorState, findings: &mut Findings<'_>) {
        let in_force = &state.in_force;
        let detail = in_force.last_good_status().map(|of| {
            format!(
                "{}. The last good policy {} ({}), kept since {}, holds instead",
                of.refused, of.policy, of.mode, of.since
            )
        });
        findings.report(FindingKind::LastGoodPolicy, detail);
        let by_hand = in_force.by_hand.as_deref();
        for (kind, loosens) in [(FindingKind::ObserveByHand, true), (FindingKind::ModeByHand, false)] {
            let by_hand = by_hand.filter(|by_hand| by_hand.loosens() == loosens);
            let set = by_hand.map(|by_hand| {
                let until = by_hand
                    .until
                    .map_or_else(|| "until somebody ends it".into(), |at| format!("until {}", rfc3339(at)));
                format!("{} since {}, {until}", by_hand.mode, rfc3339(by_hand.since))
            });
            let over: Vec<String> =
                findings.subjects(kind).filter(|subject| set.as_deref() != Some(subject)).map(str::to_owned).collect();
            for subject in over {
                findings.report_of((kind, &subject), None::<String>);
            }
            if let (Some(by_hand), Some(set)) = (by_hand, set) {
                let text = format!("{set}; the configuration says {}: {}", by_hand.configured, by_hand.reason);
                findings.report_of((kind, &set), Some(text));
            }
        }
        findings.report(FindingKind::PolicyState, state.state_error.clone());
    }
}

impl Consumer for Exceptions {
    fn begin(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        Self::report(state, findings);
    }

    fn review(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        Self::report(state, findings);
    }
}

/// Sockets that would send past the hook.
#[derive(Debug, Default)]
pub struct BypassSockets;

impl Consumer for BypassSockets {
    fn publish(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let BypassReport { refused, problem, open } = &epoch.snapshot.bypass;
        state.bypass_refused.iter_mut().zip(refused).for_each(|(sum, more)| *sum += more);
        let named = Bypass::ALL.into_iter().zip(refused).filter(|(_, times)| **times > 0);
        let named: Vec<String> =
            named.map(|(of, times)| format!("{times} {} in epoch {}", of.socket(), epoch.snapshot.epoch)).collect();
        findings.report(FindingKind::BypassRefused, (!named.is_empty()).then(|| named.join(", ")));
        findings.report(FindingKind::BypassNotRefused, problem.clone());
        findings.report(FindingKind::BypassOpen, described(open, &state.coverage));
        state.bypass_open.clone_from(open);
    }
}

/// What there is to say of sockets that are open from before, if there are any.
fn described(open: &OpenSockets, coverage: &Coverage) -> Option<String> {
    let named = open.sockets.iter().take(NAMED).map(|socket| {
        let OpenSocket { kind, inode, user, ifindex } = socket;
        let interface = coverage.name(*ifindex);
        format!("{} {inode} of user {user} on {interface}", kind.open_socket())
    });
    let more = open.sockets.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("{more} more"));
    let unlisted = (open.unlisted > 0).then(|| {
        format!("{} AF_XDP sockets that the kernel does not list, and of which some may only receive", open.unlisted)
    });
    (!open.is_empty()).then(|| named.chain(more).chain(unlisted).collect::<Vec<_>>().join("; "))
}

/// Geo datasets that are too old.
#[derive(Debug, Default)]
pub struct StaleData;

impl Consumer for StaleData {
    fn review(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let now = epoch.snapshot.ended;
        let stale: Vec<String> = state
            .in_force
            .datasets
            .iter()
            .filter(|dataset| dataset.is_stale(now))
            .filter_map(|dataset| dataset.age_seconds(now).map(|age| (dataset, age)))
            .map(|(dataset, age)| format!("{} {} is {} days old", dataset.name, dataset.version, age / 86_400))
            .collect();
        let detail = (!stale.is_empty()).then(|| format!("{}; import a newer one ([geo] sources)", stale.join(", ")));
        findings.report(FindingKind::StaleGeoData, detail);
    }
}

/// Fresh geo data that somebody has to look at.
#[derive(Debug, Default)]
pub struct HeldData;

impl Consumer for HeldData {
    fn review(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let waiting = state.refresh.files.iter().filter_map(|(file, note)| Some((file, note.waits()?)));
        let named: Vec<(String, String)> = waiting
            .map(|(file, aside)| {
                let file = file.display().to_string();
                let since = rfc3339(i128::from(aside.at) * 1_000_000_000);
                let text = match aside.kind {
                    AsideKind::Refused => format!("{file}: a fresh file was refused, {since}: {}", aside.why),
                    _ => format!(
                        "{file}: a fresh file is held, {since}: {}. Take it with `egress-monitor geo stage --for {file} \
                         --accept`",
                        aside.why
                    ),
                };
                (file, text)
            })
            .collect();
        let of = named.iter().map(|(file, text)| (file.as_str(), text.clone())).collect();
        report_each(FindingKind::GeoDataHeld, of, findings);
    }
}

/// Rules that begin, end soon or have ended, each once.
#[derive(Debug, Default)]
pub struct RuleTimes(times::Announced);

impl Consumer for RuleTimes {
    fn review(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        for Notice { event, text } in
            self.0.news(&state.in_force.policy.rules, seconds(epoch.snapshot.ended + state.clock.ahead))
        {
            let kind = match event {
                times::Event::Begins | times::Event::Began => FindingKind::RuleBegins,
                times::Event::Ends(_) => FindingKind::RuleExpiring,
                times::Event::Ended => FindingKind::RuleExpired,
            };
            tracing::warn!(text, "rule times");
            findings.notice(kind, text);
        }
    }
}
