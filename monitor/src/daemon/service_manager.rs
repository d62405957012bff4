//! What a service manager (systemd's `Type=notify-reload`, sd_notify(3)) is notified of: that everything is attached,
//! that the policy is read again, that the end has come, and, as long as epochs are being closed, that the watchdog may
//! sleep on.
//! Where none asks (`NOTIFY_SOCKET` is not set) it does nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use monitor_policy::text::is_unsafe;

use crate::store::MonitorState;

/// How often the status line is looked at, where no watchdog wants to hear sooner.
const LOOK: Duration = Duration::from_secs(5);

/// Bytes of a status line: systemd takes 4,096 for all of a message.
const LONGEST: usize = 1_000;

/// Whoever started the daemon, if it wants to be notified.
#[derive(Debug, Default)]
pub struct ServiceManager {
    listens: bool,
    /// It acts when it hears nothing for so long.
    watchdog: Option<Duration>,
    epochs: Option<EpochProgress>,
    /// The last line sent.
    status: String,
    failed: bool,
}

impl ServiceManager {
    /// The one that the environment names.
    pub fn from_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled().filter(|time| !time.is_zero());
        Self { listens: std::env::var_os("NOTIFY_SOCKET").is_some(), watchdog, ..Self::default() }
    }

    /// How often [`look`](Self::look) is to be called; `None`: never.
    pub(super) fn period(&self) -> Option<Duration> {
        let watchdog = self.watchdog.map(|time| (time / 2).max(Duration::from_millis(1)));
        self.listens.then(|| watchdog.unwrap_or(LOOK).min(LOOK))
    }

    /// Everything is attached, or the policy was read again: it is in force, or refused.
    pub(super) fn ready(&mut self, state: &MonitorState) {
        self.status = status_line(state);
        let status = std::mem::take(&mut self.status);
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
    }

    /// The policy is about to be read again.
    pub(super) fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "no monotonic clock: the service manager is not told of the reload"),
        }
    }

    /// Everything is about to be taken down.
    pub(super) fn stopping(&mut self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// Sends what has become of the status, and pets the watchdog if epochs are being closed.
    pub(super) fn look(&mut self, state: &MonitorState, now: Instant) {
        let epochs = self.epochs.get_or_insert(EpochProgress { last: None, since: now });
        let closing = epochs.goes_on(state.last.map(|last| last.epoch), state.epoch_length, now);
        if self.watchdog.is_some() && closing {
            self.send(&[NotifyState::Watchdog]);
        }
        let status = status_line(state);
        if status != self.status {
            self.send(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    fn send(&mut self, what: &[NotifyState<'_>]) {
        if !self.listens {
            return;
        }
        let sent = sd_notify::notify(what);
        if let Err(error) = &sent
            && !self.failed
        {
            tracing::warn!(%error, "the service manager can't be told: see NOTIFY_SOCKET");
        }
        self.failed = sent.is_err();
    }
}

/// Whether epochs are being closed, by a clock that nobody sets.
#[derive(Debug)]
struct EpochProgress {
    last: Option<u32>,
    since: Instant,
}

impl EpochProgress {
    /// Takes the number of the epoch closed last. Three of the intended length may pass without another, as for `/readyz`.
    fn goes_on(&mut self, last: Option<u32>, length: Duration, now: Instant) -> bool {
        if last != self.last {
            (self.last, self.since) = (last, now);
        }
        now.duration_since(self.since) <= (3 * length).max(Duration::from_secs(5))
    }
}

/// What is done where, or why it is not to be relied on, and what is wrong with the files.
fn status_line(state: &MonitorState) -> String {
    let names: Vec<_> = state.attachments.iter().map(|attached| attached.interface.as_str()).collect();
    let doing = if state.in_force.mode.enforces() { "enforcing" } else { "observing" };
    let mut line = format!("{doing} on {}", names.join(", "));
    // Before the first epoch is closed nothing is wrong yet.
    if let Some(why) = state.last.and_then(|_| state.not_ready(Instant::now())) {
        line = format!("NOT RELIABLE: {why}");
    }
    if let Some(why) = &state.reload_error {
        line = format!("{line}; the last reload was refused: {why}");
    }
    one_line(&line)
}

/// Without what would be a second line, or another message, to whoever reads it; shortened.
fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    text[..end].chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_go_on_while_another_is_closed_within_three_lengths() {
        let (began, length) = (Instant::now(), Duration::from_secs(10));
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut epochs = EpochProgress { last: None, since: began };
        assert!(epochs.goes_on(None, length, at(30)), "the first is not due before");
        assert!(!epochs.goes_on(None, length, at(31)));
        assert!(epochs.goes_on(Some(0), length, at(32)));
        assert!(epochs.goes_on(Some(0), length, at(62)));
        assert!(!epochs.goes_on(Some(0), length, at(63)), "the same epoch");
        assert!(epochs.goes_on(Some(1), length, at(64)));
        let short = Duration::from_millis(100);
        assert!(epochs.goes_on(Some(1), short, at(69)), "a busy machine has five seconds");
        assert!(!epochs.goes_on(Some(1), short, at(70)));
    }

    #[test]
    fn nobody_who_listens_is_not_notified() {
        let mut nobody = ServiceManager::default();
        assert_eq!(nobody.period(), None);
        nobody.stopping();
        assert!(!nobody.failed);
    }

    #[test]
    fn the_watchdog_hears_twice_in_its_time_and_the_status_is_looked_at_every_five_seconds() {
        let listening = |watchdog| ServiceManager { listens: true, watchdog, ..ServiceManager::default() };
        assert_eq!(listening(None).period(), Some(LOOK));
        assert_eq!(listening(Some(Duration::from_secs(60))).period(), Some(LOOK));
        assert_eq!(listening(Some(Duration::from_secs(3))).period(), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn no_text_of_the_files_becomes_a_message_of_its_own() {
        assert_eq!(one_line("config.toml:7\nMAINPID=1\r\tno"), "config.toml:7 MAINPID=1  no");
        assert_eq!(one_line(&"é".repeat(2_000)).len(), LONGEST);
    }
}
