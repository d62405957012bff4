//! How the kernel part is opened: loaded, attached, and what an earlier daemon left taken over. Called by the daemon's start.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use monitor_policy::Policy;
use tokio::sync::mpsc;

use super::KernelSource;
use crate::{
    config::{Config, OnDaemonLoss},
    coverage::{Attached, Wanted, plan},
    daemon::{DaemonError, Launch, guess, neighbours},
    engine::source::{EVENT_QUEUE, EpochSource as _, Opened, Report, Task},
    error::CliError,
    fault::Fault,
    helper::Helper,
    kernel::{self, Beside, DeviceNews, Guess, Kernel, KernelError, KernelLog, Left, Options, Pins, Prepared},
    model::{Succession, coverage::Device, in_force::PolicyInForce, now},
    storage::state::StateDirectory,
};

/// Readers of other maps that can wait.
const READERS: usize = 4;

/// News of devices that can wait; the kernel keeps more.
const NEWS_QUEUE: usize = 64;

/// Loads the kernel part and attaches it. Called within the runtime, after everything else that can fail.
///
/// # Errors
/// The kernel, or a wrong interface name, stands against it; nothing stays attached.
pub fn open(
    prepared: Prepared,
    config: &Config,
    launch: &Launch,
    in_force: &PolicyInForce,
    state: &StateDirectory,
) -> Result<Opened, CliError> {
    let mut news = DeviceNews::open().map_err(|error| DaemonError::Start { what: "the news of devices", error })?;
    let wanted = Wanted::new(launch.interfaces(config), &config.guests);
    let first = plan(&kernel::devices()?, &wanted, &Attached::new());
    let options = Options {
        interfaces: first.devices.iter().filter(|planned| planned.watch).count() as u32,
        flows: config.flows,
        cache: config.cache,
        mode: in_force.mode,
        debug_log: launch.kernel_log,
        exclusive: true,
        lease: Some(config.lease()),
        observes_alone: config.on_daemon_loss != OnDaemonLoss::Keep,
    };
    let outlives = launch.outlives && config.on_daemon_loss != OnDaemonLoss::Open;
    let beside = kernel::beside(&config.paths.bpffs, outlives);
    for Beside { layout, .. } in beside.iter().filter(|_| !launch.replace) {
        tracing::warn!(
            layout,
            bpffs = %config.paths.bpffs.display(),
            "programs that an earlier daemon has left go on counting and enforcing beside this one: end them by \
             `egress-monitor detach` of the version that left them, or start with --replace"
        );
    }
    let helper = Helper::at(config.paths.helper.clone());
    let bpffs = outlives.then_some(&config.paths.bpffs);
    let not_mounted = bpffs.and_then(|bpffs| neighbours::mount(&helper, bpffs));
    let (mut kernel, mut succession) = load(prepared, options, &in_force.policy, bpffs)
        .map_err(|error| CliError::Unavailable(neighbours::refusal(&error, &helper)))?;
    if let (Some(unpinned), Some(why)) = (&mut succession.unpinned, not_mounted) {
        *unpinned = format!("{unpinned}; {why}");
    }
    let mut reader = kernel.events()?;
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    let (readers, mut others) = mpsc::channel(READERS);
    let read: Task = Box::pin(async move {
        loop {
            let report = tokio::select! {
                biased;
                report = reader.next() => report?,
                // What is still in its ring is in the epoch that is drained, too.
                Some(other) = others.recv() => {
                    reader = other;
                    continue;
                }
            };
            let report = report.map_or(Report::Filling, |event| Report::Event(event, now()));
            // The engine ends after this one; a full queue makes the ring fill up, which is counted there.
            if sender.send(report).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    });
    let (sender, changes) = mpsc::channel(NEWS_QUEUE);
    let follow: Task = Box::pin(async move {
        loop {
            // As above.
            if sender.send(news.next().await?).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    });
    let mut tasks = vec![("event reader", read), ("device news", follow)];
    let mut logs = None;
    if launch.kernel_log {
        let mut log = kernel.log()?;
        let (sender, mut others) = mpsc::channel::<KernelLog>(READERS);
        logs = Some(sender);
        tasks.push((
            "kernel log",
            Box::pin(async move {
                loop {
                    tokio::select! {
                        ended = log.forward() => return Ok(ended?),
                        Some(other) = others.recv() => log = other,
                    }
                }
            }),
        ));
    }
    Fault::Start.point();
    let mut source = KernelSource::new(kernel, launch.hook(config), wanted, changes, config);
    (source.readers, source.logs) = (Some(readers), logs);
    source.survey(&BTreeSet::new());
    source.cover();
    source.bypass.begin(&mut source.kernel);
    // Where the kernel takes the program nowhere there is nothing to wait for.
    if let (true, Some(why)) = (source.kernel.attachments().is_empty(), source.refused.values().next()) {
        return Err(CliError::Unavailable(neighbours::with_process(why.clone(), source.watched_by, &helper)));
    }
    guess::keep(state, Guess::of(&options, &in_force.policy.image));
    succession.adopts = source.kernel.adopts();
    succession.first_epoch = succession.adopts.then(|| source.kernel.epoch());
    let mut inherited = Vec::new();
    match source.kernel.take_left() {
        Ok(left) => {
            for one in left {
                match one {
                    Left::Epoch(epoch) => {
                        for counts in &epoch.interfaces {
                            succession.add(&counts.name, counts.hook, counts.dropped);
                        }
                        succession.left.insert(epoch.epoch);
                        inherited.push(*epoch);
                    }
                    Left::Unreadable(why) => succession.unreadable.push(why),
                    Left::Twice(interface) => succession.twice.push(interface),
                    Left::Rest(rest) => rest.iter().for_each(|(interface, sums)| succession.add_rest(interface, sums)),
                }
            }
        }
        // The pins stay: the next start finds it.
        Err(error) => tracing::warn!(%error, "what was counted before is not known yet"),
    }
    if launch.replace {
        succession.unreadable.extend(beside.iter().filter_map(|beside| replace(beside, &source.devices)));
    }
    let source = Box::new(source);
    Ok(Opened { source, events, tasks, succession, inherited })
}

/// Takes off what another build has left, now that ours is there. What is not known because of that.
fn replace(beside: &Beside, devices: &[Device]) -> Option<String> {
    let Beside { layout, interfaces, .. } = beside;
    if let Err(why) = beside.remove() {
        tracing::error!(layout, why, "not replaced");
        return None;
    }
    let of = |index: &u32| match devices.iter().find(|device| device.index == *index) {
        Some(Device { name, sent, .. }) => format!("{name} has sent {} packets in all until now", sent.packets),
        None => format!("interface {index} is gone"),
    };
    let most: Vec<_> = interfaces.iter().map(of).collect();
    let most = if most.is_empty() { "its interfaces are not known".to_owned() } else { most.join(", ") };
    tracing::warn!(layout, most, "what another version had left is replaced");
    Some(format!("layout {layout} is another version's; {most}"))
}

/// Loads the kernel part, so that it outlives the daemon where there is a place for pins; where there is none, or nothing can
/// be pinned, it enforces all the same, and why is told.
///
/// # Errors
/// What the kernel refuses, or the pins of another daemon are there.
fn load(
    prepared: Prepared,
    options: Options,
    policy: &Arc<Policy>,
    bpffs: Option<&PathBuf>,
) -> Result<(Kernel, Succession), KernelError> {
    let kernel = |prepared, pins| Kernel::load_to_outlive(prepared, options, Arc::clone(policy), pins);
    let pins = match bpffs.map(|bpffs| Pins::open(bpffs)).transpose() {
        Ok(pins) => pins,
        Err(error) => return unpinned(error, || kernel(prepared, None)),
    };
    let outlives = pins.is_some();
    match kernel(prepared, pins) {
        Ok(kernel) => Ok((kernel, Succession { outlives, ..Succession::default() })),
        Err(error) => unpinned(error, || kernel(Prepared::new(), None)),
    }
}

/// What is to be where nothing can be pinned.
fn unpinned(
    error: KernelError,
    load: impl FnOnce() -> Result<Kernel, KernelError>,
) -> Result<(Kernel, Succession), KernelError> {
    match error {
        KernelError::Pins { .. } => {
            Ok((load()?, Succession { unpinned: Some(error.to_string()), ..Succession::default() }))
        }
        _ => Err(error),
    }
}
