//! What there is to report of alerts on their way out: lost ones, a disk that takes none, a sink that takes none. The
//! reports go the same way, with places of their own.

use std::{collections::BTreeMap, mem, sync::atomic::Ordering::Relaxed};

use super::pipeline::{Consumer, Findings};
use crate::{
    model::{ClosedEpoch, FindingKind, delivery::Delivery, now},
    store::MonitorState,
};

/// A sink is behind when the oldest alert that it has not taken is so many seconds old.
const BEHIND: u64 = 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// Alerts lost until the epoch before.
    lost: u64,
    /// Alerts refused until then, by sink.
    rejected: BTreeMap<String, u64>,
}

impl Consumer for Deliveries {
    fn begin(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        report(&state.delivery, findings);
    }

    fn publish(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let delivery = &state.delivery;
        let total = delivery.lost.load(Relaxed);
        let lost = total - mem::replace(&mut self.lost, total);
        let detail = (lost > 0).then(|| format!("{lost} alerts: their flows are in `egress-monitor flows`"));
        findings.report(FindingKind::AlertsLost, detail);
        report(delivery, findings);
        let now = (now() / 1_000_000) as i64;
        for sink in delivery.sinks() {
            let (waits, backlog) = (delivery.waits(sink, now), delivery.backlog(sink));
            let detail = (waits > BEHIND && backlog > 0).then(|| {
                let answer = Some(sink.answer()).filter(|answer| !answer.is_empty());
                let why = answer.unwrap_or_else(|| "its reader stands still".to_owned());
                format!("{}: {backlog} alerts wait, the oldest for {waits} s: {why}", sink.name)
            });
            findings.report_of((FindingKind::SinkBehind, &sink.name), detail);
            let rejected = sink.rejected.load(Relaxed);
            let more = rejected > self.rejected.insert(sink.name.clone(), rejected).unwrap_or(0);
            // Open until it takes one: that it refuses the alert on this too is no reason for another.
            let (what, last) = sink.refusal();
            let detail = (more || last).then(|| format!("{}: {what}; {rejected} since the start", sink.name));
            findings.report_of((FindingKind::SinkRejects, &sink.name), detail);
        }
    }
}

fn report(delivery: &Delivery, findings: &mut Findings<'_>) {
    let (unwritable, notices) = {
        let mut told = delivery.told();
        (told.unwritable.clone(), mem::take(&mut told.notices))
    };
    findings.report(FindingKind::OutboxUnwritable, unwritable);
    for (kind, text) in notices {
        findings.notice(kind, text);
    }
}
