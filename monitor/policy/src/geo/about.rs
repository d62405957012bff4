//! Metadata of datasets, overlays and AS numbers: filled in by the readers, shown by `geo` and `check`.

/// A dataset older than this should be renewed: the border between EEA and the rest moves 0.1 % (IPv4) to 0.4 %
/// (IPv6) a quarter.
pub const STALE_AFTER_DAYS: i64 = 90;

/// Metadata of a dataset, an overlay or AS numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Short name: `dbip-country`, or the file's path (of an overlay its name without ending; where several have the same,
    /// the end of the path that tells them apart).
    pub name: String,
    /// Version or build date as the source gives it; may be empty.
    pub version: String,
    /// When it was built, seconds since 1970; `None` when the source does not say.
    pub built: Option<i64>,
    /// Licence and attribution, to be shown with results; empty for the operator's own files.
    pub attribution: String,
    /// What it was made from (package, version, SHA-256 of the archive), where that is recorded.
    pub provenance: String,
    /// SHA-256 over the content in canonical form (the body of [`compact`](super::compact)): the same for the same
    /// opinion, whatever the file format it came in.
    pub digest: [u8; 32],
}

impl About {
    /// Metadata that is a name and nothing more.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whole days from the build to `now` (seconds since 1970); `None` when the source does not say when it was built.
    /// Negative when it was built in the future.
    pub fn age_days(&self, now: i64) -> Option<i64> {
        self.built.map(|built| now.saturating_sub(built).div_euclid(86_400))
    }

    /// [`Self::age_days`], if it is above [`STALE_AFTER_DAYS`].
    pub fn stale_days(&self, now: i64) -> Option<i64> {
        self.age_days(now).filter(|days| *days > STALE_AFTER_DAYS)
    }

    /// Merges the other's build date: the older of both, unknown if one is.
    pub(crate) fn join(&mut self, other: &Self) {
        self.built = self.built.zip(other.built).map(|(a, b)| a.min(b));
    }
}
