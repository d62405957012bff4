//! What is known of packets that passed the hook and that the device did not send, by whoever took or dropped them:
//! queueing disciplines, the device, filters behind the hook. Readings in, sums since the start out, for
//! [`Account`](super::Account). Never more than were lost: what is held against the device must not be too much.

use std::collections::BTreeMap;

use crate::model::readings::{Base, Device, Discipline, FilterAction, Queue, Reading};

/// A counter of 32 bits that may begin anew.
#[derive(Clone, Debug, Default)]
struct Counter {
    raw: u32,
    sum: u64,
}

impl Counter {
    fn read(&mut self, raw: u32) {
        let more = raw.wrapping_sub(self.raw);
        // One that has lost a part, as a queue with one of a CPU's, is no step of half the range.
        if more < u32::MAX / 2 {
            self.sum += u64::from(more);
        }
        self.raw = raw;
    }
}

/// Drops of the root, whichever discipline that is.
#[derive(Clone, Debug)]
struct Root {
    id: (u32, String),
    drops: Counter,
}

impl Root {
    fn read(&mut self, queue: &Queue) {
        if queue.id == self.id {
            self.drops.read(queue.drops);
        } else {
            // What another one dropped meanwhile is not known.
            self.drops.raw = queue.drops;
            self.id.clone_from(&queue.id);
        }
    }
}

/// Counters that come and go together: when one does, they are counted from there on.
#[derive(Clone, Debug)]
struct Counters<K> {
    counters: BTreeMap<K, Counter>,
}

impl<K: Ord> Counters<K> {
    fn new(read: impl Iterator<Item = (K, u32)>) -> Self {
        Self { counters: read.map(|(key, raw)| (key, Counter { raw, sum: 0 })).collect() }
    }

    /// Whether they are the same as before.
    fn read(&mut self, read: impl Iterator<Item = (K, u32)>) -> bool {
        let read: BTreeMap<K, u32> = read.collect();
        if !read.keys().eq(self.counters.keys()) {
            return false;
        }
        for (counter, raw) in self.counters.values_mut().zip(read.values()) {
            counter.read(*raw);
        }
        true
    }
}

/// Parent, handle and kind of a discipline.
type Place = (u32, u32, String);

/// The disciplines below the root. Most tell their parent of what they drop and some don't (netem's losses), so that the
/// same packet is in one sum or in two: of a discipline's own sum and that of those below it the larger one counts.
#[derive(Clone, Debug)]
struct Below {
    /// The root's handle.
    root: u32,
    now: Counters<Place>,
    /// Of those that there were before.
    past: u64,
}

const fn major(handle: u32) -> u32 {
    handle >> 16
}

impl Below {
    fn of(below: &[Discipline]) -> impl Iterator<Item = (Place, u32)> {
        below.iter().map(|one| ((one.parent, one.handle, one.kind.clone()), one.drops))
    }

    fn new(root: u32, below: &[Discipline]) -> Self {
        Self { root, now: Counters::new(Self::of(below)), past: 0 }
    }

    fn read(&mut self, root: u32, below: &[Discipline]) {
        if root != self.root || !self.now.read(Self::of(below)) {
            *self = Self { past: self.dropped(), ..Self::new(root, below) };
        }
    }

    /// Since the start.
    fn dropped(&self) -> u64 {
        self.past + self.inside(major(self.root), 0)
    }

    /// By all that are inside the discipline with this major number.
    fn inside(&self, parent: u32, depth: u32) -> u64 {
        /// As deep as the kernel follows them (`check_loop_fn`, net/sched/sch_api.c).
        const DEEPEST: u32 = 7;
        let inside = self.now.counters.iter().filter(|((of, ..), _)| major(*of) == parent);
        inside
            .map(|((_, handle, _), drops)| {
                // One without a handle has nothing in it.
                let leaf = *handle == 0 || major(*handle) == parent || depth == DEEPEST;
                drops.sum.max(if leaf { 0 } else { self.inside(major(*handle), depth + 1) })
            })
            .sum()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    root: Root,
    below: Below,
    filters: Counters<(String, u32)>,
    /// Taken by filters that there were before.
    filtered: u64,
    /// The device's number, and the sum.
    device: (u64, u64),
}

impl Losses {
    fn actions(filters: &[FilterAction]) -> impl Iterator<Item = ((String, u32), u32)> {
        filters.iter().map(|one| (one.id.clone(), one.packets))
    }

    /// From what was read while attaching on.
    pub fn new(base: &Base) -> Self {
        let drops = Counter { raw: base.queue.drops, sum: 0 };
        Self {
            root: Root { id: base.queue.id.clone(), drops },
            below: Below::new(base.queue.id.0, &base.below),
            filters: Counters::new(Self::actions(&base.filters)),
            filtered: 0,
            device: (base.after.dropped, 0),
        }
    }

    /// Takes what was read before the device, and with it.
    pub fn read(&mut self, reading: &Reading, device: &Device) {
        self.root.read(&reading.queue);
        self.below.read(reading.queue.id.0, &reading.below);
        if !self.filters.read(Self::actions(&reading.filters)) {
            self.filtered = self.filtered();
            self.filters = Counters::new(Self::actions(&reading.filters));
        }
        // A number that is lower began anew.
        self.device = (device.dropped, self.device.1 + device.dropped.saturating_sub(self.device.0));
    }

    /// Takes what was read after it.
    pub fn read_after(&mut self, queue: &Queue) {
        self.root.read(queue);
    }

    /// Dropped by queueing disciplines, a super-packet as one.
    pub fn queue(&self) -> u64 {
        self.root.drops.sum.max(self.below.dropped())
    }

    /// Dropped by the device.
    pub const fn device(&self) -> u64 {
        self.device.1
    }

    /// Dropped or sent another way by filters, each segment as one.
    pub fn filtered(&self) -> u64 {
        self.filtered + self.filters.counters.values().map(|counter| counter.sum).sum::<u64>()
    }

    /// Changes with each loss whose bytes are not known.
    pub fn all(&self) -> u64 {
        self.queue() + self.device() + self.filtered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 0x1_0000;

    fn discipline(parent: u32, handle: u32, drops: u32) -> Discipline {
        Discipline { parent, handle, kind: "any".into(), drops }
    }

    /// What was dropped below the root, each time after the first.
    fn dropped(readings: &[Vec<Discipline>]) -> Vec<u64> {
        let mut below = Below::new(ROOT, &readings[0]);
        let mut sums = Vec::new();
        for reading in &readings[1..] {
            below.read(ROOT, reading);
            sums.push(below.dropped());
        }
        sums
    }

    #[test]
    fn a_drop_that_a_discipline_told_its_parent_of_counts_once_and_one_that_it_did_not_counts_too() {
        let tree = |middle, inner: u32, other| {
            vec![
                discipline(ROOT | 1, 0x2_0000, middle),
                discipline(0x2_0001, 0x3_0000, inner),
                discipline(ROOT | 2, 0, other),
            ]
        };
        assert_eq!(
            dropped(&[tree(5, 6, 7), tree(5, 6, 7), tree(8, 6, 7), tree(8, 9, 7), tree(8, 16, 9)]),
            [0, 3, 3, 12]
        );
    }

    #[test]
    fn what_was_dropped_stays_when_disciplines_go_and_others_come() {
        let one = |handle, drops| vec![discipline(ROOT | 1, handle, drops)];
        let readings =
            [one(0x2_0000, 10), one(0x2_0000, 14), one(0x4_0000, 100), vec![], one(0x4_0000, 90), one(0x4_0000, 95)];
        assert_eq!(dropped(&readings), [4, 4, 4, 4, 9]);
    }

    #[test]
    fn a_counter_over_its_end_goes_on_and_one_that_lost_a_part_begins_anew() {
        let one = |drops| vec![discipline(ROOT | 1, 0x2_0000, drops)];
        assert_eq!(dropped(&[one(u32::MAX), one(4), one(1), one(3)]), [5, 5, 7]);
    }

    #[test]
    fn disciplines_that_the_kernel_made_by_itself_have_no_numbers_and_hold_nothing() {
        // As below mq: the root's own number is 0.
        let mut below = Below::new(0, &[discipline(1, 0, 0), discipline(2, 0, 0)]);
        below.read(0, &[discipline(1, 0, 3), discipline(2, 0, 4)]);
        assert_eq!(below.dropped(), 7);
    }
}
