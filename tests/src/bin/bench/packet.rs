//! What the program costs a packet, over an empty one that is called the same way: of a flow that is known, of a new
//! one. Both get the same packets, of as many flows as wanted, from a program that changes them (see `rig`).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use egress_monitor_tests::monitor::kernel::EventReader;
use etherparse::PacketBuilder;

use crate::{
    plan::{Plan, on_cpu},
    rig::{Base, Flows, Rig, Target},
    table::{Goal, Row, Spread, Unit},
};

pub const ROWS: &[&str] = &[
    "established/ipv4/1",
    "established/ipv4/1024",
    "established/ipv6/1",
    "established/ipv6/1024",
    "new/room/ipv4",
    "new/room/ipv4-event",
    "new/room/ipv6-event",
    "new/evict/ipv4",
    "new/evict/ipv4-event",
    "new/evict/ipv6-event",
];

const ROUNDS: usize = 15;
/// Runs of one measurement; a tenth of a second and more for the slowest.
const REPEAT: u32 = 500_000;
/// New flows of one measurement where there is room. Few, so that hardly two meet in the cache or in a bucket.
const ROOM: u32 = 4096;
/// Measurements of them a round.
const TIMES: usize = 8;
/// Flows before the first that is measured, where there is none.
const FULL: u32 = 262_144;
/// New flows of one measurement then; as many as there is room for events.
const EVICTING: u32 = 8192;
/// A round takes a second.
const EVICTING_ROUNDS: usize = 9;
/// For so long they are silent before: a flow that is not gives way to none.
const SILENT_JIFFIES: u32 = 80;

const INSIDE: Destination = Destination { v4: [5, 9, 0, 1], v6: 0x2a00_1450_4001_0000_0000_0000_0000_0001 };
const OUTSIDE: Destination = Destination { v4: [8, 8, 8, 8], v6: 0x2001_4860_4860_0000_0000_0000_0000_8888 };

/// Of both families; these packets never leave.
struct Destination {
    v4: [u8; 4],
    v6: u128,
}

/// UDP to port 53 with 18 bytes: 60 and 80 bytes.
fn frame(to: &Destination, v4: bool) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let source = 0x2001_0db8_0000_0000_0000_0000_0000_0001_u128;
    let ip = if v4 {
        link.ipv4([192, 0, 2, 1], to.v4, 64)
    } else {
        link.ipv6(source.to_be_bytes(), to.v6.to_be_bytes(), 64)
    };
    ip.udp(4000, 53).write(&mut frame, &[0; 18]).context("writing a packet")?;
    Ok(frame)
}

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    on_cpu(0, || {
        let mut bench = Bench::new(base)?;
        let mut rows = Vec::new();
        for id in ROWS.iter().filter(|id| plan.wants(id)) {
            let v4 = id.contains("ipv4");
            rows.push(if id.starts_with("established") {
                bench.established(plan, id, v4, if id.ends_with("1024") { 1024 } else { 1 })?
            } else {
                bench.new_flow(plan, id, v4, id.ends_with("event"), id.contains("room"))?
            });
        }
        Ok(rows)
    })
}

struct Bench {
    rig: Rig,
    events: EventReader,
    silent: Duration,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(base: &Base) -> Result<Self> {
        // Places for what a round brings beside what it begins with.
        let mut rig = Rig::new(&base.policy, 2 * FULL)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("a runtime")?;
        let events = {
            let _guard = runtime.enter();
            rig.kernel.events()?
        };
        let silent = Duration::from_secs(SILENT_JIFFIES.into()) / base.hz;
        Ok(Self { rig, events, silent, _runtime: runtime })
    }

    fn established(&mut self, plan: &Plan, id: &str, v4: bool, flows: u64) -> Result<Row> {
        let frame = frame(&INSIDE, v4)?;
        let name = format!("established flow, IPv{}, {flows} flow{}", if v4 { 4 } else { 6 }, s(flows));
        let repeat = plan.repeat(REPEAT);
        self.rig.run(Target::Egress, &frame, Flows::Around(flows), 2048)?;
        let rounds = plan.rounds(ROUNDS);
        let [ours, empty] = plan.interleave(&name, rounds, |variant| {
            let target = [Target::Egress, Target::Empty][variant];
            self.rig.run(target, &frame, Flows::Around(flows), repeat)
        })?;
        let drained = self.rig.kernel.flip()?;
        ensure!(drained.flows.len() as u64 == flows, "{} flows and not {flows}", drained.flows.len());
        let goal = Goal::AtMost(if v4 { 12.0 } else { 15.0 });
        Ok(row(id, name, &ours, &empty, goal))
    }

    fn new_flow(&mut self, plan: &Plan, id: &str, v4: bool, event: bool, room: bool) -> Result<Row> {
        let measured = frame(if event { &OUTSIDE } else { &INSIDE }, v4)?;
        // What is there before makes no events.
        let before = frame(&INSIDE, v4)?;
        let place = if room { "there is room" } else { "one gives way" };
        let what = if event { ", with its event" } else { "" };
        let name = format!("new flow, {place}, IPv{}{what}", if v4 { 4 } else { 6 });
        let (flows, times, rounds) = if room { (ROOM, TIMES, ROUNDS) } else { (EVICTING, 1, EVICTING_ROUNDS) };
        let [ours, empty] = plan.interleave(&name, plan.rounds(rounds), |variant| {
            let target = [Target::Egress, Target::Empty][variant];
            let mut sum = 0.0;
            for _ in 0..times {
                if target == Target::Egress && !room {
                    self.rig.run(target, &before, Flows::From(0), FULL)?;
                    std::thread::sleep(self.silent);
                }
                sum += self.rig.run(target, &measured, Flows::From(FULL.into()), flows)?;
                if target == Target::Egress {
                    self.end(if room { flows } else { flows + FULL }, if event { flows } else { 0 })?;
                }
            }
            Ok(sum / times as f64)
        })?;
        Ok(row(id, name, &ours, &empty, Goal::AtMost(if room { 250.0 } else { 600.0 })))
    }

    /// Closes the epoch, in which there must have been exactly these flows and events: every run was a new flow.
    fn end(&mut self, flows: u32, events: u32) -> Result<()> {
        let drained = self.rig.kernel.flip()?;
        ensure!(drained.flows.len() as u32 == flows, "{} flows and not {flows}", drained.flows.len());
        let mut told = 0;
        while self.events.ready().is_some() {
            told += 1;
        }
        ensure!(told == events && drained.events_lost == 0, "{told} events and not {events}");
        Ok(())
    }
}

fn row(id: &str, name: String, ours: &[f64], empty: &[f64], goal: Goal) -> Row {
    Row::new(id, name, Spread::of(ours), Unit::Nanoseconds).with("empty program", Spread::of(empty)).check(
        "more",
        Spread::difference(ours, empty),
        Unit::Nanoseconds,
        goal,
    )
}

const fn s(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}
