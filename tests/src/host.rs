//! The host's opinion on a packet: the same code as in the kernel, strung together without it. The short way of plain
//! packets is left out, so that whoever compares the two compares that too.

use monitor_common::{
    fragments::{FRAGMENT_SETS, FragmentSet, set_of},
    judge::Judgement,
    parse::{MAX_FRAGMENTS, Reason, Walk},
    verdict::{Verdict, decide, drops},
    wire::{Link, Onward, OnwardKey},
};

use crate::monitor::policy::Policy;

/// One CPU of the kernel's, with what it remembers of fragments.
#[derive(Debug)]
pub struct Host<'a> {
    policy: &'a Policy,
    enforce: bool,
    link: Link,
    ifindex: u32,
    sets: Vec<FragmentSet>,
    walk: Walk,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is counted under this key.
    Flow {
        /// Whole, with class, rule and verdict.
        key: OnwardKey,
        /// A new flow makes an alert.
        alert: bool,
    },
    /// It is counted by reason.
    Unparsed {
        /// Why.
        reason: Reason,
        /// Enforcing drops it.
        dropped: bool,
    },
}

impl Told {
    /// Whether the packet does not leave.
    #[must_use]
    pub const fn dropped(&self) -> bool {
        match self {
            Self::Flow { key, .. } => key.flow.verdict == Verdict::Denied as u8,
            Self::Unparsed { dropped, .. } => *dropped,
        }
    }
}

impl<'a> Host<'a> {
    /// A CPU that has seen no packet.
    #[must_use]
    pub fn new(policy: &'a Policy, enforce: bool, link: Link, ifindex: u32) -> Self {
        let sets = vec![FragmentSet::default(); FRAGMENT_SETS as usize];
        Self { policy, enforce, link, ifindex, sets, walk: Walk::new() }
    }

    /// What becomes of a packet at `now_ns` (any clock that is not 0).
    ///
    /// # Panics
    /// The policy image is not whole.
    pub fn packet(&mut self, frame: &[u8], now_ns: u64) -> Told {
        let image = &self.policy.image;
        let mut kept = Onward::default();
        let mut outcome = self.walk.whole(frame, self.link);
        for number in 0..MAX_FRAGMENTS {
            if outcome.is_ok()
                && let Some(fragment) = self.walk.fragment_at(number as usize)
            {
                let set = &mut self.sets[set_of(&fragment, self.ifindex) as usize];
                match set.resume(&fragment, self.ifindex, now_ns, &mut self.walk) {
                    Ok(onward) if onward.exists() => kept = onward,
                    Ok(_) => {}
                    Err(reason) => outcome = Err(reason),
                }
            }
        }
        let judgement = Judgement::of(image, &self.walk, &kept).expect("the image is whole");
        if let Err(reason) = outcome {
            let dropped = self.enforce && drops(reason, image.drop_reasons, &judgement.to);
            return Told::Unparsed { reason, dropped };
        }
        for number in 0..MAX_FRAGMENTS {
            if let Some(fragment) = self.walk.fragment_at(number as usize) {
                let set = &mut self.sets[set_of(&fragment, self.ifindex) as usize];
                set.keep(&fragment, self.ifindex, now_ns, &self.walk, &judgement.onward);
            }
        }
        let mut flow = self.walk.key;
        flow.ifindex = self.ifindex;
        flow.class = judgement.to.class;
        flow.rule = judgement.to.rule;
        flow.verdict = decide(&judgement.to, self.enforce) as u8;
        Told::Flow { key: OnwardKey { flow, onward: judgement.onward }, alert: judgement.to.alert }
    }

    /// The state after the last packet.
    #[must_use]
    pub const fn walk(&self) -> &Walk {
        &self.walk
    }
}
