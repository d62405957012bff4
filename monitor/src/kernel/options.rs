//! What the kernel part is loaded for: what the daemon asks for, how much room that takes, and what a start is likely to need,
//! from what the one before needed.

use std::time::Duration;

use monitor_common::classify::build::Image;
use monitor_policy::spec::Mode;
use serde::{Deserialize, Serialize};

use super::{interfaces, policy_slots::Capacity};
use crate::model::DEFAULT_FLOWS;

/// What the loader needs to know beside the policy.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Interfaces that can be registered, at least; for more that come later there is room as far as it is cheap.
    pub interfaces: u32,
    /// Places in each half of the flow table.
    pub flows: u32,
    /// Places that a CPU's flow cache has at most in each half, of each IP version; `None`: all that is there.
    pub cache: Option<u32>,
    /// The mode to begin with.
    pub mode: Mode,
    /// Whether the kernel part writes its debug lines: see [`super::Kernel::log`].
    pub debug_log: bool,
    /// Whether no other monitor that says so, too, may watch the same interfaces.
    pub exclusive: bool,
    /// For how long rules with a daily budget hold when no epoch is closed; `None`: for ever.
    pub lease: Option<Duration>,
    /// Whether the kernel part only observes when no epoch has been closed for so long.
    pub observes_alone: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interfaces: 1,
            flows: DEFAULT_FLOWS,
            cache: None,
            mode: Mode::Observe,
            debug_log: false,
            exclusive: false,
            lease: None,
            observes_alone: false,
        }
    }
}

/// How much room there is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Room {
    pub policy: Capacity,
    /// Slots, with that of the unregistered.
    pub interfaces: u32,
}

impl Room {
    /// For a policy and so many interfaces, and some growth.
    pub fn of(options: &Options, image: &Image) -> Self {
        Self { policy: Capacity::of(image), interfaces: interfaces::slots(options.interfaces) }
    }
}

/// The sizes that a start is likely to need, so that the verifier is at work while the policy is compiled. Where they are
/// wrong, what was made by them is thrown away, and the start takes as long as without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guess {
    flows: u32,
    cache: Option<u32>,
    pub(super) room: Room,
}

/// More places or entries are not made on a guess: a file that is damaged must not take a host's memory.
const MOST: u32 = 1 << 22;

impl Guess {
    /// What is needed for these.
    pub fn of(options: &Options, image: &Image) -> Self {
        Self { flows: options.flows, cache: options.cache, room: Room::of(options, image) }
    }

    /// What the maps are made by, in that room; nothing where it is too much.
    pub(super) fn options(&self) -> Option<Options> {
        let Self { flows, cache, room: Room { policy, interfaces } } = *self;
        let Capacity { v4_nodes, v6_nodes, v6_low, classes, rules } = policy;
        let sizes = [flows, cache.unwrap_or(0), interfaces, v4_nodes, v6_nodes, v6_low, classes, rules];
        sizes.into_iter().all(|size| size <= MOST).then(|| Options { flows, cache, ..Options::default() })
    }

    /// Whether maps that are made so are as good as those that are needed.
    pub(super) fn serves(&self, options: &Options, image: &Image) -> bool {
        !options.debug_log
            && (self.flows, self.cache) == (options.flows, options.cache)
            && self.room.interfaces >= interfaces::slots(options.interfaces)
            && self.room.policy.fits(image).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_serves_what_fits_and_nothing_that_was_asked_for_otherwise() {
        let image = Image::default();
        let options = Options { interfaces: 3, ..Options::default() };
        let guess = Guess::of(&options, &image);
        assert!(guess.serves(&options, &image) && guess.options().is_some());
        assert!(guess.serves(&Options { interfaces: 1, ..options }, &image));
        for other in [
            Options { interfaces: 4, ..options },
            Options { flows: options.flows / 2, ..options },
            Options { cache: Some(512), ..options },
            Options { debug_log: true, ..options },
        ] {
            assert!(!guess.serves(&other, &image), "{other:?}");
        }
        let grown = |rules: usize| Image { rules: vec![bytemuck::Zeroable::zeroed(); rules], ..Image::default() };
        assert_eq!([1024, 1025].map(|rules| guess.serves(&options, &grown(rules))), [true, false]);
        let absurd = Guess { flows: MOST + 1, ..guess };
        assert!(absurd.options().is_none());
    }
}
