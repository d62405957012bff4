//! The composition root: configuration → policy → sockets → kernel → attach → work → on a signal or when the time is up:
//! detach, drain. [`run`] builds everything and serves it; [`serve`] is the daemon from bound sockets to the closing
//! drain, with everything outside handed in, so that the tests run it whole, with a fake kernel and without signals.

pub mod build;
mod kernel_source;
mod signals;
pub mod supervisor;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Notify, mpsc};

pub use self::build::Launch;
use self::supervisor::Supervisor;

use crate::{
    alerts::{
        ocsf,
        sinks::{self, Output, Sinks},
    },
    budgets::keeper::Keeper,
    engine::{Engine, source::Opened},
    error::CliError,
    http::{self, server, server::ControlSocket},
    kernel,
    model::{Alert, Attachment, Host, in_force::PolicyInForce, now},
    reload::{self, PolicyReloader},
    store::{MonitorState, SharedState},
};

/// For everything that is to end, together.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// What the daemon is told from outside.
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
    /// Where the day's budgets are kept.
    pub state: PathBuf,
    /// The policy to begin with.
    pub in_force: PolicyInForce,
    /// Where alerts go.
    pub outputs: Vec<Output>,
    /// For every reload of the policy.
    pub reload: reload::Setup,
}

/// What is told when it works.
#[derive(Clone, Debug)]
pub struct Started {
    /// What is attached.
    pub attachments: Vec<Attachment>,
    /// The HTTP port in use.
    pub listen: Option<SocketAddr>,
    /// The control socket.
    pub socket: PathBuf,
    /// What is in force.
    pub in_force: PolicyInForce,
    /// Bytes that the kernel part's maps take.
    pub kernel_memory: u64,
}

/// Reads configuration and policy, opens the kernel part, and runs until a signal, or until the time is up. `started` is
/// called when everything is attached. Returns the state, exact to the last packet.
///
/// # Errors
/// What could not be done.
pub fn run(launch: &Launch, started: impl FnOnce(&Started)) -> Result<SharedState, CliError> {
    let (config, in_force, files) = build::read(launch)?;
    // Before the sockets, whose refusal would hide the reason.
    kernel::require()?;
    let closed = |error| CliError::Unavailable(format!("standard output is closed: {error}: send it to /dev/null"));
    let mut outputs = vec![Output::stdout().map_err(closed)?];
    if let Some(path) = &launch.alerts_file {
        outputs.push(Output::file(path).map_err(|error| {
            CliError::Usage(format!("--alerts-file {}: {error}: name a file that can be written", path.display()))
        })?);
    }
    let setup = Setup {
        epoch: config.epoch,
        listen: config.listen,
        socket: config.paths.runtime.join("control.sock"),
        state: config.paths.state.clone(),
        in_force,
        outputs,
        reload: reload::Setup {
            read: build::reader(launch.clone()),
            files,
            clocks: Arc::new(build::clocks),
            confirm: launch.confirm,
            confirmations: reload::confirmations::ConfirmationStore::open(&config.paths.state),
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Unavailable(format!("can't start threads: {error}")))?;
    let result = runtime.block_on(async {
        let attached = Arc::new(Notify::new());
        let commands = signals::commands(launch.duration, Arc::clone(&attached))
            .map_err(|error| CliError::Unavailable(format!("can't listen for signals: {error}")))?;
        let open = |in_force: &_| build::open(&config, launch, in_force);
        serve(setup, open, commands, |running| {
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
    mut setup: Setup,
    open: impl FnOnce(&PolicyInForce) -> Result<Opened, CliError>,
    mut commands: mpsc::Receiver<Command>,
    started: impl FnOnce(&Started),
) -> Result<SharedState, CliError> {
    let cannot_start = |what: &str, error: &dyn std::fmt::Display| {
        CliError::Unavailable(format!("can't start {what}: {error}: is the machine out of memory or file descriptors?"))
    };
    let http = setup.listen.map(server::bind_tcp).transpose()?;
    let control = ControlSocket::bind(&setup.socket)?;
    let listen = match &http {
        Some(listener) => Some(listener.local_addr().map_err(|error| cannot_start("HTTP", &error))?),
        None => None,
    };
    let host = Host::read();
    let about = host.clone();
    let encode = move |alert: &Arc<Alert>| ocsf::line(&about, alert);
    let (sinks, written) =
        Sinks::start(setup.outputs, sinks::QUEUE, encode).map_err(|error| cannot_start("alerts", &error))?;
    // What is used up today is not in force from the first packet on.
    let budgets = Keeper::open(&setup.state, now());
    let configured = setup.in_force.clone();
    setup.in_force.policy = budgets.hold(&setup.in_force.policy);
    let opened = open(&setup.in_force)?;

    let state = SharedState::new(MonitorState { started: now(), epoch_length: setup.epoch, ..MonitorState::default() });
    let host_name = host.name.clone();
    let (engine, handle) = Engine::new(opened.source, state.clone(), sinks, host, setup.in_force);
    let engine = engine.keeping(budgets);
    let (reloader, reloads) = PolicyReloader::new(setup.reload, handle.clone(), state.clone(), configured);
    let mut supervisor = Supervisor::default();
    supervisor.spawn("alert sinks", |stop| async move {
        stop.cancelled().await;
        // The epoch task has ended by now, and with it the queue's near end: what is queued is written yet. An
        // error means that the thread is gone, which was counted line by line.
        let _ = written.await;
        Ok(())
    });
    supervisor.spawn("epochs", |stop| engine.run(opened.events, stop));
    for (name, task) in opened.tasks {
        supervisor.spawn(name, |stop| async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                result = task => result.and(Err(anyhow::anyhow!("ended"))),
            }
        });
    }
    supervisor.spawn("policy reloads", |stop| reloader.run(stop));
    let control_only = http::Control { epochs: handle, reloads: reloads.clone() };
    let router = http::router(state.clone(), Some(control_only), &host_name);
    supervisor.spawn("control socket", |stop| server::serve_unix(control, router, stop));
    if let Some(listener) = http {
        let router = http::router(state.clone(), None, &host_name);
        supervisor.spawn("http", |stop| server::serve_tcp(listener, router, stop));
    }
    started(&{
        let state = state.read();
        Started {
            attachments: state.attachments.clone(),
            listen,
            socket: setup.socket,
            in_force: state.in_force.clone(),
            kernel_memory: opened.kernel_memory,
        }
    });

    let fallen = loop {
        tokio::select! {
            ended = supervisor.ended() => break Some(ended),
            command = commands.recv() => match command {
                // Not waited for: who is told to stop meanwhile stops.
                Some(Command::Reload) => drop(tokio::spawn({
                    let reloads = reloads.clone();
                    async move { reloads.reload_unheard().await }
                })),
                Some(Command::ClockSet) => drop(tokio::spawn({
                    let reloads = reloads.clone();
                    async move { reloads.clock_set().await }
                })),
                Some(Command::Stop) | None => break None,
            },
        }
    };
    let shutdown = supervisor.shutdown(SHUTDOWN).await;
    let mut wrong: Vec<String> = Vec::new();
    if let Some(ended) = fallen {
        let why = ended.outcome.err().map_or_else(|| "ended unasked".to_owned(), |error| format!("{error:#}"));
        wrong.push(format!("{} failed: {why}", ended.name));
    }
    wrong.extend(shutdown.failed.into_iter().map(|(name, why)| format!("{name}: {why}")));
    wrong.extend(shutdown.late.into_iter().map(|name| format!("{name} did not end in {} s", SHUTDOWN.as_secs())));
    if wrong.is_empty() { Ok(state) } else { Err(CliError::Unavailable(wrong.join("; "))) }
}
