//! The daemon itself, from bound sockets to the closing drain, with everything outside handed in: so that the tests
//! run it whole, with a fake kernel and without signals.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tokio::sync::mpsc;

use crate::{
    alerts::{
        Host,
        sinks::{self, Output, Sinks},
    },
    api::{self, server, server::ControlSocket},
    budgets::keeper::Keeper,
    change::{self, Changer},
    epochs::{Attachment, Facts, SharedFacts, facts::InForce, now, source::Opened, task::Engine},
    failure::Failure,
    supervisor::Supervisor,
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
    pub in_force: InForce,
    /// Where alerts go.
    pub outputs: Vec<Output>,
    /// For every change of the policy.
    pub change: change::Setup,
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
    pub in_force: InForce,
    /// Bytes that the kernel part's maps take.
    pub kernel_memory: u64,
}

/// Runs until told to stop. Whatever can fail fails before `open` attaches anything. Returns the facts, exact to
/// the last packet.
///
/// # Errors
/// A socket is taken, `open` failed, or a task did: then everything is taken down in order first.
pub async fn run(
    mut setup: Setup,
    open: impl FnOnce(&InForce) -> Result<Opened, Failure>,
    mut commands: mpsc::Receiver<Command>,
    started: impl FnOnce(&Started),
) -> Result<SharedFacts, Failure> {
    let cannot_start = |what: &str, error: &dyn std::fmt::Display| {
        Failure::Unavailable(format!("can't start {what}: {error}: is the machine out of memory or file descriptors?"))
    };
    let http = setup.listen.map(server::bind_tcp).transpose()?;
    let control = ControlSocket::bind(&setup.socket)?;
    let listen = match &http {
        Some(listener) => Some(listener.local_addr().map_err(|error| cannot_start("HTTP", &error))?),
        None => None,
    };
    let (sinks, written) = Sinks::start(setup.outputs, sinks::QUEUE).map_err(|error| cannot_start("alerts", &error))?;
    let host = Host::read();
    // What is used up today is not in force from the first packet on.
    let budgets = Keeper::open(&setup.state, now());
    let configured = setup.in_force.clone();
    setup.in_force.policy = budgets.hold(&setup.in_force.policy);
    let opened = open(&setup.in_force)?;

    let facts = SharedFacts::new(Facts { started: now(), epoch_length: setup.epoch, ..Facts::default() });
    let host_name = host.name.clone();
    let (engine, handle) = Engine::new(opened.source, facts.clone(), sinks, host, setup.in_force);
    let engine = engine.keeping(budgets);
    let (changer, changes) = Changer::new(setup.change, handle.clone(), facts.clone(), configured);
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
    supervisor.spawn("policy changes", |stop| changer.run(stop));
    let control_only = api::Control { epochs: handle, changes: changes.clone() };
    let router = api::router(facts.clone(), Some(control_only), &host_name);
    supervisor.spawn("control socket", |stop| server::serve_unix(control, router, stop));
    if let Some(listener) = http {
        let router = api::router(facts.clone(), None, &host_name);
        supervisor.spawn("http", |stop| server::serve_tcp(listener, router, stop));
    }
    started(&{
        let facts = facts.read();
        Started {
            attachments: facts.attachments.clone(),
            listen,
            socket: setup.socket,
            in_force: facts.in_force.clone(),
            kernel_memory: opened.kernel_memory,
        }
    });

    let fallen = loop {
        tokio::select! {
            ended = supervisor.ended() => break Some(ended),
            command = commands.recv() => match command {
                // Not waited for: who is told to stop meanwhile stops.
                Some(Command::Reload) => drop(tokio::spawn({
                    let changes = changes.clone();
                    async move { changes.reload_unheard().await }
                })),
                Some(Command::ClockSet) => drop(tokio::spawn({
                    let changes = changes.clone();
                    async move { changes.clock_set().await }
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
    if wrong.is_empty() { Ok(facts) } else { Err(Failure::Unavailable(wrong.join("; "))) }
}
