//! Places at which a test has the daemon end as if it were killed there: `EGRESS_MONITOR_FAULT=drain`, or `drain:3` for the
//! third time. Only a build with the feature `faults` knows them: that of the tests.

/// A place where a sudden end is worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Everything is loaded, nothing attached.
    Start,
    /// A program is in the place of an earlier one; what that has counted is not taken.
    Replace,
    /// What an earlier start's CPUs have is taken, its flows are not.
    Adopt,
    /// An epoch has ended, and nothing of it is taken.
    Flip,
    /// What the CPUs have of an ended epoch is taken, its flows are not.
    Drain,
    /// A policy is in its slot and not checked.
    Stage,
    /// It is in force, and nothing of the epoch before is taken.
    Switch,
    /// A file is written and not in its place.
    Save,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Start, Self::Replace, Self::Adopt, Self::Flip, Self::Drain, Self::Stage, Self::Switch, Self::Save];

    /// As it is written in the environment.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Replace => "replace",
            Self::Adopt => "adopt",
            Self::Flip => "flip",
            Self::Drain => "drain",
            Self::Stage => "stage",
            Self::Switch => "switch",
            Self::Save => "save",
        }
    }

    /// The daemon comes by here.
    #[cfg(feature = "faults")]
    pub fn point(self) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static TIMES: AtomicU32 = AtomicU32::new(0);
        let Ok(wanted) = std::env::var("EGRESS_MONITOR_FAULT") else { return };
        let (name, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        if name == self.name() && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == time.parse().unwrap_or(1) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }

    /// The daemon comes by here.
    #[cfg(not(feature = "faults"))]
    pub const fn point(self) {}
}
