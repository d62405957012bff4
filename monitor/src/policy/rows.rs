//! Allow rules in, rule rows and class rows out: the two small tables of the image. Called by the policy compiler.

use std::collections::{BTreeMap, HashMap};

use monitor_common::wire::{ClassRow, MAX_RULES_PER_CLASS, RuleRow};

use super::{ClockMap, PolicyError};
use crate::config::Rule;

/// The rule table as it grows: a block of rows for each list of rules that covers some network.
pub(super) struct RuleTable<'a> {
    rules: &'a [Rule],
    clock: ClockMap,
    lists: HashMap<Vec<u32>, u32>,
    /// First row and number of rows of each list.
    blocks: Vec<(u32, u32)>,
    pub(super) rows: Vec<RuleRow>,
}

impl<'a> RuleTable<'a> {
    /// List 0 is the empty one.
    pub(super) fn new(rules: &'a [Rule], clock: ClockMap) -> Self {
        Self { rules, clock, lists: HashMap::from([(Vec::new(), 0)]), blocks: vec![(0, 0)], rows: Vec::new() }
    }

    /// The number of the list of these rules (numbers are places in the configuration, in order); `at` says where
    /// they meet, for the complaint.
    pub(super) fn list(
        &mut self,
        active: &BTreeMap<u32, u32>,
        at: impl FnOnce() -> String,
    ) -> Result<u32, PolicyError> {
        // What comes after a rule that always lets everything through can never be reached.
        let mut list = Vec::new();
        let mut rows = 0;
        for &number in active.keys() {
            let rule = &self.rules[number as usize];
            list.push(number);
            rows += rule.ports.len().max(1);
            let timed = rule.not_before.is_some() || rule.expires.is_some();
            // One with a budget may be suspended.
            if rule.ports.is_empty() && !timed && rule.max_bytes_per_day.is_none() {
                break;
            }
            if rows > MAX_RULES_PER_CLASS as usize {
                break;
            }
        }
        if let Some(&known) = self.lists.get(&list) {
            return Ok(known);
        }
        if rows > MAX_RULES_PER_CLASS as usize {
            let names = list.iter().map(|number| {
                let rule = &self.rules[*number as usize];
                format!("'{}' ({})", rule.id, rule.origin)
            });
            return Err(PolicyError::TooManyRules { at: at(), rules: names.collect::<Vec<_>>().join(", ") });
        }
        let start = self.rows.len() as u32;
        for &number in &list {
            let rule = &self.rules[number as usize];
            let row = RuleRow {
                not_before_ns: rule.not_before.map_or(0, |seconds| self.clock.boot_ns(seconds)),
                expires_ns: rule.expires.map_or(u64::MAX, |seconds| self.clock.boot_ns(seconds)),
                rule: number as u16 + 1,
                port_high: u16::MAX,
                action: match rule.action {
                    crate::config::Action::Allow => monitor_common::wire::Ruling::Allow as u8,
                    crate::config::Action::Deny => monitor_common::wire::Ruling::Deny as u8,
                },
                ..RuleRow::default()
            };
            if rule.ports.is_empty() {
                self.rows.push(row);
            }
            self.rows.extend(rule.ports.iter().map(|ports| RuleRow {
                protocol: ports.protocol,
                port_low: ports.low,
                port_high: ports.high,
                ..row
            }));
        }
        let number = self.blocks.len() as u32;
        self.blocks.push((start, self.rows.len() as u32 - start));
        self.lists.insert(list, number);
        Ok(number)
    }

    /// First row and number of rows of a list.
    pub(super) fn block(&self, list: u32) -> (u32, u32) {
        self.blocks[list as usize]
    }
}

/// Places in the class table's cache; a power of two.
const CACHE: usize = 1024;

/// The class table as it grows. Equal rows have one number.
pub(super) struct ClassTable {
    numbers: HashMap<ClassRow, u32>,
    /// What was asked for before, by a cheap hash: the sweep asks a million times for some hundred rows.
    cache: Vec<Option<(ClassRow, u32)>>,
    pub(super) rows: Vec<ClassRow>,
}

impl Default for ClassTable {
    fn default() -> Self {
        Self { numbers: HashMap::new(), cache: vec![None; CACHE], rows: Vec::new() }
    }
}

impl ClassTable {
    /// The number of this row.
    pub(super) fn number(&mut self, row: ClassRow) -> u32 {
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
