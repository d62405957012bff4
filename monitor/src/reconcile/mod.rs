//! What the hooks let pass held against what the devices say they sent: readings in, one [`Standing`] per interface
//! and the surpluses of this epoch out. Pure: the kernel's numbers come with the snapshot (`kernel/readings` reads them),
//! the epoch task calls [`Reconciler::read`] once per epoch.
//!
//! A surplus on the device's side is traffic that left without passing the hook. See [`account`] for what is proven
//! and when.

use std::collections::BTreeMap;

use monitor_common::wire::HookSums;

mod account;

#[cfg(test)]
mod tests;

pub use account::Account;

/// Packets and bytes as a device counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Which segmentation a device does itself: what it does not, the kernel does between hook and device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offloads {
    /// None: every super-packet is cut up before the device.
    Nothing,
    /// Some, or it can't be told.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// It is; `ahead` programs of others have their say first, and what they pass or redirect we don't see.
    Attached {
        /// How many.
        ahead: u32,
    },
    /// Somebody took it off.
    Detached,
    /// It can't be told.
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
    /// Name when it was attached.
    pub interface: String,
    /// Index.
    pub ifindex: u32,
    /// When it was attached.
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

/// What a device counts as a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Not known: no super-packets so far, or the device takes only some. Held against segments and bytes on the wire,
    /// which accuses less.
    #[default]
    Undetermined,
    /// skbs, super-packets as one: virtual devices.
    Skbs,
    /// Packets on the wire: hardware, and devices for which the kernel cuts super-packets up.
    Segments,
}

impl Kind {
    /// The name in status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undetermined => "undetermined",
            Self::Skbs => "skbs",
            Self::Segments => "segments",
        }
    }
}

/// How an interface stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Name.
    pub interface: String,
    /// What the device counts as a packet.
    pub kind: Kind,
    /// Sent since the program was attached, by the device's account.
    pub sent: Amount,
    /// Sent before, since the device was made.
    pub before_attach: Amount,
    /// Of that, while the program was being attached.
    pub while_attaching: Amount,
    /// Passed the hook and dropped by us, as the device would have counted it.
    pub dropped: Amount,
    /// Passed the hook and dropped by the queueing discipline; how many bytes it does not say.
    pub qdisc_drops: u64,
    /// Waiting in the queueing discipline.
    pub waiting: u64,
    /// Passed the hook and was never counted by the device, for a reason that is not known: redirected or dropped by
    /// another program, or lost in the driver. Grows only when that is certain.
    pub lost: u64,
    /// Sent by the device and not seen by the hook: proven. It never shrinks. Bytes where they can be told, as the
    /// device counts them.
    pub unaccounted: Amount,
    /// Whether the device is there.
    pub here: bool,
    /// Whether the program is on it.
    pub presence: Presence,
}

/// A surplus found in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surplus {
    /// Interface.
    pub interface: String,
    /// How much.
    pub found: Amount,
    /// How much since the program was attached.
    pub total: Amount,
}

/// All interfaces.
#[derive(Debug, Default)]
pub struct Reconciler(BTreeMap<u32, Account>);

impl Reconciler {
    /// Takes an epoch's readings; gives what was found in it.
    pub fn read(&mut self, readings: &[Reading]) -> Vec<Surplus> {
        let mut surpluses = Vec::new();
        for reading in readings {
            let account = self.0.entry(reading.ifindex).or_insert_with(|| Account::new(reading));
            let found = account.read(reading);
            if found != Amount::default() {
                let Standing { interface, unaccounted, .. } = account.standing();
                surpluses.push(Surplus { interface, found, total: unaccounted });
            }
        }
        surpluses
    }

    /// How each interface stands.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.0.values().map(Account::standing).collect()
    }
}
