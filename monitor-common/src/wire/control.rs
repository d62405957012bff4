//! The control word, which the program reads once per packet and acts on throughout.

/// Epoch number, policy slot and mode in one word, so that every packet belongs wholly to one epoch and one
/// policy. Bits 63..32: epoch; bit 1: enforce; bit 0: policy slot.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Control(pub u64);

impl Control {
    const SLOT: u64 = 1;
    const ENFORCE: u64 = 1 << 1;

    /// Builds the word. `slot` is 0 or 1.
    #[must_use]
    pub const fn new(epoch: u32, slot: u32, enforce: bool) -> Self {
        Self((epoch as u64) << 32 | (slot as u64 & Self::SLOT) | if enforce { Self::ENFORCE } else { 0 })
    }

    /// The epoch that the packet is counted in.
    #[must_use]
    #[inline(always)]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Which half of every traffic map belongs to the epoch: 0 or 1.
    #[must_use]
    #[inline(always)]
    pub const fn parity(self) -> u32 {
        self.epoch() & 1
    }

    /// Which policy image is in force: 0 or 1.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        (self.0 & Self::SLOT) as u32
    }

    /// Whether denied packets are dropped (enforce) or only counted (observe).
    #[must_use]
    #[inline(always)]
    pub const fn enforce(self) -> bool {
        self.0 & Self::ENFORCE != 0
    }

    /// What holds from the deadline in [`super::Hot`] on, where this is in force until then: `None`, if `fallback` is not for
    /// the epoch after this one. Whoever reads the two in whatever order, no epoch is passed over.
    #[must_use]
    #[inline(always)]
    pub const fn fall_back(self, fallback: Self) -> Option<Self> {
        if fallback.epoch() == self.epoch().wrapping_add(1) { Some(fallback) } else { None }
    }
}
