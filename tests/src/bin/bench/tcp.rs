//! What TCP carries over a veth pair with offloads, with the product's program on the way out, the empty one, and
//! nothing. Each round is connections of its own, so that what was counted can be held against the interface.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use egress_monitor_tests::{
    measure,
    netns::Count,
    stage::{INTERFACE, PATIENCE},
    wire::Networks,
};

use crate::{
    goal::Goal,
    out::{Out, Ways},
    pair::Pair,
    plan::Plan,
    rig::Base,
    spread::{Spread, Unit, count},
    table::Row,
};

pub const ROWS: &[&str] = &["tcp/1", "tcp/8"];

/// Many short ones: what the scheduler does differs from round to round.
const ROUNDS: usize = 21;
/// Not counted, after the connections were made.
const SETTLE: Duration = Duration::from_millis(100);
const TIME: Duration = Duration::from_millis(300);
const CHUNK: usize = 256 << 10;
/// A wire on which nothing moves for so long is quiet.
const QUIET: Duration = Duration::from_millis(10);

/// In turn.
const OUTS: [Out; 3] = [Out::Ours, Out::Empty, Out::Nothing];

/// Where the streams' threads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// The senders on one CPU, the receivers on another.
    One,
    /// Wherever the kernel has them.
    All,
}

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let mut ways = Ways::new(Networks { offloads: true, ..Networks::number(8) }, base)?;
    let available = std::thread::available_parallelism().map_or(0, usize::from);
    let mut rows = Vec::new();
    // Where the kernel has the two ends of a single stream makes more of a difference than any program.
    for (id, streams, cores) in [(ROWS[0], 1, Cores::One), (ROWS[1], 8, Cores::All)] {
        if !plan.wants(id) {
            continue;
        }
        let name = name(streams, cores);
        let [ours, empty, nothing] = plan.interleave(&name, plan.rounds(ROUNDS), |variant| {
            let moved = round(&mut ways, OUTS[variant], streams, cores, plan.time(TIME), |_| Ok(()))?;
            Ok(moved.rate)
        })?;
        rows.push(
            Row::new(id, name, Spread::of(&ours), Unit::GigabitsPerSecond)
                .with("empty program", Spread::of(&empty))
                .with("nothing", Spread::of(&nothing))
                .check("of empty program", Spread::ratio(&ours, &empty), Unit::Times, Goal::AtLeast(0.99))
                .note(format!("{streams} sending and as many receiving threads on {available} cores")),
        );
    }
    Ok(rows)
}

/// What a number of streams is called.
pub fn name(streams: usize, cores: Cores) -> String {
    format!(
        "TCP over veth, {}{}",
        count(streams as u64, "stream"),
        if cores == Cores::One { ", sent by one core" } else { "" }
    )
}

/// What a round carried.
pub struct Moved<T> {
    /// Gigabits a second.
    pub rate: f64,
    /// What the sender's interface has sent in the whole of it.
    pub sent: Count,
    /// Read at the beginning and at the end of the time that counts.
    pub marks: [T; 2],
}

/// As much as can be through `out` for `time`. What was counted there must be what the interface has sent, from the
/// first SYN to the last acknowledgement.
pub fn round<T>(
    ways: &mut Ways,
    out: Out,
    streams: usize,
    cores: Cores,
    time: Duration,
    mut mark: impl FnMut(&mut Ways) -> Result<T>,
) -> Result<Moved<T>> {
    let first = quiet(&ways.pair)?;
    let placed = ways.put(out)?;
    let transfer = Transfer::start(&ways.pair, streams, cores)?;
    std::thread::sleep(SETTLE);
    let before = mark(ways)?;
    let rate = transfer.rate(time)?;
    let after = mark(ways)?;
    transfer.stop()?;
    let sent = quiet(&ways.pair)?.since(first);
    ways.take(out, placed)?.check_device(out, sent)?;
    Ok(Moved { rate, sent, marks: [before, after] })
}

/// Waits until the wire is silent; gives what the interface has sent since it was made.
fn quiet(pair: &Pair) -> Result<Count> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = pair.near.statistics(INTERFACE)?.sent;
        std::thread::sleep(QUIET);
        if pair.near.statistics(INTERFACE)?.sent == before {
            return Ok(before);
        }
        ensure!(Instant::now() < deadline, "the wire does not become quiet");
    }
}

/// Connections that carry as much as they can until they are stopped.
struct Transfer {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Transfer {
    fn start(pair: &Pair, streams: usize, cores: Cores) -> Result<Self> {
        let address = SocketAddr::from((pair.wire.far.v4, 5001));
        let listener = pair.far.run(|| TcpListener::bind(address)).with_context(|| format!("binding {address}"))?;
        let mut transfer = Self { stop: Arc::default(), received: Arc::default(), threads: Vec::new() };
        for _ in 0..streams {
            let sender =
                pair.near.run(|| TcpStream::connect(address)).with_context(|| format!("connecting to {address}"))?;
            let (receiver, _) = listener.accept().context("accept")?;
            let received = Arc::clone(&transfer.received);
            let stop = Arc::clone(&transfer.stop);
            transfer.threads.push(on(cores, 1, move || receive(receiver, &received)));
            transfer.threads.push(on(cores, 0, move || send(sender, &stop)));
        }
        Ok(transfer)
    }

    /// Gigabits a second.
    fn rate(&self, time: Duration) -> Result<f64> {
        let (began, before) = (Instant::now(), self.received.load(Ordering::Relaxed));
        std::thread::sleep(time);
        let bytes = self.received.load(Ordering::Relaxed) - before;
        ensure!(bytes > 0, "a connection has broken");
        Ok(bytes as f64 * 8e-9 / began.elapsed().as_secs_f64())
    }

    fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).context("a TCP stream")?;
        }
        Ok(())
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // After an error: the senders end, and with them the receivers.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A thread for `work`, on that CPU if its streams are to be kept there.
fn on(
    cores: Cores,
    cpu: usize,
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> JoinHandle<std::io::Result<()>> {
    std::thread::spawn(move || {
        if cores == Cores::One {
            measure::pin(cpu)?;
        }
        work()
    })
}

fn send(mut stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    let chunk = vec![0x55; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn receive(mut stream: TcpStream, received: &AtomicU64) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            bytes => received.fetch_add(bytes as u64, Ordering::Relaxed),
        };
    }
}
