//! What the kernel keeps for the kernel part with its defaults: maps and programs, as the kernel itself accounts them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use aya::{maps::MapInfo, util::nr_cpus};
use egress_monitor_tests::monitor::kernel::Options;

use crate::{
    goal::Goal,
    plan::Plan,
    rig::{self, Base},
    spread::{Spread, Unit},
    table::Row,
};

pub const ROWS: &[&str] = &["memory/kernel"];

/// How many of the largest maps are named.
const LARGEST: usize = 8;

pub fn run(_plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let mut kernel =
        rig::load(&base.policy, Options { interfaces: 1, flows: base.config.flows, ..Options::default() })?;
    let (mut ids, mut programs) = (BTreeSet::new(), 0);
    for name in ["egress", "clock"] {
        let info = kernel.program(name)?.info()?;
        ids.extend(info.map_ids()?.context("a kernel that does not tell a program's maps")?);
        programs += memlock(info.fd()?.as_fd().as_raw_fd())?;
    }
    let mut maps: BTreeMap<String, u64> = BTreeMap::new();
    for id in ids {
        let info = MapInfo::from_id(id)?;
        let name = info.name_as_str().unwrap_or_default().to_owned();
        *maps.entry(name).or_default() += memlock(info.fd()?.as_fd().as_raw_fd())?;
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let sum = programs + maps.values().sum::<u64>();
    let mut largest: Vec<(String, u64)> = maps.into_iter().collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let named: Vec<String> =
        largest.iter().take(LARGEST).map(|(name, bytes)| format!("{name} {:.1}", mib(*bytes))).collect();
    let rest: u64 = largest.iter().skip(LARGEST).map(|(_, bytes)| bytes).sum();
    let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
    let name =
        format!("kernel memory, defaults, one interface, {cpus} possible CPU{}", if cpus == 1 { "" } else { "s" });
    Ok(vec![Row::new(ROWS[0], name, Spread::of(&[mib(sum)]), Unit::Mebibytes).goal(Goal::AtMost(40.0)).note(format!(
        "MiB: {}, {} other maps {:.1}, programs {:.1}",
        named.join(", "),
        largest.len().saturating_sub(LARGEST),
        mib(rest),
        mib(programs)
    ))])
}

/// Bytes that the kernel has for a map or a program of this process.
fn memlock(descriptor: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).context("a descriptor's fdinfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|value| value.trim().parse().ok()).context("fdinfo has no memlock")
}
