//! The epoch protocol's kernel half: flip the parity, wait until no packet is counted in the old half any more,
//! then read and clear it alone. What each step rests on: docs/epochs.md.

use std::sync::{Arc, atomic::Ordering};

use aya::maps::IterableMap as _;
use monitor_common::wire::{Control, FlowKey, FlowValue, Hot};
use monitor_policy::spec::Mode;

use super::{
    Kernel, KernelError, Switch, clock, closing::ClosingEpoch, halves::hook_sums, interfaces::Slot, object, sys,
};
use crate::{
    fault::Fault,
    model::{Fill, Snapshot},
};

impl Kernel {
    /// Closes the epoch and opens the next, under the staged policy if there is one; or drains the one that an
    /// earlier call closed and could not drain.
    ///
    /// # Errors
    /// A map that can't be read. The next epoch has begun, the closed one comes with a later call.
    pub fn flip(&mut self) -> Result<Snapshot, KernelError> {
        self.put_off_to_drain()?;
        let switches = self.staged.is_some();
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            None => self.open_next(),
        };
        match self.drain(&mut closing) {
            Ok(()) => {
                self.policy_slots.renew(self.control.slot(), &self.policy, self.lease_until());
                // What was before a switch stays in its slot until the new policy is found to be good.
                let armed = if switches { self.arm_if_written(false) } else { self.arm() };
                if let Err(error) = armed {
                    tracing::warn!(%error, "the kernel part will not fall back by itself");
                }
                let readings = self.readings();
                self.free(&closing.retired);
                if self.replaced.take().is_some() {
                    self.forget_replaced();
                }
                Ok(closing.snapshot(self.hz, readings))
            }
            Err(error) => {
                self.closing = Some(closing);
                Err(error)
            }
        }
    }

    /// When the epoch that is open began, UTC nanoseconds since 1970.
    #[must_use]
    pub fn epoch_began(&self) -> i128 {
        self.epoch_started.as_nanosecond()
    }

    /// The number of the epoch that is open.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.control.epoch()
    }

    /// How full the half of the epoch is that is open; the table's, about.
    #[must_use]
    pub fn fill(&self) -> Fill {
        let parity = self.control.parity();
        let open = self.counts.flows[parity as usize].map();
        let used = sys::estimate_entries::<FlowKey, FlowValue>(object::fd(open), self.counts.flow_capacity as usize);
        let mut fill = self.counts.empty_fill(parity);
        fill.table.used = used;
        if let Ok(halves) = self.counts.read_halves(parity) {
            (fill.log.used, fill.crowded) = self.counts.cache.pressure(&halves);
        }
        fill
    }

    /// Sizes the flow cache for the next epoch. Whatever fails leaves it as it was, which is whole.
    fn plan_cache(&mut self, parity: u32) {
        let Ok(open) = self.counts.read_halves(1 - parity) else { return };
        if let Some(before) = self.counts.cache.plan(parity, &open)
            && let Err(error) = self.counts.give_halves(parity)
        {
            tracing::warn!(%error, "the flow cache keeps its size");
            self.counts.cache.keep(parity, before);
        }
    }

    fn open_next(&mut self) -> ClosingEpoch {
        let old = self.control;
        let epoch = old.epoch().wrapping_add(1);
        self.plan_cache(1 - old.parity());
        let mut policy = Arc::clone(&self.policy);
        self.control = Control::new(epoch, old.slot(), old.enforce());
        let next = self.staged.take();
        let switches = next.is_some();
        if let Some(next) = next {
            self.control = Control::new(epoch, 1 - old.slot(), next.mode.enforces());
            policy = std::mem::replace(&mut self.policy, next.policy);
            self.previous = Some(Switch { policy: Arc::clone(&policy), mode: Mode::enforcing(old.enforce()) });
        }
        // The other half was taken before; a packet that reads the next word must not have looked into it until then.
        if let Err(error) = self.grace_period.order_reads() {
            tracing::warn!(%error, "no grace period before the next epoch");
        }
        self.maps.set(Hot::PREVIOUS, old.0, Ordering::Relaxed);
        if let Err(error) = self.arm_if_written(true) {
            tracing::warn!(%error, "the kernel part will not fall back by itself while this epoch is drained");
        }
        self.publish();
        if switches {
            Fault::Switch.point();
        }
        Fault::Flip.point();
        let started = std::mem::replace(&mut self.epoch_started, jiff::Timestamp::now());
        let fill = self.counts.empty_fill(old.parity());
        let mut closing = ClosingEpoch::new(old, policy, started, self.slots.iter().map(Slot::interface), fill);
        closing.retired = self.retired();
        closing
    }

    /// Drains what the closed half holds. Whatever a failed call had drained already is in `closing`.
    fn drain(&mut self, closing: &mut ClosingEpoch) -> Result<(), KernelError> {
        if closing.quiet.is_none() {
            self.grace_period.wait().map_err(KernelError::map("can't wait for a grace period"))?;
            let clock = clock::read(object::program(&mut self.ebpf, object::CLOCK)?, &self.maps.clock)?;
            closing.quiet = Some((jiff::Timestamp::now(), clock));
        }
        let counts = self.replaced.as_deref_mut().unwrap_or(&mut self.counts);
        if closing.halves.is_none() {
            closing.halves = Some(counts.take_halves(closing.control.parity(), &mut closing.interfaces)?);
        }
        Fault::Drain.point();
        counts.drain(closing)?;
        counts.give_halves(closing.control.parity())?;
        let halves = closing.halves.as_deref().unwrap_or_default();
        for (slot, drained) in self.hook_drained.iter_mut().enumerate().take(closing.interfaces.len()) {
            drained.add(&hook_sums(halves, slot));
        }
        Ok(())
    }
}
