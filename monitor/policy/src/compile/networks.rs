//! Networks that rules name in, a partition of the address space out, with each part's [`Cover`]: which rules cover it,
//! the more specific above the less. Called by the policy compiler.
//!
//! CIDR networks nest or are apart, so one pass over them in order, with a stack of those that enclose, is enough: a
//! million networks of one rule are a million times the same short step.

use std::collections::HashMap;

use super::layers::Partition;
use crate::{geo::Space, lint::MAX_NAMED};

/// A network's first and last address, and the number of the rule that names it.
pub(crate) type RuleNetwork<A> = (A, A, u16);

/// Which rules cover an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Cover {
    /// Whether a management network does.
    pub(crate) management: bool,
    /// Rules by how specific their network is, the least first; equals by number.
    pub(crate) levels: Vec<Vec<u16>>,
}

/// Every set of covering rules that occurs, by number; 0 is the empty one.
pub(crate) struct Covers {
    /// Management's number, 0 if there is none.
    management: u16,
    /// By number: whether a rule covers all traffic at all times, so that what is less specific decides nothing.
    total: Vec<bool>,
    covers: Vec<Cover>,
    numbers: HashMap<Cover, u32>,
    /// By rule: some of those for all traffic in a narrower network, where it therefore decides nothing.
    hidden: Vec<Vec<u16>>,
    /// The cover in a network of one rule, by the cover around it.
    steps: HashMap<(u32, u16), u32>,
    /// The last step: in a long list they are all the same.
    last: ((u32, u16), u32),
}

impl Covers {
    /// `total` is by rule number, from 1 on.
    pub(crate) fn new(management: u16, total: Vec<bool>) -> Self {
        let numbers = HashMap::from([(Cover::default(), 0)]);
        let hidden = vec![Vec::new(); total.len()];
        Self {
            management,
            total,
            covers: vec![Cover::default()],
            numbers,
            hidden,
            steps: HashMap::new(),
            last: ((0, 0), 0),
        }
    }

    pub(crate) fn get(&self, number: u32) -> &Cover {
        &self.covers[number as usize]
    }

    /// Pairs of rules of which the first leaves the second nothing to decide somewhere; a few for each.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = (u16, u16)> {
        (0_u16..).zip(&self.hidden).flat_map(|(rule, by)| by.iter().map(move |total| (*total, rule)))
    }

    /// The cover in a network that `rules` name (ascending, each once), inside `around`.
    fn step(&mut self, around: u32, rules: &[u16]) -> u32 {
        if let [rule] = *rules {
            if self.last.0 == (around, rule) {
                return self.last.1;
            }
            if let Some(known) = self.steps.get(&(around, rule)) {
                return *known;
            }
            let cover = self.enter(around, rules);
            self.steps.insert((around, rule), cover);
            self.last = ((around, rule), cover);
            return cover;
        }
        self.enter(around, rules)
    }

    fn enter(&mut self, around: u32, rules: &[u16]) -> u32 {
        let mut cover = self.covers[around as usize].clone();
        cover.management |= rules.contains(&self.management);
        let here: Vec<u16> = rules.iter().copied().filter(|rule| *rule != self.management).collect();
        if let Some(total) = here.iter().find(|rule| self.total[usize::from(**rule)]) {
            for rule in cover.levels.drain(..).flatten() {
                let by = &mut self.hidden[usize::from(rule)];
                if by.len() < MAX_NAMED && !by.contains(total) && !here.contains(&rule) {
                    by.push(*total);
                }
            }
        }
        // A rule that covers a wider network as well is as specific as its narrowest one.
        for level in &mut cover.levels {
            level.retain(|rule| !here.contains(rule));
        }
        cover.levels.push(here);
        cover.levels.retain(|level| !level.is_empty());
        if let Some(known) = self.numbers.get(&cover) {
            return *known;
        }
        let number = self.covers.len() as u32;
        self.covers.push(cover.clone());
        self.numbers.insert(cover, number);
        number
    }
}

/// Cuts the space into intervals with one cover each.
pub(crate) fn partition<A: Space>(mut networks: Vec<RuleNetwork<A>>, covers: &mut Covers) -> Partition<A> {
    // Enclosing networks before what they enclose.
    let order = |network: &RuleNetwork<A>| (network.0, std::cmp::Reverse(network.1), network.2);
    if !networks.is_sorted_by_key(order) {
        networks.sort_unstable_by_key(order);
    }
    networks.dedup();
    let mut partition: Partition<A> = Vec::with_capacity(networks.len() * 2 + 1);
    partition.push((A::ZERO, 0));
    let mut put = |at: A, cover: u32| {
        if partition.last().is_some_and(|last| last.0 == at) {
            partition.pop();
        }
        if partition.last().is_none_or(|last| last.1 != cover) {
            partition.push((at, cover));
        }
    };
    // The networks around the position reached: last address and cover of each.
    let mut around: Vec<(A, u32)> = Vec::new();
    let mut rules = Vec::new();
    let mut at = 0;
    while let Some(&(first, last, _)) = networks.get(at) {
        while let Some(&(end, _)) = around.last().filter(|(end, _)| *end < first) {
            around.pop();
            if let Some(after) = end.successor() {
                put(after, around.last().map_or(0, |(_, cover)| *cover));
            }
        }
        rules.clear();
        while let Some(network) = networks.get(at).filter(|network| (network.0, network.1) == (first, last)) {
            rules.push(network.2);
            at += 1;
        }
        let cover = covers.step(around.last().map_or(0, |(_, cover)| *cover), &rules);
        put(first, cover);
        around.push((last, cover));
    }
    while let Some((end, _)) = around.pop() {
        if let Some(after) = end.successor() {
            put(after, around.last().map_or(0, |(_, cover)| *cover));
        }
    }
    partition
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(networks: &[RuleNetwork<u32>], total: &[bool]) -> Vec<(u32, bool, Vec<Vec<u16>>)> {
        let mut covers = Covers::new(9, [&[false], total].concat());
        let parts = partition(networks.to_vec(), &mut covers);
        parts
            .into_iter()
            .map(|(at, cover)| (at, covers.get(cover).management, covers.get(cover).levels.clone()))
            .collect()
    }

    #[test]
    fn a_network_within_another_is_above_it_and_ends_where_it_ends() {
        assert_eq!(of(&[], &[]), [(0, false, vec![])]);
        assert_eq!(
            of(&[(16, 31, 2), (0, 63, 1), (16, 19, 3), (16, 31, 4), (60, 63, 2)], &[false; 9]),
            [
                (0, false, vec![vec![1]]),
                (16, false, vec![vec![1], vec![2, 4], vec![3]]),
                (20, false, vec![vec![1], vec![2, 4]]),
                (32, false, vec![vec![1]]),
                (60, false, vec![vec![1], vec![2]]),
                (64, false, vec![]),
            ]
        );
    }

    #[test]
    fn both_ends_of_the_space_are_reached_and_equal_neighbours_are_one() {
        assert_eq!(of(&[(0, u32::MAX, 1)], &[false; 9]), [(0, false, vec![vec![1]])]);
        assert_eq!(
            of(&[(8, 15, 1), (16, 31, 1), (4_294_967_294, u32::MAX, 1)], &[false; 9]),
            [(0, false, vec![]), (8, false, vec![vec![1]]), (32, false, vec![]), (4_294_967_294, false, vec![vec![1]])]
        );
        assert_eq!(of(&[(0, 63, 1), (8, 15, 1)], &[false; 9]), [(0, false, vec![vec![1]]), (64, false, vec![])]);
    }

    #[test]
    fn what_covers_all_traffic_hides_what_is_less_specific_but_for_management() {
        let total = [true, false, false, false, false, false, false, false, false];
        assert_eq!(
            of(&[(0, 63, 2), (0, 31, 9), (0, 15, 1), (4, 7, 3)], &total),
            [
                (0, true, vec![vec![1]]),
                (4, true, vec![vec![1], vec![3]]),
                (8, true, vec![vec![1]]),
                (16, true, vec![vec![2]]),
                (32, false, vec![vec![2]]),
                (64, false, vec![]),
            ]
        );
    }
}
