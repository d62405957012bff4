//! How long a start takes until its program is on the interface: the first one of a host, with the datasets that are built in,
//! and one that takes over what an earlier one has left.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use egress_monitor_tests::{
    daemon::{Daemon, Home},
    stage::INTERFACE,
    wire::Networks,
};

use crate::{
    goal::Goal,
    pair::Pair,
    plan::Plan,
    rig::Base,
    spread::{Spread, Unit},
    table::Row,
};

pub const ROWS: &[&str] = &["daemon/start", "daemon/start/pins"];

const ROUNDS: usize = 5;
/// Between two looks at the interface.
const LOOK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(plan: &Plan, _: &Base) -> Result<Vec<Row>> {
    let pair = Pair::new(Networks::number(12))?;
    let config = format!("[monitor]\ninterfaces = [\"{INTERFACE}\"]\n[http]\nlisten = \"\"\n");
    let (mut first, mut over) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds(ROUNDS) {
        plan.say(&format!("starts of the daemon: round {} of {}", round + 1, plan.rounds(ROUNDS)));
        let home = Home::outliving()?;
        home.configure(&config)?;
        let (daemon, took) = start(&pair, home)?;
        first.push(took);
        let home = end(daemon)?;
        let (daemon, took) = start(&pair, home)?;
        over.push(took);
        // Its pins, and with them the program, go with its folder.
        drop(end(daemon)?);
        let until = Instant::now() + PATIENCE;
        while !programs(&pair).is_empty() {
            ensure!(Instant::now() < until, "the program stays");
            std::thread::sleep(LOOK);
        }
    }
    let first = Spread::of(&first);
    let name = "from exec to attached";
    let rows = [
        Row::new(ROWS[0], format!("{name}, built-in datasets"), first, Unit::Seconds).goal(Goal::AtMost(1.2)),
        Row::new(ROWS[1], format!("{name}, with what an earlier start has left"), Spread::of(&over), Unit::Seconds)
            .with("without", first)
            .goal(Goal::AtMost(0.5)),
    ];
    Ok(rows.into_iter().zip(ROWS).filter(|(_, id)| plan.wants(id)).map(|(row, _)| row).collect())
}

/// The programs on the interface, by id.
fn programs(pair: &Pair) -> Vec<u32> {
    let found = pair.near.run(|| SchedClassifier::query_tcx(INTERFACE, TcAttachType::Egress));
    found.map_or_else(|_| Vec::new(), |(_, programs)| programs.iter().map(aya::programs::ProgramInfo::id).collect())
}

/// Starts a daemon; gives it with the seconds until its program was there.
fn start(pair: &Pair, home: Home) -> Result<(Daemon, f64)> {
    let before = programs(pair);
    let began = Instant::now();
    let mut daemon = Daemon::spawn(&pair.near, home, &[])?;
    loop {
        let now = programs(pair);
        if !now.is_empty() && now != before {
            break;
        }
        if began.elapsed() > PATIENCE {
            daemon.wait_until_ready().context("nothing was attached")?;
        }
        std::thread::sleep(LOOK);
    }
    let took = began.elapsed().as_secs_f64();
    daemon.wait_until_ready()?;
    Ok((daemon, took))
}

fn end(mut daemon: Daemon) -> Result<Home> {
    daemon.signal(libc::SIGTERM)?;
    let ended = daemon.wait()?;
    ensure!(ended.status.success(), "the daemon ended with {}", ended.status);
    daemon.into_home()
}
