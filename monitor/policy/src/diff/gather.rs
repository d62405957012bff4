//! Ranges of addresses in, as a comparison comes to them; networks, sums and the largest of each change out.

use std::collections::{BTreeSet, HashMap};

use super::{
    cidr::{Cidr, cidrs},
    document::{Change, Networks},
};
use crate::geo::Space;

/// Networks of one change, as the sweep comes to them.
#[derive(Clone, Debug)]
pub(super) struct Gathered<A> {
    /// The last range, which may still grow.
    open: Option<(A, A)>,
    networks: u64,
    pub(super) addresses: u128,
    largest: BTreeSet<Cidr>,
}

impl<A> Default for Gathered<A> {
    fn default() -> Self {
        Self { open: None, networks: 0, addresses: 0, largest: BTreeSet::new() }
    }
}

impl<A: Space> Gathered<A> {
    /// Adds a range; they come ascending and disjoint, and neighbours are joined.
    pub(super) fn add(&mut self, first: A, last: A, keep: usize) {
        match &mut self.open {
            Some((_, end)) if end.successor() == Some(first) => *end = last,
            _ => {
                self.close(keep);
                self.open = Some((first, last));
            }
        }
    }

    pub(super) fn close(&mut self, keep: usize) {
        let Some((first, last)) = self.open.take() else { return };
        self.addresses = self.addresses.saturating_add((last.number() - first.number()).saturating_add(1));
        for cidr in cidrs(first.number(), last.number(), A::BITS == 32) {
            self.networks += 1;
            self.largest.insert(cidr);
            if self.largest.len() > keep {
                self.largest.pop_last();
            }
        }
    }

    pub(super) fn into_networks(mut self, keep: usize) -> Networks {
        self.close(keep);
        let largest: Vec<_> = self.largest.iter().map(ToString::to_string).collect();
        Networks {
            networks: self.networks,
            addresses: self.addresses.to_string(),
            left_out: self.networks - largest.len() as u64,
            largest,
        }
    }
}

/// Changes by number, each with its networks.
#[derive(Default)]
pub(super) struct Groups {
    numbers: HashMap<Change, usize>,
    pub(super) changes: Vec<Change>,
    pub(super) v4: Vec<Gathered<u32>>,
    pub(super) v6: Vec<Gathered<u128>>,
}

impl Groups {
    pub(super) fn number(&mut self, change: Change) -> usize {
        let next = self.changes.len();
        *self.numbers.entry(change).or_insert_with_key(|change| {
            self.changes.push(change.clone());
            self.v4.push(Gathered::default());
            self.v6.push(Gathered::default());
            next
        })
    }
}
