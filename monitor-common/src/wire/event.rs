//! What the kernel part reports at once through the ring buffer, and its clocks. A ring is never pinned: what is in it goes
//! from programs to the daemon that loaded them, so these have no part in the layouts' number.

use super::FullKey;

/// Bytes of a packet without a flow that are shown, from its link header on.
pub const HEAD: usize = 48;

/// One alertable flow seen for the first time in an epoch. Best effort: what the ring loses is recovered from
/// the flow table at the next drain.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Event {
    /// The flow.
    pub flow: FullKey,
    /// When, in jiffies; see [`Clock`].
    pub jiffies: u64,
    /// The epoch that the packet was counted in.
    pub epoch: u32,
    /// Bytes of the first packet on the wire.
    pub wire_bytes: u32,
    /// Flags of its TCP header (RFC 9293, section 3.1); 0 of any other packet, and where it was not read on the fast path.
    pub tcp_flags: u32,
    /// Always 0.
    pub _reserved: u32,
}

/// The first packet without a flow of one reason, interface and fate that a CPU sees in an epoch. Best effort: that there
/// were any is known from the sums.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct UnparsedEvent {
    /// When, in jiffies; see [`Clock`].
    pub jiffies: u64,
    /// Interface that it was to leave by.
    pub ifindex: u32,
    /// The epoch that it was counted in.
    pub epoch: u32,
    /// Bytes of it on the wire.
    pub wire_bytes: u32,
    /// A [`crate::parse::Reason`] as its number.
    pub reason: u8,
    /// A [`crate::verdict::Verdict`] as its number: what the policy makes of it.
    pub verdict: u8,
    /// How many bytes of it are in `head`.
    pub length: u8,
    /// Always 0.
    pub _reserved: u8,
    /// Its first bytes, from the link header on; then zeros.
    pub head: [u8; HEAD],
}

const _: () = assert!(size_of::<Event>() != size_of::<UnparsedEvent>(), "a reader tells them apart by their size");

/// What is in the ring.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// A flow that is new in its epoch.
    Flow(Event),
    /// A packet without a flow.
    Unparsed(UnparsedEvent),
}

#[cfg(feature = "user")]
impl Reported {
    /// An entry of the ring; `None`: of a size that no program of this build submits.
    #[must_use]
    pub fn read(entry: &[u8]) -> Option<Self> {
        bytemuck::try_pod_read_unaligned(entry)
            .map(Self::Flow)
            .or_else(|_| bytemuck::try_pod_read_unaligned(entry).map(Self::Unparsed))
            .ok()
    }

    /// The flow that it reports.
    #[must_use]
    pub const fn flow(&self) -> Option<&Event> {
        match self {
            Self::Flow(event) => Some(event),
            Self::Unparsed(_) => None,
        }
    }

    /// The epoch that its packet was counted in.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        match self {
            Self::Flow(event) => event.epoch,
            Self::Unparsed(event) => event.epoch,
        }
    }

    /// When its packet left, in jiffies.
    #[must_use]
    pub const fn jiffies(&self) -> u64 {
        match self {
            Self::Flow(event) => event.jiffies,
            Self::Unparsed(event) => event.jiffies,
        }
    }

    /// Index of the interface that its packet left by.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        match self {
            Self::Flow(event) => event.flow.flow.ifindex,
            Self::Unparsed(event) => event.ifindex,
        }
    }
}

/// The kernel's clocks, read together by the `clock` program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Clock {
    /// `bpf_jiffies64()` (kernel 5.6).
    pub jiffies: u64,
    /// `bpf_ktime_get_boot_ns()` (kernel 5.8): CLOCK_BOOTTIME.
    pub boot_ns: u64,
}

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_ring_is_told_apart_by_its_size() {
        let flow = Event { jiffies: 7, epoch: 3, wire_bytes: 60, tcp_flags: 4, ..Event::default() };
        let mut unparsed: UnparsedEvent = bytemuck::Zeroable::zeroed();
        (unparsed.reason, unparsed.length, unparsed.head[0]) = (12, 1, 0xff);
        assert_eq!(Reported::read(bytemuck::bytes_of(&flow)), Some(Reported::Flow(flow)));
        assert_eq!(Reported::read(bytemuck::bytes_of(&unparsed)), Some(Reported::Unparsed(unparsed)));
        assert_eq!(Reported::read(&[0; 88]), None);
        assert_eq!(Reported::read(&[]), None);
    }
}
