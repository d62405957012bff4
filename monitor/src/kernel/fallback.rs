//! What the kernel part does by itself when nobody says otherwise in time: the deadline and the fallback beside the control
//! word ([`Hot`]). Called where epochs are closed and policies staged; what each step rests on: docs/epochs.md.
//!
//! A packet that is to be judged after the deadline puts the fallback in force, with an epoch of its own. So that it never
//! does so while the half that this epoch would count in is drained, or the slot that it would ask is written, the deadline
//! is put off first. Whoever puts it off and then finds, by the kernel's clock, that it had not come, knows that no packet
//! has seen it come; else a grace period tells.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use monitor_common::wire::{Control, Hot};
use monitor_policy::{Policy, spec::Mode};

use super::{Kernel, KernelError, Switch, boot_ns, clock, closing::ClosingEpoch, interfaces::Slot, object};
use crate::model::in_force::Fell;

/// For how long an epoch may be drained before the deadline counts again.
const DRAIN: Duration = Duration::from_secs(10);

/// What is to hold from a jiffy on.
#[derive(Debug)]
pub(super) struct Guard {
    pub fallback: Switch,
    deadline: u64,
}

impl Kernel {
    /// Has the kernel part put `fallback` in force by itself when `within` has passed, whether anybody is there or not;
    /// `None`: never. Where a policy is staged, this is for when that one is in force.
    ///
    /// # Errors
    /// The kernel part has fallen back already: the next [`Kernel::flip`] tells. Or the clock can't be read, or the fallback
    /// does not fit beside the policy in force: then nothing is guarded.
    pub fn guard(&mut self, fallback: Option<(Switch, Duration)>) -> Result<(), KernelError> {
        let staging = if self.staged.is_some() { self.while_staging() } else { None };
        self.put_off(staging)?;
        if self.fell.is_some() {
            return Err(KernelError::Closing);
        }
        let guard = match fallback {
            None => None,
            Some((fallback, within)) => Some(Guard { fallback, deadline: self.in_time(within)? }),
        };
        let before = std::mem::replace(&mut self.guard, guard);
        if self.staged.is_some() {
            self.guard_before = before;
            return Ok(());
        }
        self.arm()
    }

    /// Whether the kernel part has fallen back since this was asked last, and why.
    pub fn fell(&mut self) -> Option<Fell> {
        self.fell.take()
    }

    /// Moves the deadline away, for that long or until it is [armed](Self::arm) again. If it had come, what the kernel part
    /// has made of it is known afterwards: an epoch to be closed.
    fn put_off(&mut self, by: Option<Duration>) -> Result<(), KernelError> {
        self.note_words();
        let before = self.maps.hot.atomic(Hot::DEADLINE).load(Ordering::Relaxed);
        if before != 0 {
            let until = by.map_or(Ok(0), |by| self.in_time(by))?;
            self.maps.set(Hot::DEADLINE, until, Ordering::SeqCst);
            if self.jiffies()? >= before {
                self.grace_period.wait().map_err(KernelError::map("can't wait for a grace period"))?;
            }
        }
        if self.closing.is_none() {
            self.note_fallen();
        }
        Ok(())
    }

    /// Moves the deadline away for the time that it takes to drain an epoch.
    pub(super) fn put_off_to_drain(&mut self) -> Result<(), KernelError> {
        self.put_off(Some(DRAIN))
    }

    /// Moves the deadline away until a policy is written and in force.
    ///
    /// # Errors
    /// An epoch is not drained: one that was closed before, or one that the kernel part has just ended by itself.
    pub(super) fn put_off_to_stage(&mut self) -> Result<(), KernelError> {
        if self.closing.is_none() {
            self.put_off(self.while_staging())?;
        }
        if self.closing.is_some() { Err(KernelError::Closing) } else { Ok(()) }
    }

    /// For how long the deadline is moved away while the other slot is written: one that leaves the slot as it is, and ends
    /// a mode only, counts again after that, whatever becomes of the daemon. What there was to fall back to in the other slot
    /// is none any more.
    fn while_staging(&self) -> Option<Duration> {
        (Control(self.maps.written[Hot::FALLBACK]).slot() == self.control.slot()).then_some(DRAIN)
    }

    /// Takes over what the kernel part has put in force by itself.
    fn note_fallen(&mut self) {
        let word = Control(self.maps.hot.atomic(Hot::CONTROL).load(Ordering::Acquire));
        // As it was written: who writes another one there is not obeyed. Any other word is nobody's that we know.
        let fallback = Control(self.maps.written[Hot::FALLBACK]);
        if word == self.control || Some(word) != self.control.fall_back(fallback) {
            return;
        }
        let old = std::mem::replace(&mut self.control, word);
        (self.maps.written[Hot::CONTROL], self.maps.written[Hot::PREVIOUS]) = (word.0, old.0);
        let mode = Mode::enforcing(old.enforce());
        let policy = Arc::clone(&self.policy);
        let started = std::mem::replace(&mut self.epoch_started, jiff::Timestamp::now());
        let fill = self.counts.empty_fill(old.parity());
        // No slot is free after it: one that was retired since may have been counted in the next half already.
        let interfaces = self.slots.iter().map(Slot::interface);
        self.closing = Some(ClosingEpoch::new(old, Arc::clone(&policy), started, interfaces, fill));
        self.fell = Some(Fell::Alone);
        if let Some(Guard { fallback, .. }) = self.guard.take() {
            if fallback.mode.enforces() == word.enforce() {
                self.fell = Some(Fell::InTime);
            }
            self.policy = fallback.policy;
        }
        if word.slot() != old.slot() {
            self.previous = Some(Switch { policy, mode });
        }
    }

    /// Lets the deadline count, by what is guarded and by how long the daemon may be away. Where the fallback is in neither
    /// slot, it is written beside the policy in force: when no packet may read what is there any more.
    pub(super) fn arm(&mut self) -> Result<(), KernelError> {
        if let Some(guard) = &self.guard
            && self.closing.is_none()
            && self.slot_of(&guard.fallback).is_none()
        {
            let slot = 1 - self.control.slot();
            let Switch { policy, mode } = &guard.fallback;
            let (policy, mode) = (Arc::clone(policy), *mode);
            self.previous = None;
            self.policy_slots.write(slot, &policy, self.lease_until())?;
            self.policy_slots.check(slot, &policy)?;
            self.previous = Some(Switch { policy, mode });
        }
        self.arm_if_written(self.closing.is_some())
    }

    /// The same, only if the fallback is in a slot; while an epoch is drained or to be, not before that may be over.
    pub(super) fn arm_if_written(&mut self, draining: bool) -> Result<(), KernelError> {
        let deadline = match self.fallback()? {
            None => 0,
            Some((fallback, deadline)) => {
                self.maps.set(Hot::FALLBACK, fallback.0, Ordering::Release);
                deadline.max(if draining { self.in_time(DRAIN)? } else { 1 })
            }
        };
        self.maps.set(Hot::DEADLINE, deadline, Ordering::Release);
        Ok(())
    }

    /// What the kernel part is to fall back to, and on which jiffy; where that is in no slot, not yet or not any more, to
    /// nothing.
    fn fallback(&mut self) -> Result<Option<(Control, u64)>, KernelError> {
        let mut fallback = match &self.guard {
            None => None,
            Some(guard) => match self.slot_of(&guard.fallback) {
                None => return Ok(None),
                Some(slot) => Some((slot, guard.fallback.mode.enforces(), guard.deadline)),
            },
        };
        if let Some(alone) = self.options.lease.filter(|_| self.options.observes_alone && self.control.enforce()) {
            let (slot, _, guarded) = fallback.unwrap_or((self.control.slot(), false, u64::MAX));
            fallback = Some((slot, false, guarded.min(self.in_time(alone)?)));
        }
        let epoch = self.control.epoch().wrapping_add(1);
        Ok(fallback.map(|(slot, enforce, deadline)| (Control::new(epoch, slot, enforce), deadline)))
    }

    /// Until when rules with a daily budget hold, if nobody says more; CLOCK_BOOTTIME.
    pub(super) fn lease_until(&self) -> Option<u64> {
        self.options.lease.map(lease_until)
    }

    /// Which slot has this policy, whatever of it is suspended.
    fn slot_of(&self, of: &Switch) -> Option<u32> {
        let is = |policy: &Policy| policy.digest == of.policy.digest;
        let slot = self.control.slot();
        if is(&self.policy) {
            return Some(slot);
        }
        let previous = self.previous.as_ref().filter(|_| self.staged.is_none());
        previous.is_some_and(|previous| is(&previous.policy)).then_some(1 - slot)
    }

    pub(super) fn jiffies(&mut self) -> Result<u64, KernelError> {
        Ok(clock::read(object::program(&mut self.ebpf, object::CLOCK)?, &self.maps.clock)?.jiffies)
    }

    /// The jiffy when that time has passed.
    fn in_time(&mut self, time: Duration) -> Result<u64, KernelError> {
        Ok(self.jiffies()? + (time.as_nanos() * u128::from(self.hz) / 1_000_000_000) as u64)
    }
}

/// Until when what is leased from now on holds; CLOCK_BOOTTIME.
pub(super) fn lease_until(lease: Duration) -> u64 {
    boot_ns().saturating_add(lease.as_nanos() as u64)
}
