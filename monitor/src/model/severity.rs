//! How bad an alert or a finding is.

/// How bad, in OCSF's words and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// For the record.
    Informational = 1,
    /// The policy let it pass knowingly, or stopped something of unclear place.
    Low = 2,
    /// Stopped, or of unclear place and passed.
    Medium = 3,
    /// Left for outside.
    High = 4,
    /// The counts can't be believed.
    Critical = 5,
}

impl Severity {
    /// OCSF's caption: so in alerts, documents and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }
}
