//! `egress-monitor try`: a configuration that is in no file yet, looked at, and put in force for a while.

use std::{
    env, fs,
    io::{self, IsTerminal as _, Write as _},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use super::{
    args::{Daemon, confirmation},
    diff, render,
};
use crate::{
    config::{
        self,
        inputs::{self, Inputs},
    },
    error::CliError,
};
use monitor_api::{
    needs::CutOff,
    reload::{MAX_CANDIDATE, Outcome, TRY},
};
use monitor_policy::spec::{Management, Mode};

/// Put a configuration on trial
///
/// Reads FILE as if it were the daemon's configuration (names of other files in it are taken from there), shows what would
/// become of the last hour's traffic and whom this host would be cut off from, and puts it in force for TIME.
/// `egress-monitor confirm` keeps it and saves it as the daemon's configuration. Without that, policy and mode confirmed
/// before come back, whether the daemon is there then or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor try candidate.toml --for 5min\n  egress-monitor confirm")]
pub struct Args {
    /// The configuration to try
    file: PathBuf,
    /// Roll back unless confirmed within TIME (30s, 5min)
    #[arg(long = "for", value_name = "TIME", default_value = "5min", value_parser = confirmation)]
    lasts: Duration,
    /// Do not ask, whoever is cut off
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the configuration; no daemon answers, or it refuses; nobody said yes.
pub fn run(args: &Args) -> Result<(), CliError> {
    let client = args.daemon.client()?;
    let (text, inputs) = read(args)?;
    let mut effect = diff::with_running(&client, &inputs, 0)?;
    // What is asked about is said there.
    let (open, rest) = effect.cut_off.into_iter().partition(|need| need.what == "open connection");
    effect.cut_off = rest;
    let ask = warnings(&inputs, &open);
    if !args.daemon.shape.json {
        args.daemon.shape.page(&render::effect(&effect))?;
    }
    for warning in &ask {
        eprintln!("! {warning}");
    }
    if !ask.is_empty() && !args.yes && !agreed()? {
        return Err(CliError::Usage("nothing has changed: nobody said yes (--yes does without asking)".into()));
    }
    let outcome: Outcome = client.post_text(&format!("{TRY}?seconds={}", args.lasts.as_secs()), text)?;
    args.daemon.shape.print(&outcome, |outcome, _| render::tried(outcome))?;
    not_tried(&outcome)
}

/// A trial was asked for, and there is none.
///
/// # Errors
/// So it is.
pub(super) fn not_tried(outcome: &Outcome) -> Result<(), CliError> {
    if outcome.unconfirmed.is_some() {
        return Ok(());
    }
    let what = "no trial was started: this policy and mode are what was confirmed last, or what nobody had to confirm";
    Err(CliError::Unavailable(format!("{what}; nothing will be rolled back")))
}

/// The configuration, and what it comes to where the daemon's is.
fn read(args: &Args) -> Result<(String, Inputs), CliError> {
    let wrong = |why: &dyn std::fmt::Display| CliError::Usage(format!("{}: {why}", args.file.display()));
    let text = fs::read_to_string(&args.file).map_err(|error| wrong(&error))?;
    if text.len() > MAX_CANDIDATE {
        return Err(wrong(&format!("longer than {} MiB: name lists in it", MAX_CANDIDATE >> 20)));
    }
    let place = args.daemon.place();
    let config = config::parse(&place, &text).map_err(|mut error| {
        // It is wrong where it is now.
        for problem in error.problems.iter_mut().filter(|problem| problem.file == place) {
            problem.file.clone_from(&args.file);
        }
        error.into_failure()
    })?;
    Ok((text, inputs::compile(config)?))
}

/// What nobody should find out too late.
fn warnings(inputs: &Inputs, open: &[CutOff]) -> Vec<String> {
    if inputs.config.mode != Mode::Enforce {
        return Vec::new();
    }
    let own = env::var("SSH_CONNECTION").ok().and_then(|ssh| ssh.split(' ').next()?.parse::<IpAddr>().ok());
    let one = |need: &CutOff| match need.address {
        from if own == Some(from) => format!("your SSH comes from {from}, not in [management]: you WILL be cut off"),
        from => format!("an open connection with {from} ({}) WILL be cut off", need.by),
    };
    let doubts = inputs.config.spec.management.iter().flat_map(Management::doubts);
    open.iter().map(one).chain(doubts).collect()
}

/// Asks on a terminal; nobody agrees where there is none.
fn agreed() -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let failed = |error: io::Error| CliError::Unavailable(format!("the terminal: {error}"));
    eprint!("Put it on trial all the same? [y/N] ");
    io::stderr().flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
