//! Observe or enforce.

use serde::{Deserialize, Serialize};

/// What happens to denied packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are counted and pass.
    #[default]
    Observe,
    /// They are counted and dropped.
    Enforce,
}

impl Mode {
    /// [`Mode::Enforce`] if `enforce`, else [`Mode::Observe`].
    pub const fn enforcing(enforce: bool) -> Self {
        if enforce { Self::Enforce } else { Self::Observe }
    }

    /// Whether denied packets are dropped.
    pub const fn enforces(self) -> bool {
        matches!(self, Self::Enforce)
    }

    /// `observe` or `enforce`, as in configuration, status, metrics and alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
