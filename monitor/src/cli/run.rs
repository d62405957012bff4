//! `egress-monitor run`: arguments in, the daemon run in the foreground. Alerts go to standard output, all else to standard
//! error.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use tracing::Level;

use super::args::confirmation;
use crate::{
    cli::{output, render},
    daemon::{self, Launch},
    error::CliError,
    http::documents::{coverage::devices, status::status},
    kernel,
    model::{HookChoice, Host, now, rfc3339},
    needs, privileges,
};
use monitor_api::started::{Attached, Dataset, Started};
use monitor_policy::duration;

/// Run the monitor in the foreground
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "Examples:\n  egress-monitor run > alerts.jsonl\n  \
                        egress-monitor run --interface eth0 --enforce --confirm 5min\n\n\
                        Signals: SIGINT and SIGTERM print totals and end, and detach with --ephemeral; SIGHUP reads configuration and \
                        policy again, as does a change of the files ([policy] reload).")]
pub struct Args {
    /// Configuration file [default: /etc/egress-monitor/config.toml if it exists, else the built-in defaults]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Interface to attach to (a name, a glob, or auto), instead of the configured ones; repeatable.
    #[arg(long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// Drop what the policy denies, whatever the configuration says.
    #[arg(long)]
    pub enforce: bool,
    /// Stop after TIME (30s, 10min, 1h 30min).
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub duration: Option<Duration>,
    /// Roll back each change of the policy, and an enforcing start, unless confirmed within TIME (30s, 5min)
    #[arg(long, value_name = "TIME", value_parser = confirmation)]
    pub confirm: Option<Duration>,
    /// How to attach, instead of what the configuration says.
    #[arg(long, value_enum)]
    pub hook: Option<HookChoice>,
    /// Debug lines of the kernel part on standard error.
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = KernelLog::Off)]
    pub kernel_log: KernelLog,
    /// Append alerts to this file as well.
    #[arg(long, value_name = "FILE")]
    pub alerts_file: Option<PathBuf>,
    /// Detach everything at the end, as is done on a terminal. Else counting and enforcing go on without the daemon until
    /// the next one or `egress-monitor detach`.
    #[arg(long)]
    pub ephemeral: bool,
    /// Remove what a daemon of another version has left whose counters this one can't read
    #[arg(long)]
    pub replace: bool,
    /// Print start-up and shutdown messages as JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// `--kernel-log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelLog {
    /// None: costs nothing.
    Off,
    /// Every packet and what became of it.
    Debug,
}

impl Args {
    /// What the daemon is launched with.
    fn launch(&self) -> Launch {
        Launch {
            config: self.config.clone(),
            interfaces: self.interfaces.clone(),
            enforce: self.enforce,
            duration: self.duration,
            confirm: self.confirm,
            hook: self.hook,
            kernel_log: self.kernel_log == KernelLog::Debug,
            alerts_file: self.alerts_file.clone(),
            // Who looks at it on a terminal wants it over with Ctrl-C.
            replace: self.replace,
            outlives: !self.ephemeral && !std::io::stderr().is_terminal(),
            ..Launch::default()
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(args: &Args) -> Result<(), CliError> {
    kernel::tame_allocator();
    start_log(args.kernel_log);
    let mut outlives = false;
    let state = daemon::run(&args.launch(), |started| {
        outlives = started.outlives;
        let rules = started.in_force.policy.rules.len();
        say(args.json, &document(started), |document| {
            render::started(document, rules, now(), std::io::stdout().is_terminal())
        });
        if let Some(warning) = needs::pppoe(&started.in_force.policy) {
            tracing::warn!(warning, "the policy");
        }
    })?;
    let status = status(&state.read(), &Host::read().name, now());
    say(args.json, &status, |status| render::ended(status, outlives, output::width_of(&std::io::stderr(), false)));
    Ok(())
}

/// Starts the log, on standard error: standard output belongs to the alerts.
fn start_log(kernel: KernelLog) {
    let level = match kernel {
        KernelLog::Off => Level::INFO,
        KernelLog::Debug => Level::DEBUG,
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_ansi(colour);
    // Another log in the same process, in tests: that one is used.
    let _ = log.with_target(false).try_init();
}

/// Writes to standard error, as one line of JSON or as text; a closed one is no reason to end.
fn say<T: serde::Serialize>(as_json: bool, value: &T, as_text: impl FnOnce(&T) -> String) {
    let text = if as_json {
        serde_json::to_string(value).unwrap_or_default() + "\n"
    } else {
        output::shaped(&std::io::stderr(), &as_text(value), false)
    };
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// What is said when everything is attached.
fn document(started: &daemon::Started) -> Started {
    let (in_force, now) = (&started.in_force, now());
    let attached = started.attachments.iter().map(|one| Attached {
        hook: one.hook.clone(),
        ifindex: one.ifindex,
        interface: one.interface.clone(),
        since: rfc3339(one.since),
    });
    let datasets = in_force.datasets.iter().map(|one| Dataset {
        age_seconds: one.age_seconds(now),
        name: one.name.clone(),
        version: one.version.clone(),
    });
    Started {
        attached: attached.collect(),
        coverage: devices(&started.coverage).0,
        cut_off: privileges::parse(|| needs::find(&in_force.policy, kernel::boot_ns(), false).cut_off)
            .unwrap_or_default(),
        datasets: datasets.collect(),
        inside: in_force.inside.clone(),
        kernel_memory_bytes: started.kernel_memory,
        last_good: in_force.last_good_status(),
        listen: started.listen,
        mode: in_force.mode,
        mode_by_hand: in_force.by_hand.as_ref().map(|by_hand| by_hand.document(now)),
        outlives: started.outlives,
        policy: in_force.policy.digest.clone(),
        socket: started.socket.clone(),
        started: rfc3339(now),
        version: env!("CARGO_PKG_VERSION").into(),
        zone: in_force.policy.zone.clone(),
    }
}
