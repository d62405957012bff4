//! What passed the hook as a bound of what the device may have sent, counted in one of two ways. See
//! [`Account`](super::Account).

use std::collections::VecDeque;

/// A packet that passed the hook so long ago is sent or lost. The kernel resets a device that holds one for five
/// seconds (`dev_watchdog`).
pub const SETTLES: u64 = 15_000_000_000;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Bound {
    /// At the latest reading, and before all of it; less what filters took since.
    pub passed: i128,
    /// Its bytes.
    pub bytes: i128,
    /// Surpluses found, what was on its way at the start, less losses.
    pub shift: i128,
    /// When, and what had passed for certain.
    history: VecDeque<(u64, i128)>,
}

impl Bound {
    /// With nothing passed.
    pub fn new(shift: i128) -> Self {
        Self { shift, ..Self::default() }
    }

    /// What may still be sent, when so much is. Negative: a surplus.
    pub fn room(&self, gone: i128) -> i128 {
        self.passed + self.shift - gone
    }

    /// Takes off what had passed [`SETTLES`] before `now` and is not gone, though the device `holds` no more; gives how
    /// much. Forgets what is older.
    pub fn settle(&mut self, now: u64, gone: i128, holds: i128) -> i128 {
        let old = self.history.partition_point(|(at, _)| at + SETTLES <= now);
        self.history.drain(..old.saturating_sub(1));
        let settled = (old > 0).then(|| self.history[0].1);
        let lost = settled.map_or(0, |settled| settled + self.shift - gone - holds).max(0);
        self.shift -= lost;
        lost
    }

    /// Keeps what had passed for certain at this time.
    pub fn remember(&mut self, at: u64, passed: i128) {
        self.history.push_back((at, passed));
    }

    /// Gives it as much room as another, from now on.
    pub fn follow(&mut self, leader: &Self) {
        self.shift = leader.passed + leader.shift - self.passed;
        self.history.clear();
    }
}
