//! All maps, each with who writes and who reads it. Sizes marked "at load" are set by userspace before the load.

use core::arch::asm;

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use monitor_common::{
    bypass::Bypass,
    classify::{Classification, ROOT_ROWS},
    evaluate::Evaluation,
    fragments::{FRAGMENT_SETS, FragmentSet},
    parse::{FastTunnel, HeaderWalker, Reason},
    wire::{
        CacheBlock, ClassRow, Clock, Counters, CpuHalf, Decision, FlowKey, FlowRecord, FlowValue, FullKey, Hot,
        InnerDestination, MAX_CLASSES, MAX_INTERFACES, Node, PlainKey, PolicyMeta, ReasonSums, RuleRow, TunnelKey,
        UnparsedEvent, V6Low,
    },
};

const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The same pointer, of which the compiler knows nothing (libbpf's `barrier_var`): what it points to is read from memory
/// again, and nothing is added to it before this.
#[inline(always)]
pub fn barrier_var<T>(mut pointer: *mut T) -> *mut T {
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) pointer, options(nostack, preserves_flags)) };
    pointer
}

/// Rows of the class table that one policy has room for: the stride of [`CLASSES`] and [`OVERFLOW`]. Set at load.
#[unsafe(no_mangle)]
pub static CLASS_CAPACITY: Global<u32> = Global::new(MAX_CLASSES);

/// What every packet reads. Userspace writes word by word, through shared memory.
#[map]
pub static HOT: Array<Hot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What each CPU has of each half, by parity: where its flow cache is, what passed the hooks. Packets read and write on
/// their CPU; userspace reads both halves, and writes the closed one.
#[map]
pub static HALVES: PerCpuArray<CpuHalf> = PerCpuArray::with_max_entries(2, 0);

/// Packets without a flow, by interface slot, parity and reason. As [`HALVES`]. At load.
#[map]
pub static UNPARSED: PerCpuArray<ReasonSums> = PerCpuArray::with_max_entries(2 * MAX_INTERFACES * Reason::COUNT, 0);

/// A flow that left the flow cache, as it was there and as the table has it.
#[repr(C)]
pub struct Evicted {
    /// As it was in the cache.
    pub record: FlowRecord,
    /// Its key in the table.
    pub key: FlowKey,
    /// Its value there.
    pub value: FlowValue,
}

/// Binary logarithm of the places of [`KNOWN_TUNNELS`].
pub const KNOWN_TUNNEL_BITS: u32 = 10;

/// What the policy made of the packets of a flow in a tunnel.
#[repr(C)]
pub struct KnownTunnel {
    /// The flow.
    pub key: TunnelKey,
    /// The control word in force.
    pub control: u64,
    /// What was made of it.
    pub classification: Classification,
    /// The low half of the jiffies then.
    pub asked: u32,
}

/// The state of the current packet: in map memory, of whose content the verifier knows nothing, whatever path leads to
/// it.
#[repr(C)]
pub struct Scratch {
    /// The packet's key.
    pub key: FullKey,
    /// Its key in the flow cache, if the fast path parsed it.
    pub plain: PlainKey,
    /// Its sizes.
    pub size: Counters,
    /// What the policy made of it, if it has a flow.
    pub decision: Decision,
    /// Whether that makes an alert.
    pub alert: u32,
    /// What there is to tell of it, if it has no flow.
    pub unparsed: UnparsedEvent,
    /// A flow that is on its way from the flow cache to the table.
    pub evicted: Evicted,
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
    /// The interface's [`monitor_common::wire::Link`] as its number.
    pub link: u32,
    /// For [`crate::policy::MappedImage`].
    pub cell: u32,
    /// The packet, if it has one tunnel and nothing else that is not plain.
    pub tunnel: FastTunnel,
    /// Its key.
    pub tunnel_key: TunnelKey,
    /// Its place in [`KNOWN_TUNNELS`], beyond the last for any other packet.
    pub tunnel_place: u32,
}

/// Datagrams whose fragments are in transit. Packets write and read, each on its CPU.
#[map]
pub static FRAGMENTS: PerCpuArray<FragmentSet> = PerCpuArray::with_max_entries(FRAGMENT_SETS, 0);

/// Flows in tunnels that were classified before. A look-up only: they are counted where all of their kind are. Packets
/// write and read, each on its CPU.
#[map]
pub static KNOWN_TUNNELS: PerCpuArray<KnownTunnel> = PerCpuArray::with_max_entries(1 << KNOWN_TUNNEL_BITS, 0);

/// Packets write and read, each on its CPU.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Sets of flows as each CPU counts them, where its [`CpuHalf`] says. Packets write on their CPU; userspace reads and
/// clears those of the closed half. At load.
#[map]
pub static CACHE: Array<CacheBlock> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// Flows that gave way to others in [`CACHE`], each CPU's in the order in which they did. As [`CACHE`]. At load.
#[map]
pub static LOG: Array<FlowRecord> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// Flows of the even epochs that found no place in [`CACHE`], or in [`LOG`]. Packets insert and add; userspace drains
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

/// Events that [`EVENTS`] had no room for, by parity. As [`HALVES`].
#[map]
pub static EVENTS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// [`monitor_common::wire::Event`]s and [`UnparsedEvent`]s. Packets write, userspace reads.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// A word each time that the open half is filling up. Packets write, userspace reads.
#[map]
pub static PRESSURE: RingBuf = RingBuf::with_byte_size(4096, 0);

/// The cookie of the network namespace whose sockets are kept from sending past the hook (SO_NETNS_COOKIE), or 0. Userspace
/// writes, setsockopt(2) reads.
#[map]
pub static BYPASS_NAMESPACE: Array<u64> = Array::with_max_entries(1, 0);

/// Control groups, by id, whose programs may do that all the same. As [`BYPASS_NAMESPACE`].
#[map]
pub static BYPASS_GROUPS: HashMap<u64, u8> = HashMap::with_max_entries(64, 0);

/// How often it was refused, by [`Bypass`]. Calls add, each on its CPU; userspace reads.
#[map]
pub static BYPASS_REFUSED: PerCpuArray<u64> = PerCpuArray::with_max_entries(Bypass::ALL.len() as u32, 0);

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
