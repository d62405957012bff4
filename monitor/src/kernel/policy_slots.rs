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
use serde::{Deserialize, Serialize};

use super::{
    Kernel, KernelError,
    object::{self, map},
    rolling::{Rolling, Table},
    sys::MappedArray,
};
use crate::{fault::Fault, model::FindingKind};

/// A policy and mode to switch to with the next epoch.
#[derive(Debug)]
pub struct Switch {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The mode.
    pub mode: Mode,
}

/// What the tables of a policy come to in the kernel, in both slots: name, entries, and bytes as they are made for it.
pub fn tables(image: &Image) -> [(&'static str, usize, u64); 5] {
    let capacity = Capacity::of(image);
    let sizes = [size_of::<Node>(), size_of::<Node>(), size_of::<V6Low>(), size_of::<ClassRow>(), size_of::<RuleRow>()];
    let bytes = |(room, size): (u32, usize)| 2 * u64::from(room) * size as u64;
    let mut bytes = capacity.tables(image).map(|(_, _, room)| room).into_iter().zip(sizes).map(bytes);
    capacity.tables(image).map(|(name, entries, _)| (name, entries, bytes.next().unwrap_or_default()))
}

/// Entries that the image in one slot may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Capacity {
    pub v4_nodes: u32,
    pub v6_nodes: u32,
    pub v6_low: u32,
    pub classes: u32,
    pub rules: u32,
}

impl Capacity {
    /// An eighth more than the image has, and some: what a reload brings that is not another policy. For more, the maps are
    /// [replaced](Kernel::make_room).
    pub fn of(image: &Image) -> Self {
        Self::with(image, 8)
    }

    /// A quarter more, so that what goes on to grow is not replaced again and again.
    pub fn growing(image: &Image) -> Self {
        Self::with(image, 4)
    }

    fn with(image: &Image, share: usize) -> Self {
        let room =
            |length: usize, spare: usize| u32::try_from(length + (length / share).max(spare)).unwrap_or(u32::MAX);
        Self {
            v4_nodes: room(image.v4_nodes.len(), 1024),
            v6_nodes: room(image.v6_nodes.len(), 1024),
            v6_low: room(image.v6_low.len(), 4096),
            // Each has overflow counters for each interface.
            classes: room(image.classes.len(), 256).min(MAX_CLASSES),
            rules: room(image.rules.len(), 1024),
        }
    }

    /// Room for whatever has room in either.
    pub fn max(self, other: Self) -> Self {
        Self {
            v4_nodes: self.v4_nodes.max(other.v4_nodes),
            v6_nodes: self.v6_nodes.max(other.v6_nodes),
            v6_low: self.v6_low.max(other.v6_low),
            classes: self.classes.max(other.classes),
            rules: self.rules.max(other.rules),
        }
    }

    /// Whether an image has room.
    ///
    /// # Errors
    /// What of it has not.
    pub fn fits(&self, image: &Image) -> Result<(), KernelError> {
        for (what, needed, room) in self.tables(image) {
            if needed > room as usize {
                return Err(KernelError::TooLarge { what, needed, capacity: room as usize });
            }
        }
        Ok(())
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
    pub capacity: Capacity,
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
    /// How far the policy in force is compared with what was compiled.
    pub rolling: Rolling,
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
            rolling: Rolling::default(),
            _maps: maps,
        })
    }

    /// Writes a policy into a slot that no packet reads, its rules with a daily budget until `lease_until` (CLOCK_BOOTTIME).
    /// Either all of it fits, or nothing is written.
    pub fn write(&mut self, slot: u32, policy: &Policy, lease_until: Option<u64>) -> Result<(), KernelError> {
        let capacity = self.capacity;
        let image = &policy.image;
        capacity.fits(image)?;
        let meta = self.header(slot, image);
        copy_into(&mut self.v4_root, (slot * ROOT_ROWS) as usize, &image.v4_root);
        copy_into(&mut self.v4_nodes, meta.v4_base as usize, &image.v4_nodes);
        copy_into(&mut self.v6_root, (slot * ROOT_ROWS) as usize, &image.v6_root);
        copy_into(&mut self.v6_nodes, meta.v6_base as usize, &image.v6_nodes);
        copy_into(&mut self.v6_low, meta.v6_low_base as usize, &image.v6_low);
        copy_into(&mut self.classes, (slot * capacity.classes) as usize, &image.classes);
        copy_into(&mut self.rules, meta.rules_base as usize, &image.rules);
        self.renew(slot, policy, lease_until);
        self.write_header(slot, policy)
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
            local_class: image.local_class,
            opaque_denied: image.opaque_denied,
        }
    }

    /// The tables of a slot, and what of the policy is to be in them.
    pub fn tables_in<'a>(&'a self, slot: u32, policy: &'a Policy) -> [Table<'a>; 7] {
        let (image, meta) = (&policy.image, self.header(slot, &policy.image));
        let root = (slot * ROOT_ROWS) as usize;
        let classes = (slot * self.capacity.classes) as usize;
        let mut rules = Cow::Borrowed(&image.rules);
        for (number, row) in leased(policy, self.lease_until[slot as usize]) {
            rules.to_mut()[number] = row;
        }
        let rules = match rules {
            Cow::Borrowed(rows) => Cow::Borrowed(bytemuck::cast_slice(rows)),
            Cow::Owned(rows) => Cow::Owned(bytemuck::cast_slice(&rows).to_vec()),
        };
        let rules = Table {
            kind: FindingKind::RuleRowChanged,
            name: "rule row",
            entry: size_of::<RuleRow>(),
            there: &self.rules.words()[meta.rules_base as usize * size_of::<RuleRow>() / 8..],
            wanted: rules,
        };
        [
            table(FindingKind::ClassRowChanged, "class row", &self.classes, classes, &image.classes),
            rules,
            table(FindingKind::ImageChanged, "pair of IPv4 cells", &self.v4_root, root, &image.v4_root),
            table(FindingKind::ImageChanged, "pair of IPv6 cells", &self.v6_root, root, &image.v6_root),
            table(FindingKind::ImageChanged, "IPv4 node", &self.v4_nodes, meta.v4_base as usize, &image.v4_nodes),
            table(FindingKind::ImageChanged, "IPv6 node", &self.v6_nodes, meta.v6_base as usize, &image.v6_nodes),
            table(
                FindingKind::ImageChanged,
                "IPv6 interval below /64",
                &self.v6_low,
                meta.v6_low_base as usize,
                &image.v6_low,
            ),
        ]
    }

    /// Whether the header of a slot is what the policy has.
    pub fn has_header(&self, slot: u32, policy: &Policy) -> Result<bool, KernelError> {
        let there = self.meta.get(&slot, 0).map_err(KernelError::aya("reading the policy header"))?;
        Ok(there == self.header(slot, &policy.image))
    }

    /// Writes the header of a slot once more.
    pub fn write_header(&mut self, slot: u32, policy: &Policy) -> Result<(), KernelError> {
        let meta = self.header(slot, &policy.image);
        self.meta.set(slot, meta, 0).map_err(KernelError::aya("writing the policy header"))
    }

    /// Reads a slot back and holds it against the policy that it should hold: every byte that a look-up can come to.
    pub fn check(&mut self, slot: u32, policy: &Policy) -> Result<(), KernelError> {
        let image = &policy.image;
        let meta = self.header(slot, image);
        if !self.has_header(slot, policy)? {
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

fn table<'a, T: bytemuck::Pod>(
    kind: FindingKind,
    name: &'static str,
    map: &'a MappedArray<T>,
    start: usize,
    values: &'a [T],
) -> Table<'a> {
    let there = &map.words()[start * size_of::<T>() / 8..];
    Table { kind, name, entry: size_of::<T>(), there, wanted: Cow::Borrowed(bytemuck::cast_slice(values)) }
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
