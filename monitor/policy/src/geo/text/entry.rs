//! What one line of a text file says. Made by the line readers for the text reader.

use super::super::{country::Country, ranges::Piece, rejection::Rejection};

/// What a line says.
pub(super) enum Entry {
    /// Where a range is.
    Piece(Piece<Country>),
    /// A range that has the file's country.
    Bare(Piece<()>),
    /// Something about the file.
    About { version: String, built: Option<i64> },
}

/// Why a line can't be taken, and what it is about where that can be read: there a wider line must not decide.
pub(in super::super) struct Untaken {
    pub(in super::super) why: Rejection,
    pub(in super::super) about: Option<Piece<()>>,
}

impl From<Rejection> for Untaken {
    fn from(why: Rejection) -> Self {
        let about = match &why {
            // The network that it would be without those bits.
            Rejection::HostBits { network, prefix, .. } => {
                super::address::network(&format!("{network}/{prefix}"), ()).ok()
            }
            _ => None,
        };
        Self { why, about }
    }
}
