//! What the kernel says of an interface beside its hook: the device's own counters, its queue, whether the program is
//! still there. The kernel part reads, `reconcile` holds it against what passed the hook.

pub use monitor_api::status::Amount;
use monitor_common::wire::{Counters, HookSums};

/// Kinds of super-packets that flows tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperKind {
    /// TCP over IPv4, in no tunnel.
    Tcp4,
    /// TCP over IPv6, in no tunnel.
    Tcp6,
    /// UDP; what it carries may be a tunnel at a port that nobody knows.
    Udp,
    /// Tunnels, SCTP, ESP…
    Other,
}

/// What becomes of super-packets between hook and device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taken {
    /// The device takes them as they are.
    Whole,
    /// The same, but for some that nobody can tell from the others.
    Mostly,
    /// The kernel cuts them up.
    CutUp,
    /// One or the other.
    #[default]
    Unknown,
}

/// Which segmentation a device does itself, by kind of super-packet: what it does not, the kernel does between hook and
/// device. By default nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads([Taken; Self::KINDS]);

impl Offloads {
    const KINDS: usize = 4;
    /// None: every super-packet is cut up before the device.
    pub const NOTHING: Self = Self([Taken::CutUp; Self::KINDS]);
    /// Every kind that ordinary traffic has: no super-packet is cut up before the device.
    pub const EVERYTHING: Self = Self([Taken::Whole; Self::KINDS]);

    /// With this kind taken so.
    #[must_use]
    pub const fn with(mut self, kind: SuperKind, taken: Taken) -> Self {
        self.0[kind as usize] = taken;
        self
    }

    /// How this kind is taken.
    pub const fn of(&self, kind: SuperKind) -> Taken {
        self.0[kind as usize]
    }

    /// The same where what the device would take whole may be cut up on the way to it.
    #[must_use]
    pub fn or_cut_up(self) -> Self {
        Self(self.0.map(|taken| if taken == Taken::Whole { Taken::Mostly } else { taken }))
    }
}

/// What super-packets of an epoch come to beyond one packet each, once they are cut up: further packets, and their bytes.
/// By kind; of what flows don't tell it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supers([Amount; Offloads::KINDS]);

impl Supers {
    /// Adds what passed.
    pub fn add(&mut self, kind: SuperKind, passed: &Counters) {
        let further = &mut self.0[kind as usize];
        further.packets += passed.segments.saturating_sub(passed.packets);
        further.bytes += passed.wire_bytes.saturating_sub(passed.bytes);
    }

    /// Further packets of all.
    pub fn packets(&self) -> u64 {
        self.0.iter().map(|further| further.packets).sum()
    }

    /// Of the kinds that are taken so.
    pub fn taken(&self, offloads: &Offloads, how: Taken) -> Amount {
        let kinds = self.0.iter().zip(offloads.0).filter(|(_, taken)| *taken == how);
        kinds.fold(Amount::default(), |sum, (further, _)| Amount {
            packets: sum.packets + further.packets,
            bytes: sum.bytes + further.bytes,
        })
    }
}

/// What a device's counters are worth beside its hook, by its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Comparison {
    /// What it sent passed the hook, or is a surplus. What it dropped it may have counted as sent besides: hardware.
    #[default]
    Sent,
    /// What it dropped it did not count as sent.
    SentAndDropped,
    /// It counts frames that never pass its own hook, or one packet several times, for this reason.
    None(&'static str),
}

/// A device's own account, from rtnetlink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Sent since it was made, or since its driver last began anew (`tx_packets`, `tx_bytes`).
    pub sent: Amount,
    /// Not sent (`tx_dropped`, `tx_errors`), by driver and core.
    pub dropped: u64,
    /// What these are worth.
    pub comparison: Comparison,
    /// Whether there is a bus behind it: it may count when the hardware reports back, not when it takes the packet.
    pub hardware: bool,
    /// Packets that it may hold uncounted for any time: the queue of a tun device, which counts when it is read.
    pub holds: u64,
    /// What it cuts up itself.
    pub offloads: Offloads,
    /// Kinds of its queueing disciplines: that of the root, and of those below where they were read.
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

/// A queueing discipline below the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discipline {
    /// The class that it is in.
    pub parent: u32,
    /// Its own handle; 0 of what the kernel made by itself.
    pub handle: u32,
    /// Its kind.
    pub kind: String,
    /// Packets dropped, modulo 2^32.
    pub drops: u32,
}

/// A filter's action that takes packets away which passed the hook: drops them, or sends them another way, to another
/// device or to an ifb and from there perhaps back to the hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterAction {
    /// Kind and number.
    pub id: (String, u32),
    /// Packets that it took, each segment of a super-packet one, modulo 2^32.
    pub packets: u32,
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
    /// The queue after that, and what is below.
    pub queue: Queue,
    /// See [`Reading::below`].
    pub below: Vec<Discipline>,
    /// See [`Reading::filters`].
    pub filters: Vec<FilterAction>,
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
    /// Super-packets that passed in the epoch closed last.
    pub supers: Supers,
    /// Queueing disciplines below the root, before.
    pub below: Vec<Discipline>,
    /// What takes packets away between hook and queue, before.
    pub filters: Vec<FilterAction>,
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
