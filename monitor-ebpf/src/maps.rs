//! All maps, each with who writes and who reads it. Sizes marked "at load" are set by userspace before the load.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use monitor_common::{
    cache::HashKeys,
    classify::ROOT_ROWS,
    evaluate::Evaluation,
    fragments::{FRAGMENT_SETS, FragmentSet},
    parse::{HeaderWalker, Reason},
    wire::{
        CacheKey, CacheSet, ClassRow, Clock, Counters, FlowKey, FlowValue, FullKey, HookSums, INTERFACE_TABLE,
        InnerDestination, InterfaceEntry, MAX_CLASSES, MAX_INTERFACES, Node, PolicyMeta, ReasonSums, RuleRow, V6Low,
    },
};

const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Rows of the class table that one policy has room for: the stride of [`CLASSES`] and [`OVERFLOW`]. Set at load.
#[unsafe(no_mangle)]
pub static CLASS_CAPACITY: Global<u32> = Global::new(MAX_CLASSES);

/// CPUs that [`CACHE`] has room for. Set at load.
#[unsafe(no_mangle)]
pub static CPUS: Global<u32> = Global::new(1);

/// Sets of each CPU in one half of [`CACHE`]. Set at load.
#[unsafe(no_mangle)]
pub static CACHE_SETS: Global<u32> = Global::new(1);

/// For [`CacheKey::set_index`]. Set at load, at random.
#[unsafe(no_mangle)]
pub static HASH_KEYS: Global<HashKeys> = Global::new([1; 6]);

/// [`monitor_common::wire::Control`]. Userspace writes (a single store to shared memory), every packet reads once.
#[map]
pub static CONTROL: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Registered interfaces, open addressing. Userspace writes, every packet reads.
#[map]
pub static INTERFACES: Array<InterfaceEntry> = Array::with_max_entries(INTERFACE_TABLE, 0);

/// What passed the hook and what of it was dropped, by parity and interface slot. Packets write on their CPU;
/// userspace reads and clears the closed half, and reads the open one.
#[map]
pub static HOOK: PerCpuArray<HookSums> = PerCpuArray::with_max_entries(2 * MAX_INTERFACES, 0);

/// Packets without a flow, by parity, interface slot and reason. As [`HOOK`].
#[map]
pub static UNPARSED: PerCpuArray<ReasonSums> = PerCpuArray::with_max_entries(2 * MAX_INTERFACES * Reason::COUNT, 0);

/// The state of the current packet: in map memory, of whose content the verifier knows nothing, whatever path leads to
/// it.
#[repr(C)]
pub struct Scratch {
    /// The packet's key.
    pub key: FullKey,
    /// Its key in the flow cache, if the fast path parsed it.
    pub cache_key: CacheKey,
    /// The state of the parser, for any other packet.
    pub walker: HeaderWalker,
    /// The inner destination of its first fragment.
    pub of_first: InnerDestination,
    /// What the policy makes of it.
    pub evaluation: Evaluation,
    /// A [`crate::slow_parse::ParseOutcome`] as its number.
    pub outcome: u32,
    /// Index of the interface that the packet leaves by.
    pub ifindex: u32,
    /// CLOCK_BOOTTIME.
    pub now: u64,
    /// For [`crate::policy::MappedImage`].
    pub cell: u32,
}

/// Datagrams whose fragments are in transit. Packets write and read, each on its CPU.
#[map]
pub static FRAGMENTS: PerCpuArray<FragmentSet> = PerCpuArray::with_max_entries(FRAGMENT_SETS, 0);

/// Packets write and read, each on its CPU.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Flows as each CPU counts them, by parity, CPU and [`CacheKey::set_index`]. Packets write on their CPU; userspace
/// reads and clears the closed half. At load.
#[map]
pub static CACHE: Array<CacheSet> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// Flows of the even epochs that were evicted from [`CACHE`] or never in it. Packets insert and add; userspace drains
/// the closed half. At load.
#[map]
pub static FLOWS_EVEN: HashMap<FlowKey, FlowValue> = HashMap::with_max_entries(262_144, 0);

/// Flows of the odd epochs.
#[map]
pub static FLOWS_ODD: HashMap<FlowKey, FlowValue> = HashMap::with_max_entries(262_144, 0);

/// Flows with an inner destination, of the even epochs. As [`FLOWS_EVEN`]. At load.
#[map]
pub static INNER_EVEN: HashMap<FullKey, FlowValue> = HashMap::with_max_entries(32_768, 0);

/// Flows with an inner destination, of the odd epochs.
#[map]
pub static INNER_ODD: HashMap<FullKey, FlowValue> = HashMap::with_max_entries(32_768, 0);

/// Packets whose flow found no place, by interface slot, parity, class id and verdict. Packets add; userspace reads and
/// clears the closed half. At load.
#[map]
pub static OVERFLOW: Array<Counters> = Array::with_max_entries(2 * MAX_INTERFACES * MAX_CLASSES * 3, BPF_F_MMAPABLE);

/// Events that [`EVENTS`] had no room for, by parity. As [`HOOK`].
#[map]
pub static EVENTS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// [`monitor_common::wire::Event`]s. Packets write, userspace reads.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The kernel's clocks. The `clock` program writes, userspace reads.
#[map]
pub static CLOCK: Array<Clock> = Array::with_max_entries(1, 0);

// The policy: two images side by side. Packets read the one that the control word names, userspace writes the other.

/// Where each image starts in the maps below.
#[map]
pub static POLICY: Array<PolicyMeta> = Array::with_max_entries(2, 0);

/// [`monitor_common::classify::Tables::v4_cell`].
#[map]
pub static V4_ROOT: Array<[u32; 2]> = Array::with_max_entries(2 * ROOT_ROWS, BPF_F_MMAPABLE);

/// [`monitor_common::classify::Tables::v4_node`]. At load.
#[map]
pub static V4_NODES: Array<Node> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// [`monitor_common::classify::Tables::v6_cell`].
#[map]
pub static V6_ROOT: Array<[u32; 2]> = Array::with_max_entries(2 * ROOT_ROWS, BPF_F_MMAPABLE);

/// [`monitor_common::classify::Tables::v6_node`]. At load.
#[map]
pub static V6_NODES: Array<Node> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// IPv6 interval starts below /64. At load.
#[map]
pub static V6_LOW: Array<V6Low> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Class rows. At load.
#[map]
pub static CLASSES: Array<ClassRow> = Array::with_max_entries(2 * MAX_CLASSES, BPF_F_MMAPABLE);

/// Rule rows. At load.
#[map]
pub static RULES: Array<RuleRow> = Array::with_max_entries(1, BPF_F_MMAPABLE);
