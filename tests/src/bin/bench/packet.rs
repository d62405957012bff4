//! What the program costs a packet, over an empty one that is called the same way: of a flow that is known, of a new
//! one. Both get the same packets, of as many flows as wanted, from a program that changes them (see `rig`).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use egress_monitor_tests::{
    corpus::build::{eth, gre, ip, udp},
    monitor::kernel::EventReader,
};
use etherparse::{IpNumber, Ipv6Header, PacketBuilder};

use crate::{
    goal::Goal,
    plan::{Plan, on_cpu},
    rig::{Base, Flows, Rig, Target},
    spread::{Spread, Unit, count},
    table::Row,
};

pub const ROWS: &[&str] = &[
    "established/tcp/ipv4/1",
    "established/tcp/ipv4/1024",
    "established/tcp/ipv6/1",
    "established/tcp/ipv6/1024",
    "established/udp/ipv4/1",
    "established/udp/ipv4/1024",
    "established/udp/ipv6/1",
    "established/udp/ipv6/1024",
    "established/vlan",
    "established/extension-header",
    "established/gre",
    "new/room/ipv4",
    "new/room/ipv4-event",
    "new/room/ipv6",
    "new/room/ipv6-event",
    "new/event-alone",
    "new/evict/ipv4",
    "new/evict/ipv4-event",
    "new/evict/ipv6-event",
];

const ROUNDS: usize = 15;
/// Runs of one measurement; a tenth of a second and more for the slowest.
const REPEAT: u32 = 500_000;
/// Runs before the first measurement.
const WARM: u32 = 2048;
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

/// Of IPv6 packets.
const SOURCE: u128 = 0x2001_0db8_0000_0000_0000_0000_0000_0001;

/// Of both families; these packets never leave.
struct Destination {
    v4: [u8; 4],
    v6: u128,
}

/// To port 53 with 18 bytes: 60 to 92 bytes.
fn frame(to: &Destination, tcp: bool, v4: bool) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = if v4 {
        link.ipv4([192, 0, 2, 1], to.v4, 64)
    } else {
        link.ipv6(SOURCE.to_be_bytes(), to.v6.to_be_bytes(), 64)
    };
    if tcp {
        ip.tcp(4000, 53, 1, 1024).ack(1).write(&mut frame, &[0; 18])
    } else {
        ip.udp(4000, 53).write(&mut frame, &[0; 18])
    }
    .context("writing a packet")?;
    Ok(frame)
}

/// The packet of a row that is not plain.
fn other_frame(id: &str) -> Result<(&'static str, Vec<u8>)> {
    let (to, mut frame) = (INSIDE.v4, Vec::new());
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let name = match id {
        "established/vlan" => {
            let vlan = 7.try_into().context("a VLAN's number")?;
            link.single_vlan(vlan).ipv4([192, 0, 2, 1], to, 64).udp(4000, 53).write(&mut frame, &[0; 18])?;
            "UDP, IPv4, in a VLAN (tag in the frame)"
        }
        "established/extension-header" => {
            let header = Ipv6Header {
                source: SOURCE.to_be_bytes(),
                destination: INSIDE.v6.to_be_bytes(),
                next_header: IpNumber(60),
                payload_length: 16,
                hop_limit: 64,
                ..Ipv6Header::default()
            };
            frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd]);
            frame.extend(header.to_bytes());
            // Destination options, padded, then UDP without payload.
            frame.extend([17, 0, 1, 4, 0, 0, 0, 0, 0x0f, 0xa0, 0, 53, 0, 8, 0, 0]);
            "UDP, IPv6, behind one extension header"
        }
        _ => {
            let outer = ip(INSIDE.v4.into());
            frame = (eth() / outer / gre() / ip(INSIDE.v4.into()) / udp(53)).bytes();
            "UDP in GRE, IPv4, both inside"
        }
    };
    Ok((name, frame))
}

/// What goals there are over an empty program, by the row's name.
fn goal(id: &str) -> Option<Goal> {
    let limit = match id {
        "established/tcp/ipv4/1" => 12.0,
        "established/tcp/ipv6/1" | "established/udp/ipv4/1" => 15.0,
        "established/udp/ipv6/1" => 17.0,
        "established/vlan" | "established/extension-header" | "established/gre" => 150.0,
        "new/room/ipv4-event" => 340.0,
        "new/room/ipv6-event" => 420.0,
        "new/evict/ipv4-event" | "new/evict/ipv6-event" => 560.0,
        many if many.ends_with("/1024") => 20.0,
        _ => return None,
    };
    Some(Goal::AtMost(limit))
}

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    on_cpu(0, || {
        let mut bench = Bench::new(base)?;
        let mut rows = Vec::new();
        for id in ROWS.iter().filter(|id| plan.wants(id)) {
            let v4 = id.contains("ipv4");
            rows.push(if *id == "new/event-alone" {
                bench.event_alone(plan, id)?
            } else if id.starts_with("new") {
                bench.new_flow(plan, id, v4, id.ends_with("event"), id.contains("room"))?
            } else if id.contains("/ip") {
                let flows = if id.ends_with("1024") { 1024 } else { 1 };
                bench.established(plan, id, id.contains("tcp"), v4, flows)?
            } else {
                bench.other(plan, id)?
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

    fn established(&mut self, plan: &Plan, id: &str, tcp: bool, v4: bool, flows: u64) -> Result<Row> {
        let frame = frame(&INSIDE, tcp, v4)?;
        let protocol = if tcp { "TCP" } else { "UDP" };
        let name = format!("established flow, {protocol}, IPv{}, {}", if v4 { 4 } else { 6 }, count(flows, "flow"));
        let repeat = plan.repeat(REPEAT);
        // The flow cache gets the size that is right for them, as it has after an epoch or two.
        for _ in 0..3 {
            self.rig.run(Target::Egress, &frame, Flows::Around(flows), WARM)?;
            self.rig.kernel.flip()?;
        }
        self.rig.run(Target::Egress, &frame, Flows::Around(flows), WARM)?;
        let rounds = plan.rounds(ROUNDS);
        let [ours, empty] = plan.interleave(&name, rounds, |variant| {
            let target = [Target::Egress, Target::Empty][variant];
            self.rig.run(target, &frame, Flows::Around(flows), repeat)
        })?;
        self.counted(rounds, repeat, flows)?;
        Ok(row(id, name, &ours, &empty))
    }

    /// Packets of one flow that are not plain: as they are, without a program that changes them.
    fn other(&mut self, plan: &Plan, id: &str) -> Result<Row> {
        let (what, frame) = other_frame(id)?;
        let name = format!("established flow, {what}");
        let (repeat, rounds) = (plan.repeat(REPEAT), plan.rounds(ROUNDS));
        self.rig.run_alone(Target::Egress, &frame, WARM)?;
        let [ours, empty] = plan.interleave(&name, rounds, |variant| {
            self.rig.run_alone([Target::Egress, Target::Empty][variant], &frame, repeat)
        })?;
        self.counted(rounds, repeat, 1)?;
        Ok(row(id, name, &ours, &empty))
    }

    /// Closes the epoch, in which there must have been exactly these packets and flows.
    fn counted(&mut self, rounds: usize, repeat: u32, flows: u64) -> Result<()> {
        let drained = self.rig.kernel.flip()?;
        let sent = u64::from(WARM) + rounds as u64 * u64::from(repeat);
        let counted: u64 = drained.interfaces.iter().map(|counts| counts.hook.packets).sum();
        ensure!(drained.flows.len() as u64 == flows, "{} flows and not {flows}", drained.flows.len());
        let in_flows: u64 = drained.flows.iter().map(|(_, value)| value.counters.packets).sum();
        ensure!((counted, in_flows) == (sent, sent), "{counted} packets, {in_flows} in flows, and not {sent}");
        Ok(())
    }

    fn new_flow(&mut self, plan: &Plan, id: &str, v4: bool, event: bool, room: bool) -> Result<Row> {
        let measured = frame(if event { &OUTSIDE } else { &INSIDE }, false, v4)?;
        // What is there before makes no events.
        let before = frame(&INSIDE, false, v4)?;
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
        Ok(row(id, name, &ours, &empty))
    }

    /// An event and nothing else: of what a new flow with one costs, what no other program could leave out.
    fn event_alone(&mut self, plan: &Plan, id: &str) -> Result<Row> {
        let frame = frame(&OUTSIDE, false, true)?;
        let name = "an event by itself, as a new flow makes one".to_owned();
        let [ours, empty] = plan.interleave(&name, plan.rounds(ROUNDS), |variant| {
            let target = [Target::Event, Target::Empty][variant];
            let mut sum = 0.0;
            for _ in 0..TIMES {
                sum += self.rig.run(target, &frame, Flows::From(0), ROOM)?;
                let (taken, made) = (self.rig.take_events(), if variant == 0 { ROOM } else { 0 });
                ensure!(taken == made, "{taken} events and not {made}");
            }
            Ok(sum / TIMES as f64)
        })?;
        Ok(row(id, name, &ours, &empty))
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

fn row(id: &str, name: String, ours: &[f64], empty: &[f64]) -> Row {
    Row::new(id, name, Spread::of(ours), Unit::Nanoseconds).with("empty program", Spread::of(empty)).judge(
        "more",
        Spread::difference(ours, empty),
        Unit::Nanoseconds,
        goal(id),
    )
}

#[cfg(test)]
mod tests {
    use super::{ROWS, goal};

    #[test]
    fn what_has_no_event_has_no_goal_and_all_else_has_one() {
        let without: Vec<&&str> = ROWS.iter().filter(|id| goal(id).is_none()).collect();
        assert_eq!(without, [&"new/room/ipv4", &"new/room/ipv6", &"new/event-alone", &"new/evict/ipv4"]);
    }
}
