//! What the monitor costs (`cargo xtask bench`): every figure beside what it is compared with, both taken in turn in
//! one run, with medians, ranges and the goals that were set. Timings are for people to judge: a missed goal is told,
//! and is no failure.

mod alerts;
mod daemon;
mod drain;
mod goal;
mod lookup;
mod machine;
mod memory;
mod nft;
mod other;
mod out;
mod packet;
mod pair;
mod plan;
mod policy;
mod real;
mod rig;
mod send;
mod spread;
mod start;
mod table;
mod tcp;
mod veth;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use egress_monitor_tests::measure;
use machine::Machine;
use plan::Plan;
use rig::Base;
use serde_json::json;
use table::{Failure, Row, Table};

/// What the monitor costs, beside what it is compared with.
#[derive(Debug, Parser)]
#[command(
    max_term_width = 100,
    after_help = "Example: cargo xtask bench\n         cargo xtask bench --only veth --only tcp --json figures.json\n         \
                  cargo xtask bench --quick   # that everything works; its figures say little"
)]
struct Arguments {
    /// Print JSON in place of the table; with a file, write it there beside the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    #[allow(clippy::option_option, reason = "clap's form of an option whose value may be left out")]
    json: Option<Option<PathBuf>>,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Only rows with this in their name, as `--list` shows it (may be given again).
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// One short round.
    #[arg(long)]
    quick: bool,
    /// Name all rows and measure none.
    #[arg(long)]
    list: bool,
}

/// A section: its rows' names, the table they are in, and what measures those that are wanted.
struct Section {
    name: &'static str,
    table: usize,
    rows: &'static [&'static str],
    run: fn(&Plan, &Base) -> Result<Vec<Row>>,
}

/// What a packet pays where packets are comes first.
const TABLES: [&str; 4] = [
    "On a real path: a veth pair between two namespaces",
    "The program alone: BPF_PROG_TEST_RUN, which keeps code and data in the processor's caches",
    "What is not paid by packets",
    OTHER,
];
/// Without goals.
const OTHER: &str = "Other packets: BPF_PROG_TEST_RUN";

const SECTIONS: [Section; 12] = [
    Section { name: "packets on a real path", table: 0, rows: real::ROWS, run: real::run },
    Section { name: "packets over a veth pair", table: 0, rows: veth::ROWS, run: veth::run },
    Section { name: "TCP over a veth pair", table: 0, rows: tcp::ROWS, run: tcp::run },
    Section { name: "packets through the program", table: 1, rows: packet::ROWS, run: packet::run },
    Section { name: "an address", table: 1, rows: lookup::ROWS, run: lookup::run },
    Section { name: "the drain", table: 2, rows: drain::ROWS, run: drain::run },
    Section { name: "a large policy", table: 2, rows: policy::ROWS, run: policy::run },
    Section { name: "the daemon", table: 2, rows: daemon::ROWS, run: daemon::run },
    Section { name: "alerts", table: 2, rows: alerts::ROWS, run: alerts::run },
    Section { name: "a start", table: 2, rows: start::ROWS, run: start::run },
    Section { name: "kernel memory", table: 2, rows: memory::ROWS, run: memory::run },
    Section { name: "other packets", table: 3, rows: other::ROWS, run: other::run },
];

fn main() -> ExitCode {
    measure::catch_interrupts();
    match bench(&Arguments::parse()) {
        Ok(code) => code,
        // Everything that was made has been dropped by now: namespaces, programs, processes.
        Err(error) => {
            eprintln!("bench: {error:#}");
            if measure::interrupted() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

fn bench(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        SECTIONS.iter().flat_map(|section| section.rows).for_each(|row| println!("{row}"));
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan::new(arguments.quick, &arguments.only);
    let began = Instant::now();
    let wanted: Vec<&Section> = SECTIONS.iter().filter(|s| s.rows.iter().any(|row| plan.wants(row))).collect();
    anyhow::ensure!(!wanted.is_empty(), "no row has {:?} in its name: see --list", arguments.only);
    plan.say("the embedded datasets, compiled and loaded");
    let base = Base::new()?;
    let machine = Machine::read(base.hz);
    let mut tables = TABLES.map(|title| Table { title, rows: Vec::new() });
    let mut failures = Vec::new();
    for section in wanted {
        plan.say(section.name);
        match (section.run)(&plan, &base) {
            Ok(rows) => tables[section.table].rows.extend(rows),
            Err(error) if measure::interrupted() => return Err(error),
            Err(error) => {
                let error = format!("{error:#}");
                eprintln!("bench: {}: {error}", section.name);
                failures.push(Failure { section: section.name.into(), error });
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let scores = tables.each_ref().map(Table::score);
    let [met, at_quartile, of] = [0, 1, 2].map(|which| scores.iter().map(|score| score[which]).sum::<usize>());
    let rows = |other: bool| {
        let tables = tables.iter().filter(|table| (table.title == OTHER) == other);
        tables.flat_map(Table::json).collect::<Vec<_>>()
    };
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "machine": machine.json(),
        "policy": base.json(),
        "quick": arguments.quick,
        "seconds": seconds,
        "goals_met": met,
        "goals_met_at_quartile": at_quartile,
        "goals": of,
        "rows": rows(false),
        "other_packets": rows(true),
        "not_measured": failures.iter().map(|f| json!({ "section": f.section, "error": f.error })).collect::<Vec<_>>(),
    });
    let document = serde_json::to_string_pretty(&document).context("the figures as JSON")?;
    if let Some(Some(file)) = &arguments.json {
        std::fs::write(file, &document).with_context(|| format!("writing {}", file.display()))?;
    }
    if let Some(None) = arguments.json {
        println!("{document}");
    } else {
        let mut parts = vec![machine.text(), base.text()];
        for table in tables.iter().filter(|table| !table.rows.is_empty()) {
            parts.push(if arguments.markdown { table.markdown() } else { table.text() });
        }
        parts.extend(failures.iter().map(|failure| format!("NOT MEASURED: {}: {}", failure.section, failure.error)));
        parts.push(format!(
            "{met} of {of} rows with goals meet them by the median, {at_quartile} by the quartile on the goal's side. \
             {seconds:.0} s in all{}. Rounds are taken in turn: compare within one run only.",
            if arguments.quick { ", and quick: these figures say little" } else { "" },
        ));
        println!("{}", parts.join("\n\n"));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
