//! What the kernel can refuse, each with the mend.

use std::io;

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
    /// No interface fits the configuration.
    #[error("{0}")]
    Interface(String),
    /// The verifier or the loader refused the object.
    #[error("the kernel refuses the program: {0}")]
    Load(String),
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
    /// A new policy does not fit into the maps that were made at start.
    #[error("the new policy has {needed} {what}, there is room for {capacity}: restart egress-monitor to make room")]
    TooLarge {
        /// Which table.
        what: &'static str,
        /// Entries needed.
        needed: usize,
        /// Entries there are.
        capacity: usize,
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
