//! Why bytes are not the compact form, and what has none.

/// The latest version of the form.
pub(super) const LATEST: u16 = 2;

/// Why bytes are no compact dataset, or a dataset has no compact form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// Cut off.
    #[error("the compact dataset ends early, in its {0}: copy or import it again")]
    Truncated(&'static str),
    /// Something in it can't be.
    #[error("the compact dataset is damaged: {0}: copy or import it again")]
    Damaged(&'static str),
    /// Another kind of file.
    #[error("not a compact dataset (it starts with {0:02x?}): make one with `egress-monitor geo import`")]
    NotCompact(Vec<u8>),
    /// Written by a later release.
    #[error("compact format {0}, and this release reads {LATEST}: import it with this release, or use a later one")]
    Version(u16),
    /// Something else in the product's own form.
    #[error("it holds {0}")]
    Other(&'static str),
    /// Would need more memory than is granted.
    #[error("the compact dataset has more than {0}: use a dataset of countries, not of cities")]
    TooLarge(&'static str),
    /// A dataset that breaks the rules of [`Dataset`](crate::geo::Dataset).
    #[error("the dataset can't be encoded: {0}")]
    Unfit(&'static str),
}
