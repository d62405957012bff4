//! What reconciliation comes to for one interface, for status, metrics and readiness.

use super::readings::{Amount, Presence};

/// What a device counts as a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CountingUnit {
    /// Not known: no super-packets so far, or none of which it is known what the kernel makes of them before the device.
    /// Held against segments and bytes on the wire, which accuses less.
    #[default]
    Undetermined,
    /// skbs, super-packets as one: virtual devices.
    Skbs,
    /// Packets on the wire: hardware, and devices for which the kernel cuts super-packets up.
    Segments,
}

impl CountingUnit {
    /// The name in status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undetermined => "undetermined",
            Self::Skbs => "skbs",
            Self::Segments => "segments",
        }
    }
}

/// What one interface sent, by its device, held against what passed its hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceAccount {
    /// Name.
    pub interface: String,
    /// What the device counts as a packet.
    pub unit: CountingUnit,
    /// Sent since the program was attached, by the device's account.
    pub sent: Amount,
    /// Sent before, since the device was made.
    pub before_attach: Amount,
    /// Of that, while the program was being attached.
    pub while_attaching: Amount,
    /// Passed the hook and dropped by us, as the device would have counted it.
    pub dropped: Amount,
    /// Passed the hook and dropped by the queueing disciplines; how many bytes they do not say.
    pub qdisc_drops: u64,
    /// Dropped by the device, as it says. Whether these had passed the hook it does not say.
    pub device_drops: u64,
    /// Passed the hook and dropped or sent another way by filters behind it; what came back passed it once more. Each
    /// segment of a super-packet is one.
    pub filtered: u64,
    /// Waiting in the queueing discipline.
    pub waiting: u64,
    /// Passed the hook and was never counted behind it, for a reason that is not known: redirected or dropped by another
    /// program, or lost in the driver. Grows only when that is certain.
    pub lost: u64,
    /// Passed the hook and not accounted for so far: under way, or lost in the last fifteen seconds. As many at most may have
    /// left beside it unseen.
    pub hidden: u64,
    /// Why the device's counters can't be held against its hook. None: they are.
    pub not_comparable: Option<&'static str>,
    /// Sent by the device and not seen by the hook: proven. It never shrinks. Bytes where they are known, as the
    /// device counts them.
    pub unaccounted: Amount,
    /// Whether the device is there.
    pub here: bool,
    /// Whether the program is on it.
    pub presence: Presence,
}

impl InterfaceAccount {
    /// With what there was of another one that had the name before.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        for (sum, more) in [
            (&mut self.sent, before.sent),
            (&mut self.dropped, before.dropped),
            (&mut self.unaccounted, before.unaccounted),
        ] {
            sum.packets += more.packets;
            sum.bytes += more.bytes;
        }
        for (sum, more) in [
            (&mut self.qdisc_drops, before.qdisc_drops),
            (&mut self.device_drops, before.device_drops),
            (&mut self.filtered, before.filtered),
            (&mut self.lost, before.lost),
        ] {
            *sum += more;
        }
        self
    }
}
