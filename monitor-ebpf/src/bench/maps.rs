//! The benchmark's maps. Userspace writes all of them between runs.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, LpmTrie, PerCpuArray, ProgramArray, RingBuf},
};
use monitor_common::{
    classify::ROOT_ROWS,
    wire::{Address, ClassRow, Node, PolicyMeta, RuleRow, V6Low},
};

const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The state of a run.
#[repr(C)]
pub struct Step {
    /// Number of the next run.
    pub next: u64,
    /// Its bits that name a flow or an address.
    pub mask: u64,
    /// Sum of all answers.
    pub sum: u64,
    /// Look-ups without one.
    pub missed: u64,
}

/// Programs read and write.
#[map]
pub static STEP: Array<Step> = Array::with_max_entries(1, 0);

/// The program under test.
#[map]
pub static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// As the product's. The program `event` writes, userspace reads.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// IPv6 addresses to look up, in this order.
#[map]
pub static ADDRESSES: Array<Address> = Array::with_max_entries(65_536, 0);

/// The same prefixes as the index, by address in network order: class ids. At load.
#[map]
pub static TRIE_V4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(1, 0);

/// See [`TRIE_V4`].
#[map]
pub static TRIE_V6: LpmTrie<[u64; 2], u32> = LpmTrie::with_max_entries(1, 0);

/// Packets whose destination the trie has, by `trie_out`.
#[map]
pub static COUNTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// A line of the processor's cache for each of 65,536 flows, by `line_out`. Mappable, and so in pages of 4 KiB, as the
/// product's flow cache is.
#[map]
pub static LINES: Array<[u64; 8]> = Array::with_max_entries(65_536, BPF_F_MMAPABLE);

// What `policy.rs` reads: as in the product, but one image alone.

/// Class rows are not read here.
#[unsafe(no_mangle)]
pub static CLASS_CAPACITY: Global<u32> = Global::new(1);

#[map]
pub static POLICY: Array<PolicyMeta> = Array::with_max_entries(1, 0);

#[map]
pub static V4_ROOT: Array<[u32; 2]> = Array::with_max_entries(ROOT_ROWS, 0);

#[map]
pub static V6_ROOT: Array<[u32; 2]> = Array::with_max_entries(ROOT_ROWS, 0);

/// At load, as all below. Mappable, so that a node is one line of the processor's cache, as in the product.
#[map]
pub static V4_NODES: Array<Node> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static V6_NODES: Array<Node> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static V6_LOW: Array<V6Low> = Array::with_max_entries(1, 0);

#[map]
pub static CLASSES: Array<ClassRow> = Array::with_max_entries(1, 0);

#[map]
pub static RULES: Array<RuleRow> = Array::with_max_entries(1, 0);

/// For `MappedImage::as_unknown_scalar`.
pub struct Scratch {
    pub cell: u32,
}

#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
