//! The two policy images in the kernel: made with room to grow, written one while the other is in force, and read back.
//!
//! What was written is compared byte by byte. The maps are mapped: what is read here is the memory that the programs
//! read, not a copy, so equal bytes mean equal look-ups, and looking addresses up as well would show nothing more. That
//! the program finds the tables where they are is another question, which [`super::Kernel::verify`] puts to the kernel.

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use monitor_common::{
    classify::build::Image,
    wire::{ClassRow, MAX_CLASSES, PolicyMeta, RuleRow, V6Low, V6Node, V6Values},
};

use super::{
    KernelError,
    load::{FdOf as _, data},
    sys::Shared,
};

const V4_BUCKETS: usize = 65_536;

/// Entries that one image may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub v4_entries: u32,
    pub v6_nodes: u32,
    pub v6_low: u32,
    pub classes: u32,
    pub rules: u32,
}

impl Capacity {
    /// An eighth more than the image has, and a floor that lets a small policy grow into a large one's rules.
    pub fn for_image(image: &Image) -> Self {
        let room = |length: usize, floor: usize| (length + length / 8).max(floor) as u32;
        Self {
            v4_entries: room(image.v4_entries.len(), 4096),
            v6_nodes: room(image.v6_nodes.len(), 1024),
            v6_low: room(image.v6_low.len(), 4096),
            classes: room(image.classes.len(), 1024).min(MAX_CLASSES),
            rules: room(image.rules.len(), 1024),
        }
    }
}

pub(super) struct Images {
    capacity: Capacity,
    meta: Array<MapData, PolicyMeta>,
    v4_buckets: Shared<u64>,
    v4_entries: Shared<u64>,
    v6_nodes: Shared<V6Node>,
    v6_values: Shared<V6Values>,
    v6_low: Shared<V6Low>,
    classes: Shared<ClassRow>,
    rules: Shared<RuleRow>,
    _maps: Vec<MapData>,
}

impl Images {
    pub fn new(ebpf: &mut Ebpf, capacity: Capacity) -> Result<Self, KernelError> {
        let mut maps = Vec::new();
        Ok(Self {
            capacity,
            meta: data(ebpf, "POLICY")
                .and_then(|map| Array::try_from(aya::maps::Map::Array(map)).map_err(KernelError::aya("policy map")))?,
            v4_buckets: shared(ebpf, "V4_BUCKETS", 2 * V4_BUCKETS as u32, &mut maps)?,
            v4_entries: shared(ebpf, "V4_ENTRIES", 2 * capacity.v4_entries, &mut maps)?,
            v6_nodes: shared(ebpf, "V6_NODES", 2 * capacity.v6_nodes, &mut maps)?,
            v6_values: shared(ebpf, "V6_VALUES", 2 * capacity.v6_nodes, &mut maps)?,
            v6_low: shared(ebpf, "V6_LOW", 2 * capacity.v6_low, &mut maps)?,
            classes: shared(ebpf, "CLASSES", 2 * capacity.classes, &mut maps)?,
            rules: shared(ebpf, "RULES", 2 * capacity.rules, &mut maps)?,
            _maps: maps,
        })
    }

    /// Writes an image into a slot that no packet reads. Either all of it fits, or nothing is written.
    pub fn write(&mut self, slot: u32, image: &Image) -> Result<(), KernelError> {
        let capacity = self.capacity;
        for (what, needed, room) in [
            ("IPv4 intervals", image.v4_entries.len(), capacity.v4_entries),
            ("IPv6 tree nodes", image.v6_nodes.len(), capacity.v6_nodes),
            ("IPv6 intervals below /64", image.v6_low.len(), capacity.v6_low),
            ("classes", image.classes.len(), capacity.classes),
            ("rule rows", image.rules.len(), capacity.rules),
        ] {
            if needed > room as usize {
                return Err(KernelError::TooLarge { what, needed, capacity: room as usize });
            }
        }
        let meta = self.header(slot, image);
        put(&mut self.v4_buckets, slot as usize * V4_BUCKETS, &image.v4_buckets);
        put(&mut self.v4_entries, meta.v4_base as usize, &image.v4_entries);
        put(&mut self.v6_nodes, meta.v6_base as usize, &image.v6_nodes);
        put(&mut self.v6_values, meta.v6_base as usize, &image.v6_values);
        put(&mut self.v6_low, meta.v6_low_base as usize, &image.v6_low);
        put(&mut self.classes, (slot * capacity.classes) as usize, &image.classes);
        put(&mut self.rules, meta.rules_base as usize, &image.rules);
        self.meta.set(slot, meta, 0).map_err(KernelError::aya("writing the policy header"))
    }

    fn header(&self, slot: u32, image: &Image) -> PolicyMeta {
        let capacity = self.capacity;
        PolicyMeta {
            v4_base: slot * capacity.v4_entries,
            v6_base: slot * capacity.v6_nodes,
            v6_nodes: image.v6_nodes.len() as u32,
            v6_low_base: slot * capacity.v6_low,
            rules_base: slot * capacity.rules,
            _reserved: 0,
            drop_reasons: image.drop_reasons,
        }
    }

    /// Reads a slot back and holds it against the image that it should hold: every byte that a look-up can come to.
    pub fn check(&mut self, slot: u32, image: &Image) -> Result<(), KernelError> {
        let meta = self.header(slot, image);
        let there = self.meta.get(&slot, 0).map_err(KernelError::aya("reading the policy header"))?;
        if there != meta {
            return Err(KernelError::Differs { what: "policy header", at: slot.to_string() });
        }
        same("IPv4 bucket", &mut self.v4_buckets, slot as usize * V4_BUCKETS, &image.v4_buckets)?;
        same("IPv4 interval", &mut self.v4_entries, meta.v4_base as usize, &image.v4_entries)?;
        same("IPv6 tree node", &mut self.v6_nodes, meta.v6_base as usize, &image.v6_nodes)?;
        same("IPv6 tree value", &mut self.v6_values, meta.v6_base as usize, &image.v6_values)?;
        same("IPv6 interval below /64", &mut self.v6_low, meta.v6_low_base as usize, &image.v6_low)?;
        same("class", &mut self.classes, (slot * self.capacity.classes) as usize, &image.classes)?;
        same("rule row", &mut self.rules, meta.rules_base as usize, &image.rules)
    }

    /// Class rows an image may have: the stride of the overflow counters.
    pub fn class_capacity(&self) -> u32 {
        self.capacity.classes
    }
}

fn put<T: bytemuck::Pod>(map: &mut Shared<T>, start: usize, values: &[T]) {
    map.part(start, values.len()).copy_from_slice(values);
}

fn same<T: bytemuck::Pod>(
    what: &'static str,
    map: &mut Shared<T>,
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

fn shared<T: bytemuck::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    length: u32,
    maps: &mut Vec<MapData>,
) -> Result<Shared<T>, KernelError> {
    let map = data(ebpf, name)?;
    let shared = Shared::of(map.fd_of(), length as usize).map_err(KernelError::map(name))?;
    maps.push(map);
    Ok(shared)
}
