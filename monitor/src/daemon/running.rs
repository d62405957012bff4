//! The daemon at work: its tasks in the order in which they depend on each other, commands until the end, and the closing
//! drain.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet, time::Interval};

use super::{
    Command, DaemonError, SHUTDOWN, ServiceManager,
    build::Daemon,
    supervisor::{Ended, Supervisor},
};
use crate::{
    http::{
        self,
        listeners::{ControlSocket, bind_tcp},
        server,
    },
    reload::ReloadHandle,
    store::{MonitorState, SharedState},
};

/// For the next of the alerts that wait at the end to be written and taken: whoever reads them may stand still.
const TAKEN: Duration = Duration::from_secs(1);

/// A daemon whose tasks run.
pub(super) struct Running {
    supervisor: Supervisor,
    state: SharedState,
    reloads: ReloadHandle,
    service_manager: ServiceManager,
}

impl Daemon {
    /// Starts the tasks. They end in the opposite order, each when those that use it have ended.
    pub fn spawn(self) -> Running {
        let mut supervisor = Supervisor::default();
        let alerts_delivered = self.alerts_delivered;
        supervisor.spawn("alerts", |stop| async move {
            stop.cancelled().await;
            // The engine has ended by now, and with it the outbox's near end: what is queued is written yet.
            alerts_delivered.wait(TAKEN).await
        });
        let (engine, events) = (self.engine, self.events);
        supervisor.spawn("epochs", |stop| engine.run(events, stop));
        for (name, task) in self.kernel_tasks {
            supervisor.spawn(name, |stop| async move {
                tokio::select! {
                    () = stop.cancelled() => Ok(()),
                    result = task => result.and(Err(anyhow::anyhow!("ended"))),
                }
            });
        }
        // So that whoever asks whether it is ready need not wait for an epoch's length.
        let first = self.epochs.clone();
        drop(tokio::spawn(async move { first.close_epoch().await }));
        let reloader = self.reloader;
        supervisor.spawn("policy reloads", |stop| reloader.run(stop));
        let ((port, ports), (socket, sockets)) = (mpsc::channel(1), mpsc::channel(1));
        let served = server::Served {
            state: self.state.clone(),
            control: http::Control { epochs: self.epochs, reloads: self.reloads.clone(), archive: self.archive },
            host: self.host_name,
            access: self.access.clone(),
            sockets,
            ports,
        };
        supervisor.spawn("http", |stop| server::serve(served, stop));
        let (enquirer, state) = (self.enquirer, self.state.clone());
        supervisor.spawn("helper", |stop| enquirer.run(state, stop));
        let (bound, access, error) = (self.control, self.access, (self.state.clone(), control_error as _));
        supervisor.spawn("control socket", move |stop| {
            let bind = move || ControlSocket::bind(&access).map_err(|error| error.to_string());
            server::bind_when_possible("the control socket", bound, bind, socket, error, stop)
        });
        let (bound, listen, error) = (self.http, self.listen, (self.state.clone(), http_error as _));
        supervisor.spawn("http port", move |stop| async move {
            let Some(address) = listen else {
                stop.cancelled().await;
                return Ok(());
            };
            let bind = move || bind_tcp(address).map_err(|error| error.to_string());
            server::bind_when_possible("HTTP", bound, bind, port, error, stop).await
        });
        Running { supervisor, state: self.state, reloads: self.reloads, service_manager: self.service_manager }
    }
}

impl Running {
    /// Does as it is asked until it is to stop, or until a task ends unasked: that one.
    pub async fn work(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Ended> {
        self.service_manager.ready(&self.state.read());
        let mut look = self.service_manager.period().map(tokio::time::interval);
        // Not waited for: who is told to stop meanwhile stops.
        let mut under_way = JoinSet::new();
        let fallen = loop {
            tokio::select! {
                ended = self.supervisor.ended() => break Some(ended),
                command = commands.recv() => match command {
                    Some(Command::Reload) => {
                        self.service_manager.reloading();
                        self.state.read().delivery.reopen.fetch_add(1, Ordering::Relaxed);
                        let reloads = self.reloads.by("SIGHUP");
                        // What comes of it is logged, alerted and in the status.
                        under_way.spawn(async move { drop(reloads.reload(None).await) });
                    }
                    Some(Command::ClockSet) => {
                        let reloads = self.reloads.clone();
                        drop(tokio::spawn(async move { reloads.clock_set().await }));
                    }
                    Some(Command::Stop) | None => break None,
                },
                Some(_) = under_way.join_next() => if under_way.is_empty() {
                    self.service_manager.ready(&self.state.read());
                },
                () = tick(&mut look) => self.service_manager.look(&self.state.read(), Instant::now()),
            }
        };
        under_way.detach_all();
        fallen
    }

    /// Takes everything down in order. Gives the state, exact to the last packet.
    ///
    /// # Errors
    /// What fell before, or did not end well.
    pub async fn drain(mut self, fallen: Option<Ended>) -> Result<SharedState, DaemonError> {
        self.service_manager.stopping();
        let shutdown = self.supervisor.shutdown(SHUTDOWN).await;
        DaemonError::check_end(fallen, shutdown)?;
        Ok(self.state)
    }
}

const fn control_error(state: &mut MonitorState) -> &mut Option<String> {
    &mut state.control_error
}

const fn http_error(state: &mut MonitorState) -> &mut Option<String> {
    &mut state.http_error
}

/// The next tick; without an interval, never.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
