//! What TCP carries over a veth pair with offloads, with the product's program on the way out and with nothing.

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
use egress_monitor_tests::{monitor::kernel::Options, wire::Networks};

use crate::{
    plan::Plan,
    rig::{self, Base},
    table::{Goal, Row, Spread, Unit},
    veth::Pair,
};

pub const ROWS: &[&str] = &["tcp/1", "tcp/8"];

const ROUNDS: usize = 11;
/// Not counted, after a change of what is on the way out.
const SETTLE: Duration = Duration::from_millis(100);
const TIME: Duration = Duration::from_millis(700);
const CHUNK: usize = 256 << 10;

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let pair = Pair::new(Networks { offloads: true, ..Networks::number(8) })?;
    let mut kernel = rig::load(&base.policy, Options { flows: base.config.flows, ..Options::default() })?;
    rig::register(&mut kernel, pair.index)?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut rows = Vec::new();
    for (id, streams) in [(ROWS[0], 1), (ROWS[1], 8)] {
        if !plan.wants(id) {
            continue;
        }
        let name = format!("TCP over veth, {streams} stream{}", if streams == 1 { "" } else { "s" });
        let transfer = Transfer::start(&pair, streams)?;
        let [ours, nothing] = plan.interleave(&name, plan.rounds(ROUNDS), |variant| {
            if variant == 1 {
                return transfer.rate(plan);
            }
            kernel.flip()?;
            let link = pair.attach(kernel.program("egress")?)?;
            let rate = transfer.rate(plan);
            kernel.program("egress")?.detach(link)?;
            let bytes: u64 = kernel.flip()?.interfaces.iter().map(|counts| counts.hook.wire_bytes).sum();
            let rate = rate?;
            ensure!(
                bytes as f64 * 8e-9 > rate * plan.time(TIME).as_secs_f64(),
                "{bytes} bytes counted at {rate} Gbit/s"
            );
            Ok(rate)
        })?;
        transfer.stop()?;
        rows.push(
            Row::new(id, name, Spread::of(&ours), Unit::GigabitsPerSecond)
                .with("nothing", Spread::of(&nothing))
                .check("of nothing", Spread::ratio(&ours, &nothing), Unit::Times, Goal::AtLeast(0.99))
                .note(format!("{streams} sending and as many receiving threads on {cores} cores")),
        );
    }
    Ok(rows)
}

/// Connections that carry as much as they can until they are stopped.
struct Transfer {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Transfer {
    fn start(pair: &Pair, streams: usize) -> Result<Self> {
        let address = SocketAddr::from((pair.wire.far.v4, 5001));
        let listener = pair.far.run(|| TcpListener::bind(address)).with_context(|| format!("binding {address}"))?;
        let mut transfer = Self { stop: Arc::default(), received: Arc::default(), threads: Vec::new() };
        for _ in 0..streams {
            let sender =
                pair.near.run(|| TcpStream::connect(address)).with_context(|| format!("connecting to {address}"))?;
            let (receiver, _) = listener.accept().context("accept")?;
            let received = Arc::clone(&transfer.received);
            let stop = Arc::clone(&transfer.stop);
            transfer.threads.push(std::thread::spawn(move || receive(receiver, &received)));
            transfer.threads.push(std::thread::spawn(move || send(sender, &stop)));
        }
        Ok(transfer)
    }

    /// Gigabits a second.
    fn rate(&self, plan: &Plan) -> Result<f64> {
        std::thread::sleep(SETTLE);
        let (began, before) = (Instant::now(), self.received.load(Ordering::Relaxed));
        std::thread::sleep(plan.time(TIME));
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
