//! What the programs of an earlier start have counted, in maps that it left pinned: opened, held against the policy in force
//! now, and drained into epochs like any other.

use std::{path::Path, sync::Arc};

use aya::maps::{Array, Map, MapData};
use monitor_common::{
    classify::build::Image,
    wire::{Class, ClassRow, Clock, Control, Counters, CpuHalf, HookSums, Hot, Link, RuleRow, v1},
};
use monitor_policy::{ClassInfo, Origin, Policy, RuleInfo, geo::Country};

use super::{
    Interface, KernelError,
    cache::Cache,
    closing::ClosingEpoch,
    counts::{Counts, Shape},
    halves::{Halves, hook_sums},
    interfaces::devices,
    object,
    sys::MappedArray,
};
use crate::{fault::Fault, model::Snapshot};

/// Of an earlier start's epoch.
#[derive(Debug)]
pub enum Left {
    /// All of it.
    Epoch(Box<Snapshot>),
    /// One whose drain was interrupted: all that was in it, by interface, is in no flow that adds up.
    Rest(Vec<(String, HookSums)>),
    /// One that can't be read, and why.
    Unreadable(String),
    /// This interface's program was put beside the earlier one, not in its place: for a moment both counted.
    Twice(String),
}

/// The maps of an earlier start.
pub(super) struct Predecessor {
    counts: Counts,
    /// By slot, from 1 on.
    interfaces: Vec<Option<Interface>>,
    control: Control,
    /// Under what the other half was counted, if that was the epoch before.
    previous: Control,
    /// By slot.
    policies: [Arc<Policy>; 2],
}

impl Predecessor {
    /// Opens what is pinned in a directory, of programs that run no more. `policy`: the one in force now.
    pub fn open(maps: &Path, policy: &Arc<Policy>) -> Result<Self, KernelError> {
        let pinned = |name: &str| {
            MapData::from_pin(maps.join(name)).map_err(|error| KernelError::Load(format!("pinned map {name}: {error}")))
        };
        let size = |map: &MapData| Ok(map.info().map_err(KernelError::aya("asking about a pinned map"))?.max_entries());
        let hot = hot(maps)?;
        let control = Control(hot.control);
        let [even, odd] = halves(maps)?;
        let cache = Cache::left([&even, &odd], size(&pinned("CACHE")?)?);
        let (classes, rules) = (pinned("CLASSES")?, pinned("RULES")?);
        let shape = Shape {
            flows: size(&pinned("FLOWS_EVEN")?)?,
            classes: size(&classes)? / 2,
            overflow: size(&pinned("OVERFLOW")?)?,
        };
        let in_slot = |slot: u32| -> Result<Arc<Policy>, KernelError> {
            let rows =
                Rows { classes: rows(&classes, slot, size(&classes)?)?, rules: rows(&rules, slot, size(&rules)?)? };
            let is_in_force = rows.are_of(&policy.image.classes, &policy.image.rules);
            Ok(if is_in_force { Arc::clone(policy) } else { Arc::new(rows.policy()) })
        };
        let present = devices().unwrap_or_default();
        let interface = |index: &u32| {
            let there = present.iter().find(|there| there.index == *index);
            let name = there.map_or_else(|| format!("interface {index}"), |there| there.name.clone());
            // Nobody parses by its link layer any more. A slot that was free has no index.
            (*index != 0).then_some(Interface { name, index: *index, link: Link::Ethernet })
        };
        Ok(Self {
            counts: Counts::of(pinned, cache, shape)?,
            interfaces: hot.ifindexes[1..shape.slots() as usize].iter().map(interface).collect(),
            control,
            previous: Control(hot.previous),
            policies: [in_slot(0)?, in_slot(1)?],
        })
    }

    /// What it counted and nobody has taken: the epoch that was being drained, then the open one.
    pub fn take(mut self, clock: Clock, hz: u32) -> Vec<Left> {
        let (open, previous) = (self.control, self.previous);
        let is_before = previous.epoch() == open.epoch().wrapping_sub(1);
        // Of the first epoch, or of one that was not opened whole: then the one before was empty.
        let before =
            if is_before { previous } else { Control::new(open.epoch().wrapping_sub(1), open.slot(), open.enforce()) };
        [before, open].into_iter().filter_map(|control| self.take_one(control, clock, hz)).collect()
    }

    fn take_one(&mut self, control: Control, clock: Clock, hz: u32) -> Option<Left> {
        let fill = self.counts.empty_fill(control.parity());
        let now = jiff::Timestamp::now();
        let policy = Arc::clone(&self.policies[control.slot() as usize]);
        let interfaces = self.interfaces.iter().map(Option::as_ref);
        let mut closing = ClosingEpoch::new(control, policy, now, interfaces, fill);
        closing.quiet = Some((now, clock));
        let sums: Vec<HookSums>;
        match self.counts.take_halves(control.parity(), &mut closing.interfaces) {
            Ok(halves) => {
                sums = (0..closing.interfaces.len()).map(|slot| hook_sums(&halves, slot)).collect();
                closing.halves = Some(halves);
            }
            Err(error) => return Some(Left::Unreadable(error.to_string())),
        }
        Fault::Adopt.point();
        let drained = self.counts.drain(&mut closing);
        let names: Vec<String> = closing.interfaces.iter().map(|counts| counts.name.clone()).collect();
        let mut snapshot = closing.snapshot(hz, Vec::new());
        // It began when its first packet came; nobody has noted more.
        let first = snapshot.flows.iter().map(|(_, value)| value.first).min();
        snapshot.started = first.map_or(snapshot.ended, |first| snapshot.wall_time(first));
        if snapshot.interfaces.iter().all(|counts| counts.hook.is_zero()) && snapshot.flows.is_empty() {
            return None;
        }
        let adds_up = |rest: Vec<(u32, Counters)>| rest.iter().all(|(_, counters)| counters.is_zero());
        if drained.is_ok() && adds_up(snapshot.residual()) && adds_up(snapshot.dropped_residual()) {
            return Some(Left::Epoch(Box::new(snapshot)));
        }
        if let Err(error) = drained {
            tracing::error!(%error, "an epoch of an earlier start can't be drained");
        }
        Some(Left::Rest(names.into_iter().zip(sums).collect()))
    }
}

/// What every packet read, as it is pinned: in these layouts, or those before.
pub(super) fn hot(maps: &Path) -> Result<Hot, KernelError> {
    let refused = |error: aya::maps::MapError| KernelError::Load(format!("pinned map HOT: {error}"));
    let data = MapData::from_pin(maps.join("HOT")).map_err(refused)?;
    let is_before = data.info().map_err(refused)?.value_size() as usize == size_of::<v1::Hot>();
    let map = Map::Array(data);
    if is_before {
        let hot: Array<_, [u8; size_of::<v1::Hot>()]> = map.try_into().map_err(refused)?;
        return Ok(Hot::from(&bytemuck::pod_read_unaligned::<v1::Hot>(&hot.get(&0, 0).map_err(refused)?)));
    }
    let hot: Array<_, [u8; size_of::<Hot>()]> = map.try_into().map_err(refused)?;
    Ok(bytemuck::pod_read_unaligned(&hot.get(&0, 0).map_err(refused)?))
}

/// What the CPUs have of both halves, as it is pinned: as [`hot`].
pub(super) fn halves(maps: &Path) -> Result<[Vec<CpuHalf>; 2], KernelError> {
    let refused = |error: aya::maps::MapError| KernelError::Load(format!("pinned map HALVES: {error}"));
    let data = MapData::from_pin(maps.join("HALVES")).map_err(refused)?;
    let halves = Halves::of(data).map_err(refused)?;
    Ok([halves.get(0).map_err(refused)?, halves.get(1).map_err(refused)?])
}

/// The rows of a policy's slot.
fn rows<T: bytemuck::Pod>(map: &MapData, slot: u32, all: u32) -> Result<Vec<T>, KernelError> {
    let mut mapped: MappedArray<T> =
        MappedArray::new(object::fd(map), all as usize).map_err(KernelError::map("can't map an earlier policy"))?;
    let half = all as usize / 2;
    Ok(mapped.part(slot as usize * half, half).to_vec())
}

/// What is left of a policy in the kernel: its numbers, without their names.
struct Rows {
    classes: Vec<ClassRow>,
    rules: Vec<RuleRow>,
}

impl Rows {
    /// Whether a class and a rule have the same numbers there. Rules' times are of another start's clock, and decide
    /// nothing here.
    fn are_of(&self, classes: &[ClassRow], rules: &[RuleRow]) -> bool {
        let rule = |row: &RuleRow| RuleRow { not_before_ns: 0, expires_ns: 0, ..*row };
        self.classes.starts_with(classes)
            && self.rules.len() >= rules.len()
            && self.rules.iter().zip(rules).all(|(one, other)| rule(one) == rule(other))
    }

    /// A policy that says of each number what can be said.
    fn policy(self) -> Policy {
        let info = |row: &ClassRow| ClassInfo { country: Country(row.country), class: Class::from_wire(row.class) };
        let rules = self.rules.iter().map(|row| row.rule).max().unwrap_or(0);
        let rule = |number| RuleInfo {
            id: format!("(rule {number} of an earlier policy)"),
            origin: Origin::default(),
            ..RuleInfo::default()
        };
        Policy {
            classes: self.classes.iter().map(info).collect(),
            rules: (1..=rules).map(rule).collect(),
            image: Image { classes: self.classes, ..Image::default() },
            ..Policy::default()
        }
    }
}
