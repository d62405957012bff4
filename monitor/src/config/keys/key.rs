//! What a key and a table of the file are: how they are declared, and what is said of them.

use std::{fmt, ops::RangeInclusive};

/// What people write for a key. Its `Display` completes "write …".
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// As these words say.
    As(&'static str),
    /// A list.
    List {
        /// An example of the whole.
        whole: &'static str,
        /// What each element is.
        each: &'static str,
    },
    /// A whole number within bounds.
    Number(i64, i64),
    /// A table or an array of tables.
    Table(&'static Section),
}

impl Kind {
    pub(super) const NAME: Self = Self::As("a name in quotes");
    pub(super) const ACTION: Self = Self::As(r#""allow" or "deny""#);
    pub(super) const TEXT: Self = Self::As("text in quotes");
    pub(super) const FILE: Self = Self::As("a file name in quotes");
    pub(super) const PATH: Self = Self::As("a path in quotes");
    pub(super) const TIME: Self = Self::As("a time without quotes, such as 2026-12-31T00:00:00Z");

    /// The kind of a list's elements; of anything else, itself.
    #[must_use]
    pub const fn element(self) -> Self {
        match self {
            Self::List { each, .. } => Self::As(each),
            other => other,
        }
    }

    /// The bounds of a number.
    pub const fn bounds(self) -> RangeInclusive<i64> {
        match self {
            Self::Number(least, most) => least..=most,
            _ => i64::MIN..=i64::MAX,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As(words) | Self::List { whole: words, .. } => f.write_str(words),
            Self::Number(least, most) => write!(f, "a number of {least} to {most}"),
            Self::Table(section) => write!(f, "a table headed {}", section.heading),
        }
    }
}

/// What holds when a key is left out.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// The same as this value, written as in a file.
    Value(&'static str),
    /// What these words say.
    Means(&'static str),
    /// It must be there; with what to add. A value that decides something stands for itself, in capitals: no hint decides it.
    Refused(&'static str),
}

/// How a key appears in the example file.
#[derive(Clone, Copy, Debug)]
pub enum Example {
    /// With this value.
    Shown(&'static str),
    /// With this value, behind a comment sign.
    Commented(&'static str),
    /// Not at all.
    Hidden,
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What people write.
    pub kind: Kind,
    /// What holds without it.
    pub absent: Absent,
    /// What it is, in one line without a full stop.
    pub help: &'static str,
    /// How the example file has it.
    pub example: Example,
}

impl Key {
    pub(super) const fn new(name: &'static str, kind: Kind, absent: Absent, help: &'static str) -> Self {
        let example = match absent {
            Absent::Value(value) => Example::Shown(value),
            Absent::Means(_) | Absent::Refused(_) => Example::Hidden,
        };
        Self { name, kind, absent, help, example }
    }

    pub(super) const fn table(section: &'static Section) -> Self {
        Self::new(section.name, Kind::Table(section), Absent::Means("none"), section.about)
    }

    pub(super) const fn shown(self, value: &'static str) -> Self {
        Self { example: Example::Shown(value), ..self }
    }

    pub(super) const fn commented(self, value: &'static str) -> Self {
        Self { example: Example::Commented(value), ..self }
    }

    pub(super) const fn hidden(self) -> Self {
        Self { example: Example::Hidden, ..self }
    }
}

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// Its key in the table around it.
    pub name: &'static str,
    /// As people head it.
    pub heading: &'static str,
    /// What it is for, in whole sentences.
    pub about: &'static str,
    /// Its keys, in the order in which messages and documents list them.
    pub keys: &'static [Key],
    /// Keys of later versions, which are refused rather than ignored, and what to do about them.
    pub planned: &'static [(&'static str, &'static str)],
    /// What the example file has after the keys.
    pub more: &'static str,
}

impl Section {
    pub(super) const fn new(
        name: &'static str,
        heading: &'static str,
        about: &'static str,
        keys: &'static [Key],
    ) -> Self {
        Self { name, heading, about, keys, planned: &[], more: "" }
    }
}
