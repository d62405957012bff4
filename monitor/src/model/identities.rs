//! Names of interfaces and rules as small numbers, so that a flow is eighty bytes and not two hundred, and keeps its
//! names when the policy that had its rule is gone.

use std::{collections::HashMap, sync::Arc};

/// The interface name for packets of an interface that nobody registered.
pub const UNREGISTERED: &str = "(unregistered)";

/// Interface names that are distinguished; later ones are [`Names::OTHER`]. Metric labels come from here, so a
/// host that makes interfaces all day must not grow them without end.
const MAX_INTERFACE_NAMES: u16 = 1024;

/// A name in a [`Names`] table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u16);

impl Name {
    /// Its place in the table: names are numbered in the order in which they came.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The same as it is kept.
    pub(super) const fn number(self) -> u16 {
        self.0
    }
}

/// Names, each kept once, never forgotten, bounded.
#[derive(Clone, Debug)]
pub struct Names {
    list: Vec<Arc<str>>,
    index: HashMap<Arc<str>, Name>,
    limit: u16,
}

impl Names {
    /// The empty name: no rule.
    pub const NONE: Name = Name(0);
    /// What names are called that no longer fit: `(other)`.
    pub const OTHER: Name = Name(1);

    /// A table for at most `limit` names, the two constants included.
    pub fn new(limit: u16) -> Self {
        let mut names = Self { list: Vec::new(), index: HashMap::new(), limit: limit.max(2) };
        names.intern("");
        names.intern("(other)");
        names
    }

    /// The number of a name; `None` for one that can still be added.
    pub fn find(&self, text: &str) -> Option<Name> {
        let full = self.list.len() >= usize::from(self.limit);
        self.index.get(text).copied().or_else(|| full.then_some(Self::OTHER))
    }

    /// The number of a name, added where it is new.
    pub fn intern(&mut self, text: &str) -> Name {
        self.find(text).unwrap_or_else(|| {
            // Below the limit, which is 16 bits.
            let name = Name(self.list.len() as u16);
            let text: Arc<str> = text.into();
            self.list.push(Arc::clone(&text));
            self.index.insert(text, name);
            name
        })
    }

    /// The name with this number.
    pub fn get(&self, name: Name) -> &str {
        self.list.get(usize::from(name.0)).map_or("(other)", |text| text)
    }

    /// The same, to be kept.
    pub fn share(&self, name: Name) -> Arc<str> {
        self.list.get(usize::from(name.0)).map_or_else(|| "(other)".into(), Arc::clone)
    }
}

/// The two name tables. Shared with readers; a copy is made when a name is added, which is rare.
#[derive(Clone, Debug)]
pub struct Identities {
    /// Interface names.
    pub interfaces: Names,
    /// Rule ids.
    pub rules: Names,
}

impl Default for Identities {
    fn default() -> Self {
        Self { interfaces: Names::new(MAX_INTERFACE_NAMES), rules: Names::new(u16::MAX) }
    }
}

impl Identities {
    /// The number of an interface's name; the kernel's `""` is [`UNREGISTERED`].
    pub fn interface(self: &mut Arc<Self>, name: &str) -> Name {
        let name = if name.is_empty() { UNREGISTERED } else { name };
        self.interfaces.find(name).unwrap_or_else(|| Arc::make_mut(self).interfaces.intern(name))
    }

    pub(super) fn rule(self: &mut Arc<Self>, id: &str) -> Name {
        self.rules.find(id).unwrap_or_else(|| Arc::make_mut(self).rules.intern(id))
    }
}

/// The names of an epoch's interfaces, by index.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    by_index: HashMap<u32, Name>,
    unregistered: Name,
}

impl Interfaces {
    /// With `unregistered` for all others.
    pub fn new(by_index: HashMap<u32, Name>, unregistered: Name) -> Self {
        Self { by_index, unregistered }
    }

    /// The name of the interface with this index.
    pub fn name(&self, ifindex: u32) -> Name {
        self.by_index.get(&ifindex).copied().unwrap_or(self.unregistered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_calls_later_names_other_and_keeps_the_earlier_ones() {
        let mut names = Names::new(4);
        let (a, b) = (names.intern("a"), names.intern("b"));
        assert_eq!(names.intern("c"), Names::OTHER);
        assert_eq!((names.intern("a"), names.intern("b")), (a, b));
        assert_eq!(
            (names.get(a), names.get(b), names.get(Names::OTHER), names.get(Names::NONE)),
            ("a", "b", "(other)", "")
        );
    }
}
