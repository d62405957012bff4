//! The policy image in the maps, as the classifier reads it.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use monitor_common::{
    classify::{ROOT_ROWS, Tables},
    wire::{ClassRow, Node, PolicyMeta, RuleRow, V6Low},
};

use crate::maps;

/// One of the two images.
pub struct MappedImage {
    slot: u32,
    meta: PolicyMeta,
}

impl MappedImage {
    /// The image in this slot.
    #[inline(always)]
    pub fn in_slot(slot: u32) -> Option<Self> {
        Some(Self { slot, meta: *maps::POLICY.get(slot)? })
    }
}

#[inline(always)]
fn half(row: Option<&[u32; 2]>, index: u32) -> Option<u32> {
    row.map(|row| row[(index & 1) as usize])
}

impl Tables for MappedImage {
    #[inline(always)]
    fn v4_cell(&self, number: u32) -> Option<u32> {
        half(maps::V4_ROOT.get(self.slot * ROOT_ROWS + (number >> 1)), number)
    }
    #[inline(always)]
    fn v4_node(&self, index: u32) -> Option<&Node> {
        maps::V4_NODES.get(self.meta.v4_base + index)
    }
    #[inline(always)]
    fn v6_cell(&self, number: u32) -> Option<u32> {
        half(maps::V6_ROOT.get(self.slot * ROOT_ROWS + (number >> 1)), number)
    }
    #[inline(always)]
    fn v6_node(&self, index: u32) -> Option<&Node> {
        maps::V6_NODES.get(self.meta.v6_base + index)
    }
    #[inline(always)]
    fn v6_low(&self, index: u32) -> Option<&V6Low> {
        maps::V6_LOW.get(self.meta.v6_low_base + index)
    }
    #[inline(always)]
    fn class_row(&self, class_id: u32) -> Option<&ClassRow> {
        maps::CLASSES.get(self.slot * maps::CLASS_CAPACITY.load() + class_id)
    }
    #[inline(always)]
    fn rule_row(&self, index: u32) -> Option<&RuleRow> {
        maps::RULES.get(self.meta.rules_base + index)
    }
    #[inline(always)]
    fn boot_ns(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_boot_ns() }
    }
    #[inline(always)]
    fn local_class(&self) -> u32 {
        self.meta.local_class
    }
    #[inline(always)]
    fn opaque_denied(&self) -> u32 {
        self.meta.opaque_denied
    }
    #[inline(always)]
    fn as_unknown_scalar(&self, number: u32) -> Option<u32> {
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: this CPU's own value. Volatile, or the compiler would know that it reads what it wrote.
        unsafe {
            let cell = &raw mut (*scratch).cell;
            cell.write_volatile(number);
            Some(cell.read_volatile())
        }
    }
}
