//! The daemon as it is shipped, with its defaults, in a namespace: what it takes of a core and of memory when nothing
//! leaves, and when 100,000 flows do in each epoch.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use egress_monitor_tests::{
    daemon::Daemon,
    measure::Flood,
    stage::{INTERFACE, status},
    wire::Networks,
};

use crate::{
    goal::Goal,
    pair::{FRAME, Pair},
    plan::Plan,
    rig::Base,
    spread::{Spread, Unit},
    table::Row,
};

pub const ROWS: &[&str] = &["daemon/idle/cpu", "daemon/idle/rss", "daemon/flows/cpu", "daemon/flows/rss"];

const FLOWS: u32 = 100_000;
/// How long it is watched: two epochs.
const IDLE: Duration = Duration::from_secs(20);
const BUSY: Duration = Duration::from_secs(30);
/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let pair = Pair::new(Networks::number(11))?;
    let epoch = plan.time(base.config.epoch);
    // Benchmark addresses are inside: no alerts, and nobody is asked for them.
    let config = format!(
        "[monitor]\ninterfaces = [\"{INTERFACE}\"]\nepoch = \"{}ms\"\n[[site]]\nname = \"bench\"\ncountry = \"IE\"\n\
         networks = [\"198.18.0.0/15\", \"2001:db8::/32\"]\n",
        epoch.as_millis()
    );
    let daemon = Daemon::start(&pair.near, &config, &[])?;
    // What the start needed is given back, and the first epoch is closed.
    plan.wait("the daemon's first epoch", epoch)?;
    let idle = watch(plan, "the idle daemon", &daemon, plan.time(IDLE))?;

    let frames = pair.frames(FLOWS)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let rate = f64::from(FLOWS) / epoch.as_secs_f64();
    let sender = pair.near.spawn(move || -> Result<u64> {
        let limit = BUSY * 4;
        Flood::new(INTERFACE, &frames, FRAME)?.paced(rate, limit, || stopped.load(Ordering::Relaxed))
    })?;
    // The first epoch brings flows that are new to the daemon.
    let watched = plan.wait("the daemon's first epoch with flows", epoch).and_then(|()| {
        let what = format!("the daemon with {FLOWS} flows an epoch");
        watch(plan, &what, &daemon, plan.time(BUSY))
    });
    stop.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let busy = watched?;
    let status = status(&daemon)?;
    let counted: u64 = status.interfaces.iter().map(|interface| interface.total.packets).sum();
    ensure!(counted == sent, "the daemon counted {counted} packets of {sent}");
    let overflow = status.losses.overflow_packets;
    let ended = daemon.stop()?;
    ensure!(ended.status.success(), "the daemon ended with {}", ended.status);

    let mut rows = Vec::new();
    for (idle_row, id, name, seen, limits) in [
        (true, [ROWS[0], ROWS[1]], "daemon, idle", &idle, (1.0, 48.0)),
        (false, [ROWS[2], ROWS[3]], "daemon, 100,000 flows an epoch", &busy, (10.0, 128.0)),
    ] {
        let mut cpu = Row::new(id[0], format!("{name}: CPU"), Spread::of(&[seen.cpu]), Unit::Percent);
        let mut rss = Row::new(id[1], format!("{name}: RSS"), Spread::of(&seen.rss), Unit::Mebibytes);
        if !idle_row {
            cpu = cpu.with("idle", Spread::of(&[idle.cpu]));
            rss = rss.with("idle", Spread::of(&idle.rss));
        }
        if !idle_row && overflow > 0 {
            cpu = cpu.note(format!(
                "{overflow} of {sent} packets found no place in the flow table: counted, but not by flow"
            ));
        }
        cpu = cpu.goal(Goal::AtMost(limits.0)).note(format!(
            "{:.0} s at an epoch of {:.0} s; {:.1} ms of CPU time an epoch",
            seen.time.as_secs_f64(),
            epoch.as_secs_f64(),
            seen.cpu / 100.0 * epoch.as_secs_f64() * 1000.0
        ));
        let now = &seen.memory;
        rss = rss.goal(Goal::AtMost(limits.1)).note(format!(
            "at the end: anonymous {:.1} MiB, of files {:.1} MiB, shared {:.1} MiB; {:.1} MiB of these are BPF maps \
             that the daemon has mapped (kernel memory, in the row of that, too); highest since the start {:.1} MiB",
            now.anonymous, now.file, now.shared, now.maps, now.peak
        ));
        rows.extend([cpu, rss].into_iter().zip(id).filter(|(_, id)| plan.wants(id)).map(|(row, _)| row));
    }
    Ok(rows)
}

/// What was seen of a process.
struct Seen {
    time: Duration,
    /// Per cent of one core.
    cpu: f64,
    /// Resident mebibytes, each time that it was looked at.
    rss: Vec<f64>,
    /// At the end.
    memory: Memory,
}

fn watch(plan: &Plan, what: &str, daemon: &Daemon, time: Duration) -> Result<Seen> {
    let (began, before) = (Instant::now(), cpu(daemon.id())?);
    let mut rss = Vec::new();
    while began.elapsed() < time {
        plan.wait(what, LOOK.min(time.saturating_sub(began.elapsed())))?;
        rss.push(Memory::of(daemon.id())?.resident());
    }
    let (took, time) = (cpu(daemon.id())?.saturating_sub(before), began.elapsed());
    let cpu = took.as_secs_f64() / time.as_secs_f64() * 100.0;
    Ok(Seen { time, cpu, rss, memory: Memory::of(daemon.id())? })
}

/// CPU time of all threads that a process has, to the nanosecond. Its threads stay until it ends.
fn cpu(process: u32) -> Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task")).context("the daemon's threads")? {
        let text = fs::read_to_string(thread?.path().join("schedstat")).context("a thread's schedstat")?;
        let ran: u64 =
            text.split_whitespace().next().and_then(|n| n.parse().ok()).context("schedstat's first number")?;
        sum += ran;
    }
    Ok(Duration::from_nanos(sum))
}

/// A process's resident memory in mebibytes.
struct Memory {
    anonymous: f64,
    file: f64,
    shared: f64,
    peak: f64,
    maps: f64,
}

impl Memory {
    fn of(process: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("the daemon's status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(kibibytes).with_context(|| format!("/proc/{process}/status has no {name}"))
        };
        let smaps = fs::read_to_string(format!("/proc/{process}/smaps")).context("the daemon's mappings")?;
        Ok(Self {
            anonymous: field("RssAnon")? / 1024.0,
            file: field("RssFile")? / 1024.0,
            shared: field("RssShmem")? / 1024.0,
            peak: field("VmHWM")? / 1024.0,
            maps: mapped(&smaps, "bpf-map") / 1024.0,
        })
    }

    fn resident(&self) -> f64 {
        self.anonymous + self.file + self.shared
    }
}

fn kibibytes(value: &str) -> Option<f64> {
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Resident kibibytes of the mappings with `name` in their name.
fn mapped(smaps: &str, name: &str) -> f64 {
    let (mut wanted, mut sum) = (false, 0.0);
    for line in smaps.lines() {
        match line.split_once(':') {
            // "Rss:  12 kB"; a mapping's own line begins with its addresses.
            Some(("Rss", value)) if wanted => sum += kibibytes(value).unwrap_or(0.0),
            Some((key, _)) if key.chars().all(|c| c.is_ascii_alphabetic() || c == '_') => {}
            _ => wanted = line.contains(name),
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::mapped;

    #[test]
    fn mapped_maps_are_told_from_other_mappings() {
        let smaps = "7f00-7f10 rw-s 00000000 00:0e 1024   anon_inode:bpf-map\nSize: 64 kB\nRss: 60 kB\n\
                     Private_Dirty: 60 kB\n7f10-7f20 r-xp 00000000 08:01 77   /usr/bin/x\nRss: 100 kB\n\
                     7f20-7f30 rw-s 00000000 00:0e 1024   anon_inode:bpf-map\nRss: 4 kB\n";
        assert!((mapped(smaps, "bpf-map") - 64.0).abs() < f64::EPSILON);
    }
}
