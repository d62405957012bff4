//! What a start is likely to need, from what the one before needed: so that the verifier is at work while the policy is
//! compiled. Where the guess was wrong, what was made by it is thrown away, and the start takes as long as without.

use monitor_common::classify::build::Image;
use serde::{Deserialize, Serialize};

use super::{
    interfaces,
    load::{Options, Room},
    policy_slots::Capacity,
};

/// More entries than any map is made for that is asked for.
const MOST: u32 = 1 << 26;

/// Sizes of maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guess {
    flows: u32,
    cache: Option<u32>,
    interfaces: u32,
    policy: Capacity,
}

impl Guess {
    /// What is needed for these.
    pub fn of(options: &Options, image: &Image) -> Self {
        Self {
            flows: options.flows,
            cache: options.cache,
            interfaces: interfaces::slots(options.interfaces),
            policy: Capacity::of(image),
        }
    }

    /// What the maps are made for; none of what nobody has ever needed.
    pub(super) fn loads(&self) -> Option<(Options, Room)> {
        let Self { flows, cache, interfaces, policy } = *self;
        let Capacity { v4_nodes, v6_nodes, v6_low, classes, rules } = policy;
        let sizes = [flows, cache.unwrap_or(0), interfaces, v4_nodes, v6_nodes, v6_low, classes, rules];
        let options = Options { flows, cache, ..Options::default() };
        sizes.into_iter().all(|size| size <= MOST).then_some((options, Room { policy, interfaces }))
    }

    /// Whether maps that are made so are as good as those that are needed.
    pub(super) fn serves(&self, options: &Options, image: &Image) -> bool {
        !options.debug_log
            && (self.flows, self.cache) == (options.flows, options.cache)
            && self.interfaces >= interfaces::slots(options.interfaces)
            && self.policy.fits(image).is_ok()
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
        assert!(guess.serves(&options, &image) && guess.loads().is_some());
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
        let absurd = Guess { flows: u32::MAX, ..guess };
        assert!(absurd.loads().is_none());
    }
}
