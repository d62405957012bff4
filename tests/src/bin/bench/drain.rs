//! Closing an epoch of 262,144 flows and of a million: the CPU time that it takes, and whether packets that leave
//! meanwhile are longer on their way.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use egress_monitor_tests::{
    measure::{self, Way, process_cpu},
    wire::Networks,
};
use etherparse::PacketBuilder;

use crate::{
    goal::Goal,
    pair::Pair,
    plan::{Plan, on_cpu},
    rig::{self, Base, Flows, Rig, Target},
    spread::{Spread, Unit},
    table::Row,
};

pub const ROWS: &[&str] = &["drain/cpu", "drain/cpu-million", "drain/delay"];

const ROUNDS: usize = 9;
/// The default size of the flow table.
const FLOWS: u32 = 262_144;
const MILLION: u32 = 1_000_000;
/// Rounds of the stream with and without drains, how long one is, and between two datagrams.
const STREAMS: usize = 5;
const TIME: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_micros(250);

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if plan.wants(ROWS[0]) {
        rows.push(on_cpu(0, || cpu(plan, base, ROWS[0], (FLOWS, "262,144"), FLOWS, 0.2))?);
    }
    if plan.wants(ROWS[1]) {
        rows.push(on_cpu(0, || cpu(plan, base, ROWS[1], (MILLION, "1,000,000"), MILLION.next_power_of_two(), 0.8))?);
    }
    if plan.wants(ROWS[2]) {
        rows.push(delay(plan, base)?);
    }
    Ok(rows)
}

/// A packet that never leaves.
fn frame() -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [198, 19, 0, 1], 64)
        .udp(4000, 53)
        .write(&mut frame, &[0; 18])
        .context("writing a packet")?;
    Ok(frame)
}

/// So many flows in a table of `room`.
fn cpu(plan: &Plan, base: &Base, id: &str, (count, shown): (u32, &str), room: u32, goal: f64) -> Result<Row> {
    let frame = frame()?;
    let mut rig = Rig::new(&base.policy, room)?;
    let name = format!("drain of {shown} flows, CPU");
    let count = plan.repeat(count);
    let mut whole = Vec::new();
    let [full, empty] = plan.interleave(&name, plan.rounds(ROUNDS), |variant| {
        let flows = if variant == 0 { count } else { 0 };
        if flows > 0 {
            rig.run(Target::Egress, &frame, Flows::From(0), flows)?;
        }
        let (before, began) = (process_cpu(), Instant::now());
        let drained = rig.kernel.flip()?;
        let took = process_cpu().saturating_sub(before).as_secs_f64();
        ensure!(drained.flows.len() as u32 == flows, "{} flows and not {flows}", drained.flows.len());
        if flows > 0 {
            whole.push(began.elapsed().as_secs_f64());
        }
        Ok(took)
    })?;
    Ok(Row::new(id, name, Spread::of(&full), Unit::Seconds)
        .with("of no flow", Spread::of(&empty))
        .goal(Goal::AtMost(goal))
        .tell("by the clock, with the grace period", Spread::of(&whole), Unit::Seconds))
}

fn delay(plan: &Plan, base: &Base) -> Result<Row> {
    let pair = Pair::new(Networks::number(10))?;
    // One more place, for the stream.
    let mut rig = Rig::new(&base.policy, 2 * FLOWS)?;
    rig::register(&mut rig.kernel, pair.index)?;
    let link = pair.attach(rig.kernel.program("egress")?)?;
    let (near, far) = (SocketAddr::from((pair.wire.near.v4, 4000)), SocketAddr::from((pair.wire.far.v4, 4001)));
    let way = Way::new(
        pair.near.run(|| UdpSocket::bind(near)).context("the sender's socket")?,
        pair.far.run(|| UdpSocket::bind(far)).context("the receiver's socket")?,
    )?;
    let frame = frame()?;
    let name = "p99.9 of packets' delay during drains";
    let mut drains = 0;
    let [with, without] = plan.interleave(name, plan.rounds(STREAMS), |variant| {
        let (delays, flips) = stream(plan, &mut rig, &way, &frame, variant == 0)?;
        drains += flips;
        Ok(p999(delays).as_secs_f64() * 1e6)
    })?;
    rig.kernel.program("egress")?.detach(link)?;
    let usual = Spread::of(&without);
    let highest = usual.high;
    let against = Spread::pairs(&with, &without, |with, _| with / highest);
    Ok(Row::new(ROWS[2], name, Spread::of(&with), Unit::Microseconds)
        .with("without drains", usual)
        .check("of the highest round without", against, Unit::Times, Goal::AtMost(1.0))
        .tell("of each round without", Spread::ratio(&with, &without), Unit::Times)
        .note(format!(
            "{drains} drains of 262,144 flows on one CPU, a datagram each {} µs on another; unchanged means: within \
             the range of rounds without drains",
            INTERVAL.as_micros()
        )))
}

/// The stream on one CPU; on another new flows all the time, which are drained, or not.
fn stream(plan: &Plan, rig: &mut Rig, way: &Way, frame: &[u8], drains: bool) -> Result<(Vec<Duration>, usize)> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let result = measure::pin(0).map_err(Into::into).and_then(|()| way.delays(INTERVAL, plan.time(TIME)));
            done.store(true, Ordering::Relaxed);
            result
        });
        let work = scope.spawn(|| -> Result<usize> {
            measure::pin(1)?;
            let mut flips = 0;
            while !done.load(Ordering::Relaxed) {
                rig.run(Target::Egress, frame, Flows::From(0), FLOWS)?;
                if drains {
                    rig.kernel.flip()?;
                    flips += 1;
                }
            }
            rig.kernel.flip()?;
            Ok(flips)
        });
        let flips = work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let delays = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((delays?, flips?))
    })
}

/// What one in a thousand is longer than.
fn p999(mut delays: Vec<Duration>) -> Duration {
    delays.sort_unstable();
    delays.get(delays.len() * 999 / 1000).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Duration, p999};

    #[test]
    fn one_in_a_thousand_is_longer() {
        let delays = |count: u64| (1..=count).map(Duration::from_micros).collect();
        assert_eq!(p999(delays(10_000)), Duration::from_micros(9991));
        assert_eq!(p999(delays(10)), Duration::from_micros(10));
        assert_eq!(p999(Vec::new()), Duration::ZERO);
    }
}
