//! What the kernel says of an interface beside its hook: the device's own counters, its queue, whether the program is
//! still there. The kernel part reads, `reconcile` holds it against what passed the hook.

pub use monitor_api::status::Amount;
use monitor_common::wire::HookSums;

/// Which segmentation a device does itself: what it does not, the kernel does between hook and device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offloads {
    /// None: every super-packet is cut up before the device.
    Nothing,
    /// Some, or it is not known.
    #[default]
    Some,
    /// Every kind that ordinary traffic has: no super-packet is cut up before the device.
    Everything,
}

/// A device's own account, from rtnetlink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Sent since it was made, or since its driver last began anew (`tx_packets`, `tx_bytes`).
    pub sent: Amount,
    /// Whether there is a bus behind it: it may count when the hardware reports back, not when it takes the packet.
    pub hardware: bool,
    /// Packets that it may hold uncounted for any time: the queue of a tun device, which counts when it is read.
    pub holds: u64,
    /// What it cuts up itself.
    pub offloads: Offloads,
    /// Kind of its root queueing discipline.
    pub qdisc: String,
}

/// A root queueing discipline's account. All zero where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Handle and kind: another one has counters of its own.
    pub id: (u32, String),
    /// Packets dropped, modulo 2^32.
    pub drops: u32,
    /// Packets waiting.
    pub waiting: u32,
}

/// Whether our program is still on the way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// It is; the programs of others that are `ahead` have their say first, and what they pass or redirect we don't see.
    Attached {
        /// Their ids, in order.
        ahead: Vec<u32>,
    },
    /// Somebody took it off.
    Detached,
    /// Not known.
    #[default]
    Unknown,
}

/// The interface while our program was put on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The device just before.
    pub before: Amount,
    /// Just after.
    pub after: Device,
    /// The queue after that.
    pub queue: Queue,
    /// What had passed the hook by then.
    pub hook: HookSums,
}

/// One look at an interface. The order in time is that of the fields, so that what the device counted is never held
/// against less than what had passed by then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Name now.
    pub interface: String,
    /// Index.
    pub ifindex: u32,
    /// When the program was attached, UTC nanoseconds since 1970: tells it from another that had the index.
    pub attached: i128,
    /// Whether the program is off it since: no other reading comes.
    pub last: bool,
    /// What there was when the program was attached.
    pub base: Base,
    /// When, in nanoseconds of a clock that stands while the machine is suspended.
    pub at: u64,
    /// What passed the hook in all closed epochs: exact.
    pub closed: HookSums,
    /// The queue before.
    pub queue: Queue,
    /// `None`: there is no such device in this namespace any more.
    pub device: Option<Device>,
    /// The queue after.
    pub queue_after: Queue,
    /// Everything that passed the hook, the open epoch's packets too.
    pub open: HookSums,
    /// Whether the program is there.
    pub presence: Presence,
}
