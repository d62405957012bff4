//! What somebody decides of what is in force, or nobody in time: confirmed, taken back, in another mode, by another clock.
//! No file is read.

use std::sync::Arc;

use monitor_api::{clock::ClockStatus, mode::ModeStatus, reload::Outcome};

use super::PolicyReloader;
use crate::{
    model::{FindingKind, finding::Detail, in_force::PolicyInForce, now, rfc3339},
    reload::{ReloadError, by_hand::Wanted, pending::retimed},
};

impl PolicyReloader {
    pub(super) async fn confirm(&mut self, only: Option<&str>, by: &str) -> Result<Outcome, ReloadError> {
        let policy = self.current.reference();
        let was_pending = self.commit.ends().is_some();
        if let Some(what) = self.reverted.clone().filter(|_| !was_pending) {
            return Err(ReloadError::NothingOnTrial(what));
        }
        if only.is_some_and(|only| only != policy.digest) {
            return Err(ReloadError::AnotherOnTrial(policy));
        }
        self.commit.accept(self.current.clone());
        self.look_at_file_again();
        self.guard().await;
        tracing::info!(
            policy = policy.digest,
            mode = policy.mode.name(),
            was_on_trial = was_pending,
            by,
            "policy confirmed"
        );
        self.engine.decided().await;
        if was_pending {
            let text = format!("{policy}, which was on trial, is confirmed; by {by}");
            let detail = Detail { by: by.into(), ..text.into() };
            self.engine.noticed(FindingKind::PolicyChanged, detail).await;
        }
        let warning = self.commit.keep(&policy).err().map(|error| error.to_string());
        if let Some(warning) = &warning {
            tracing::warn!(warning, "the confirmation will not outlive this process");
        }
        Ok(Outcome { warning, ..self.outcome(false) })
    }

    /// Nobody confirmed in time, or before the end.
    pub(super) async fn revert(&mut self, stopped: bool) {
        let Some(expired) = self.commit.expire() else { return };
        let when = if stopped {
            "before the daemon was stopped".to_owned()
        } else {
            format!("within {} s", expired.within.as_secs())
        };
        let (from, back) = (self.current.reference(), self.commit.fallback().reference());
        let by = format!("nobody: what was on trial was not confirmed {when}").into();
        let next = PolicyInForce { by, ..retimed(self.commit.fallback(), &self.clock.map()) };
        let what = format!("policy {} ({}) was not confirmed {when}", from.digest, from.mode);
        let report = match self.restore(next.clone(), None).await {
            Ok(()) => {
                self.look_at_file_again();
                self.commit.reverted(next);
                let what = format!("{what}: {} ({}) is in force again", back.digest, back.mode);
                self.reverted = Some(format!("{what}, since {}", rfc3339(now())));
                what
            }
            Err(why) => {
                self.commit.retry(&expired);
                format!("{what}, but {} ({}) can't come back: {why}", back.digest, back.mode)
            }
        };
        self.engine.reverted(report).await;
    }

    /// While something is on trial that was handed in, nobody looks at what the configuration's file says.
    fn look_at_file_again(&mut self) {
        if self.commit.was_handed_in() {
            self.watch.read_again();
        }
    }

    /// Computes the times of rules by the clocks as they are now, of what is in force and of what may come back.
    pub(super) async fn retime(&mut self) {
        let clock = self.clock.map();
        self.commit.retime(&clock);
        // Reported there.
        let _ = self.restore(retimed(&self.current, &clock), self.commit.trial()).await;
    }

    /// Has the time that was remembered forgotten: rules go by the wall clock as it is.
    pub(super) async fn reset_clock(&mut self, reason: &str, by: &str) -> ClockStatus {
        let forgotten = self.clock.reset().map_or_else(|| "nothing was".to_owned(), rfc3339);
        let now = self.clock.map().realtime_ns;
        tracing::warn!(forgotten, reason, by, "the remembered time was forgotten");
        let what = format!("remembered: {forgotten}; the wall clock says {}: {reason}; by {by}", rfc3339(now.into()));
        self.engine.noticed(FindingKind::ClockReset, Detail { by: by.into(), ..what.into() }).await;
        self.retime().await;
        self.clock.status()
    }

    /// Sets the mode by hand, or gives it back to the configuration.
    pub(super) async fn set_mode(&mut self, wanted: Option<Wanted>, by: Arc<str>) -> Result<ModeStatus, ReloadError> {
        let next = self.by_hand.with(wanted, &self.clock.map());
        let policies = [Some(&self.current), self.commit.ends().map(|_| self.commit.fallback())];
        if let Some(why) = policies.into_iter().flatten().find_map(|policy| next.refuses(policy)) {
            return Err(ReloadError::Invalid(why));
        }
        let before = std::mem::replace(&mut self.by_hand, next);
        let current = PolicyInForce { by, ..self.current.clone() };
        if let Err(why) = self.restore(current, self.commit.trial()).await {
            self.by_hand = before;
            return Err(why);
        }
        let warning = self.by_hand.keep().err().map(|error| error.to_string());
        if let Some(warning) = &warning {
            tracing::warn!(warning, "a restart will not know the mode that was set by hand");
        }
        Ok(ModeStatus { warning, ..self.state.read().in_force.mode_status(now()) })
    }

    /// The time of a mode set by hand is over. Where the configuration's can't be put in force it is tried again.
    pub(super) async fn end_by_hand(&mut self) {
        tracing::info!("the time of the mode that was set by hand is over");
        // What goes wrong is reported there.
        let _ = self.set_mode(None, "nobody: the time of the mode set by hand was over".into()).await;
    }
}
