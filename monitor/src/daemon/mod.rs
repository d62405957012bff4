//! The composition root: configuration → policy → sockets → kernel → attach → work → on a signal or when the time is up:
//! detach, drain. [`run`] reads everything and serves it; [`serve`] is the daemon from bound sockets to the closing
//! drain, with everything outside handed in, so that the tests run it whole, with a fake kernel and without signals.

mod build;
mod bypass;
mod error;
mod guess;
mod kernel_source;
mod launch;
mod limits;
mod neighbours;
mod on_disk;
mod running;
mod service_manager;
mod signals;
mod start;
mod supervisor;
mod watch;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use tokio::sync::{Notify, mpsc};

pub use self::{
    build::consumers,
    error::{DaemonError, TaskError},
    launch::Launch,
    service_manager::ServiceManager,
};

use crate::{
    config::Groups,
    engine::source::Opened,
    error::CliError,
    helper::Helper,
    kernel::{self, Prepared},
    model::{Attachment, Coverage, in_force::PolicyInForce},
    privileges, reload,
    sinks::Sink,
    store::SharedState,
};

/// For everything that is to end, together.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// What the daemon is asked to do from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End in order.
    Stop,
    /// Read configuration and policy again.
    Reload,
    /// The wall clock was set.
    ClockSet,
}

/// Everything the daemon needs.
pub struct Setup {
    /// Length of an epoch.
    pub epoch: Duration,
    /// HTTP port.
    pub listen: Option<SocketAddr>,
    /// Control socket.
    pub socket: PathBuf,
    /// Who answers what the daemon has no privileges for.
    pub helper: Helper,
    /// The groups that it serves beside root.
    pub groups: Groups,
    /// Where the day's budgets are kept.
    pub state: PathBuf,
    /// The policy to begin with, but for a mode that was set by hand.
    pub in_force: PolicyInForce,
    /// Bytes of alerts that are kept.
    pub keep_alerts: u64,
    /// Whether they say who sends, and with command lines.
    pub attribute: bool,
    /// See [`Self::attribute`].
    pub command_lines: bool,
    /// Where they go.
    pub sinks: Vec<Box<dyn Sink>>,
    /// For every reload of the policy.
    pub reload: reload::Setup,
    /// Who is notified of how it goes.
    pub service_manager: ServiceManager,
}

/// What is announced when it works.
#[derive(Clone, Debug)]
pub struct Started {
    /// What is attached.
    pub attachments: Vec<Attachment>,
    /// What is watched, what is not, and why.
    pub coverage: Coverage,
    /// The HTTP port in use.
    pub listen: Option<SocketAddr>,
    /// The control socket.
    pub socket: PathBuf,
    /// What is in force.
    pub in_force: PolicyInForce,
    /// Bytes that the kernel part's maps take.
    pub kernel_memory: u64,
    /// Whether programs and counters go on when the daemon has ended.
    pub outlives: bool,
}

/// Reads configuration and policy, opens the kernel part, and runs until a signal, or until the time is up. `started` is
/// called when everything is attached. Returns the state, exact to the last packet.
///
/// # Errors
/// What could not be done.
pub fn run(launch: &Launch, started: impl FnOnce(&Started)) -> Result<SharedState, CliError> {
    limits::prepare()?;
    let (launch, guess) = &privileges::parse(|| start::remembered(launch)).map_err(DaemonError::Threads)?;
    let (prepared, start) = thread::scope(|scope| {
        let prepared = scope.spawn(|| Prepared::on(guess.clone()));
        let start = privileges::parse(|| start::read(launch));
        (prepared.join(), start)
    });
    let start = start.map_err(DaemonError::Threads)??;
    let prepared = prepared.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // Before the sockets, whose refusal would hide the reason.
    kernel::require()?;
    let (config, setup) = start::setup(launch, start)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("kernel").enable_all().build();
    let runtime = runtime.map_err(DaemonError::Threads)?;
    let result = runtime.block_on(async {
        let attached = Arc::new(Notify::new());
        let commands = signals::commands(launch.duration, Arc::clone(&attached), launch.clock.clone())
            .map_err(DaemonError::Signals)?;
        let state = setup.reload.confirmations.state().clone();
        let open = |in_force: &_| kernel_source::open(prepared, &config, launch, in_force, &state);
        serve(setup, open, commands, |running| {
            // This thread has done what takes any: the engine's go on with the kernel part.
            if let Err(error) = privileges::drop_all() {
                tracing::error!(%error, "capabilities can't be dropped");
            }
            started(running);
            attached.notify_one();
        })
        .await
    });
    // A thread that hangs in a write to a stuck pipe must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// Runs until told to stop. Whatever can fail fails before `open` attaches anything. Returns the state, exact to
/// the last packet.
///
/// # Errors
/// A socket is taken, `open` failed, or a task did: then everything is taken down in order first.
pub async fn serve(
    setup: Setup,
    open: impl FnOnce(&PolicyInForce) -> Result<Opened, CliError>,
    mut commands: mpsc::Receiver<Command>,
    started: impl FnOnce(&Started),
) -> Result<SharedState, CliError> {
    let daemon = build::build(setup, open)?;
    let announced = daemon.started.clone();
    let mut running = daemon.spawn();
    started(&announced);
    let fallen = running.work(&mut commands).await;
    Ok(running.drain(fallen).await?)
}
