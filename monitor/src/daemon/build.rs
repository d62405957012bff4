//! Building the daemon: everything that can fail is made here, the kernel part last, so that nothing is attached before
//! the rest is there. Nothing runs yet.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use super::{
    DaemonError, ServiceManager, Setup, Started,
    neighbours::{self, Enquirer},
};
use crate::{
    alerts::ocsf,
    archive::Archive,
    attribution::Attributor,
    budgets::keeper::Keeper,
    carried::Carried,
    clock::{TrustedClock, report::ClockReport},
    engine::{
        Engine, EngineHandle,
        delivery::Deliveries,
        heartbeat::Heartbeats,
        pipeline::Consumer,
        reports::{BypassSockets, Conservation, Covering, Exceptions, HeldData, Http, Losses, RuleTimes, StaleData},
        source::{Events, Opened, Task},
        verdicts::Verdicts,
    },
    error::CliError,
    http::{
        Access,
        listeners::{self, ControlSocket, SocketError},
    },
    incidents::Incidents,
    life::Life,
    model::{Alert, Attributions, Host, Neighbours, in_force::PolicyInForce, now},
    privileges,
    reconcile::Reconciler,
    reload::{PolicyReloader, ReloadHandle},
    shadow::Comparison,
    sinks::{self, Outbox, Store},
    store::{MonitorState, SharedState},
    tamper::TamperFindings,
};

/// Everything that the daemon consists of, to be [spawned](Self::spawn).
pub(super) struct Daemon {
    pub state: SharedState,
    pub engine: Engine,
    pub epochs: EngineHandle,
    pub events: Events,
    /// Those that read what the kernel part sends.
    pub kernel_tasks: Vec<(&'static str, Task)>,
    pub reloader: PolicyReloader,
    pub reloads: ReloadHandle,
    /// The control socket, if it could be made.
    pub control: Option<ControlSocket>,
    /// Who may ask for what.
    pub access: Access,
    /// Where HTTP is to be served, and the port if it is free.
    pub listen: Option<SocketAddr>,
    /// Whoever asks the helper for what is shown.
    pub enquirer: Enquirer,
    pub http: Option<TcpListener>,
    /// When the threads of the outbox and its sinks have ended.
    pub alerts_delivered: sinks::Ended,
    /// What is kept of alerts.
    pub archive: Archive,
    pub host_name: String,
    pub service_manager: ServiceManager,
    pub started: Started,
}

/// Makes the daemon.
///
/// # Errors
/// A socket is taken, there is no room for something, or `open` failed.
pub(super) fn build(
    mut setup: Setup,
    open: impl FnOnce(&PolicyInForce) -> Result<Opened, CliError>,
) -> Result<Daemon, CliError> {
    // A port that somebody else holds is no reason not to enforce.
    let port = |address| match setup.service_manager.take_port(address) {
        Some(held) => Ok(held),
        None => listeners::bind_tcp(address),
    };
    let (http, http_error) = match setup.listen.map(port).transpose() {
        Ok(http) => (http, None),
        Err(error @ CliError::Usage(_)) => return Err(error),
        Err(error) => (None, Some(error.to_string())),
    };
    let (auditors, security) = (setup.groups.auditors, setup.groups.security);
    let access = privileges::parse(|| Access::of(setup.socket.clone(), &auditors, &security));
    let access = access.map_err(|error| DaemonError::Start { what: "a thread", error })?;
    // Nor is a control socket that can't be made; but where another daemon answers, that one is.
    let (control, control_error) = match ControlSocket::bind(&access) {
        Ok(control) => (Some(control), None),
        Err(SocketError::Taken(why)) => return Err(CliError::Unavailable(why)),
        Err(SocketError::Refused(why)) => (None, Some(why)),
    };
    let listen = http.as_ref().map(TcpListener::local_addr).transpose();
    let listen = listen.map_err(|error| DaemonError::Start { what: "HTTP", error })?;
    let host = Host::read();
    host.warn();
    let (host_name, about) = (host.name.clone(), host.clone());
    let attributions = Arc::<Attributions>::default();
    let mut attributor =
        setup.attribute.then(|| Attributor::new(&setup.helper, setup.command_lines, Arc::clone(&attributions)));
    let encode = move |alert: &Alert, sequence| {
        let attributed = attributor.as_mut().and_then(|attributor| attributor.attributed(alert));
        ocsf::kept(&about, attributed.as_ref().unwrap_or(alert), sequence, now())
    };
    let archive = Archive::of(setup.reload.confirmations.state());
    let store = Store::open(setup.reload.confirmations.state(), setup.keep_alerts);
    let (outbox, alerts_delivered) = Outbox::start(store, setup.sinks, sinks::QUEUE, encode)
        .map_err(|error| DaemonError::Start { what: "alerts", error })?;
    // What is used up today is not in force from the first packet on.
    let budgets = Keeper::open_by(setup.reload.confirmations.state(), setup.reload.clock.clone());
    let configured = setup.in_force.clone();
    setup.in_force = setup.reload.by_hand.over(&configured);
    setup.in_force.policy = budgets.hold(&setup.in_force.policy);
    let Opened { source, events, tasks: kernel_tasks, mut succession, inherited } = open(&setup.in_force)?;
    // It is attached: there is time to ask.
    let taken = http_error.as_ref().and(setup.listen).and_then(|address| neighbours::port(&setup.helper, address));
    let (outlives, started) = (succession.outlives, now());
    let directory = setup.reload.confirmations.state();
    let verdicts = Verdicts::without(succession.left.clone());
    let incidents = Incidents::open(directory.clone());
    let (carried, before) = Carried::open(directory.clone(), &host.boot_id, &mut succession);
    let life = Life::begun(directory.clone(), &host.boot_id, started, succession);
    let state = SharedState::new(MonitorState {
        host,
        started,
        since: before.since.unwrap_or(started),
        epoch_length: setup.epoch,
        http_error,
        control_error,
        neighbours: Neighbours { port: taken, ..Neighbours::default() },
        attributions,
        state_error: setup.reload.confirmations.state().refused().map(str::to_owned),
        ..MonitorState::default()
    });
    state.go_on(before.identities, before.totals);
    let consumers = consumers(budgets, setup.reload.clock.clone(), verdicts, incidents, Some((carried, life)));
    let (mut engine, epochs) = Engine::new(source, state.clone(), Box::new(outbox), consumers, setup.in_force);
    engine.inherit(inherited);
    let (reloader, reloads) = PolicyReloader::new(setup.reload, epochs.clone(), state.clone(), configured);
    let started = {
        let state = state.read();
        let (attachments, in_force) = (state.attachments.clone(), state.in_force.clone());
        let (coverage, kernel_memory) = (state.coverage.clone(), state.kernel_memory);
        Started { attachments, coverage, listen, socket: setup.socket, in_force, kernel_memory, outlives }
    };
    Ok(Daemon {
        state,
        engine,
        epochs,
        events,
        kernel_tasks,
        reloader,
        reloads,
        control,
        access,
        listen: setup.listen,
        enquirer: Enquirer::new(setup.helper, setup.listen),
        http,
        alerts_delivered,
        archive,
        host_name,
        service_manager: setup.service_manager,
        started,
    })
}

/// Who makes something of each closed epoch, in this order.
pub fn consumers(
    budgets: Keeper,
    clock: TrustedClock,
    verdicts: Verdicts,
    incidents: Incidents,
    kept: Option<(Carried, Life)>,
) -> Vec<Box<dyn Consumer>> {
    let kept = kept.map(|(carried, life)| {
        [Box::new(carried) as Box<dyn Consumer>, Box::new(life), Box::new(Heartbeats::default())]
    });
    let others: [Box<dyn Consumer>; 17] = [
        Box::new(Http),
        Box::new(Exceptions),
        Box::new(Covering::default()),
        Box::new(Conservation),
        Box::new(verdicts),
        Box::new(TamperFindings::default()),
        Box::new(Reconciler::default()),
        Box::new(BypassSockets),
        Box::new(Losses),
        Box::new(Deliveries::default()),
        Box::new(incidents),
        Box::new(budgets),
        Box::new(Comparison::default()),
        Box::new(HeldData),
        Box::new(StaleData),
        Box::new(RuleTimes::default()),
        Box::new(ClockReport(clock)),
    ];
    kept.into_iter().flatten().chain(others).collect()
}
