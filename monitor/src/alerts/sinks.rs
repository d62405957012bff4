//! Where alerts go: a queue, a thread that encodes them, and one or more outputs. Called by the engine, which never
//! waits: a full queue or a failing output is counted and logged once per change, and counting goes on.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use anstream::{AutoStream, ColorChoice};
use tokio::sync::oneshot;

use super::terminal::Terminal;
use crate::{
    engine::outbox::AlertQueue,
    model::{Alert, alert::SinkStats},
    privileges,
};

/// Alerts that can wait for the outputs: several epochs of [`super::PER_EPOCH`], a quarter of a kilobyte each.
pub const QUEUE: usize = 65_536;

/// One output.
pub struct Output {
    name: String,
    to: Box<dyn Write + Send>,
    failing: bool,
    /// The last write ended inside a line.
    broken_line: bool,
}

impl Output {
    /// Standard output, unbuffered: Rust's own buffers could keep half a line. A terminal gets a line for people of each.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn stdout() -> io::Result<Self> {
        let out = io::stdout();
        let to = File::from(out.as_fd().try_clone_to_owned()?);
        if !out.is_terminal() {
            return Ok(Self::new("stdout", Box::new(to)));
        }
        let in_colour = AutoStream::choice(&out) != ColorChoice::Never;
        Ok(Self::new("stdout", Box::new(Terminal { to, in_colour })))
    }

    /// A file, appended to, readable by its owner only. One that can't be opened is tried again with each alert.
    pub fn file(path: &Path) -> Self {
        let mut file = AlertsFile { path: path.to_owned(), open: None };
        if let Err(error) = file.open() {
            tracing::error!(file = %path.display(), %error, "alerts can't be written there; it is tried again with each");
        }
        Self::new("file", Box::new(file))
    }

    /// Anything that can be written to.
    pub fn new(name: &str, to: Box<dyn Write + Send>) -> Self {
        Self { name: name.to_owned(), to, failing: false, broken_line: false }
    }

    /// Writes a line, in one `write(2)` where the output takes it whole.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.broken_line {
            self.to.write_all(b"\n")?;
            self.broken_line = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.broken_line = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.to.flush()
    }
}

/// A file that may not be there yet.
struct AlertsFile {
    path: PathBuf,
    open: Option<File>,
}

impl AlertsFile {
    fn open(&mut self) -> io::Result<&mut File> {
        match &mut self.open {
            Some(file) => Ok(file),
            none => {
                // Not waiting: a FIFO that nobody reads must hold up nobody.
                let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
                let mut options = OpenOptions::new();
                let file = options.append(true).create(true).mode(0o600).custom_flags(flags).open(&self.path)?;
                Ok(none.insert(file))
            }
        }
    }
}

impl Write for AlertsFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open()?.flush()
    }
}

impl AlertQueue for Sinks {
    fn send(&self, alert: &Arc<Alert>) {
        Self::send(self, alert);
    }

    fn stats(&self) -> &Arc<SinkStats> {
        Self::stats(self)
    }
}

/// The near end of the queue.
#[derive(Clone, Debug)]
pub struct Sinks<T = Arc<Alert>> {
    queue: SyncSender<T>,
    stats: Arc<SinkStats>,
}

impl<T: Clone + Send + 'static> Sinks<T> {
    /// Starts the thread, which writes each alert as the line that `encode` makes of it. It ends, and says so through
    /// the receiver, when every `Sinks` is dropped and the queue is empty.
    ///
    /// # Errors
    /// No thread could be made.
    pub fn start(
        outputs: Vec<Output>,
        capacity: usize,
        encode: impl Fn(&T) -> String + Send + 'static,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (queue, alerts) = sync_channel(capacity);
        let (done, is_done) = oneshot::channel();
        let stats = Arc::new(SinkStats::default());
        let of_thread = Arc::clone(&stats);
        std::thread::Builder::new().name("alert-sinks".into()).spawn(move || {
            if let Err(error) = privileges::keep_to_write() {
                tracing::error!(%error, "capabilities can't be dropped");
            }
            write_all(&alerts, &encode, outputs, &of_thread);
            // Nobody waits any more: fine.
            let _ = done.send(());
        })?;
        Ok((Self { queue, stats }, is_done))
    }

    /// Queues an alert; when the queue is full it is counted and dropped.
    pub fn send(&self, alert: &T) {
        self.stats.backlog.fetch_add(1, Relaxed);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(alert.clone()) {
            self.stats.backlog.fetch_sub(1, Relaxed);
            self.stats.queue_full.fetch_add(1, Relaxed);
        }
    }

    /// Their counters.
    pub fn stats(&self) -> &Arc<SinkStats> {
        &self.stats
    }
}

fn write_all<T>(alerts: &Receiver<T>, encode: &impl Fn(&T) -> String, mut outputs: Vec<Output>, stats: &SinkStats) {
    while let Ok(alert) = alerts.recv() {
        let mut bytes = encode(&alert).into_bytes();
        bytes.push(b'\n');
        let mut failed = false;
        for output in &mut outputs {
            match output.write(&bytes) {
                Ok(()) if output.failing => {
                    output.failing = false;
                    tracing::warn!(sink = output.name, "alerts are written again");
                }
                Ok(()) => {}
                Err(error) => {
                    failed = true;
                    if !output.failing {
                        output.failing = true;
                        tracing::error!(
                            sink = output.name,
                            %error,
                            "alerts can't be written; they are counted, and the latest are at /api/v1/alerts"
                        );
                    }
                }
            }
        }
        stats.backlog.fetch_sub(1, Relaxed);
        stats.failing.store(failed, Relaxed);
        (if failed { &stats.failed } else { &stats.written }).fetch_add(1, Relaxed);
    }
}
