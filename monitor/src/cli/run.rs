//! `egress-monitor run`: arguments in, the daemon run in the foreground. Alerts go to standard output, all else to standard
//! error.

use std::{path::PathBuf, time::Duration};

use super::messages;
use crate::{
    daemon::{self, Launch},
    error::CliError,
    kernel,
    model::HookChoice,
    reload,
};
use monitor_policy::duration;

/// Counts (and with --enforce drops) what leaves, in the foreground.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor run > alerts.jsonl\n  \
                        egress-monitor run --interface eth0 --duration 10min --enforce\n\n\
                        Signals: SIGINT and SIGTERM detach, print totals and end; SIGHUP reads configuration and \
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
    /// End when this time has passed since attaching (30s, 10min, 1h 30min).
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub duration: Option<Duration>,
    /// Each change of the policy, and an enforcing start, returns to what was confirmed last unless `egress-monitor
    /// confirm` follows in this time (30s, 5min).
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
    /// What is said on standard error at start and end, as one JSON object a line.
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

/// A time to confirm in.
pub(super) fn confirmation(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        time if time < Duration::from_secs(1) || time > reload::LONGEST => Err("from 1s to 24h".to_owned()),
        time => Ok(time),
    }
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
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(args: Args) -> Result<(), CliError> {
    kernel::tame_allocator();
    messages::start_log(args.kernel_log);
    let state = daemon::run(&args.launch(), |started| messages::started(started, args.json))?;
    messages::ended(&state.read(), args.json);
    Ok(())
}
