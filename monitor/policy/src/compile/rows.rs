//! Rules in, rule rows and class rows out: the two small tables of the image. Called by the policy compiler.

use std::collections::{BTreeMap, HashMap};

use monitor_common::wire::{ClassRow, MAX_RULES_PER_CLASS, RuleRow};

use super::{
    error::PolicyError,
    layers::Partition,
    networks::{self, Cover, Covers, RuleNetwork},
};
use crate::{
    clock::ClockMap,
    geo::{AsRange, Country, Space},
    lint::{RuleConflicts, RuleNote},
    precedence::{NumberedRules, Rank, Specificity},
    spec::{PortRange, Rule},
};

/// Nothing here: no rule on the autonomous system, or on the country.
const NONE: u32 = 0;

/// The rule table as it grows: a block of rows for each set of rules that covers some interval.
pub(crate) struct RuleTable<'a> {
    rules: &'a NumberedRules<'a>,
    clock: ClockMap,
    covers: Covers,
    /// Rules on each autonomous system that rules name. A partition has its index in this list, plus 1.
    ases: BTreeMap<u32, Vec<u16>>,
    /// Rules on each country.
    countries: BTreeMap<Country, Vec<u16>>,
    /// The index of each in that list, plus 1, by its two letters as a number; empty if there is none.
    country_indices: Vec<u16>,
    /// First row and number of rows by cover, autonomous system and country.
    blocks: HashMap<CoverKey, Option<(u32, u32)>>,
    /// The first interval with too many rows.
    fault: Option<CoverKey>,
    /// The last lookup: most are the same as the one before.
    last: (CoverKey, Option<(u32, u32)>),
    /// Equal blocks are one.
    known: HashMap<Vec<RuleRow>, (u32, u32)>,
    pub(crate) rows: Vec<RuleRow>,
    conflicts: RuleConflicts,
}

/// What covers an interval: the cover of its networks, its autonomous system, its country.
type CoverKey = (u32, u32, u32);

/// A port range of a rule on its way into the table.
struct Candidate<'a> {
    rank: Rank,
    number: u16,
    rule: &'a Rule,
    ports: Option<&'a PortRange>,
}

impl Candidate<'_> {
    /// Whether some packet is covered by both.
    fn overlaps(&self, other: &Self) -> bool {
        // Ports of the source and of the destination have nothing to do with each other.
        if self.rule.from != other.rule.from {
            return false;
        }
        let ports = match (self.ports, other.ports) {
            (Some(mine), Some(its)) => mine.protocol == its.protocol && mine.low <= its.high && its.low <= mine.high,
            _ => true,
        };
        let before = |end: Option<i64>, start: Option<i64>| end.zip(start).is_some_and(|(end, start)| end <= start);
        ports && !before(self.rule.expires, other.rule.not_before) && !before(other.rule.expires, self.rule.not_before)
    }

    /// Whether it holds whenever the other does. One with a budget may be suspended.
    fn outlasts(&self, other: &Self) -> bool {
        let start = self.rule.not_before.is_none_or(|mine| other.rule.not_before.is_some_and(|its| mine <= its));
        let end = self.rule.expires.is_none_or(|mine| other.rule.expires.is_some_and(|its| mine >= its));
        start && end && self.rule.max_bytes_per_day.is_none()
    }

    /// Whether those that rank before it, one or several together, leave nothing for it to decide.
    fn hidden_by(&self, before: &[Self]) -> bool {
        let outlasting = before.iter().filter(|other| other.outlasts(self) && other.overlaps(self));
        let Some(mine) = self.ports else { return outlasting.into_iter().any(|other| other.ports.is_none()) };
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for other in outlasting {
            match other.ports {
                None => return true,
                Some(ports) => ranges.push((ports.low, ports.high)),
            }
        }
        ranges.sort_unstable();
        let mut open = u32::from(mine.low);
        for (low, high) in ranges {
            if u32::from(low) <= open {
                open = open.max(u32::from(high) + 1);
            }
        }
        open > u32::from(mine.high)
    }
}

impl<'a> RuleTable<'a> {
    pub(crate) fn new(rules: &'a NumberedRules<'a>, clock: ClockMap) -> Self {
        let mut total = vec![false];
        let (mut ases, mut countries) = (BTreeMap::new(), BTreeMap::new());
        for (number, rule) in rules.iter() {
            let timed = rule.not_before.is_some() || rule.expires.is_some();
            // One with a budget may be suspended.
            total.push(rule.ports.is_empty() && !timed && rule.max_bytes_per_day.is_none());
            for (asn, _) in &rule.ases {
                let of: &mut Vec<u16> = ases.entry(*asn).or_default();
                of.push(number);
                of.dedup();
            }
            for (country, _) in &rule.countries {
                let of: &mut Vec<u16> = countries.entry(*country).or_default();
                of.push(number);
                of.dedup();
            }
        }
        let mut country_indices = vec![0; if countries.is_empty() { 0 } else { 1 << 16 }];
        for (country, index) in countries.keys().zip(1..) {
            let country: &Country = country;
            country_indices[usize::from(u16::from_be_bytes(country.0))] = index;
        }
        Self {
            rules,
            clock,
            covers: Covers::new(rules.management(), total),
            ases,
            countries,
            country_indices,
            blocks: HashMap::new(),
            fault: None,
            last: ((0, NONE, NONE), Some((0, 0))),
            known: HashMap::new(),
            rows: Vec::new(),
            conflicts: RuleConflicts::default(),
        }
    }

    /// The rules.
    pub(crate) const fn numbered(&self) -> &'a NumberedRules<'a> {
        self.rules
    }

    /// Which cover holds where.
    pub(crate) fn networks<A: Space>(&mut self, networks: Vec<RuleNetwork<A>>) -> Partition<A> {
        networks::partition(networks, &mut self.covers)
    }

    /// Where which of the autonomous systems is that rules name; the ranges are sorted and disjoint.
    pub(crate) fn systems<A: Space>(&self, ranges: &[AsRange<A>]) -> Partition<A> {
        let mut partition = vec![(A::ZERO, NONE)];
        if self.ases.is_empty() {
            return partition;
        }
        let places: HashMap<u32, u32> = self.ases.keys().copied().zip(1..).collect();
        for range in ranges {
            let Some(place) = places.get(&range.asn) else { continue };
            if partition.last().is_some_and(|last| last.0 == range.first) {
                partition.pop();
            }
            if partition.last().is_none_or(|last| last.1 != *place) {
                partition.push((range.first, *place));
            }
            if let Some(after) = range.last.successor() {
                partition.push((after, NONE));
            }
        }
        partition
    }

    /// First row and number of rows for an interval; `None`: there are more than the kernel looks at.
    pub(crate) fn block(&mut self, cover: u32, system: u32, country: [u8; 2]) -> Option<(u32, u32)> {
        let letters = usize::from(u16::from_be_bytes(country));
        let country = self.country_indices.get(letters).map_or(NONE, |index| u32::from(*index));
        let covered = (cover, system, country);
        if self.last.0 != covered {
            let block = match self.blocks.get(&covered) {
                Some(block) => *block,
                None => {
                    let block = self.add(covered);
                    self.blocks.insert(covered, block);
                    if block.is_none() {
                        self.fault.get_or_insert(covered);
                    }
                    block
                }
            };
            self.last = (covered, block);
        }
        self.last.1
    }

    /// The port ranges that cover an interval, those that decide first in front.
    fn candidates(&self, (cover, system, country): CoverKey) -> Vec<Candidate<'a>> {
        let Cover { management, levels } = self.covers.get(cover);
        let rules = self.rules;
        let of = |map_place: u32, lists: &mut dyn Iterator<Item = &Vec<u16>>| -> Vec<u16> {
            let place = (map_place as usize).checked_sub(1);
            place.and_then(|place| lists.nth(place)).cloned().unwrap_or_default()
        };
        let mut all: Vec<(Specificity, u16)> = Vec::new();
        all.extend(management.then_some((Specificity::Network(0), rules.management())));
        for (level, numbers) in (0..).zip(levels) {
            all.extend(numbers.iter().map(|number| (Specificity::Network(level), *number)));
        }
        all.extend(of(system, &mut self.ases.values()).into_iter().map(|number| (Specificity::As, number)));
        all.extend(of(country, &mut self.countries.values()).into_iter().map(|number| (Specificity::Country, number)));
        let mut candidates: Vec<Candidate<'a>> = Vec::new();
        for (place, number) in all {
            let rule = rules.get(number);
            let ports = rule.ports.iter().map(Some).chain(rule.ports.is_empty().then_some(None));
            candidates.extend(ports.map(|ports| {
                let rank = rules.rank(number, place, ports);
                Candidate { rank, number, rule, ports }
            }));
        }
        // By ports as well: ranges of one rule may rank equal, and the order must always be the same.
        candidates.sort_by_key(|candidate| (candidate.rank, candidate.ports));
        candidates
    }

    /// Those of them that decide something, in order. Conflicts are recorded.
    fn deciding(&mut self, covered: CoverKey) -> Vec<Candidate<'a>> {
        let mut deciding: Vec<Candidate<'a>> = Vec::new();
        for candidate in self.candidates(covered) {
            let number = candidate.number;
            self.conflicts.covers(number);
            let hidden = candidate.hidden_by(&deciding);
            for winner in deciding.iter().filter(|winner| winner.number != number && winner.overlaps(&candidate)) {
                if hidden {
                    self.conflicts.hides(winner.number, number);
                }
                let tie = winner.rank.ties(&candidate.rank);
                self.conflicts.conflict(winner.number, number, tie, self.rules);
            }
            if !hidden {
                self.conflicts.decides(number);
                deciding.push(candidate);
            }
        }
        deciding
    }

    fn add(&mut self, covered: CoverKey) -> Option<(u32, u32)> {
        let candidates = self.deciding(covered);
        if candidates.len() > MAX_RULES_PER_CLASS as usize {
            return None;
        }
        let row = |candidate: Candidate<'_>| RuleRow {
            not_before_ns: candidate.rule.not_before.map_or(0, |seconds| self.clock.boot_ns(seconds)),
            expires_ns: candidate.rule.expires.map_or(u64::MAX, |seconds| self.clock.boot_ns(seconds)),
            port_low: candidate.ports.map_or(0, |ports| ports.low),
            port_high: candidate.ports.map_or(u16::MAX, |ports| ports.high),
            rule: candidate.number,
            protocol: candidate.ports.map_or(0, |ports| ports.protocol),
            // All ports of a protocol are those of either side.
            action: if candidate.rule.from && candidate.ports.is_some_and(|ports| !ports.whole()) {
                RuleRow::KEEP_FROM
            } else {
                self.rules.row_action(candidate.number) as u8
            },
        };
        let rows: Vec<RuleRow> = candidates.into_iter().map(row).collect();
        if rows.is_empty() {
            return Some((0, 0));
        }
        if let Some(known) = self.known.get(&rows) {
            return Some(*known);
        }
        let block = (self.rows.len() as u32, rows.len() as u32);
        self.rows.extend(&rows);
        self.known.insert(rows, block);
        Some(block)
    }

    /// Notes on the rules, once [`Self::block`] has been asked for every interval.
    pub(crate) fn notes(&mut self) -> Vec<RuleNote> {
        for (winner, loser) in self.covers.hidden() {
            self.conflicts.covers(loser);
            self.conflicts.hides(winner, loser);
            self.conflicts.conflict(winner, loser, false, self.rules);
        }
        self.conflicts.notes(self.rules, self.clock.seconds())
    }

    /// The rules that came to more rows than the kernel looks at, in the first interval for which [`Self::block`] had none.
    pub(crate) fn too_many(&mut self, at: String) -> PolicyError {
        let mut names: Vec<String> = Vec::new();
        for candidate in self.fault.map(|covered| self.deciding(covered)).unwrap_or_default() {
            let name = format!("'{}' ({})", candidate.rule.id, candidate.rule.origin);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        PolicyError::TooManyRules { at, rules: names.join(", ") }
    }
}

/// Entries of the class table's cache; a power of two.
const CACHE: usize = 1024;

/// The class table as it grows. Equal rows have one number.
pub(crate) struct ClassTable {
    numbers: HashMap<ClassRow, u32>,
    /// Recent lookups by a cheap hash: the sweep makes a million for some hundred rows.
    cache: Vec<Option<(ClassRow, u32)>>,
    pub(crate) rows: Vec<ClassRow>,
}

impl Default for ClassTable {
    fn default() -> Self {
        Self { numbers: HashMap::new(), cache: vec![None; CACHE], rows: Vec::new() }
    }
}

impl ClassTable {
    /// The number of this row.
    pub(crate) fn number(&mut self, row: ClassRow) -> u32 {
        let [low, high]: [u64; 2] = bytemuck::cast(row);
        // Fibonacci hashing: the product's upper bits depend on every bit of the row.
        let mixed = (low.rotate_left(32) ^ high).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = &mut self.cache[(mixed >> (u64::BITS - CACHE.ilog2())) as usize];
        if let Some((cached, number)) = place
            && *cached == row
        {
            return *number;
        }
        let number = *self.numbers.entry(row).or_insert_with(|| {
            self.rows.push(row);
            self.rows.len() as u32 - 1
        });
        *place = Some((row, number));
        number
    }
}
