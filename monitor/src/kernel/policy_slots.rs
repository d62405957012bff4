//! The two policy slots in the kernel: made with room to grow, written one while the other is in force, read back, and
//! switched between with an epoch.
//!
//! What was written is compared byte by byte. The maps are mapped: what is read here is the memory that the programs
//! read, not a copy, so equal bytes mean equal look-ups, and looking addresses up as well would show nothing more. That
//! the program finds the tables where they are is another matter: that is what the self-test is for.

use std::{
    borrow::Cow,
    mem::offset_of,
    sync::{Arc, atomic::Ordering},
};

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use monitor_common::{
    classify::{ROOT_ROWS, build::Image},
    wire::{ClassRow, Hot, MAX_CLASSES, Node, PolicyMeta, ProbeQuery, RuleRow, V6Low},
};
use monitor_policy::{Policy, spec::Mode};

use super::{
    Kernel, KernelError,
    object::{self, map},
    sys::MappedArray,
};
use crate::fault::Fault;

/// A policy and mode to switch to with the next epoch.
#[derive(Debug)]
pub struct Switch {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The mode.
    pub mode: Mode,
}

/// Bytes of nodes that are kept for reloads, of each family and slot: more than 60,000 networks apart from all others.
const MOST_NODES: u64 = 8 << 20;
/// The same of intervals below /64, and of rule rows.
const MOST_ROWS: u64 = 1 << 20;

/// What the tables of a policy come to, and for how much a daemon that starts with it makes room on this machine, so that
/// other policies fit at a reload: name, entries, room.
pub fn room(image: &Image) -> [(&'static str, usize, u32); 5] {
    Capacity::for_image(image, memory()).tables(image)
}

/// Bytes of memory that this machine has.
pub(super) fn memory() -> u64 {
    let about = rustix::system::sysinfo();
    (about.totalram as u64).saturating_mul(about.mem_unit.into())
}

/// Entries that the image in one slot may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub v4_nodes: u32,
    pub v6_nodes: u32,
    pub v6_low: u32,
    pub classes: u32,
    pub rules: u32,
}

impl Capacity {
    /// An eighth more than the image has, and room for as many more as a reload may bring on a machine with so many bytes
    /// of memory, of which all of that takes a 256th at most.
    pub fn for_image(image: &Image, memory: u64) -> Self {
        let share = |most: u64, size: usize, floor: usize| {
            usize::try_from((memory / 2048).min(most) / size as u64).unwrap_or(usize::MAX).max(floor)
        };
        let room = |length: usize, spare: usize| u32::try_from(length + (length / 8).max(spare)).unwrap_or(u32::MAX);
        let nodes = share(MOST_NODES, size_of::<Node>(), 1024);
        Self {
            v4_nodes: room(image.v4_nodes.len(), nodes),
            v6_nodes: room(image.v6_nodes.len(), nodes),
            v6_low: room(image.v6_low.len(), share(MOST_ROWS, size_of::<V6Low>(), 4096)),
            classes: room(image.classes.len(), 1024).min(MAX_CLASSES),
            rules: room(image.rules.len(), share(MOST_ROWS, size_of::<RuleRow>(), 1024)),
        }
    }

    /// Each table: its name, how many entries the image has, and for how many there is room.
    fn tables(&self, image: &Image) -> [(&'static str, usize, u32); 5] {
        [
            ("IPv4 nodes", image.v4_nodes.len(), self.v4_nodes),
            ("IPv6 nodes", image.v6_nodes.len(), self.v6_nodes),
            ("IPv6 intervals below /64", image.v6_low.len(), self.v6_low),
            ("classes", image.classes.len(), self.classes),
            ("rule rows", image.rules.len(), self.rules),
        ]
    }
}

pub(super) struct PolicySlots {
    capacity: Capacity,
    meta: Array<MapData, PolicyMeta>,
    v4_root: MappedArray<[u32; 2]>,
    v4_nodes: MappedArray<Node>,
    v6_root: MappedArray<[u32; 2]>,
    v6_nodes: MappedArray<Node>,
    v6_low: MappedArray<V6Low>,
    classes: MappedArray<ClassRow>,
    rules: MappedArray<RuleRow>,
    /// Until when the rules with a daily budget hold in each slot; CLOCK_BOOTTIME.
    lease_until: [u64; 2],
    _maps: Vec<MapData>,
}

impl PolicySlots {
    pub fn new(ebpf: &mut Ebpf, capacity: Capacity) -> Result<Self, KernelError> {
        let mut maps = Vec::new();
        Ok(Self {
            capacity,
            meta: map(ebpf, "POLICY")?,
            v4_root: mapped(ebpf, "V4_ROOT", 2 * ROOT_ROWS, &mut maps)?,
            v4_nodes: mapped(ebpf, "V4_NODES", 2 * capacity.v4_nodes, &mut maps)?,
            v6_root: mapped(ebpf, "V6_ROOT", 2 * ROOT_ROWS, &mut maps)?,
            v6_nodes: mapped(ebpf, "V6_NODES", 2 * capacity.v6_nodes, &mut maps)?,
            v6_low: mapped(ebpf, "V6_LOW", 2 * capacity.v6_low, &mut maps)?,
            classes: mapped(ebpf, "CLASSES", 2 * capacity.classes, &mut maps)?,
            rules: mapped(ebpf, "RULES", 2 * capacity.rules, &mut maps)?,
            lease_until: [u64::MAX; 2],
            _maps: maps,
        })
    }

    /// Writes a policy into a slot that no packet reads, its rules with a daily budget until `lease_until` (CLOCK_BOOTTIME).
    /// Either all of it fits, or nothing is written.
    pub fn write(&mut self, slot: u32, policy: &Policy, lease_until: Option<u64>) -> Result<(), KernelError> {
        let capacity = self.capacity;
        let image = &policy.image;
        for (what, needed, room) in capacity.tables(image) {
            if needed > room as usize {
                return Err(KernelError::TooLarge { what, needed, capacity: room as usize });
            }
        }
        let meta = self.header(slot, image);
        copy_into(&mut self.v4_root, (slot * ROOT_ROWS) as usize, &image.v4_root);
        copy_into(&mut self.v4_nodes, meta.v4_base as usize, &image.v4_nodes);
        copy_into(&mut self.v6_root, (slot * ROOT_ROWS) as usize, &image.v6_root);
        copy_into(&mut self.v6_nodes, meta.v6_base as usize, &image.v6_nodes);
        copy_into(&mut self.v6_low, meta.v6_low_base as usize, &image.v6_low);
        copy_into(&mut self.classes, (slot * capacity.classes) as usize, &image.classes);
        copy_into(&mut self.rules, meta.rules_base as usize, &image.rules);
        self.renew(slot, policy, lease_until);
        self.meta.set(slot, meta, 0).map_err(KernelError::aya("writing the policy header"))
    }

    /// Lets the rules with a daily budget of the policy in a slot hold until then.
    pub fn renew(&mut self, slot: u32, policy: &Policy, lease_until: Option<u64>) {
        const WORDS: usize = size_of::<RuleRow>() / 8;
        self.lease_until[slot as usize] = lease_until.unwrap_or(u64::MAX);
        let base = (slot * self.capacity.rules) as usize;
        for (number, row) in leased(policy, self.lease_until[slot as usize]) {
            let word = (base + number) * WORDS + offset_of!(RuleRow, expires_ns) / 8;
            self.rules.atomic(word).store(row.expires_ns, Ordering::Relaxed);
        }
    }

    fn header(&self, slot: u32, image: &Image) -> PolicyMeta {
        let capacity = self.capacity;
        PolicyMeta {
            v4_base: slot * capacity.v4_nodes,
            v6_base: slot * capacity.v6_nodes,
            v6_low_base: slot * capacity.v6_low,
            rules_base: slot * capacity.rules,
            drop_reasons: image.drop_reasons,
        }
    }

    /// Reads a slot back and holds it against the policy that it should hold: every byte that a look-up can come to.
    pub fn check(&mut self, slot: u32, policy: &Policy) -> Result<(), KernelError> {
        let image = &policy.image;
        let meta = self.header(slot, image);
        let there = self.meta.get(&slot, 0).map_err(KernelError::aya("reading the policy header"))?;
        if there != meta {
            return Err(KernelError::Differs { what: "policy header", at: slot.to_string() });
        }
        compare("pair of IPv4 cells", &mut self.v4_root, (slot * ROOT_ROWS) as usize, &image.v4_root)?;
        compare("IPv4 node", &mut self.v4_nodes, meta.v4_base as usize, &image.v4_nodes)?;
        compare("pair of IPv6 cells", &mut self.v6_root, (slot * ROOT_ROWS) as usize, &image.v6_root)?;
        compare("IPv6 node", &mut self.v6_nodes, meta.v6_base as usize, &image.v6_nodes)?;
        compare("IPv6 interval below /64", &mut self.v6_low, meta.v6_low_base as usize, &image.v6_low)?;
        compare("class", &mut self.classes, (slot * self.capacity.classes) as usize, &image.classes)?;
        let mut rules = Cow::Borrowed(&image.rules);
        for (number, row) in leased(policy, self.lease_until[slot as usize]) {
            rules.to_mut()[number] = row;
        }
        compare("rule row", &mut self.rules, meta.rules_base as usize, &rules)
    }
}

impl Kernel {
    /// Takes a policy that is to hold, whole, from the next [`Kernel::flip`] on: every packet is wholly under the
    /// old one and in the old epoch, or wholly under the new one and in the new epoch.
    ///
    /// # Errors
    /// A policy that does not fit, or an epoch that is not drained yet; then nothing has changed.
    pub fn stage(&mut self, next: Switch) -> Result<(), KernelError> {
        self.put_off_to_stage()?;
        // The other slot: since the last grace period no packet reads it.
        let slot = 1 - self.control.slot();
        self.policy_slots.write(slot, &next.policy, self.lease_until())?;
        // What was there is no way back any more, nor can it come into force.
        (self.previous, self.staged) = (None, None);
        Fault::Stage.point();
        self.policy_slots.check(slot, &next.policy)?;
        self.self_test(slot, &next.policy.image)?;
        self.staged = Some(next);
        Ok(())
    }

    /// Whether the policy in force is what it should be: the control word, its bytes in the maps, and what it answers.
    ///
    /// # Errors
    /// What is not.
    pub fn verify(&mut self) -> Result<(), KernelError> {
        if self.maps.hot.atomic(Hot::CONTROL).load(Ordering::Acquire) != self.control.0 {
            return Err(KernelError::Differs { what: "control word", at: "0".into() });
        }
        let policy = Arc::clone(&self.policy);
        self.policy_slots.check(self.control.slot(), &policy)?;
        self.self_test(ProbeQuery::IN_FORCE, &policy.image)?;
        if let Err(error) = self.arm() {
            tracing::warn!(%error, "the kernel part will not fall back by itself");
        }
        Ok(())
    }

    /// Takes the policy and mode before the last switch, still in the other slot, to hold again from the next
    /// [`Kernel::flip`] on. It is read back first, and written anew if need be.
    ///
    /// # Errors
    /// There is none, or its epoch is not drained yet.
    pub fn roll_back(&mut self) -> Result<(), KernelError> {
        self.put_off_to_stage()?;
        let previous = self.previous.take().ok_or(KernelError::NothingBefore)?;
        let slot = 1 - self.control.slot();
        self.policy_slots.renew(slot, &previous.policy, self.lease_until());
        if self.policy_slots.check(slot, &previous.policy).is_err() {
            self.policy_slots.write(slot, &previous.policy, self.lease_until())?;
            self.policy_slots.check(slot, &previous.policy)?;
        }
        self.staged = Some(previous);
        self.guard = self.guard_before.take();
        Ok(())
    }
}

/// The rule rows of rules with a daily budget, with their numbers, as they are to be while it is leased.
fn leased(policy: &Policy, until: u64) -> impl Iterator<Item = (usize, RuleRow)> {
    let has_budget = |row: &RuleRow| {
        let rule = usize::from(row.rule).checked_sub(1).and_then(|number| policy.rules.get(number));
        rule.is_some_and(|rule| rule.max_bytes_per_day.is_some())
    };
    let rows = policy.image.rules.iter().enumerate().filter(move |(_, row)| has_budget(row));
    rows.map(move |(number, row)| (number, RuleRow { expires_ns: row.expires_ns.min(until), ..*row }))
}

fn copy_into<T: bytemuck::Pod>(map: &mut MappedArray<T>, start: usize, values: &[T]) {
    map.part(start, values.len()).copy_from_slice(values);
}

fn compare<T: bytemuck::Pod>(
    what: &'static str,
    map: &mut MappedArray<T>,
    start: usize,
    values: &[T],
) -> Result<(), KernelError> {
    let there: &[u8] = bytemuck::cast_slice(map.part(start, values.len()));
    let wanted: &[u8] = bytemuck::cast_slice(values);
    if there == wanted {
        return Ok(());
    }
    let at = there.iter().zip(wanted).position(|(there, wanted)| there != wanted).unwrap_or(0);
    Err(KernelError::Differs { what, at: (at / size_of::<T>()).to_string() })
}

fn mapped<T: bytemuck::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    length: u32,
    maps: &mut Vec<MapData>,
) -> Result<MappedArray<T>, KernelError> {
    let map = object::data(ebpf, name)?;
    let mapped = MappedArray::new(object::fd(&map), length as usize).map_err(KernelError::map(name))?;
    maps.push(map);
    Ok(mapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image in which these addresses have one class and all others another.
    fn image(v4: &[u32], v6: &[u128]) -> Image {
        let mut v4: Vec<(u32, u32)> = v4.iter().flat_map(|at| [(*at, 1), (at + 1, 0)]).collect();
        let mut v6: Vec<(u128, u32)> = v6.iter().flat_map(|at| [(*at, 1), (at + 1, 0)]).collect();
        v4.insert(0, (0, 0));
        v6.insert(0, (0, 0));
        Image::build(&v4, &v6, vec![ClassRow::default(); 2], Vec::new()).expect("a partition")
    }

    #[test]
    fn a_small_policy_leaves_room_for_sixty_thousand_networks_that_are_apart() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let small = image(&[], &[]);
        let fits = |memory, large: &Image| {
            let capacity = Capacity::for_image(&small, memory);
            capacity.tables(large).into_iter().all(|(_, needed, room)| needed <= room as usize)
        };
        let mut apart = |networks: usize| {
            let mut v4: Vec<u32> = (0..networks).map(|_| random.u32(1..u32::MAX) | 1).collect();
            v4.sort_unstable();
            v4.dedup();
            v4.retain(|at| *at < u32::MAX);
            v4
        };
        // Before it was 30,000 that a reload had no room for.
        let v4 = apart(60_000);
        assert!(fits(16 << 30, &image(&v4, &[])), "{:?}", image(&v4, &[]).v4_nodes.len());
        let below: Vec<u128> =
            apart(20_000).into_iter().map(|at| 0x2001_0db8 << 96 | u128::from(at) << 64 | 1).collect();
        assert!(fits(16 << 30, &image(&[], &below)), "{:?}", image(&[], &below).v6_low.len());
        // Where there is little memory, as before.
        let capacity = Capacity::for_image(&small, 16 << 20);
        assert_eq!([capacity.v4_nodes, capacity.v6_low, capacity.rules], [1024, 4096, 1024]);
    }
}
