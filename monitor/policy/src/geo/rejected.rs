//! What of a file can't be taken: rejections in, counts by kind and the first examples out. Filled by the readers of every
//! format; shown by `geo import`, `geo info` and `check`.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Most examples of each kind.
const EXAMPLES: usize = 3;

/// Most regions that are named.
const REGIONS: usize = 256;

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
    /// Regions of a provider that the tables here do not have, each with how many of its networks: where these are is
    /// undetermined.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown_regions: BTreeMap<String, usize>,
    /// The first of all: its line, where there are lines, and what is wrong with it.
    #[serde(skip)]
    pub(crate) first: Option<(Option<usize>, String)>,
}

impl Rejected {
    /// Counts one of this kind; `what` is wrong with it.
    pub(crate) fn note(&mut self, position: Position<'_>, kind: &'static str, what: &dyn fmt::Display) {
        self.count(kind);
        let kind = self.kinds.entry(kind).or_default();
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

    /// Counts one more of this kind, of which there is an example.
    pub(crate) fn count(&mut self, kind: &'static str) {
        self.count += 1;
        self.kinds.entry(kind).or_default().count += 1;
    }

    /// Names a region that is not known; true for the first time. There may be no more of them than any provider has.
    pub(crate) fn region(&mut self, name: &str) -> bool {
        let known = self.unknown_regions.len();
        match self.unknown_regions.get_mut(name) {
            Some(count) => {
                *count += 1;
                false
            }
            None if known < REGIONS => {
                self.unknown_regions.insert(name.into(), 1);
                true
            }
            None => false,
        }
    }

    /// The regions that are not known, most of them first: `eu-moon-1 (12), eu-mars-1 (3)`.
    pub fn regions(&self) -> String {
        let mut regions: Vec<_> = self.unknown_regions.iter().collect();
        regions.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        regions.iter().map(|(name, count)| format!("{name} ({count})")).collect::<Vec<_>>().join(", ")
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
        for (name, count) in other.unknown_regions {
            *self.unknown_regions.entry(name).or_default() += count;
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
