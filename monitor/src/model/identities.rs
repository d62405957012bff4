//! Names of interfaces and rules as small numbers, so that a flow is eighty bytes and not two hundred, and keeps its
//! names when the policy that had its rule is gone. What nobody refers to any more is released, so that a generator that
//! puts a serial into each rule's id never fills the table.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

/// The interface name for packets of an interface that nobody registered.
pub const UNREGISTERED: &str = "(unregistered)";

/// Interface names that are told apart at a time; further ones are [`Name::OTHER`]. Metric labels come from here, so a
/// host that makes interfaces all day must not grow them without end.
const INTERFACES: usize = 1024;

/// Rule ids that are told apart at a time: more than all those of the policies that the engine may still have flows of and
/// of the next one (five), each with as many rules as a policy can have.
const RULES: usize = 1 << RULE_BITS;

/// Bits of a rule's number, for whoever packs it.
pub(super) const RULE_BITS: u32 = 19;
const _: () = assert!(RULES > 5 * u16::MAX as usize && INTERFACES << RULE_BITS <= 1 << 32);

/// The number of a name in a [`Names`] table.
pub trait NameNumber: Copy + Eq + Hash {
    /// The number of this place.
    fn at(index: usize) -> Self;
    /// Its place.
    fn index(self) -> usize;
}

/// An interface's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u16);

impl Name {
    /// What names are called that no longer fit: `(other)`.
    pub const OTHER: Self = Self(1);

    /// As it is kept.
    pub(super) const fn number(self) -> u16 {
        self.0
    }
}

impl NameNumber for Name {
    fn at(index: usize) -> Self {
        // Below the limit, which is less than 16 bits.
        Self(index as u16)
    }
    fn index(self) -> usize {
        self.0.into()
    }
}

/// A rule's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(u32);

impl RuleName {
    /// No rule.
    pub const NONE: Self = Self(0);
    /// As [`Name::OTHER`].
    pub const OTHER: Self = Self(1);

    /// As it is kept.
    pub(super) const fn number(self) -> u32 {
        self.0
    }
}

impl NameNumber for RuleName {
    fn at(index: usize) -> Self {
        // As above, of 32 bits.
        Self(index as u32)
    }
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names, each kept once and bounded, for as long as somebody refers to it ([`Identities::release`]).
#[derive(Clone, Debug)]
pub struct Names<N> {
    /// `None`: released.
    list: Vec<Option<Arc<str>>>,
    index: HashMap<Arc<str>, N>,
    /// Places that were released, the lowest last.
    free: Vec<N>,
    limit: usize,
}

/// What names are called that no longer fit.
const OTHER: &str = "(other)";

/// Names that are always there: none and [`OTHER`].
const FIXED: usize = 2;

impl<N: NameNumber> Names<N> {
    /// A table for at most `limit` names, the two constants included.
    pub fn new(limit: usize) -> Self {
        let mut names = Self { list: Vec::new(), index: HashMap::new(), free: Vec::new(), limit: limit.max(FIXED) };
        names.intern("");
        names.intern(OTHER);
        names
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.list.len() - self.free.len()
    }

    /// Whether there are none beside the constants.
    pub const fn is_empty(&self) -> bool {
        self.len() <= FIXED
    }

    /// How many there can be.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a name that is not there finds no place.
    pub const fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Whether so many eighths of the places are taken, with so many more.
    pub const fn is_beyond(&self, more: usize, eighths: usize) -> bool {
        self.len() + more > self.limit / 8 * eighths
    }

    /// The number of a name, if it has one of its own.
    pub fn find(&self, text: &str) -> Option<N> {
        self.index.get(text).copied()
    }

    /// The number of a name, added where it is new; of one that does not fit any more, that of `(other)`.
    pub fn intern(&mut self, text: &str) -> N {
        if let Some(name) = self.find(text) {
            return name;
        }
        if self.is_full() {
            return N::at(FIXED - 1);
        }
        let text: Arc<str> = text.into();
        let name = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            N::at(self.list.len() - 1)
        });
        self.list[name.index()] = Some(Arc::clone(&text));
        self.index.insert(text, name);
        name
    }

    /// The name with this number.
    pub fn get(&self, name: N) -> &str {
        self.list.get(name.index()).and_then(Option::as_deref).unwrap_or(OTHER)
    }

    /// The same, to be kept.
    pub fn share(&self, name: N) -> Arc<str> {
        self.list.get(name.index()).cloned().flatten().unwrap_or_else(|| OTHER.into())
    }

    /// Gives back every name that is not `used`, and which they were: their numbers are given to others.
    fn release(&mut self, used: &HashSet<N>) -> HashSet<N> {
        let mut released = HashSet::new();
        for (index, text) in self.list.iter_mut().enumerate().skip(FIXED) {
            if !used.contains(&N::at(index))
                && let Some(text) = text.take()
            {
                self.index.remove(&text);
                released.insert(N::at(index));
            }
        }
        self.free.extend(&released);
        self.free.sort_unstable_by_key(|name| std::cmp::Reverse(name.index()));
        released
    }
}

/// Names that somebody refers to, or that nobody does any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSet {
    /// Of interfaces.
    pub interfaces: HashSet<Name>,
    /// Of rules.
    pub rules: HashSet<RuleName>,
}

impl NameSet {
    /// Adds those of a flow or of many.
    pub fn add(&mut self, interface: Name, rule: RuleName) {
        self.interfaces.insert(interface);
        self.rules.insert(rule);
    }

    /// What sums of an interface are kept under when the names in this set are gone.
    pub fn interface(&self, name: Name) -> Name {
        if self.interfaces.contains(&name) { Name::OTHER } else { name }
    }

    /// The same of a rule.
    pub fn rule(&self, name: RuleName) -> RuleName {
        if self.rules.contains(&name) { RuleName::OTHER } else { name }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.interfaces.is_empty() && self.rules.is_empty()
    }
}

/// The two name tables. Shared with readers; a copy is made when a name is added, which is rare.
#[derive(Clone, Debug)]
pub struct Identities {
    /// Interface names.
    pub interfaces: Names<Name>,
    /// Rule ids.
    pub rules: Names<RuleName>,
}

impl Default for Identities {
    fn default() -> Self {
        Self::new(INTERFACES, RULES)
    }
}

impl Identities {
    /// Tables for at most so many names.
    pub fn new(interfaces: usize, rules: usize) -> Self {
        Self { interfaces: Names::new(interfaces.min(INTERFACES)), rules: Names::new(rules.min(RULES)) }
    }

    /// The number of an interface's name; the kernel's `""` is [`UNREGISTERED`].
    pub fn interface(self: &mut Arc<Self>, name: &str) -> Name {
        let name = if name.is_empty() { UNREGISTERED } else { name };
        let known = self.interfaces.find(name).or_else(|| self.interfaces.is_full().then_some(Name::OTHER));
        known.unwrap_or_else(|| Arc::make_mut(self).interfaces.intern(name))
    }

    /// The number of a rule's id.
    pub fn rule(self: &mut Arc<Self>, id: &str) -> RuleName {
        let known = self.rules.find(id).or_else(|| self.rules.is_full().then_some(RuleName::OTHER));
        known.unwrap_or_else(|| Arc::make_mut(self).rules.intern(id))
    }

    /// Gives back all names that are not `used`, and which they were. Whoever keeps something under one of these keeps
    /// it under `(other)` from now on: their numbers are given to others.
    pub fn release(self: &mut Arc<Self>, used: &NameSet) -> NameSet {
        let names = Arc::make_mut(self);
        let interfaces = names.interfaces.release(&used.interfaces);
        NameSet { interfaces, rules: names.rules.release(&used.rules) }
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

    /// All of them.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        self.by_index.values().copied().chain([self.unregistered])
    }

    /// Adds names, or replaces them.
    pub fn extend(&mut self, names: impl IntoIterator<Item = (u32, Name)>) {
        self.by_index.extend(names);
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
        let mut names: Names<RuleName> = Names::new(4);
        let (a, b) = (names.intern("a"), names.intern("b"));
        assert_eq!((names.intern("c"), names.find("c")), (RuleName::OTHER, None));
        assert_eq!((names.intern("a"), names.intern("b")), (a, b));
        assert_eq!(
            (names.get(a), names.get(b), names.get(RuleName::OTHER), names.get(RuleName::NONE)),
            ("a", "b", "(other)", "")
        );
    }

    #[test]
    fn what_nobody_refers_to_is_released_and_its_number_given_to_another_name() {
        let mut names: Names<RuleName> = Names::new(5);
        let [a, b, c] = ["a", "b", "c"].map(|id| names.intern(id));
        assert!(names.is_full());
        assert_eq!(names.release(&[b].into()), [a, c].into());
        assert_eq!(["a", "b", "c"].map(|id| names.find(id)), [None, Some(b), None]);
        assert_eq!([a, b, c].map(|name| names.get(name).to_owned()), ["(other)", "b", "(other)"]);
        assert_eq!((names.intern("d"), names.intern("e"), names.intern("f")), (a, c, RuleName::OTHER));
        assert_eq!((names.get(a), names.find("a"), names.len()), ("d", None, 5));
        // Those that are always there are never released, nor twice what is.
        assert_eq!(names.release(&HashSet::new()), [a, b, c].into());
        assert_eq!(names.release(&HashSet::new()), HashSet::new());
        assert_eq!(
            (names.intern(""), names.intern("(other)"), names.intern("g")),
            (RuleName::NONE, RuleName::OTHER, a)
        );
    }
}
