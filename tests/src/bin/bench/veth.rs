//! Packets a second over a veth pair, and what each takes of a CPU: small UDP frames from one core and from two, with
//! each of the ways out in turn. Whatever counts on the way must have counted what was sent.

use std::time::Duration;

use anyhow::Result;
use egress_monitor_tests::{cycles::Meter, wire::Networks};

use crate::{
    goal::Goal,
    nft::Rule,
    out::{Out, Ways},
    pair::shares,
    plan::Plan,
    rig::Base,
    send::flood,
    spread::{Spread, Unit, count},
    table::Row,
};

pub const ROWS: &[&str] = &[
    "veth/1",
    "veth/1/cycles",
    "veth/1024",
    "veth/1024/cycles",
    "veth/65536",
    "veth/65536/cycles",
    "veth/1/both",
    "veth/1/both/cycles",
    "veth/1024/both",
    "veth/1024/both/cycles",
    "veth/65536/both",
    "veth/65536/both/cycles",
];

/// How often nftables may lack memory for its flows in one round.
const TRIES: u32 = 5;

/// With goals, and without.
const ROUNDS: [usize; 2] = [15, 6];
const TIME: Duration = Duration::from_millis(300);

/// In turn.
const OUTS: [Out; 6] =
    [Out::Empty, Out::Ours, Out::Nothing, Out::Nft(Rule::Networks), Out::Nft(Rule::Flows), Out::Trie];
const EMPTY: usize = 0;
const OURS: usize = 1;
const NETWORKS: usize = 3;
const FLOWS: usize = 4;
const TRIE: usize = 5;
const LABELS: [&str; 6] =
    ["empty program", "ours", "nothing", "nftables, networks", "nftables, flows", "LPM trie program"];

/// One of the settings: flows, sending cores, and what is wanted of the empty program's rate and of nftables'.
struct Setting {
    flows: u32,
    cores: usize,
    goals: Option<[f64; 2]>,
}

const SETTINGS: [Setting; 6] = [
    Setting { flows: 1, cores: 1, goals: None },
    Setting { flows: 1024, cores: 1, goals: Some([0.97, 1.15]) },
    Setting { flows: 65_536, cores: 1, goals: Some([0.92, 1.15]) },
    Setting { flows: 1, cores: 2, goals: None },
    Setting { flows: 1024, cores: 2, goals: None },
    Setting { flows: 65_536, cores: 2, goals: None },
];

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let meter = Meter::new();
    let mut ways = Ways::compared(plan, Networks::number(9), base)?;
    let mut rows = Vec::new();
    for (setting, ids) in SETTINGS.iter().zip(ROWS.chunks(2)) {
        if ids.iter().any(|id| plan.wants(id)) {
            let both = measure(plan, &mut ways, &meter, setting, ids)?;
            rows.extend(both.into_iter().zip(ids).filter(|(_, id)| plan.wants(id)).map(|(row, _)| row));
        }
    }
    Ok(rows)
}

fn measure(plan: &Plan, ways: &mut Ways, meter: &Meter, setting: &Setting, ids: &[&str]) -> Result<[Row; 2]> {
    let name = udp(setting.flows, setting.cores);
    let frames = ways.pair.frames(setting.flows)?;
    let shares = shares(&frames, setting.cores);
    ways.settle(plan, &shares, meter)?;
    let rounds = plan.rounds(ROUNDS[usize::from(setting.goals.is_none())]);
    let mut cycles: [Vec<f64>; OUTS.len()] = Default::default();
    // By nftables, of flows that it had no element for.
    let (mut missing, mut of_sent) = (0, 0);
    let rates: [Vec<f64>; OUTS.len()] = plan.interleave(&name, rounds, |variant| {
        let out = OUTS[variant];
        if matches!(out, Out::Nft(_)) && ways.nft.is_err() {
            // Left out of the rows below.
            return Ok(f64::NAN);
        }
        let mut tries = 0;
        let (flooded, sent, missed) = loop {
            let placed = ways.put(out)?;
            let flooded = flood(plan, &ways.pair.near, &shares, TIME, meter, || Ok(()))?;
            let sent = flooded.before + flooded.frames;
            match ways.take(out, placed)?.check(out, sent, setting.flows.into()) {
                Ok(missed) => break (flooded, sent, missed),
                // Where it had memory for too few flows the figure is none, and it is measured anew.
                Err(_) if out == Out::Nft(Rule::Flows) && tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        };
        if out == Out::Nft(Rule::Flows) {
            (missing, of_sent) = (missing + missed, of_sent + sent);
        }
        cycles[variant].push(flooded.cycles / flooded.frames as f64);
        Ok(flooded.rate)
    })?;
    let compared = |id: &str, name: String, figures: &[Vec<f64>; OUTS.len()], unit| {
        let mut row = Row::new(id, name, Spread::of(&figures[OURS]), unit);
        for (variant, out) in OUTS.iter().enumerate() {
            if variant != OURS && (ways.nft.is_ok() || !matches!(out, Out::Nft(_))) {
                row = row.with(LABELS[variant], Spread::of(&figures[variant]));
            }
        }
        row
    };
    let of = |variant: usize| Spread::ratio(&rates[OURS], &rates[variant]);
    let mut rate = compared(ids[0], name.clone(), &rates, Unit::PacketsPerSecond);
    let least = setting.goals.map(|goals| goals.map(Goal::AtLeast));
    rate = rate.judge("of empty program", of(EMPTY), Unit::Times, least.map(|[empty, _]| empty));
    if ways.nft.is_ok() {
        rate = rate.judge("of nftables, networks", of(NETWORKS), Unit::Times, least.map(|[_, nft]| nft)).tell(
            "of nftables, flows",
            of(FLOWS),
            Unit::Times,
        );
    }
    rate = rate.tell("of LPM trie program", of(TRIE), Unit::Times).note(notes(ways));
    if missing > 0 {
        rate = rate.note(format!("nftables, flows: {missing} of {of_sent} packets are in no flow's counter"));
    }
    let cycles = compared(ids[1], format!("{name}: cycles a packet"), &cycles, Unit::Cycles)
        .tell("of empty program", Spread::ratio(&cycles[OURS], &cycles[EMPTY]), Unit::Times)
        .tell("more", Spread::difference(&cycles[OURS], &cycles[EMPTY]), Unit::Cycles)
        .note(meter.text());
    Ok([rate, cycles])
}

/// What a setting is called.
pub fn udp(flows: u32, cores: usize) -> String {
    let flows = count(flows.into(), "flow");
    format!("64-byte UDP over veth, {flows}{}", if cores == 1 { "" } else { ", two senders" })
}

fn notes(ways: &Ways) -> String {
    let nft = match &ways.nft {
        Ok(ranges) => format!(
            "nftables: an egress chain with `{}`, {ranges} ranges; or with `{}`",
            Rule::Networks.text(),
            Rule::Flows.text()
        ),
        Err(error) => format!("nftables was NOT measured: {error:#}"),
    };
    format!(
        "{nft}. The LPM trie has {} prefixes; all packets go to one of them, so that its path and the set's are warm",
        ways.prefixes
    )
}

#[cfg(test)]
mod tests {
    use super::{ROWS, SETTINGS, udp};

    #[test]
    fn a_rows_name_says_its_flows_and_cores() {
        for (setting, ids) in SETTINGS.iter().zip(ROWS.chunks(2)) {
            let both = if setting.cores == 2 { "/both" } else { "" };
            assert_eq!(ids, [format!("veth/{}{both}", setting.flows), format!("veth/{}{both}/cycles", setting.flows)]);
        }
        assert_eq!(udp(1, 1), "64-byte UDP over veth, 1 flow");
        assert_eq!(udp(65_536, 2), "64-byte UDP over veth, 65,536 flows, two senders");
    }
}
