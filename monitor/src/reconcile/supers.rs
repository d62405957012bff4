//! Super-packets that passed the hook, by what the device may count them as: one packet, or as many as they have segments.
//! Readings in, sums since the start out, for [`Account`](super::Account).

use std::collections::VecDeque;

use monitor_common::wire::Counters;

use super::bound::SETTLES;
use crate::model::{
    interface_account::CountingUnit,
    readings::{Amount, Offloads, Reading, Taken},
};

/// Super-packets beyond one packet each, since the start: further packets, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Further {
    pub packets: i128,
    pub bytes: i128,
}

impl From<Amount> for Further {
    fn from(Amount { packets, bytes }: Amount) -> Self {
        Self { packets: packets.into(), bytes: bytes.into() }
    }
}

impl Further {
    /// Of what passed since the start.
    fn of(now: &Counters, start: &Counters) -> Self {
        let beyond = |cut_up: u64, whole: u64| i128::from(cut_up) - i128::from(whole);
        let packets = |of: &Counters| beyond(of.segments, of.packets);
        let bytes = |of: &Counters| beyond(of.wire_bytes, of.bytes);
        Self { packets: packets(now) - packets(start), bytes: bytes(now) - bytes(start) }
    }

    const fn plus(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }

    const fn since(self, before: Self) -> Self {
        Self { packets: self.packets - before.packets, bytes: self.bytes - before.bytes }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct SuperPackets {
    /// All at the latest reading.
    pub all: Further,
    /// Those of closed epochs.
    closed: Further,
    /// Those that count as one packet, if the device counts skbs.
    pub whole: Further,
    /// Of these, those that may have been cut up all the same.
    pub perhaps: Perhaps,
    /// Further packets of those of which it is not known what they count as.
    pub doubt: i128,
    /// Whether those of the open epoch are among the whole ones already.
    pub to_the_last: bool,
}

/// Whether a part of them comes to the device whole, or nobody knows.
pub(super) fn are_mixed(taken: &Offloads) -> bool {
    !matches!(*taken, Offloads::EVERYTHING | Offloads::NOTHING)
}

impl SuperPackets {
    /// Takes a reading, with what passed by now, in closed epochs, and before the start. `changed`: what becomes of
    /// super-packets, and not from one way for all to the other.
    pub fn read(
        &mut self,
        reading: &Reading,
        [now, closed, start]: [&Counters; 3],
        (taken, changed): (&Offloads, bool),
        unit: CountingUnit,
    ) {
        let more = Further::of(now, start).since(self.all);
        let more_closed = Further::of(closed, start).since(self.closed);
        (self.all, self.closed) = (self.all.plus(more), self.closed.plus(more_closed));
        let mixed = are_mixed(taken);
        // Flows may be older than the account.
        let older = i128::from(reading.supers.packets()) > more_closed.packets;
        let of = |how| -> Further { reading.supers.taken(taken, how).into() };
        let (whole, cut) = if changed || mixed && older {
            Default::default()
        } else if mixed {
            let mostly = of(Taken::Mostly);
            self.perhaps.add(reading.at, mostly.packets);
            (of(Taken::Whole).plus(mostly), of(Taken::CutUp))
        } else {
            (more, Further::default())
        };
        self.to_the_last = !mixed && !changed;
        self.whole = self.whole.plus(whole);
        self.doubt += match unit {
            CountingUnit::Segments => 0,
            CountingUnit::Skbs => (more.packets - whole.packets - cut.packets).max(0),
            CountingUnit::Undetermined => (more.packets - cut.packets).max(0),
        };
    }
}

/// Packets more than it counts that a device may send of super-packets which passed lately, by when: it takes most of
/// them whole, and nobody can tell which it does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Perhaps {
    /// When, how many, and how many of these it did not send yet.
    passed: VecDeque<(u64, i128, i128)>,
}

impl Perhaps {
    /// Adds those of an epoch.
    pub fn add(&mut self, at: u64, packets: i128) {
        if packets > 0 {
            self.passed.push_back((at, packets, packets));
        }
    }

    /// Of so many that it sent, takes as many as there may be.
    pub fn take(&mut self, sent: i128) -> i128 {
        let mut rest = sent;
        for (_, _, left) in &mut self.passed {
            let taken = rest.min(*left);
            *left -= taken;
            rest -= taken;
        }
        sent - rest
    }

    /// Forgets those that are sent or lost. Only while nothing waits.
    pub fn forget(&mut self, now: u64) {
        let old = self.passed.partition_point(|(at, ..)| at + SETTLES <= now);
        self.passed.drain(..old);
    }

    /// How many there are, with those that it sent.
    pub fn all(&self) -> i128 {
        self.passed.iter().map(|(_, packets, _)| packets).sum()
    }
}
