//! What of a file can't be taken: rejections in, counts by kind and the first examples out. Filled by the readers of every
//! format; shown by `geo import`, `geo info` and `check`.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Most examples of each kind.
const EXAMPLES: usize = 3;

/// Where in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Position<'a> {
    /// Line number, from 1.
    Line(usize),
    /// An entry of a file without lines.
    Entry(&'a str),
}

/// Rejections of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RejectedKind {
    /// How many.
    pub count: usize,
    /// The first few, each with its position and what is wrong.
    pub examples: Vec<String>,
}

/// What of a file was rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rejected {
    /// How many in all.
    pub count: usize,
    /// By kind.
    pub kinds: BTreeMap<&'static str, RejectedKind>,
    /// The first of all: its line, where there are lines, and what is wrong with it.
    #[serde(skip)]
    pub(crate) first: Option<(Option<usize>, String)>,
}

impl Rejected {
    /// Counts one of this kind; `what` is wrong with it.
    pub(crate) fn note(&mut self, position: Position<'_>, kind: &'static str, what: &dyn fmt::Display) {
        self.count += 1;
        let kind = self.kinds.entry(kind).or_default();
        kind.count += 1;
        if kind.examples.len() < EXAMPLES {
            kind.examples.push(match position {
                Position::Line(line) => format!("line {line}: {what}"),
                Position::Entry(entry) => format!("{entry}: {what}"),
            });
        }
        if self.first.is_none() {
            self.first = Some(match position {
                Position::Line(line) => (Some(line), what.to_string()),
                Position::Entry(entry) => (None, format!("{entry}: {what}")),
            });
        }
    }

    /// In one line: `3 left out: 2 no country code, 1 no address`. Empty where nothing was.
    pub fn summary(&self) -> String {
        if self.count == 0 {
            return String::new();
        }
        let kinds: Vec<_> = self.kinds.iter().map(|(kind, of)| format!("{} {kind}", of.count)).collect();
        format!("{} left out: {}", self.count, kinds.join(", "))
    }

    /// Adds what another file of the same import has.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        for (name, of) in other.kinds {
            let kind = self.kinds.entry(name).or_default();
            kind.count += of.count;
            let room = EXAMPLES.saturating_sub(kind.examples.len());
            kind.examples.extend(of.examples.into_iter().take(room));
        }
        self.first = self.first.take().or(other.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_and_only_its_first_examples_are_kept() {
        let mut rejected = Rejected::default();
        assert_eq!(rejected.summary(), "");
        for line in 1..=5 {
            rejected.note(Position::Line(line), "no country", &"it has none");
        }
        let mut other = Rejected::default();
        other.note(Position::Entry("prefixes[0]"), "unknown region", &"'x' is none");
        rejected.add(other);
        assert_eq!(rejected.summary(), "6 left out: 5 no country, 1 unknown region");
        let examples = &rejected.kinds["no country"].examples;
        assert_eq!(examples, &["line 1: it has none", "line 2: it has none", "line 3: it has none"]);
        assert_eq!(rejected.kinds["unknown region"].examples, ["prefixes[0]: 'x' is none"]);
        assert_eq!(rejected.first, Some((Some(1), "it has none".into())));
    }
}
