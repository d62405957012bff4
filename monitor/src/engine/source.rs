//! The seam to the kernel: what the engine asks of it and what it gets. `kernel` implements [`EpochSource`];
//! tests use a fake, so that everything above this line is tested without a kernel.

use std::{collections::BTreeSet, future::Future, pin::Pin};

use monitor_common::wire::Reported;

use crate::model::{
    Attachment, Coverage, Fill, PolicyInForce, Snapshot, Succession, TamperReport,
    in_force::{Fell, Trial},
};

/// The kernel half of the epoch protocol. Its methods may block (tens of milliseconds); the engine calls them where
/// that is allowed, one at a time.
pub trait EpochSource: Send {
    /// Begins the next epoch, under the staged policy if there is one, waits until no packet is still counted in
    /// the old one, drains and clears its maps; gives it with the policy and mode that held in it. After a failure:
    /// drains the epoch that could not be drained, and leaves the one open that is.
    ///
    /// # Errors
    /// The next epoch has begun all the same, and with it a staged policy; what the old one counted comes, whole
    /// and under its own policy, with a later call.
    fn flip(&mut self) -> anyhow::Result<Snapshot>;

    /// When the epoch that is open began, UTC nanoseconds since 1970.
    fn began(&self) -> i128;

    /// Whether a policy has room where packets find it.
    fn has_room(&self, _next: &PolicyInForce) -> bool {
        true
    }

    /// Makes room for a policy. The open epoch has ended then, and another one is open: the next [`flip`](Self::flip) gives
    /// the one that has ended.
    ///
    /// # Errors
    /// There is none to be had, a policy is staged, or an epoch is not drained; nothing has changed.
    fn make_room(&mut self, _next: &PolicyInForce) -> anyhow::Result<()> {
        Ok(())
    }

    /// Bytes that the kernel part's maps take now.
    fn kernel_memory(&self) -> u64 {
        0
    }

    /// Takes a policy that is to hold, whole, from the next [`flip`](Self::flip) on. Staging again before that
    /// replaces what was staged.
    ///
    /// # Errors
    /// It can't hold (it does not fit). The running policy stays.
    fn stage(&mut self, next: &PolicyInForce) -> anyhow::Result<()>;

    /// Checks the policy in force where packets find it: called after the [`flip`](Self::flip) that put it there.
    ///
    /// # Errors
    /// What is not as it was staged.
    fn verify(&mut self) -> anyhow::Result<()>;

    /// Takes the policy and mode that held before the last switch, whole, to hold again from the next
    /// [`flip`](Self::flip) on.
    ///
    /// # Errors
    /// There is none, or it can't hold.
    fn roll_back(&mut self) -> anyhow::Result<()>;

    /// Has `fallback` (its policy as it is to hold) be in force by itself when the time is over, whether the daemon is there
    /// or not; `None`: never. Where a policy is [staged](Self::stage), from when that one is in force.
    ///
    /// # Errors
    /// Why it can't: then what is in force stays until somebody changes it.
    fn guard(&mut self, fallback: Option<&Trial>) -> anyhow::Result<()>;

    /// What was put in force by itself, with the epoch after the one that the last [`flip`](Self::flip) gave.
    fn fell(&mut self) -> Option<Fell>;

    /// How full the half of the epoch is that is open, about; what it has in use of the cache is not looked for.
    fn fill(&self) -> Fill;

    /// What is attached now.
    fn attachments(&self) -> Vec<Attachment>;

    /// What says that devices came, went or changed, once.
    fn news(&mut self) -> Option<News> {
        None
    }

    /// Looks which devices there are, and lets go of those that are gone (or were, whatever has their index now) or are not
    /// to be watched any more. Whether the epoch is to be closed before anything is [covered](Self::cover): what was counted
    /// until now goes by the names that were.
    fn survey(&mut self, gone: &BTreeSet<u32>) -> bool;

    /// Attaches to what was found and is to be watched. Whether there is more that must wait until an epoch is closed.
    fn cover(&mut self) -> bool;

    /// What is watched now, what is not, and why.
    fn coverage(&mut self) -> Coverage;

    /// Looks whether what was put into the kernel is as it was made, and puts right what is to be. `None`: nobody looks.
    fn watch(&mut self) -> Option<Watched> {
        None
    }

    /// Detaches everything that is not to outlive the daemon. A [`flip`](Self::flip) afterwards must still drain what had
    /// been counted.
    ///
    /// # Errors
    /// What could not be detached, and how to do it by hand.
    fn detach(&mut self) -> anyhow::Result<()>;
}

/// What a look at the kernel came to.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// What there is to tell.
    pub report: TamperReport,
    /// Something that packets are judged by was put right: what was judged before is to be asked anew, with another epoch.
    pub judged: bool,
    /// It is to be looked at again soon.
    pub soon: bool,
}

/// What the kernel part reports at once.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// A flow that is new in its epoch, or a packet without one; and when it was read (UTC nanoseconds since 1970).
    Event(Reported, i128),
    /// The open half is filling up.
    Filling,
}

/// Reports. The kernel's reader sends; the engine receives.
pub type Events = tokio::sync::mpsc::Receiver<Report>;

/// Places in the channel of [`Events`]: what the reader can put aside while an epoch is being drained.
pub const EVENT_QUEUE: usize = 65_536;

/// Something that runs as long as the daemon does, such as the ring-buffer reader.
pub type Task = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Indices of devices that went; none, where others came or changed.
pub type News = tokio::sync::mpsc::Receiver<BTreeSet<u32>>;

/// What opening the kernel part yields: loaded and attached.
pub struct Opened {
    /// The epoch protocol.
    pub source: Box<dyn EpochSource>,
    /// Events, sent by one of `tasks`.
    pub events: Events,
    /// To be run by name until the daemon stops; dropped then. One that ends by itself stops the daemon.
    pub tasks: Vec<(&'static str, Task)>,
    /// What there was of an earlier daemon.
    pub succession: Succession,
    /// Epochs of an earlier daemon that nobody has closed, the oldest first.
    pub inherited: Vec<Snapshot>,
}
