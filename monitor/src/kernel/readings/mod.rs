//! What hook, queue and device say of each attached interface, read in the order that a [`Reading`] needs. Called
//! while attaching, at each flip, and before detaching, so that nothing sent without the program is held against it.

mod comparison;
mod nic;
mod offloads;
mod supers;
mod tc;

pub(super) use self::{
    nic::{Filter, Nic},
    supers::add_supers,
};

use std::collections::BTreeMap;

use monitor_common::wire::{CpuHalf, HookSums};

use super::{
    Interface, Kernel, KernelError,
    error::with_causes,
    halves::hook_sums,
    object::{self, EGRESS},
    sys,
};
use crate::model::{
    Hook, coverage,
    readings::{Amount, Base, Device, Discipline, FilterAction, Presence, Queue, Reading, Supers},
};

/// A reading without the last part, what has passed the hook.
pub(super) struct Sample {
    ifindex: u32,
    slot: u32,
    attached: i128,
    last: bool,
    interface: String,
    base: Base,
    at: u64,
    closed: HookSums,
    besides: Besides,
    queue: Queue,
    device: Option<Device>,
    queue_after: Queue,
    presence: Presence,
}

/// What counts losses of one interface beside its root queueing discipline and device.
struct Besides {
    below: Vec<Discipline>,
    filters: Vec<FilterAction>,
}

/// Queueing disciplines below the roots of all devices, read when one is asked for.
type Below = Option<BTreeMap<u32, Vec<Discipline>>>;

impl Kernel {
    pub(super) fn nic(&mut self) -> Result<&mut Nic, KernelError> {
        if self.nic.is_none() {
            self.nic = Some(Nic::open().map_err(KernelError::map("can't open rtnetlink"))?);
        }
        self.nic.as_mut().ok_or_else(|| KernelError::Load("no rtnetlink".into()))
    }

    /// The devices of the network namespace.
    ///
    /// # Errors
    /// They can't be listed.
    pub fn devices(&mut self) -> Result<Vec<coverage::Device>, KernelError> {
        self.nic()?.devices().map_err(KernelError::map("can't list the interfaces"))
    }

    /// Whether there is a device of that index.
    pub(super) fn is_there(&mut self, ifindex: u32) -> bool {
        self.nic().is_ok_and(|nic| nic.device(ifindex).is_ok_and(|device| device.is_some()))
    }

    fn device(&mut self, interface: &Interface) -> Result<Device, KernelError> {
        let device = self.nic()?.device(interface.index);
        let device = device.map_err(KernelError::map("can't read the interface's counters"))?;
        device.ok_or_else(|| KernelError::InterfaceGone(interface.name.clone()))
    }

    /// To be called before the program is put on the interface.
    pub(super) fn sent_before_attach(&mut self, interface: &Interface) -> Result<Amount, KernelError> {
        Ok(self.device(interface)?.sent)
    }

    /// To be called after.
    pub(super) fn base(&mut self, interface: &Interface, hook: Hook, before: Amount) -> Result<Base, KernelError> {
        let mut after = self.device(interface)?;
        let queue = self.nic()?.queue(interface.index).map_err(KernelError::map("can't read the queue's counters"))?;
        let Besides { below, filters } = self.besides(interface.index, hook, &queue, &mut None)?;
        name_disciplines(&mut after, &queue, &below);
        let (slot, halves) = (self.slot(interface.index), self.halves_after_devices()?);
        Ok(Base { before, after, queue, below, filters, hook: self.hook_so_far(slot, &halves) })
    }

    fn besides(
        &mut self,
        ifindex: u32,
        hook: Hook,
        root: &Queue,
        all_below: &mut Below,
    ) -> Result<Besides, KernelError> {
        let ours = if hook == Hook::Clsact { Some(self.own_program()?) } else { None };
        let nic = self.nic()?;
        let below = if tc::is_classful(&root.id.1) {
            let all = match all_below {
                Some(all) => all,
                None => all_below.insert(nic.below().map_err(KernelError::map("can't list the queues' counters"))?),
            };
            all.remove(&ifindex).unwrap_or_default()
        } else {
            Vec::new()
        };
        // A kernel without filters refuses the question.
        let filters = nic.taken(ifindex, ours).unwrap_or_default();
        Ok(Besides { below, filters })
    }

    /// What the CPUs have of both halves, read after what the devices have counted was: whatever a device has counted
    /// passed its hook before.
    fn halves_after_devices(&self) -> Result<[Vec<CpuHalf>; 2], KernelError> {
        self.grace_period.order_reads().map_err(KernelError::map("can't wait for a grace period"))?;
        Ok([self.counts.read_halves(0)?, self.counts.read_halves(1)?])
    }

    /// Everything that passed an interface's hook, also in the epoch that is open. An epoch that could not be drained
    /// yet is in it too: its half holds it until then.
    fn hook_so_far(&self, slot: u32, halves: &[Vec<CpuHalf>; 2]) -> HookSums {
        let mut sums = self.hook_drained[slot as usize];
        for half in halves {
            sums.add(&hook_sums(half, slot as usize));
        }
        sums
    }

    /// All attached interfaces, and what was read of others before they were detached. One that can't be read is left out,
    /// and the log says why.
    pub(super) fn readings(&mut self) -> Vec<Reading> {
        let mut samples = std::mem::take(&mut self.last_samples);
        samples.extend(self.sample_all());
        match self.halves_after_devices() {
            Ok(halves) => samples.into_iter().map(|sample| self.complete(sample, &halves)).collect(),
            Err(error) => {
                tracing::warn!(%error, "nothing is reconciled in this epoch");
                Vec::new()
            }
        }
    }

    /// Puts what the next flip is to say of an interface aside: from here on it sends without being seen.
    pub(super) fn sample_before_detach(&mut self, ifindex: u32) {
        let last = self.sample_of(|attached| attached == ifindex);
        self.last_samples.extend(last.into_iter().map(|sample| Sample { last: true, ..sample }));
    }

    fn sample_all(&mut self) -> Vec<Sample> {
        self.sample_of(|_| true)
    }

    /// Everything but what has passed the hook, of the interfaces that `wanted` says by their index.
    fn sample_of(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Sample> {
        let attached: Vec<_> = self
            .attachments
            .iter()
            .filter(|one| wanted(one.interface.index))
            .filter_map(|one| Some((one.interface.clone(), one.hook, one.since.as_nanosecond(), one.base.clone()?)))
            .collect();
        let (mut samples, mut below) = (Vec::new(), None);
        for (interface, hook, since, base) in attached {
            match self.sample(&interface, (hook, since), base, &mut below) {
                Ok(sample) => samples.push(sample),
                Err(error) => tracing::warn!(interface = interface.name, %error, "not reconciled in this epoch"),
            }
        }
        samples
    }

    fn sample(
        &mut self,
        interface: &Interface,
        (hook, attached): (Hook, i128),
        base: Base,
        below: &mut Below,
    ) -> Result<Sample, KernelError> {
        let ifindex = interface.index;
        let slot = self.slot(ifindex);
        let closed = self.hook_drained[slot as usize];
        let nic = self.nic()?;
        let at = nic.now();
        let queue_error = "can't read the queue's counters";
        let queue = nic.queue(ifindex).map_err(KernelError::map(queue_error))?;
        let besides = self.besides(ifindex, hook, &queue, below)?;
        let nic = self.nic()?;
        let mut device = nic.device(ifindex).map_err(KernelError::map("can't read the interface's counters"))?;
        let queue_after = nic.queue(ifindex).map_err(KernelError::map(queue_error))?;
        if let Some(device) = &mut device {
            name_disciplines(device, &queue_after, &besides.below);
        }
        let presence = if device.is_some() { self.presence(ifindex, hook) } else { Presence::Detached };
        let (interface, last) = (interface.name.clone(), false);
        Ok(Sample {
            ifindex,
            slot,
            attached,
            last,
            interface,
            base,
            at,
            closed,
            besides,
            queue,
            device,
            queue_after,
            presence,
        })
    }

    /// The number of our program.
    pub(super) fn own_program(&mut self) -> Result<u32, KernelError> {
        let info = object::program(&mut self.ebpf, EGRESS)?.info();
        Ok(info.map_err(|error| KernelError::Load(with_causes(&error)))?.id())
    }

    /// The number of the link that has our program on an interface; 0: none.
    pub(super) fn link_id(&mut self, index: u32, hook: Hook) -> u32 {
        let Ok(own) = self.own_program() else { return 0 };
        let there = if hook == Hook::Tcx { sys::tcx_programs(index).unwrap_or_default() } else { Vec::new() };
        there.iter().find(|one| one.program == own).map_or(0, |one| one.link)
    }

    /// Whether the program is on an interface.
    pub(super) fn presence(&mut self, index: u32, hook: Hook) -> Presence {
        let Ok(own) = self.own_program() else { return Presence::Unknown };
        let place = match hook {
            Hook::Tcx => sys::tcx_programs(index).map(|there| {
                let at = there.iter().position(|one| one.program == own)?;
                Some(there[..at].iter().map(|one| one.program).collect::<Vec<_>>())
            }),
            Hook::Clsact => self.nic().map_err(std::io::Error::other).and_then(|nic| {
                let filters = nic.filters(index)?;
                let place = filters.iter().position(|filter| filter.program == Some(own));
                // Programs by TCX come before all filters. A kernel without TCX has none.
                Ok(place.map(|place| {
                    let by_tcx = sys::tcx_programs(index).unwrap_or_default().into_iter().map(|one| one.program);
                    by_tcx.chain(filters[..place].iter().filter_map(|filter| filter.program)).collect()
                }))
            }),
        };
        match place {
            Ok(Some(ahead)) => Presence::Attached { ahead },
            Ok(None) => Presence::Detached,
            Err(_) => Presence::Unknown,
        }
    }

    /// Adds what has passed the hook: after everything else was read.
    fn complete(&self, sample: Sample, halves: &[Vec<CpuHalf>; 2]) -> Reading {
        let open = self.hook_so_far(sample.slot, halves);
        Reading {
            interface: sample.interface,
            ifindex: sample.ifindex,
            attached: sample.attached,
            last: sample.last,
            base: sample.base,
            at: sample.at,
            closed: sample.closed,
            // The epoch's flows are added when it is whole.
            supers: Supers::default(),
            below: sample.besides.below,
            filters: sample.besides.filters,
            queue: sample.queue,
            device: sample.device,
            queue_after: sample.queue_after,
            open,
            presence: sample.presence,
        }
    }
}

/// Names all queueing disciplines that a device's packets pass, each kind once.
fn name_disciplines(device: &mut Device, root: &Queue, below: &[Discipline]) {
    let mut kinds: Vec<&str> = below.iter().map(|one| one.kind.as_str()).chain([root.id.1.as_str()]).collect();
    kinds.retain(|kind| !kind.is_empty() && *kind != device.qdisc);
    kinds.sort_unstable();
    kinds.dedup();
    let all = std::iter::once(device.qdisc.as_str()).chain(kinds).collect::<Vec<_>>().join(" ");
    device.qdisc = all;
}
