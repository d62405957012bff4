//! What the host makes of a packet: the same code as in the kernel, put together without it. The fast path is left out,
//! so that whoever compares the two tests it, too.

use monitor_common::{
    evaluate::Evaluation,
    fragments::{FRAGMENT_SETS, FragmentSet, set_index},
    parse::{HeaderWalker, MAX_FRAGMENTS, Reason},
    verdict::{Verdict, decide, drops},
    wire::{FullKey, InnerDestination, Link},
};

use crate::monitor::policy::Policy;

/// One CPU of the kernel's, with its table of fragments.
#[derive(Debug)]
pub struct Host<'a> {
    policy: &'a Policy,
    enforce: bool,
    link: Link,
    ifindex: u32,
    sets: Vec<FragmentSet>,
    walker: HeaderWalker,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketOutcome {
    /// It is counted under this key.
    Flow {
        /// Whole, with class, rule and verdict.
        key: FullKey,
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

impl PacketOutcome {
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
        Self { policy, enforce, link, ifindex, sets, walker: HeaderWalker::new() }
    }

    /// What becomes of a packet at `now_ns` (any clock that is not 0).
    ///
    /// # Panics
    /// The policy image is not whole.
    pub fn packet(&mut self, frame: &[u8], now_ns: u64) -> PacketOutcome {
        let image = &self.policy.image;
        let mut of_first = InnerDestination::default();
        let mut outcome = self.walker.walk(frame, self.link);
        for number in 0..MAX_FRAGMENTS {
            if outcome.is_ok()
                && let Some(fragment) = self.walker.fragment_at(number as usize)
            {
                let set = &mut self.sets[set_index(&fragment, self.ifindex) as usize];
                match set.restore(&fragment, self.ifindex, now_ns, &mut self.walker) {
                    Ok(inner) if inner.exists() => of_first = inner,
                    Ok(_) => {}
                    Err(reason) => outcome = Err(reason),
                }
            }
        }
        let evaluation = Evaluation::of_packet(image, &self.walker, &of_first).expect("the image is whole");
        if let Err(reason) = outcome {
            let dropped = self.enforce && drops(reason, image.drop_reasons, &evaluation.strictest);
            return PacketOutcome::Unparsed { reason, dropped };
        }
        for number in 0..MAX_FRAGMENTS {
            if let Some(fragment) = self.walker.fragment_at(number as usize) {
                let set = &mut self.sets[set_index(&fragment, self.ifindex) as usize];
                set.record(&fragment, self.ifindex, now_ns, &self.walker, &evaluation.inner);
            }
        }
        let mut flow = self.walker.key;
        flow.ifindex = self.ifindex;
        flow.class_id = evaluation.strictest.class_id;
        flow.rule = evaluation.strictest.rule;
        flow.verdict = decide(&evaluation.strictest, self.enforce) as u8;
        PacketOutcome::Flow { key: FullKey { flow, inner: evaluation.inner }, alert: evaluation.strictest.alert }
    }

    /// The state after the last packet.
    #[must_use]
    pub const fn walker(&self) -> &HeaderWalker {
        &self.walker
    }
}
