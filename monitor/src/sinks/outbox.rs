//! The outbox: alerts from the queue in, each with a sequence, committed to disk before any sink gets it. One thread owns
//! the log. What can't be written waits in memory and is tried again each second.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{About, Sink, queue::Queue, rejected, runner::Runner};
use crate::{
    engine::outbox::AlertQueue,
    model::{
        Alert, FindingKind,
        delivery::{Delivery, SinkState},
        now,
    },
    privileges,
    storage::{
        only_one,
        segments::{
            Log, Loss, Recovered, Settings,
            files::{Directory, Memory},
        },
        state::StateDirectory,
    },
};

/// A commit is made when so many alerts wait, or the first has waited so long.
const GROUP: (usize, Duration) = (64, Duration::from_millis(20));

/// The most alerts of a commit; and where the disk is full, of findings.
const MOST: usize = 128;
/// See [`MOST`].
const FEW: usize = 8;

/// Between two attempts to write to a disk that is full.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes that are kept in memory where there is no directory.
const IN_MEMORY: u64 = 16 << 20;

/// Where alerts are kept. Nothing is opened before the thread does: a start does not wait for a disk.
pub enum Store {
    /// In a directory; where that is of no use in memory, which is reported.
    Directory {
        /// Which.
        path: PathBuf,
        /// Bytes at most.
        keep: u64,
        /// Whether what it is in is there: made by whoever starts, since others write there too.
        prepared: io::Result<()>,
    },
    /// In memory, on purpose.
    Memory,
}

/// What the thread writes to.
struct Opened {
    log: Log,
    recovered: Recovered,
    /// Its directory, if it outlives the process; and why not, if it should.
    directory: Option<PathBuf>,
    in_memory: Option<String>,
    /// That it is written to by us alone.
    _lock: Option<File>,
}

impl Store {
    /// In a state directory, of at most `keep` bytes.
    pub fn open(state: &StateDirectory, keep: u64) -> Self {
        // Made by default, for tests.
        if state.path().as_os_str().is_empty() {
            return Self::Memory;
        }
        Self::Directory { path: state.alerts(), keep, prepared: state.prepare() }
    }

    fn opened(self) -> Opened {
        let Self::Directory { path, keep, prepared } = self else { return Opened::in_memory(None) };
        let opened = prepared.and_then(|()| {
            let directory = Directory::open(&path)?;
            let lock = only_one(&path.join("lock"))?.ok_or_else(|| io::Error::other("another daemon writes there"))?;
            Log::open(Arc::new(directory), Settings::keep(keep)).map(|(log, recovered)| (log, recovered, lock))
        });
        match opened {
            Ok((log, recovered, lock)) => {
                Opened { log, recovered, directory: Some(path), in_memory: None, _lock: Some(lock) }
            }
            Err(error) => Opened::in_memory(Some(format!("{}: {error}", path.display()))),
        }
    }
}

impl Opened {
    fn in_memory(why: Option<String>) -> Self {
        let opened = Log::open(Arc::new(Memory::default()), Settings::keep(IN_MEMORY));
        let (log, recovered) = opened.expect("memory is never unreadable");
        Self { log, recovered, directory: None, in_memory: why, _lock: None }
    }
}

/// A sink that has no thread yet: with its state, and who waits for its end.
type Waiting = (Box<dyn Sink>, Arc<SinkState>, oneshot::Sender<()>);

/// The near end: alerts in. When it is dropped, what waits is written and delivered, and the threads end.
pub struct Outbox(Arc<Queue>);

/// When they have.
pub struct Ended {
    delivery: Arc<Delivery>,
    /// Of the outbox itself, and of each sink.
    threads: Vec<(String, oneshot::Receiver<()>)>,
}

impl AlertQueue for Outbox {
    fn send(&self, alert: &Arc<Alert>) {
        self.0.push(alert);
    }

    fn delivery(&self) -> &Arc<Delivery> {
        self.0.delivery()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Outbox {
    /// Starts the threads. `encode` makes the line of an alert with its sequence.
    ///
    /// # Errors
    /// No thread could be made.
    pub fn start(
        store: Store,
        sinks: Vec<Box<dyn Sink>>,
        capacity: usize,
        encode: impl FnMut(&Alert, u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<(Self, Ended)> {
        let delivery = Arc::new(Delivery::default());
        let (done, ended) = oneshot::channel();
        let mut threads = vec![("outbox".to_owned(), ended)];
        let mut waiting = Vec::new();
        for sink in sinks {
            let About { name, kind, promise, .. } = sink.about();
            let state = Arc::new(SinkState::new(name, kind, *promise));
            let (done, ended) = oneshot::channel();
            threads.push((name.clone(), ended));
            waiting.push((sink, state, done));
        }
        delivery.set_sinks(waiting.iter().map(|(_, state, _)| Arc::clone(state)).collect());
        let queue = Arc::new(Queue::new(capacity, Arc::clone(&delivery)));
        let of_thread = Arc::clone(&queue);
        // A thread has no capability that the one which starts it has not.
        spawn("alert-outbox", true, done, move || {
            let opened = store.opened();
            begin(&opened, waiting, of_thread.delivery());
            keep(false);
            // The lock is held as long.
            let Opened { log, _lock, .. } = opened;
            write(log, &of_thread, encode);
        })?;
        Ok((Self(queue), Ended { delivery, threads }))
    }
}

/// Reports what was found, and starts the sinks.
fn begin(opened: &Opened, waiting: Vec<Waiting>, delivery: &Arc<Delivery>) {
    let Opened { log, recovered, directory, in_memory, .. } = opened;
    report(recovered, in_memory.as_deref(), delivery);
    delivery.durable.store(directory.is_some(), Relaxed);
    let names: Vec<&str> = waiting.iter().map(|(sink, ..)| sink.about().name.as_str()).collect();
    log.forget_others(&names);
    delivery.keep(log.next(), (now() / 1_000_000) as i64);
    for (sink, state, done) in waiting {
        let About { name, writes_anywhere, .. } = sink.about();
        let writes_anywhere = *writes_anywhere;
        let reader = log.reader(name);
        state.next.store(reader.next(), Relaxed);
        let aside = directory.as_ref().map(|directory| rejected::file(directory, name));
        let (name, delivery) = (format!("sink-{name}"), Arc::clone(delivery));
        let run = move || Runner::new(reader, sink, &state, &delivery, aside.as_deref()).run();
        if let Err(error) = spawn(&name, writes_anywhere, done, run) {
            tracing::error!(name, %error, "no thread: this sink gets no alerts");
        }
    }
}

impl Ended {
    /// Waits until all is written, as long as any of it is within `each`; then for the sinks, all together for as long.
    ///
    /// # Errors
    /// Alerts are lost: they are not on disk.
    pub async fn wait(mut self, each: Duration) -> anyhow::Result<()> {
        let mut progress = self.delivery.progress();
        let mut until = Instant::now() + each;
        while let Some((name, ended)) = self.threads.first_mut() {
            // An error means that its thread is gone, which was logged.
            if tokio::time::timeout_at(until, ended).await.is_ok() {
                if name == "outbox" {
                    until = Instant::now() + each;
                }
                self.threads.remove(0);
                continue;
            }
            if name != "outbox" {
                break;
            }
            let now = self.delivery.progress();
            if now == progress {
                let (seconds, waiting) = (each.as_secs(), self.delivery.queued.load(Relaxed));
                anyhow::bail!("none of {waiting} alerts could be written within {seconds} s: they are lost");
            }
            (progress, until) = (now, Instant::now() + each);
        }
        let behind = self.delivery.sinks().iter().filter(|sink| self.delivery.backlog(sink) > 0);
        let behind: Vec<String> =
            behind.map(|sink| format!("{} of {}", self.delivery.backlog(sink), sink.name)).collect();
        if !behind.is_empty() {
            let (seconds, behind) = (each.as_secs(), behind.join(", "));
            if !self.delivery.durable.load(Relaxed) {
                anyhow::bail!("alerts that were not taken within {seconds} s are lost: {behind}");
            }
            tracing::warn!(behind, "alerts that were not taken are kept, and delivered after the next start");
        }
        Ok(())
    }
}

/// A thread that keeps no capability, or the one to write to any file, and says when it has ended.
fn spawn(
    name: &str,
    writes_anywhere: bool,
    done: oneshot::Sender<()>,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(move || {
        keep(writes_anywhere);
        run();
        // Nobody waits any more: fine.
        let _ = done.send(());
    })?;
    Ok(())
}

/// Takes all capabilities from this thread, but for the one to write to any file where it is to have that.
fn keep(writes_anywhere: bool) {
    let dropped = if writes_anywhere { privileges::keep_to_write() } else { privileges::drop_all() };
    if let Err(error) = dropped {
        tracing::error!(%error, "capabilities can't be dropped");
    }
}

/// What a start found.
fn report(recovered: &Recovered, in_memory: Option<&str>, delivery: &Delivery) {
    if let Some((bytes, lines)) = recovered.cut {
        let what = format!("{bytes} bytes, {lines} ends of line among them, were no whole line at the end");
        tracing::warn!(what, "the kept alerts were cut");
        delivery.notice(FindingKind::OutboxCut, what);
    }
    if let Some(gone) = &recovered.gone {
        let what =
            format!("sequences {} to {} are not there any more, and sinks had taken them", gone.start(), gone.end());
        tracing::warn!(what, "kept alerts were removed");
        delivery.notice(FindingKind::OutboxCut, what);
    }
    if let Some(why) = in_memory {
        tracing::error!(why, "alerts can't be kept on disk");
        delivery.told().unwritable = Some(format!("{why}: until the next start alerts are kept in memory"));
    }
}

/// What sinks lost at the bound.
fn report_losses(losses: Vec<Loss>, delivery: &Delivery) {
    for Loss { reader, sequences } in losses {
        let (first, last) = (*sequences.start(), *sequences.end());
        delivery.gone.fetch_add(last - first + 1, Relaxed);
        let text = format!("{reader}: alerts {first} to {last} went at [alerts] keep before it had taken them");
        tracing::error!(sink = reader, first, last, "alerts went before the sink had taken them");
        delivery.notice(FindingKind::AlertsGone, text);
    }
}

/// The thread: until nobody adds any more and all is written.
fn write(mut log: Log, queue: &Queue, mut encode: impl FnMut(&Alert, u64) -> Vec<u8>) {
    let delivery = queue.delivery();
    // On a full disk what was taken ahead is left for findings.
    let mut full = false;
    loop {
        let (group, window) = if full { ((1, FEW), AGAIN) } else { ((GROUP.0, MOST), GROUP.1) };
        let Some(alerts) = queue.take(group, window, !full) else { return };
        let lines = alerts.len() as u64;
        for alert in &alerts {
            log.push(|sequence| encode(alert, sequence));
        }
        drop(alerts);
        if !commit(&mut log, queue) {
            let left = delivery.queued.swap(0, Relaxed);
            queue.give_up();
            delivery.lost.fetch_add(left, Relaxed);
            tracing::error!(left, "alerts could not be written before the end: they are lost");
            return;
        }
        delivery.queued.fetch_sub(lines, Relaxed);
        delivery.kept.fetch_add(lines, Relaxed);
        delivery.keep(log.next(), (now() / 1_000_000) as i64);
        let room = log.reserve() || (log.give_way() && log.reserve());
        if room == full {
            full = !room;
            let why = full.then(|| "the disk is full: only findings are written, in what is left for them".to_owned());
            match &why {
                Some(why) => tracing::error!(why, "alerts wait in memory"),
                None => tracing::warn!("alerts are kept on disk again"),
            }
            delivery.told().unwritable = why;
        }
    }
}

/// Commits what was pushed, however long it takes. `false`: it is to end before it could.
fn commit(log: &mut Log, queue: &Queue) -> bool {
    let delivery = queue.delivery();
    let mut failed = false;
    loop {
        let committed = log.commit();
        report_losses(log.take_losses(), delivery);
        let Err(error) = committed else {
            if failed {
                tracing::warn!("alerts are kept on disk again");
                delivery.told().unwritable = None;
            }
            return true;
        };
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if full && log.give_way() {
            continue;
        }
        if !std::mem::replace(&mut failed, true) {
            tracing::error!(%error, "alerts can't be kept on disk; they wait in memory");
            delivery.told().unwritable = Some(error.to_string());
        }
        if queue.is_closed() {
            return false;
        }
        queue.pause(AGAIN);
    }
}
