//! A policy of 500,000 networks and one of a million, as datasets and as an allowlist: compiled, written into the kernel and put in force,
//! beside the time that an LPM trie takes to be filled with the same networks. That no packet sees half of one policy
//! and half of another is held by tests.

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use aya::maps::{
    MapData,
    lpm_trie::{Key, LpmTrie},
};
use egress_monitor_tests::monitor::{
    config::{Origin, Rule, Spec},
    geo::{About, Country, Dataset, Range},
    kernel::{Kernel, Mode, Options, Switch},
};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::{
    goal::Goal,
    lookup::range_prefixes,
    plan::{Plan, on_cpu},
    rig::{self, Base, map, object},
    spread::{Spread, Unit},
    table::Row,
};

pub const ROWS: &[&str] =
    &["policy/datasets", "policy/allowlist", "policy/datasets-million", "policy/allowlist-million"];

const ROUNDS: usize = 5;

/// So many networks of either family.
#[derive(Clone, Copy)]
struct Size {
    v4: u32,
    v6: u32,
    /// As it is written.
    name: &'static str,
    /// Seconds.
    goal: f64,
}

const HALF_A_MILLION: Size = Size { v4: 350_000, v6: 150_000, name: "500,000", goal: 0.5 };
const MILLION: Size = Size { v4: 700_000, v6: 300_000, name: "1,000,000", goal: 1.2 };
const COUNTRIES: [&[u8; 2]; 8] = [b"DE", b"FR", b"IE", b"US", b"SG", b"IN", b"BR", b"JP"];

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for id in ROWS.iter().filter(|id| plan.wants(id)) {
        let size = if id.ends_with("million") { MILLION } else { HALF_A_MILLION };
        let size = Size { v4: plan.repeat(size.v4), v6: plan.repeat(size.v6), ..size };
        let (inputs, how) = if id.contains("datasets") {
            ([1, 2].map(|seed| (base.config.spec.clone(), vec![dataset(size, seed)])), "a dataset")
        } else {
            let inputs = [1, 2].map(|seed| (allowing(&base.config.spec, size, seed), base.datasets.clone()));
            (inputs, "an allowlist")
        };
        let name = format!("policy, {} networks in {how}", size.name);
        rows.push(on_cpu(0, || measure(plan, id, &name, size, &inputs))?);
    }
    Ok(rows)
}

fn measure(plan: &Plan, id: &str, name: &str, size: Size, inputs: &[(Spec, Vec<Dataset>); 2]) -> Result<Row> {
    plan.say(name);
    // Room for the larger, and some: what a daemon that was started with such a policy has.
    let policy = Arc::new(rig::compile(&inputs[0].0, &inputs[0].1)?);
    let mut kernel = rig::load(&policy, Options { flows: 4096, ..Options::default() })?;
    let (mut compiling, mut switching) = (Vec::new(), Vec::new());
    let mut turn = 0;
    let [ours, trie] = plan.interleave(name, plan.rounds(ROUNDS), |variant| {
        if variant == 1 {
            return trie(size);
        }
        turn = 1 - turn;
        let (config, datasets) = &inputs[turn];
        let (compiled, switched) = switch(&mut kernel, config, datasets)?;
        compiling.push(compiled);
        switching.push(switched);
        Ok(compiled + switched)
    })?;
    Ok(Row::new(id, name, Spread::of(&ours), Unit::Seconds)
        .with("LPM trie filled", Spread::of(&trie))
        .goal(Goal::AtMost(size.goal))
        .tell("compiled", Spread::of(&compiling), Unit::Seconds)
        .tell("written and in force", Spread::of(&switching), Unit::Seconds)
        .note("that no packet has a mixed view is held by tests of the switch, not measured here"))
}

/// Seconds for the compiler, and from there until no packet is under the old policy.
fn switch(kernel: &mut Kernel, config: &Spec, datasets: &[Dataset]) -> Result<(f64, f64)> {
    let began = Instant::now();
    let policy = Arc::new(rig::compile(config, datasets)?);
    let compiled = began.elapsed();
    kernel.stage(Switch { policy, mode: Mode::Observe })?;
    kernel.flip()?;
    Ok((compiled.as_secs_f64(), began.elapsed().saturating_sub(compiled).as_secs_f64()))
}

/// Seconds to fill two tries with the networks of seed 1.
fn trie(size: Size) -> Result<f64> {
    let mut object = object(&[("TRIE_V4", size.v4 as usize), ("TRIE_V6", size.v6 as usize)])?;
    let mut v4: LpmTrie<MapData, u32, u32> = map(&mut object, "TRIE_V4")?;
    let mut v6: LpmTrie<MapData, [u64; 2], u32> = map(&mut object, "TRIE_V6")?;
    let dataset = dataset(size, 1);
    let began = Instant::now();
    for range in &dataset.v4 {
        let mut result = Ok(());
        range_prefixes(range.first.into(), range.last.into(), 32, |at, length| {
            result = v4.insert(&Key::new(length, (at as u32).to_be()), 1, 0);
        });
        result.context("filling an LPM trie")?;
    }
    for range in &dataset.v6 {
        let halves = [(range.first >> 64) as u64, range.first as u64];
        v6.insert(&Key::new(48, halves.map(u64::to_be)), 1, 0).context("filling an LPM trie")?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// `/24`s and `/48`s apart from each other, in random countries.
fn dataset(size: Size, seed: u64) -> Dataset {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut country = move || Country(*COUNTRIES[random.usize(..COUNTRIES.len())]);
    let v4 = networks_v4(size.v4, seed).map(|first| Range { first, last: first | 0xff, country: country() }).collect();
    let v6 = networks_v6(size.v6, seed)
        .map(|first| Range { first, last: first | ((1 << 80) - 1), country: country() })
        .collect();
    let about = About { digest: [seed as u8; 32], ..About::named(format!("synthetic-{seed}")) };
    Dataset { about, v4, v6 }
}

/// The defaults, and one rule that lets the same networks through.
fn allowing(config: &Spec, size: Size, seed: u64) -> Spec {
    let v4 = networks_v4(size.v4, seed).filter_map(|first| Ipv4Network::new(first.into(), 24).ok()).map(IpNetwork::V4);
    let v6 = networks_v6(size.v6, seed).filter_map(|first| Ipv6Network::new(first.into(), 48).ok()).map(IpNetwork::V6);
    let file: Arc<Path> = Path::new("synthetic").into();
    let rule = Rule {
        id: "synthetic".into(),
        origin: Origin::new(Arc::clone(&file), 1),
        to: v4.chain(v6).zip(1..).map(|(network, line)| (network, Origin::new(Arc::clone(&file), line))).collect(),
        reason: "a benchmark".into(),
        ..Rule::default()
    };
    Spec { rules: vec![rule], ..config.clone() }
}

fn networks_v4(count: u32, seed: u64) -> impl Iterator<Item = u32> {
    // From 1.0.0.0 on, as far apart as there is room for up to 214.0.0.0.
    let apart = 0xd500_0000 / count;
    (0..count).map(move |number| (0x0100_0000 + number * apart + seed as u32 * 512) & !0xff)
}

fn networks_v6(count: u32, seed: u64) -> impl Iterator<Item = u128> {
    (0..count).map(move |number| (0x2400_0000_0000 + u128::from(number) * 0x0100_0000 + u128::from(seed) * 0x100) << 80)
}

#[cfg(test)]
mod tests {
    use super::{HALF_A_MILLION, MILLION, networks_v4, networks_v6};

    #[test]
    fn networks_are_as_many_as_they_say_and_apart_from_each_other() {
        for (size, seed) in [(HALF_A_MILLION, 1), (HALF_A_MILLION, 2), (MILLION, 1), (MILLION, 2)] {
            let v4: Vec<u32> = networks_v4(size.v4, seed).collect();
            let v6: Vec<u128> = networks_v6(size.v6, seed).collect();
            assert_eq!((v4.len() + v6.len()).to_string(), size.name.replace(',', ""));
            // One network at least lies between two: neighbours are never joined.
            assert!(v4.windows(2).all(|pair| pair[1] - pair[0] >= 0x200));
            assert!(v6.windows(2).all(|pair| pair[1] - pair[0] >= 2 << 80));
        }
    }
}
