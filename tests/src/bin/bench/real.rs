//! What a packet pays on a real path: the program's run time per packet as the kernel accounts it (BPF_ENABLE_STATS),
//! over a veth pair, beside the empty program's in the same rounds. Between two packets the kernel's own work has
//! taken the processor's caches, which BPF_PROG_TEST_RUN never shows. Accounting costs either program the same: the
//! difference counts. It ends with its descriptor, however this process ends.

use std::{rc::Rc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use egress_monitor_tests::{cycles::Meter, wire::Networks};

use crate::{
    goal::{Goal, Goals},
    out::{Out, Ways},
    pair::shares,
    plan::Plan,
    rig::Base,
    send::flood,
    spread::{Spread, Unit},
    table::Row,
    tcp::{self, Cores},
    veth::udp,
};

pub const ROWS: &[&str] = &[
    "real/udp/1",
    "real/udp/1024",
    "real/udp/65536",
    "real/udp/1/both",
    "real/udp/1024/both",
    "real/udp/65536/both",
    "real/tcp/1",
    "real/tcp/8",
    "real/tcp/1/both",
    "real/tcp/8/both",
];

/// With goals, and without.
const ROUNDS: [usize; 2] = [15, 7];
const TIME: Duration = Duration::from_millis(300);

/// In turn; the last one for UDP only.
const OUTS: [Out; 3] = [Out::Ours, Out::Empty, Out::Line];

/// Flows, senders, and the goal with what would be better still.
const UDP: [(u32, usize, Option<[f64; 2]>); 6] = [
    (1, 1, Some([50.0, 40.0])),
    (1024, 1, Some([120.0, 100.0])),
    (65_536, 1, Some([240.0, 200.0])),
    (1, 2, None),
    (1024, 2, None),
    (65_536, 2, None),
];

const TCP: [(usize, Cores); 4] = [(1, Cores::One), (8, Cores::One), (1, Cores::All), (8, Cores::All)];

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let _accounting = enable_stats(Stats::RunTime).context("BPF_ENABLE_STATS")?;
    let (udp_ids, tcp_ids) = ROWS.split_at(UDP.len());
    let mut rows = Vec::new();
    if udp_ids.iter().any(|id| plan.wants(id)) {
        let meter = Meter::new();
        let mut ways = Ways::new(Networks::number(12), base)?;
        for (id, (flows, cores, goals)) in udp_ids.iter().zip(UDP).filter(|(id, _)| plan.wants(id)) {
            let frames = ways.pair.frames(flows)?;
            let shares = shares(&frames, cores);
            let name = udp(flows, cores);
            ways.settle(plan, &shares, &meter)?;
            let rounds = plan.rounds(ROUNDS[usize::from(goals.is_none())]);
            let [ours, empty, line] = plan.interleave(&name, rounds, |variant| {
                let (out, pair) = (OUTS[variant], Rc::clone(&ways.pair));
                let placed = ways.put(out)?;
                let flooded = flood(plan, &pair.near, &shares, TIME, &meter, || ways.run_time(out))?;
                ways.take(out, placed)?.check(out, flooded.before + flooded.frames, flows.into())?;
                let [began, ended] = flooded.marks;
                let runs = ended.runs_since(&began);
                ensure!(runs == flooded.frames, "{out:?} ran {runs} times for {} frames", flooded.frames);
                ended.each_since(&began)
            })?;
            let goals = goals.map(|[goal, stretch]| Goals::from(Goal::AtMost(goal)).stretch(stretch));
            rows.push(row(id, name, &ours, &empty, goals).with("a line of memory a flow", Spread::of(&line)).tell(
                "of that a line of memory",
                Spread::difference(&line, &empty),
                Unit::Nanoseconds,
            ));
        }
    }
    if tcp_ids.iter().any(|id| plan.wants(id)) {
        let mut ways = Ways::new(Networks { offloads: true, ..Networks::number(13) }, base)?;
        for (id, (streams, cores)) in tcp_ids.iter().zip(TCP).filter(|(id, _)| plan.wants(id)) {
            let name = tcp::name(streams, cores);
            let [ours, empty] = plan.interleave(&name, plan.rounds(ROUNDS[1]), |variant| {
                let out = OUTS[variant];
                let first = ways.run_time(out)?;
                let moved = tcp::round(&mut ways, out, streams, cores, plan.time(TIME), |ways| ways.run_time(out))?;
                let runs = ways.run_time(out)?.runs_since(&first);
                ensure!(runs == moved.sent.packets, "{out:?} ran {runs} times for {:?}", moved.sent);
                let [began, ended] = moved.marks;
                ended.each_since(&began)
            })?;
            rows.push(
                row(id, name, &ours, &empty, None).note("a packet is what the hook sees: up to 64 KiB of a stream"),
            );
        }
    }
    Ok(rows)
}

fn row(id: &str, name: String, ours: &[f64], empty: &[f64], goals: Option<Goals>) -> Row {
    Row::new(id, format!("{name}: run time a packet"), Spread::of(ours), Unit::Nanoseconds)
        .with("empty program", Spread::of(empty))
        .judge("more", Spread::difference(ours, empty), Unit::Nanoseconds, goals)
        .note("by the kernel's own accounting (BPF_ENABLE_STATS), which costs both programs the same")
}

#[cfg(test)]
mod tests {
    use super::{Cores, ROWS, TCP, UDP};

    #[test]
    fn a_rows_name_says_what_is_sent_and_from_how_many_cores() {
        let udp = UDP.map(|(flows, cores, _)| format!("real/udp/{flows}{}", if cores == 1 { "" } else { "/both" }));
        let tcp =
            TCP.map(|(streams, cores)| format!("real/tcp/{streams}{}", if cores == Cores::One { "" } else { "/both" }));
        assert_eq!(ROWS, [&udp[..], &tcp[..]].concat());
    }
}
