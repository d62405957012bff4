//! That the monitor works, once a minute: for receivers, which can tell nothing from silence. Closed epochs in, notices
//! out, by the way of all alerts. Called by the engine, as a consumer.

use std::sync::atomic::Ordering::Relaxed;

use monitor_policy::text::span;

use super::pipeline::{Consumer, Findings};
use crate::{
    model::{
        ClosedEpoch, FindingKind,
        finding::{Detail, Heartbeat},
    },
    store::MonitorState,
};

/// In nanoseconds.
const MINUTE: i128 = 60_000_000_000;

/// The first at the start, then one at the end of the first epoch that ends in another minute of the clock: that is one a
/// minute where epochs are no longer than that, whatever they last.
#[derive(Debug, Default)]
pub struct Heartbeats {
    /// Minutes since 1970.
    last: i128,
}

impl Heartbeats {
    fn beat(&mut self, at: i128, epoch: Option<u32>, state: &MonitorState, findings: &mut Findings<'_>) {
        self.last = at.div_euclid(MINUTE);
        let heartbeat = Heartbeat {
            uptime_seconds: i64::try_from((at - state.started) / 1_000_000_000).unwrap_or(0).max(0),
            mode: state.in_force.mode.name(),
            policy: state.in_force.policy.digest.clone(),
            epoch,
            alerts_kept: state.delivery.kept.load(Relaxed),
        };
        let policy: String = heartbeat.policy.chars().take(8).collect();
        let text = format!(
            "{}, up {}, policy {policy}, {}, {} alerts kept",
            heartbeat.mode,
            span(heartbeat.uptime_seconds),
            epoch.map_or_else(|| "no epoch closed yet".to_owned(), |epoch| format!("epoch {epoch}")),
            heartbeat.alerts_kept
        );
        let detail = Detail { heartbeat: Some(heartbeat), ..text.into() };
        findings.notice_at(FindingKind::Heartbeat, detail, at);
    }
}

impl Consumer for Heartbeats {
    fn begin(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.beat(state.started, None, state, findings);
    }

    fn review(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let ended = epoch.snapshot.ended;
        if ended.div_euclid(MINUTE) != self.last {
            self.beat(ended, Some(epoch.snapshot.epoch), state, findings);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        engine::pipeline,
        fake,
        model::{
            Alert, PolicyInForce, Snapshot,
            flow::Resolver,
            identities::{Identities, Interfaces},
        },
    };

    #[test]
    fn there_is_one_at_the_start_and_one_in_each_minute_however_long_epochs_are() {
        const SECOND: i128 = 1_000_000_000;
        let started = 90 * SECOND;
        let mut identities = Arc::new(Identities::default());
        let resolver = Resolver::new(&mut identities, &fake::policy().into());
        let interfaces = Interfaces::new([].into(), identities.interface(""));
        let mut heartbeats = Heartbeats::default();
        let mut state = MonitorState { started, ..MonitorState::default() };
        state.put_in_force(PolicyInForce { policy: fake::policy().into(), ..PolicyInForce::default() }, started);
        state.delivery.kept.store(7, Relaxed);
        let mut at = Vec::new();
        let mut texts = Vec::new();
        let mut said = |alerts: Vec<Alert>| {
            for alert in alerts {
                let Alert::Finding(finding) = alert else { panic!("a finding") };
                assert_eq!((finding.kind, finding.resolved), (FindingKind::Heartbeat, false));
                at.push(finding.at / SECOND);
                texts.push(finding.detail.text);
            }
        };
        said(pipeline::told(|_, findings| heartbeats.begin(&mut state, findings)));
        // Of nearly ten seconds each; then two of two minutes and a half; then the clock is set back.
        let ends = (1..=13).map(|epoch| started + epoch * 9_990_000_000);
        let ends: Vec<i128> = ends.chain([370 * SECOND, 520 * SECOND, 130 * SECOND]).collect();
        for (epoch, ended) in ends.into_iter().enumerate() {
            let snapshot = Snapshot { epoch: epoch as u32, ended, ..Snapshot::default() };
            let closed = ClosedEpoch::new(&snapshot, &interfaces, &resolver, &identities);
            said(pipeline::told(|_, findings| heartbeats.review(&closed, &mut state, findings)));
        }
        assert_eq!(at, [90, 129, 189, 370, 520, 130]);
        let digest = &state.in_force.policy.digest;
        assert_eq!(texts[0], format!("observe, up 0 s, policy {}, no epoch closed yet, 7 alerts kept", &digest[..8]));
        assert_eq!(texts[2], format!("observe, up 1 min 39 s, policy {}, epoch 9, 7 alerts kept", &digest[..8]));
    }
}
