//! The consumer that tells how the clocks stand: jumps of the wall clock, and one that is behind.

use super::{
    TrustedClock,
    trust::{JUMP, Jump, Standing},
};
use crate::{
    engine::pipeline::{Consumer, Findings},
    model::{ClosedEpoch, FindingKind, rfc3339},
    store::MonitorState,
};

/// See the module.
#[derive(Debug)]
pub struct ClockReport(pub TrustedClock);

impl ClockReport {
    fn report(&self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        state.clock = self.0.shown();
        for Jump { by, to } in self.0.take_jumps() {
            let (way, seconds) = (if by < 0 { "back" } else { "forward" }, by.abs() / 1_000_000_000);
            let text = format!("the wall clock was set {way} by {seconds} s, to {}", rfc3339(to));
            tracing::warn!(text, "clock jump");
            findings.notice(FindingKind::ClockJump, text);
        }
        let standing = self.0.standing();
        findings.report(FindingKind::ClockBehind, behind(&standing));
    }
}

/// What is said of a wall clock that is behind.
fn behind(standing: &Standing) -> Option<String> {
    let latest = standing.latest.filter(|_| standing.ahead >= JUMP)?;
    let believed = if standing.beyond { "; it is believed to 24 h beyond the boot clock" } else { "" };
    Some(format!(
        "the wall clock is {} s behind the latest time at which the kernel called itself synchronised ({} by now{believed}): \
         rules and budgets go by that",
        standing.ahead / 1_000_000_000,
        rfc3339(latest)
    ))
}

impl Consumer for ClockReport {
    fn begin(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.report(state, findings);
    }

    fn review(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.report(state, findings);
    }

    fn stopped(&mut self, _: i128, _: &mut MonitorState, _: &mut Findings<'_>) {
        self.0.close();
    }
}
