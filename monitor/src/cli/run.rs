//! `egress-monitor run`: configuration → policy → sockets → kernel → attach → say what was done → work → on a signal
//! or when the time is up: detach, drain, closing table. Alerts go to standard output, all else to standard error.

pub mod daemon;
pub mod prepare;
mod say;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
};

use self::daemon::{Command, Setup};
use crate::{alerts::sinks::Output, change, failure::Failure, kernel};

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
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Each change of the policy, and an enforcing start, returns to what was confirmed last unless `egress-monitor
    /// confirm` follows in this time (30s, 5min).
    #[arg(long, value_name = "TIME", value_parser = confirmation)]
    pub confirm: Option<Duration>,
    /// How to attach, instead of what the configuration says.
    #[arg(long, value_enum)]
    pub hook: Option<Hook>,
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

/// `--hook`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Hook {
    /// TCX where the kernel has it, else clsact.
    Auto,
    /// TCX (kernel 6.6 or later) or nothing.
    Tcx,
    /// The clsact qdisc.
    Clsact,
}

/// `--kernel-log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelLog {
    /// None: costs nothing.
    Off,
    /// What should not happen.
    Error,
    /// Also what is odd.
    Warn,
    /// Also what is worth knowing.
    Info,
    /// Every packet and what became of it.
    Debug,
    /// The same.
    Trace,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let parsed = parsed.ok().and_then(|time| Duration::try_from(time).ok()).filter(|time| !time.is_zero());
    parsed.ok_or_else(|| "not a time above zero, such as 30s, 10min or 1h".to_owned())
}

/// A time to confirm in.
pub(super) fn confirmation(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < Duration::from_secs(1) || time > change::LONGEST => Err("from 1s to 24h".to_owned()),
        time => Ok(time),
    }
}

/// Runs the command.
///
/// # Errors
/// What could not be done.
pub fn run(args: Args) -> Result<(), Failure> {
    kernel::tame_allocator();
    say::start_log(args.kernel_log);
    let (config, in_force, files) = prepare::read(&args)?;
    // Before the sockets, whose refusal would hide the reason.
    kernel::require()?;
    let closed = |error| Failure::Unavailable(format!("standard output is closed: {error}: send it to /dev/null"));
    let mut outputs = vec![Output::stdout().map_err(closed)?];
    if let Some(path) = &args.alerts_file {
        outputs.push(Output::file(path).map_err(|error| {
            Failure::Usage(format!("--alerts-file {}: {error}: name a file that can be written", path.display()))
        })?);
    }
    let setup = Setup {
        epoch: config.epoch,
        listen: config.listen,
        socket: config.paths.runtime.join("control.sock"),
        state: config.paths.state.clone(),
        in_force,
        outputs,
        change: change::Setup {
            read: prepare::reader(args.clone()),
            files,
            clocks: Arc::new(prepare::clocks),
            confirm: args.confirm,
            memory: change::memory::Memory::open(&config.paths.state),
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unavailable(format!("can't start threads: {error}")))?;
    let result = runtime.block_on(async {
        let attached = Arc::new(Notify::new());
        let commands = commands(args.duration, Arc::clone(&attached))
            .map_err(|error| Failure::Unavailable(format!("can't listen for signals: {error}")))?;
        let json = args.json;
        let open = |in_force: &_| prepare::open(&config, &args, in_force);
        let facts = daemon::run(setup, open, commands, |facts| {
            say::started(facts, json);
            attached.notify_one();
        })
        .await?;
        say::ended(&facts.read(), json);
        Ok(())
    });
    // A thread that hangs in a write to a stuck pipe must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// How often the wall clock is held against the one that rules are timed by, and free memory given back.
const CLOCK_LOOK: Duration = Duration::from_secs(5);

/// Signals, the end of the time (which begins when everything is attached) and a wall clock that was set, as
/// commands.
fn commands(duration: Option<Duration>, attached: Arc<Notify>) -> std::io::Result<mpsc::Receiver<Command>> {
    let (sender, receiver) = mpsc::channel(4);
    let (mut interrupt, mut terminate, mut hangup): (Signal, Signal, Signal) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::spawn(async move {
        let up = async {
            match duration {
                Some(duration) => {
                    attached.notified().await;
                    tokio::time::sleep(duration).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(up);
        let mut look = tokio::time::interval(CLOCK_LOOK);
        let mut boot_began = prepare::boot_began();
        loop {
            let command = tokio::select! {
                _ = interrupt.recv() => Command::Stop,
                _ = terminate.recv() => Command::Stop,
                () = &mut up => Command::Stop,
                _ = hangup.recv() => Command::Reload,
                _ = look.tick() => {
                    kernel::trim_heap();
                    let now = prepare::boot_began();
                    let seconds = (now - boot_began) / 1_000_000_000;
                    if seconds == 0 {
                        continue;
                    }
                    tracing::info!(seconds, "the wall clock was set: rules with times are timed anew");
                    boot_began = now;
                    Command::ClockSet
                }
            };
            if sender.send(command).await.is_err() || command == Command::Stop {
                return;
            }
        }
    });
    Ok(receiver)
}
