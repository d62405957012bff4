//! The kernel part as the engine sees it: the seam's implementation, so that neither knows the other.

mod opening;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use monitor_policy::Policy;
use tokio::sync::mpsc;

pub use self::opening::open;
use super::{bypass::Bypass, watch::Watch};
use crate::{
    config::{Config, OnDaemonLoss},
    coverage::{Attached, Ledger, Plan, Wanted, asks_for_own_way, plan},
    engine::source::{EpochSource, News, Watched},
    kernel::{self, AttachedProgram, EventReader, Interface, Kernel, KernelError, KernelLog, Switch},
    model::{
        Attachment, Coverage, Fill, Hook, Snapshot,
        coverage::{Device, Role},
        in_force::{Fell, PolicyInForce, Trial},
    },
};

/// How long no slots are made for interfaces after that was refused.
const NO_SLOTS: Duration = Duration::from_mins(1);

/// How much later than the daemon the kernel part takes a policy back: it does so only where the daemon does not.
const GRACE: Duration = Duration::from_secs(2);

fn find_own_ways(devices: &mut [Device]) {
    match kernel::own_ways() {
        Ok(ways) => devices.iter_mut().for_each(|device| device.own_way = ways.contains(&device.index)),
        Err(error) => tracing::warn!(%error, "which devices have an address is not known"),
    }
}

/// The kernel part as the engine sees it, and what it is to be attached to.
struct KernelSource {
    kernel: Kernel,
    hook: Option<Hook>,
    wanted: Wanted,
    ledger: Ledger,
    /// As they were found last.
    devices: Vec<Device>,
    plan: Plan,
    /// Whether the daemon is in the host's own network namespace.
    in_initial: bool,
    /// Why the kernel refuses to attach to a device, by index.
    refused: BTreeMap<u32, String>,
    no_slot: BTreeMap<u32, String>,
    /// The monitor that keeps this one off a device.
    watched_by: Option<u32>,
    /// Why the devices can't be listed.
    error: Option<String>,
    /// The addresses of this host.
    local: BTreeSet<IpAddr>,
    /// What the devices of the open epoch are, by index.
    roles: BTreeMap<u32, Role>,
    news: Option<News>,
    /// Who reads events and debug lines takes another reader from there.
    readers: Option<mpsc::Sender<EventReader>>,
    logs: Option<mpsc::Sender<KernelLog>>,
    /// Bytes that all maps may take.
    memory_max: u64,
    /// `[monitor] on_daemon_loss`.
    observes_alone: bool,
    bypass: Bypass,
    /// Since when there are no more slots to be had for interfaces, and why.
    no_slots: Option<(Instant, String)>,
    watch: Watch,
}

impl KernelSource {
    fn new(kernel: Kernel, hook: Option<Hook>, wanted: Wanted, news: News, config: &Config) -> Self {
        Self {
            kernel,
            hook,
            wanted,
            memory_max: config.memory_max,
            observes_alone: config.on_daemon_loss != OnDaemonLoss::Keep,
            watch: Watch::new(config),
            readers: None,
            logs: None,
            no_slots: None,
            bypass: Bypass::new(&config.bypass),
            ledger: Ledger::default(),
            devices: Vec::new(),
            plan: Plan::default(),
            in_initial: kernel::in_initial_namespace(),
            refused: BTreeMap::new(),
            watched_by: None,
            no_slot: BTreeMap::new(),
            error: None,
            local: BTreeSet::new(),
            roles: BTreeMap::new(),
            news: Some(news),
        }
    }

    /// Lists the devices. Where that fails, what is attached stays so, but to those that are gone.
    fn look(&mut self, gone: &BTreeSet<u32>) -> bool {
        match self.kernel.devices() {
            Ok(mut devices) => {
                if asks_for_own_way(&devices, self.in_initial) {
                    find_own_ways(&mut devices);
                }
                let is_attached = |(index, _): &(u32, Role)| self.is_attached(*index) && !gone.contains(index);
                let roles = self.roles.iter().map(|(index, role)| (*index, *role));
                let attached: Attached = roles.filter(is_attached).collect();
                self.plan = plan(&devices, &self.wanted, &attached);
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

    /// Makes room for a policy, and for so many interfaces.
    fn make_room(&mut self, policy: Option<&Policy>, interfaces: u32) -> Result<(), KernelError> {
        self.kernel.make_room(policy, interfaces, self.memory_max)?;
        if let Some(readers) = &self.readers {
            // Its task may have ended: then the daemon does.
            let _ = readers.try_send(self.kernel.events()?);
        }
        if let Some(logs) = &self.logs {
            let _ = logs.try_send(self.kernel.log()?);
        }
        Ok(())
    }

    /// Makes slots for all that is to be watched, to be had when the epoch is closed; why there are none. It is not tried
    /// again at once: that loads the programs.
    fn make_slots(&mut self) -> Option<String> {
        if let Some((at, why)) = &self.no_slots
            && at.elapsed() < NO_SLOTS
        {
            return Some(why.clone());
        }
        let wanted = self.plan.devices.iter().filter(|planned| planned.watch).count() as u32;
        let refused = match self.make_room(None, wanted) {
            Ok(()) | Err(KernelError::Closing) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = &refused {
            tracing::error!(why, "no slots could be made for more interfaces");
        }
        self.no_slots = refused.clone().map(|why| (Instant::now(), why));
        refused
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
            Err(KernelError::TooManyInterfaces { .. }) if self.kernel.may_have_more_slots() => {
                match self.make_slots() {
                    None => return true,
                    Some(why) => self.refuse(device, why, true),
                }
            }
            // The news of it come.
            Err(KernelError::InterfaceGone(_)) => {}
            Err(error) => {
                let no_slot = matches!(error, KernelError::TooManyInterfaces { .. });
                self.watched_by = self.watched_by.or(error.process());
                self.refuse(device, error.to_string(), no_slot);
            }
        }
        false
    }

    fn refuse(&mut self, Device { index, name, .. }: &Device, why: String, no_slot: bool) {
        // One line is enough for as many as there may be.
        if self.refused.get(index) != Some(&why) && (!no_slot || self.no_slot.is_empty()) {
            tracing::error!(interface = name, index, why, "not watched");
        }
        if no_slot {
            self.no_slot.insert(*index, name.clone());
        }
        self.refused.insert(*index, why);
    }
}

impl EpochSource for KernelSource {
    fn flip(&mut self) -> anyhow::Result<Snapshot> {
        let mut snapshot = self.kernel.flip()?;
        self.bypass.refuse(&mut self.kernel);
        snapshot.bypass = self.bypass.report(&mut self.kernel);
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

    fn has_room(&self, next: &PolicyInForce) -> bool {
        self.kernel.has_room(&next.policy)
    }

    fn make_room(&mut self, next: &PolicyInForce) -> anyhow::Result<()> {
        Ok(Self::make_room(self, Some(&next.policy), 0)?)
    }

    fn kernel_memory(&self) -> u64 {
        kernel::memory::of_maps()
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
        // Who wants to observe where no daemon is there wants it whichever way the mode would end. Beside a fallback that
        // observes, too, it could not be told which of the two was.
        let ends = |trial: &&Trial| !(trial.mode_ends && self.observes_alone);
        let fallback = fallback.filter(ends).map(|trial| {
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
        if !self.look(gone) {
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
        self.look(&BTreeSet::new());
        let attached = self.attachments();
        let coverage = self.ledger.report(&self.devices, &self.plan, &attached, &self.refused);
        let no_slot = self.no_slot.values().cloned().collect();
        match kernel::local_addresses() {
            Ok(local) => self.local = local,
            Err(error) => {
                tracing::warn!(%error, "what this host sends and what it forwards is told apart by what was known");
            }
        }
        Coverage { no_slot, error: self.error.clone(), local: self.local.clone(), ..coverage }
    }

    fn watch(&mut self) -> Option<Watched> {
        Some(self.watch.look(&mut self.kernel))
    }

    fn detach(&mut self) -> anyhow::Result<()> {
        if !self.kernel.is_pinned() {
            self.kernel.detach();
        }
        Ok(())
    }
}
