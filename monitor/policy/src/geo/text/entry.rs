//! What one line of a text file says. Made by the line readers for the text reader.

use super::super::{country::Country, ranges::Piece};

/// What a line says.
pub(super) enum Entry {
    /// Where a range is.
    Piece(Piece<Country>),
    /// A range that has the file's country.
    Bare(Piece<()>),
    /// Something about the file.
    About { version: String, built: Option<i64> },
}
