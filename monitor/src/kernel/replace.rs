//! Larger maps in the place of those that packets are judged by and counted in, while they are. The object is loaded anew,
//! its programs take the links over one by one, and what the programs before them have counted is drained like any other
//! epoch. Every packet meets one or the other. Called when a policy or an interface has no room.

use std::sync::{Arc, atomic::Ordering};

use aya::{
    Ebpf,
    programs::{links::FdLink, tc::SchedClassifierLink},
};
use monitor_common::wire::{Control, Hot};
use monitor_policy::Policy;

use super::{
    AttachedProgram, Kernel, KernelError,
    closing::ClosingEpoch,
    error::with_causes,
    interfaces::{self, Slot},
    load::Loaded,
    memory,
    object::{self, EGRESS},
    options::Room,
    policy_slots::{self, Capacity},
};
use crate::{
    fault::Fault,
    model::{Hook, readings::Presence},
};

impl Kernel {
    /// Whether there is room for a policy.
    pub fn has_room(&self, policy: &Policy) -> bool {
        self.policy_slots.capacity.fits(&policy.image).is_ok()
    }

    /// Whether more interfaces may be registered than now, if room is made for them.
    pub fn may_have_more_slots(&self) -> bool {
        interfaces::slots(self.interface_slots) > self.interface_slots
    }

    /// Replaces the maps by some with room for a policy beside the one in force, and for so many interfaces. The epoch has
    /// ended then, and the next [`Kernel::flip`] drains it. The reader of [events](Self::events) is another one now.
    ///
    /// # Errors
    /// Another policy is staged, or an epoch is not drained: flip first. Or all maps together would take more than
    /// `memory_max` bytes, or the kernel refuses something. Then nothing has changed.
    pub fn make_room(&mut self, policy: Option<&Policy>, interfaces: u32, memory_max: u64) -> Result<(), KernelError> {
        if self.staged.is_some() || self.closing.is_some() {
            return Err(KernelError::Closing);
        }
        let guarded = self.guard.as_ref().map(|guard| &*guard.fallback.policy);
        let policies = [policy, guarded].into_iter().flatten().map(|policy| Capacity::growing(&policy.image));
        let capacity = policies.fold(Capacity::of(&self.policy.image), Capacity::max);
        let most = interfaces::slots(interfaces).max(self.interface_slots);
        let bytes: u64 = policy.iter().flat_map(|policy| policy_slots::tables(&policy.image)).map(|of| of.2).sum();
        if bytes > memory_max {
            return Err(KernelError::Memory { bytes, most: memory_max });
        }
        if let Some(pins) = &mut self.pins {
            pins.begin_another();
        }
        let replaced = self.replace(Room { policy: capacity, interfaces: most }, memory_max);
        if replaced.is_err()
            && let Some(pins) = &mut self.pins
        {
            pins.keep_to_first();
        }
        replaced
    }

    fn replace(&mut self, room: Room, memory_max: u64) -> Result<(), KernelError> {
        let mut other = Loaded::new(self.options, room, self.pins.as_mut())?;
        let bytes = memory::of_maps();
        if bytes > memory_max {
            return Err(KernelError::Memory { bytes, most: memory_max });
        }
        self.put_off_to_stage()?;
        let policy = Arc::clone(&self.policy);
        let lease_until = self.lease_until();
        other.policy_slots.write(0, &policy, lease_until)?;
        let (old, previous) = (self.control, self.previous.take());
        self.control = Control::new(old.epoch().wrapping_add(1), 0, old.enforce());
        self.swap(&mut other);
        self.maps.set(Hot::PREVIOUS, old.0, Ordering::Relaxed);
        self.publish();
        // From here on the new maps could do without us, as the old ones could.
        if let Err(error) = self.register_all().and_then(|()| self.verify()).and_then(|()| self.use_pins()) {
            self.swap(&mut other);
            (self.control, self.previous) = (old, previous);
            if let Err(error) = self.arm() {
                tracing::warn!(%error, "the kernel part will not fall back by itself");
            }
            return Err(error);
        }
        self.move_links(&mut other.ebpf);
        self.refuse_bypass_again();
        let started = std::mem::replace(&mut self.epoch_started, jiff::Timestamp::now());
        let fill = other.counts.empty_fill(old.parity());
        let mut closing = ClosingEpoch::new(old, policy, started, self.slots.iter().map(Slot::interface), fill);
        closing.retired = self.retired();
        (self.closing, self.replaced) = (Some(closing), Some(Box::new(other.counts)));
        tracing::info!(
            interfaces = room.interfaces,
            bytes = memory::of_maps(),
            "larger maps are in the place of those before"
        );
        Ok(())
    }

    fn swap(&mut self, other: &mut Loaded) {
        std::mem::swap(&mut self.ebpf, &mut other.ebpf);
        std::mem::swap(&mut self.maps, &mut other.maps);
        std::mem::swap(&mut self.counts, &mut other.counts);
        std::mem::swap(&mut self.policy_slots, &mut other.policy_slots);
        std::mem::swap(&mut self.interface_slots, &mut other.interface_slots);
    }

    fn use_pins(&mut self) -> Result<(), KernelError> {
        match &mut self.pins {
            Some(pins) if !self.attachments.is_empty() => pins.use_them(true),
            _ => Ok(()),
        }
    }

    /// What was counted in the maps before is known.
    pub(super) fn forget_replaced(&mut self) {
        if let Some(pins) = &mut self.pins {
            pins.forget_first();
        }
    }

    /// Puts our program in the place of the one before, on every interface. Where its link can't be moved, since it is gone
    /// or somebody else's by now, ours is attached beside it.
    fn move_links(&mut self, before: &mut Ebpf) {
        for attached in std::mem::take(&mut self.attachments) {
            let (interface, hook) = (attached.interface.clone(), attached.hook);
            match self.move_link(before, attached) {
                Ok(attached) => self.attachments.push(attached),
                Err((owner, why)) => match self.attach_one(&interface, Some(hook)) {
                    Ok(attached) => {
                        tracing::warn!(
                            interface = interface.name,
                            why,
                            "its link was not what it was: there is another"
                        );
                        self.attachments.push(attached.owned_by(owner));
                    }
                    Err(error) => {
                        tracing::error!(interface = interface.name, why, %error, "not watched any more");
                        self.retire(interface.index);
                    }
                },
            }
            Fault::Replace.point();
        }
    }

    fn move_link(
        &mut self,
        before: &mut Ebpf,
        attached: AttachedProgram,
    ) -> Result<AttachedProgram, (Option<super::owner::Owner>, String)> {
        let AttachedProgram { interface, hook, since, link, link_id, made_qdisc, base, owner } = attached;
        let before = object::program(before, EGRESS)
            .and_then(|program| program.take_link(link).map_err(|error| KernelError::Load(with_causes(&error))));
        let moved = match (before, hook) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(link), Hook::Tcx) => FdLink::try_from(link)
                .and_then(SchedClassifierLink::try_from)
                .map_err(|error| with_causes(&error))
                .and_then(|link| self.attach_to(link)),
            (Ok(link), Hook::Clsact) => {
                // A filter goes when its link is dropped.
                std::mem::forget(link);
                self.filter(&interface).map_err(|error| error.to_string()).and_then(|link| self.attach_to(link))
            }
        };
        match moved {
            Ok(link) if self.presence(interface.index, hook) != Presence::Detached => {
                Ok(AttachedProgram { interface, hook, since, link, link_id, made_qdisc, base, owner })
            }
            Ok(_) => Err((owner, "it leads nowhere".to_owned())),
            Err(why) => Err((owner, why)),
        }
    }
}
