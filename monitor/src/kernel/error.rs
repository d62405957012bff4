//! What the kernel can refuse, each with the hint what to do.

use std::{error::Error, io};

use monitor_common::wire::INTERFACE_PROBES;

use super::holder::described;

/// Why the kernel part can't do something.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Not enough privilege.
    #[error("not permitted to load kernel programs: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")]
    NotPermitted,
    /// A kernel that is too old or was built without something.
    #[error("this kernel ({release}) lacks {feature}: egress-monitor needs Linux 6.1 or newer with CONFIG_BPF_SYSCALL")]
    Lacks {
        /// `uname -r`.
        release: String,
        /// What is missing.
        feature: String,
    },
    /// Two runs of the program could write one CPU's sums at once.
    #[error(
        "this kernel ({release}) is PREEMPT_RT, and /boot/config-{release} does not show \
         CONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y: counts would not be exact; boot one that has it, or is not PREEMPT_RT"
    )]
    Preemptible {
        /// `uname -r`.
        release: String,
    },
    /// An interface was removed while it was being attached to.
    #[error("{0} is gone")]
    InterfaceGone(String),
    /// Slots are free again, or an index is, when the open epoch is drained.
    #[error("its slot is free when the open epoch is drained")]
    AwaitsDrain,
    /// More interfaces than there are slots.
    #[error("{interface} is one interface too many: at most {most} can be told apart, name fewer")]
    TooManyInterfaces {
        /// The first that has no slot.
        interface: String,
        /// Slots.
        most: u32,
    },
    /// An interface that has no place in the kernel's table of interfaces.
    #[error(
        "{interface} (index {index}) collides with {INTERFACE_PROBES} others in the interface table: name fewer \
         interfaces"
    )]
    InterfaceCollides {
        /// Name.
        interface: String,
        /// Index.
        index: u32,
    },
    /// The verifier or the loader refused the object.
    #[error("the kernel refuses the program: {0}")]
    Load(String),
    /// Sockets that send past the hook can't be refused.
    #[error("sockets that send past the hook can't be refused: {0}")]
    Bypass(String),
    /// Attaching failed.
    #[error("can't attach to {interface} by {hook}: {error}")]
    Attach {
        /// Name.
        interface: String,
        /// `tcx` or `clsact`.
        hook: &'static str,
        /// The kernel's word.
        error: String,
    },
    /// Nothing can be pinned there.
    #[error("{} can't be used: {why}", directory.display())]
    Pins {
        /// Where.
        directory: std::path::PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// Another daemon has its pins there.
    #[error(
        "another egress-monitor{} has {}: stop that one, or give this one its own [paths] bpffs",
        described(*process), directory.display()
    )]
    PinsInUse {
        /// Where.
        directory: std::path::PathBuf,
        /// Its process, where that is known.
        process: Option<u32>,
    },
    /// Another daemon watches an interface.
    #[error(
        "another egress-monitor{} watches {interface}: stop that one, or name other interfaces",
        described(*process)
    )]
    Watched {
        /// Name.
        interface: String,
        /// Its process, if that can be told.
        process: Option<u32>,
    },
    /// A new policy does not fit into the maps that there are.
    #[error("the new policy has {needed} {what}, there is room for {capacity}")]
    TooLarge {
        /// Which table.
        what: &'static str,
        /// Entries needed.
        needed: usize,
        /// Entries there are.
        capacity: usize,
    },
    /// Maps with room for what is wanted would take too much memory.
    #[error(
        "the maps of the kernel part would take {} MiB, those that they replace included, and [monitor] memory_max is \
         {} MiB: raise it, or have a policy of fewer networks",
        bytes.div_ceil(1 << 20), most >> 20
    )]
    Memory {
        /// What they would take, as far as it is known.
        bytes: u64,
        /// What they may.
        most: u64,
    },
    /// A policy is not in the maps as it was written, or does not answer as it should.
    #[error("{what} {at} is not what was written: another program writes to the policy maps, or the memory is bad")]
    Differs {
        /// What.
        what: &'static str,
        /// Which of them.
        at: String,
    },
    /// There is nothing to go back to.
    #[error("no policy was in force before this one")]
    NothingBefore,
    /// A policy can't be staged now.
    #[error("the last epoch is not drained yet, so the new policy would be counted with it: reload again")]
    Closing,
    /// A map operation failed.
    #[error("{what}: {error}")]
    Map {
        /// Doing what.
        what: &'static str,
        /// The kernel's word.
        error: io::Error,
    },
}

impl KernelError {
    /// The process that stands in the way, where it is one.
    pub const fn process(&self) -> Option<u32> {
        match self {
            Self::PinsInUse { process, .. } | Self::Watched { process, .. } => *process,
            _ => None,
        }
    }

    pub(super) fn map(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Map { what, error }
    }

    pub(super) fn aya(what: &'static str) -> impl FnOnce(aya::maps::MapError) -> Self {
        move |error| Self::Map { what, error: io::Error::other(error.to_string()) }
    }
}

impl From<KernelError> for crate::error::CliError {
    fn from(error: KernelError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// An error with its causes in one line; of a verifier log, the end.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.len() {
        0..=6 => lines.join("; "),
        n => format!("{}; …; {}", lines[0], lines[n - 5..].join("; ")),
    }
}
