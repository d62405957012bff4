//! What a service manager (systemd's `Type=notify-reload`, sd_notify(3)) is notified of: that everything is attached,
//! that the policy is read again, that the end has come, and, as long as epochs are being closed, that the watchdog may
//! sleep on. And the port that it holds for the daemon from the boot on (sd_listen_fds(3)).
//! Where none asks (`NOTIFY_SOCKET` is not set) it does nothing.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::net::{getsockname, sockopt::socket_acceptconn};
use sd_notify::NotifyState;

use monitor_policy::text::is_unsafe;

use crate::{http::listeners, kernel, store::MonitorState};

/// How often the status line is looked at, where no watchdog wants to hear sooner.
const LOOK: Duration = Duration::from_secs(5);

/// Bytes of a status line: systemd takes 4,096 for all of a message.
const LONGEST: usize = 1_000;

/// Whoever started the daemon, if it wants to be notified.
#[derive(Debug, Default)]
pub struct ServiceManager {
    listens: bool,
    /// What it has opened.
    sockets: Vec<OwnedFd>,
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
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        Self { listens, sockets: kernel::inherited_sockets(), watchdog, ..Self::default() }
    }

    /// The port, if it holds it. What else it holds is closed.
    pub(super) fn take_port(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let mut port = None;
        for socket in self.sockets.drain(..) {
            let at = getsockname(&socket).ok().and_then(|at| SocketAddr::try_from(at).ok());
            if at == Some(address) && address.ip().is_loopback() && socket_acceptconn(&socket).unwrap_or(false) {
                port = port.or(listeners::ready(TcpListener::from(socket)).ok());
            } else {
                tracing::warn!(?at, "[http] listen is {address}: a socket that the service manager holds is not used");
            }
        }
        port
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
    if let Some(by_hand) = &state.in_force.by_hand {
        line = format!("{line}, by hand ({})", by_hand.reason);
    }
    if let Some(last_good) = &state.in_force.last_good {
        line = format!("{line}, by the last good policy ({})", last_good.refused);
    }
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
    fn the_port_that_it_holds_is_taken_and_no_other_socket() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (held, other) = (listener(), listener());
        let address = held.local_addr().unwrap();
        let beside = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let sockets = vec![other.into(), OwnedFd::from(beside), held.into()];
        let mut manager = ServiceManager { sockets, ..ServiceManager::default() };
        assert_eq!(manager.take_port(address).unwrap().local_addr().unwrap(), address);
        assert!(manager.take_port(address).is_none());
        // One that is connected listens to nobody.
        let far = listener();
        let connected = std::net::TcpStream::connect(far.local_addr().unwrap()).unwrap();
        let address = connected.local_addr().unwrap();
        let mut manager = ServiceManager { sockets: vec![connected.into()], ..ServiceManager::default() };
        assert!(manager.take_port(address).is_none());
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
