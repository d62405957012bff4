//! The kernel part as the engine sees it: the seam's implementation, so that neither knows the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use monitor_policy::Policy;
use tokio::sync::mpsc;

use super::{DaemonError, Launch};
use crate::{
    config::{Config, OnDaemonLoss},
    coverage::{Ledger, Plan, Wanted, plan},
    engine::source::{EVENT_QUEUE, EpochSource, News, Opened, Report, Task},
    error::CliError,
    fault::Fault,
    kernel::{self, AttachedProgram, DeviceNews, Interface, Kernel, KernelError, Left, Options, Pins, Switch},
    model::{
        Attachment, Coverage, Fill, Hook, Snapshot, Succession,
        coverage::{Device, Role},
        in_force::{Fell, PolicyInForce, Trial},
        now,
    },
};

/// News of devices that can wait; the kernel keeps more.
const NEWS_QUEUE: usize = 64;

/// Loads the kernel part and attaches it. Called within the runtime, after everything else that can fail.
///
/// # Errors
/// The kernel, or a wrong interface name, stands against it; nothing stays attached.
pub fn open(config: &Config, launch: &Launch, in_force: &PolicyInForce) -> Result<Opened, CliError> {
    let mut news = DeviceNews::open().map_err(|error| DaemonError::Start { what: "the news of devices", error })?;
    let wanted = Wanted::new(launch.interfaces(config), &config.guests);
    let first = plan(&kernel::devices()?, &wanted);
    let options = Options {
        interfaces: first.devices.iter().filter(|planned| planned.watch).count() as u32,
        flows: config.flows,
        cache: config.cache,
        mode: in_force.mode,
        debug_log: launch.kernel_log,
        exclusive: true,
        lease: Some(config.lease()),
        observes_alone: config.on_daemon_loss == OnDaemonLoss::Observe,
    };
    for layout in kernel::attached_beside(&config.paths.bpffs, launch.outlives) {
        tracing::warn!(
            layout,
            bpffs = %config.paths.bpffs.display(),
            "programs that an earlier daemon has left go on counting and enforcing beside this one: end them by \
             `egress-monitor detach` of the version that left them"
        );
    }
    let (mut kernel, mut succession) = load(options, &in_force.policy, launch.outlives.then_some(&config.paths.bpffs))?;
    let mut reader = kernel.events()?;
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    let read: Task = Box::pin(async move {
        loop {
            let report = reader.next().await?.map_or(Report::Filling, |event| Report::Event(event, now()));
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
    if launch.kernel_log {
        let mut log = kernel.log()?;
        tasks.push(("kernel log", Box::pin(async move { Ok(log.forward().await?) })));
    }
    Fault::Start.point();
    let mut source = KernelSource::new(kernel, launch.hook(config), wanted, changes);
    source.survey(&BTreeSet::new());
    source.cover();
    // Where the kernel takes the program nowhere there is nothing to wait for.
    if let (true, Some(why)) = (source.kernel.attachments().is_empty(), source.refused.values().next()) {
        return Err(CliError::Unavailable(why.clone()));
    }
    succession.adopts = source.kernel.adopts();
    let mut inherited = Vec::new();
    match source.kernel.take_left() {
        Ok(left) => {
            for one in left {
                match one {
                    Left::Epoch(epoch) => {
                        for counts in &epoch.interfaces {
                            succession.add(&counts.name, counts.hook, counts.dropped);
                        }
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
    let source = Box::new(source);
    Ok(Opened { source, events, tasks, kernel_memory: kernel::memory::of_maps(), succession, inherited })
}

/// Loads the kernel part, so that it outlives the daemon where there is a place for pins; where there is none, or nothing can
/// be pinned, it enforces all the same, and why is told.
///
/// # Errors
/// What the kernel refuses, or the pins of another daemon are there.
fn load(options: Options, policy: &Arc<Policy>, bpffs: Option<&PathBuf>) -> Result<(Kernel, Succession), CliError> {
    let Some(bpffs) = bpffs else { return Ok((Kernel::load(options, Arc::clone(policy))?, Succession::default())) };
    let pinned = Pins::open(bpffs).and_then(|pins| Kernel::load_to_outlive(options, Arc::clone(policy), Some(pins)));
    match pinned {
        Ok(kernel) => Ok((kernel, Succession { outlives: true, ..Succession::default() })),
        Err(error @ KernelError::Pins { .. }) => {
            let unpinned = Some(error.to_string());
            Ok((Kernel::load(options, Arc::clone(policy))?, Succession { unpinned, ..Succession::default() }))
        }
        Err(error) => Err(error.into()),
    }
}

/// How much later than the daemon the kernel part takes a policy back: it does so only where the daemon does not.
const GRACE: Duration = Duration::from_secs(2);

/// The kernel part as the engine sees it, and what it is to be attached to.
struct KernelSource {
    kernel: Kernel,
    hook: Option<Hook>,
    wanted: Wanted,
    ledger: Ledger,
    /// As they were found last.
    devices: Vec<Device>,
    plan: Plan,
    /// Why the kernel refuses to attach to a device, by index.
    refused: BTreeMap<u32, String>,
    no_slot: BTreeMap<u32, String>,
    /// Why the devices can't be listed.
    error: Option<String>,
    /// What the devices of the open epoch are, by index.
    roles: BTreeMap<u32, Role>,
    news: Option<News>,
}

impl KernelSource {
    fn new(kernel: Kernel, hook: Option<Hook>, wanted: Wanted, news: News) -> Self {
        Self {
            kernel,
            hook,
            wanted,
            ledger: Ledger::default(),
            devices: Vec::new(),
            plan: Plan::default(),
            refused: BTreeMap::new(),
            no_slot: BTreeMap::new(),
            error: None,
            roles: BTreeMap::new(),
            news: Some(news),
        }
    }

    /// Lists the devices. Where that fails, what is attached stays so.
    fn look(&mut self) -> bool {
        match self.kernel.devices() {
            Ok(devices) => {
                self.plan = plan(&devices, &self.wanted);
                self.devices = devices;
                self.error = None;
            }
            Err(error) => self.error = Some(error.to_string()),
        }
        self.error.is_none()
    }

    fn is_attached(&self, index: u32) -> bool {
        self.kernel.attachments().iter().any(|attached| attached.interface.index == index)
    }

    /// Attaches to a device; whether it has to wait for the next epoch.
    fn watch(&mut self, device: &Device) -> bool {
        let (index, name) = (device.index, &device.name);
        match self.kernel.watch(&Interface::from(device), self.hook) {
            Ok(()) => {
                self.refused.remove(&index);
                self.no_slot.remove(&index);
                let before = self.kernel.attachments().last().map(AttachedProgram::sent_before).unwrap_or_default();
                self.ledger.attached(index, before);
                tracing::info!(interface = name, index, boot_window = before.packets, "watched");
            }
            Err(KernelError::AwaitsDrain) => return true,
            // The news of it come.
            Err(KernelError::InterfaceGone(_)) => {}
            Err(error) => {
                let why = error.to_string();
                let no_slot = matches!(error, KernelError::TooManyInterfaces { .. });
                // One line is enough for as many as there may be.
                if self.refused.get(&index) != Some(&why) && (!no_slot || self.no_slot.is_empty()) {
                    tracing::error!(interface = name, index, why, "not watched");
                }
                if no_slot {
                    self.no_slot.insert(index, name.clone());
                }
                self.refused.insert(index, why);
            }
        }
        false
    }
}

impl EpochSource for KernelSource {
    fn flip(&mut self) -> anyhow::Result<Snapshot> {
        let mut snapshot = self.kernel.flip()?;
        for counts in &mut snapshot.interfaces {
            counts.role = self.roles.get(&counts.ifindex).copied().unwrap_or_default();
        }
        let attached: BTreeSet<u32> = self.kernel.attachments().iter().map(|one| one.interface.index).collect();
        self.roles.retain(|index, _| attached.contains(index));
        Ok(snapshot)
    }

    fn began(&self) -> i128 {
        self.kernel.epoch_began()
    }

    fn stage(&mut self, next: &PolicyInForce) -> anyhow::Result<()> {
        let policy = Arc::clone(&next.policy);
        Ok(self.kernel.stage(Switch { policy, mode: next.mode })?)
    }

    fn verify(&mut self) -> anyhow::Result<()> {
        Ok(self.kernel.verify()?)
    }

    fn roll_back(&mut self) -> anyhow::Result<()> {
        Ok(self.kernel.roll_back()?)
    }

    fn guard(&mut self, fallback: Option<&Trial>) -> anyhow::Result<()> {
        let fallback = fallback.map(|trial| {
            let PolicyInForce { policy, mode, .. } = &trial.fallback;
            (Switch { policy: Arc::clone(policy), mode: *mode }, trial.within + GRACE)
        });
        Ok(self.kernel.guard(fallback)?)
    }

    fn fell(&mut self) -> Option<Fell> {
        self.kernel.fell()
    }

    fn fill(&self) -> Fill {
        self.kernel.fill()
    }

    fn attachments(&self) -> Vec<Attachment> {
        let of = |attached: &AttachedProgram| Attachment {
            interface: attached.interface.name.clone(),
            ifindex: attached.interface.index,
            hook: attached.hook.name().into(),
            since: attached.since.as_nanosecond(),
        };
        self.kernel.attachments().iter().map(of).collect()
    }

    fn news(&mut self) -> Option<News> {
        self.news.take()
    }

    fn survey(&mut self, gone: &BTreeSet<u32>) -> bool {
        if !self.look() {
            return false;
        }
        let there: BTreeMap<u32, &Device> = self.devices.iter().map(|device| (device.index, device)).collect();
        let watch = |index: &u32| self.plan.devices.iter().any(|planned| planned.index == *index && planned.watch);
        let (mut renamed, mut over) = (false, Vec::new());
        for Interface { name, index, .. } in self.kernel.attachments().iter().map(|attached| &attached.interface) {
            if gone.contains(index) || !watch(index) {
                over.push((*index, name.clone()));
            } else {
                renamed |= there.get(index).is_some_and(|device| device.name != *name);
            }
        }
        for (index, name) in over {
            tracing::info!(interface = name, index, "not watched any more");
            self.kernel.unwatch(index);
        }
        for index in gone {
            self.ledger.forget(*index);
        }
        self.refused
            .retain(|index, _| self.plan.devices.iter().any(|planned| planned.index == *index && planned.watch));
        self.no_slot.retain(|index, _| self.refused.contains_key(index));
        renamed
    }

    fn cover(&mut self) -> bool {
        let mut waits = false;
        for planned in self.plan.devices.clone().into_iter().filter(|planned| planned.watch) {
            let Some(device) = self.devices.iter().find(|device| device.index == planned.index).cloned() else {
                continue;
            };
            if self.is_attached(device.index) {
                self.kernel.rename(device.index, &device.name);
            } else {
                waits |= self.watch(&device);
            }
            if self.is_attached(device.index) {
                self.roles.insert(device.index, planned.role);
            }
        }
        waits
    }

    fn coverage(&mut self) -> Coverage {
        self.look();
        let attached = self.attachments();
        let coverage = self.ledger.report(&self.devices, &self.plan, &attached, &self.refused);
        let no_slot = self.no_slot.values().cloned().collect();
        Coverage { no_slot, error: self.error.clone(), ..coverage }
    }

    fn detach(&mut self) -> anyhow::Result<()> {
        if !self.kernel.is_pinned() {
            self.kernel.detach();
        }
        Ok(())
    }
}
