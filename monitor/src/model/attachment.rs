//! Where and how the program is attached.

/// One interface that the program is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Attachment {
    /// Name.
    pub interface: String,
    /// Index.
    pub ifindex: u32,
    /// `tcx` or `clsact`.
    pub hook: String,
    /// Since when, UTC nanoseconds since 1970.
    #[serde(serialize_with = "super::clock::serialize_time")]
    pub since: i128,
}

/// How a program hangs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// TCX link (kernel 6.6).
    Tcx,
    /// Filter in the clsact qdisc, direct action.
    Clsact,
}

impl Hook {
    /// The name in metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// `[monitor] hook` and `--hook`: which hook is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HookChoice {
    /// TCX where the kernel has it, else clsact.
    #[default]
    Auto,
    /// TCX (kernel 6.6 or later) or nothing.
    Tcx,
    /// The clsact qdisc.
    Clsact,
}

impl HookChoice {
    /// The one hook to try; `None`: whichever the kernel has.
    pub const fn hook(self) -> Option<Hook> {
        match self {
            Self::Auto => None,
            Self::Tcx => Some(Hook::Tcx),
            Self::Clsact => Some(Hook::Clsact),
        }
    }
}
