//! Two policies in, what becomes of which networks under the one and the other out. Called by `diff`.
//!
//! Both images are laid over each other as partitions of the address spaces, so that every address is in exactly one
//! interval of each, and each pair of classes is compared once, port by port. Nothing is sampled. What an IPv6 prefix
//! only carries (NAT64, 6to4, Teredo, ISATAP) changes as the IPv4 address inside does and is not listed again; nor is
//! such a prefix where it carries an address that never leaves the host, which follows `on_unknown`.
//! Rules are compared by their ids, each with all that is on its record, and at one moment; one that is suspended because
//! its budget is used up counts as it is configured.

mod border;
mod cidr;
mod document;
mod gather;
mod side;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use monitor_common::{
    classify::classify_row,
    parse::Reason,
    wire::{ClassRow, Opaque, RuleRow},
};

use self::gather::{Gathered, Groups};
use crate::{geo::Space, protocol};

pub use self::{
    border::{Border, Moved, border},
    document::{Change, Diff, Group, Location, Networks, RuleChange, RuleTerms, Verdict},
    side::Side,
    wire::DecodeError,
};

/// Changes that are listed; the rest is counted.
const MAX_GROUPS: usize = 10_000;

/// What two classes differ in: the changes, by number, and whether country or class alone are others.
#[derive(Clone, Default)]
struct Pair {
    changes: Vec<usize>,
    moved: bool,
}

/// Compares two policies; of each change, the `keep` largest networks of each family are listed.
pub fn compare(old: &Side, new: &Side, keep: usize) -> Diff {
    let mut groups = Groups::default();
    let mut pairs: HashMap<(u32, u32), Pair> = HashMap::new();
    let (mut moved4, mut moved6) = (Gathered::default(), Gathered::default());
    overlay(&old.image.v4_intervals(), &new.image.v4_intervals(), |first, last, from, to| {
        let pair = pairs.entry((from, to)).or_insert_with(|| pair(old, new, from, to, &mut groups));
        pair.changes.iter().for_each(|number| groups.v4[*number].add(first, last, keep));
        if pair.moved {
            moved4.add(first, last, keep);
        }
    });
    overlay(&old.image.v6_intervals(), &new.image.v6_intervals(), |first, last, from, to| {
        let pair = pairs.entry((from, to)).or_insert_with(|| pair(old, new, from, to, &mut groups));
        pair.changes.iter().for_each(|number| groups.v6[*number].add(first, last, keep));
        if pair.moved {
            moved6.add(first, last, keep);
        }
    });
    let Groups { changes, v4, v6, .. } = groups;
    let gathered = v4.into_iter().zip(v6).map(|(mut v4, mut v6)| {
        v4.close(keep);
        v6.close(keep);
        (v4, v6)
    });
    let mut all: Vec<_> = changes.into_iter().zip(gathered).collect();
    all.sort_by(|(a, (a4, a6)), (b, (b4, b6))| {
        (b4.addresses, b6.addresses).cmp(&(a4.addresses, a6.addresses)).then_with(|| a.cmp(b))
    });
    let left_out = all.len().saturating_sub(MAX_GROUPS) as u64;
    let bits = |side: &Side, reason: &Reason| side.image.drop_reasons & reason.bit() != 0;
    let reasons = |from: &Side, to: &Side| {
        let changed = Reason::ALL.into_iter().filter(|reason| !bits(from, reason) && bits(to, reason));
        changed.map(|reason| reason.name().to_owned()).collect()
    };
    let denies = |side: &Side, mark: Opaque| side.image.opaque_denied & mark.bit() != 0;
    let opaque = |from: &Side, to: &Side| {
        let changed = Opaque::MARKS.into_iter().filter(|(mark, _)| !denies(from, *mark) && denies(to, *mark));
        changed.map(|(_, name)| name.to_owned()).collect()
    };
    Diff {
        old: old.digest.clone(),
        new: new.digest.clone(),
        mode: (old.mode != new.mode).then_some((old.mode, new.mode)),
        changes: all
            .into_iter()
            .take(MAX_GROUPS)
            .map(|(change, (v4, v6))| Group { change, ipv4: v4.into_networks(keep), ipv6: v6.into_networks(keep) })
            .collect(),
        left_out,
        moved: (moved4.into_networks(keep), moved6.into_networks(keep)),
        rules: rules(old, new),
        reasons_dropped: reasons(old, new),
        reasons_passed: reasons(new, old),
        opaque_denied: opaque(old, new),
        opaque_allowed: opaque(new, old),
    }
}

/// Visits every interval on which both partitions are constant.
fn overlay<A: Space>(old: &[(A, u32)], new: &[(A, u32)], mut visit: impl FnMut(A, A, u32, u32)) {
    let (mut i, mut j, mut at) = (0, 0, A::ZERO);
    while let (Some((_, from)), Some((_, to))) = (old.get(i), new.get(j)) {
        let next = [old.get(i + 1), new.get(j + 1)].into_iter().flatten().map(|(start, _)| *start).min();
        // The one before the next start; starts after the first are above 0.
        let last = next.and_then(|next| A::from_number(next.number() - 1)).unwrap_or(A::LAST);
        visit(at, last, *from, *to);
        let Some(next) = next else { return };
        at = next;
        i += usize::from(old.get(i + 1).is_some_and(|(start, _)| *start == next));
        j += usize::from(new.get(j + 1).is_some_and(|(start, _)| *start == next));
    }
}

fn pair(old: &Side, new: &Side, from: u32, to: u32, groups: &mut Groups) -> Pair {
    let (old_row, new_row) = (old.class_row(from), new.class_row(to));
    let (old_place, new_place) = (Location::of(&old_row), Location::of(&new_row));
    let embeds = old_row.embedded != 0 || new_row.embedded != 0;
    let verdicts = |protocol: u8, port: u16| {
        let of = |side: &Side, number, row: &ClassRow| {
            let found = classify_row(&side.image_at(), number, protocol, Some(port)).unwrap_or_default();
            // Of a prefix that only carries an address, rules are all that is its own.
            if row.embedded != 0 && found.rule == 0 {
                return Verdict { verdict: "as the IPv4 address inside".into(), rule: None, alerts: false };
            }
            side.verdict(&found)
        };
        (of(old, from, &old_row), of(new, to, &new_row))
    };
    let rows = old.rows(&old_row).iter().chain(new.rows(&new_row));
    let mut cuts: BTreeMap<u8, BTreeSet<u32>> = BTreeMap::new();
    // Ports of the source cut nothing: nobody asks with them.
    for row in rows.filter(|row| row.protocol != 0 && row.action != RuleRow::KEEP_FROM) {
        let of = cuts.entry(row.protocol).or_insert_with(|| [0, 0x1_0000].into());
        of.insert(row.port_low.into());
        of.insert(u32::from(row.port_high) + 1);
    }
    // Port ranges that some row distinguishes; all else is represented by a protocol that no row names.
    let mut parts: Vec<(String, (Verdict, Verdict))> = Vec::new();
    for (protocol, cuts) in &cuts {
        let cuts: Vec<u32> = cuts.iter().copied().collect();
        for pair in cuts.windows(2) {
            let (low, high) = (pair[0], pair[1] - 1);
            let name = match (low, high) {
                (0, 0xffff) => protocol::label(*protocol),
                (low, high) if low == high => format!("{}/{low}", protocol::label(*protocol)),
                (low, high) => format!("{}/{low}-{high}", protocol::label(*protocol)),
            };
            parts.push((name, verdicts(*protocol, low as u16)));
        }
    }
    let unnamed =
        (0..=u8::MAX).rev().find(|protocol| *protocol != 0 && !cuts.contains_key(protocol)).unwrap_or(u8::MAX);
    let rest = verdicts(unnamed, 0);
    let mut found: Vec<&(Verdict, Verdict)> = parts.iter().map(|(_, verdicts)| verdicts).chain([&rest]).collect();
    found.sort_unstable();
    found.dedup();
    let mut changes = Vec::new();
    for verdicts in found.into_iter().filter(|(old, new)| old != new) {
        let here = |wanted: bool| {
            let parts = parts.iter().filter(|(_, of)| (of == verdicts) == wanted);
            parts.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let (only, but) = if rest == *verdicts { (Vec::new(), here(false)) } else { (here(true), Vec::new()) };
        changes.push(groups.number(Change {
            old_place: old_place.clone(),
            new_place: new_place.clone(),
            old: verdicts.0.clone(),
            new: verdicts.1.clone(),
            only,
            but,
        }));
    }
    Pair {
        moved: changes.is_empty() && (old_place != new_place || embeds && old_row.embedded != new_row.embedded),
        changes,
    }
}

fn rules(old: &Side, new: &Side) -> Vec<RuleChange> {
    let mut all: BTreeMap<&str, (Option<&RuleTerms>, Option<&RuleTerms>)> = BTreeMap::new();
    for rule in &old.rules {
        all.entry(&rule.id).or_default().0 = Some(rule);
    }
    for rule in &new.rules {
        all.entry(&rule.id).or_default().1 = Some(rule);
    }
    let changed = all.into_iter().filter(|(_, (old, new))| old != new);
    changed.map(|(id, (old, new))| RuleChange { id: id.to_owned(), old: old.cloned(), new: new.cloned() }).collect()
}

#[cfg(test)]
mod tests;
