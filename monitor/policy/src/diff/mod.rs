//! Two policies in, what becomes of which networks under the one and the other out. Called by `diff`.
//!
//! Both images are laid over each other as partitions of the address spaces, so that every address is in exactly one
//! interval of each, and each pair of classes is compared once, port by port. Nothing is sampled. What an IPv6 prefix
//! only carries (NAT64, 6to4, Teredo, ISATAP) changes as the IPv4 address inside does and is not listed again; nor is
//! such a prefix where it carries an address that never leaves the host, which follows `on_unknown`.
//! Rules are compared by their ids, at one moment.

mod cidr;
mod wire;

pub use self::wire::DecodeError;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use monitor_common::{
    classify::{Classification, build::Image, classify, classify_row},
    parse::Reason,
    wire::{Address as WireAddress, Class, ClassRow, Embedded, RuleRow},
};
use serde::{Deserialize, Serialize};

use self::cidr::{Cidr, cidrs};
use crate::{
    compile::layers::Address,
    geo::Country,
    policy::{ImageAt, Policy, RuleInfo},
    protocol,
    spec::Action,
};

/// Changes that are listed; the rest is counted.
const MAX_GROUPS: usize = 10_000;

/// A rule as far as two policies are compared by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleTerms {
    /// Its id.
    pub id: String,
    /// `allow` or `deny`.
    pub action: String,
    /// From when, seconds since 1970.
    pub not_before: Option<i64>,
    /// Until when.
    pub expires: Option<i64>,
}

/// One of the two policies.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// The compiled image.
    pub image: Image,
    /// Rule `n` of the image is `rules[n - 1]`.
    pub rules: Vec<RuleTerms>,
    /// The policy's digest.
    pub digest: String,
    /// Whether denied packets are dropped.
    pub enforce: bool,
    /// The moment, by the clock that the image's rules are timed by.
    pub boot_ns: u64,
}

impl Side {
    /// A policy of this process, at the moment that it was compiled for.
    #[must_use]
    pub fn of(policy: &Policy, enforce: bool) -> Self {
        let terms = |rule: &RuleInfo| RuleTerms {
            id: rule.id.clone(),
            action: if rule.action == Action::Deny { "deny" } else { "allow" }.into(),
            not_before: rule.not_before,
            expires: rule.expires,
        };
        Self {
            image: policy.image.clone(),
            rules: policy.rules.iter().map(terms).collect(),
            digest: policy.digest.clone(),
            enforce,
            boot_ns: policy.image.host_boot_ns,
        }
    }

    fn at(&self) -> ImageAt<'_> {
        ImageAt { image: &self.image, boot_ns: self.boot_ns }
    }

    fn mode(&self) -> &'static str {
        if self.enforce { "enforce" } else { "observe" }
    }

    fn rule(&self, number: u16) -> Option<&str> {
        usize::from(number).checked_sub(1).and_then(|number| self.rules.get(number)).map(|rule| rule.id.as_str())
    }

    fn class_row(&self, class_id: u32) -> ClassRow {
        self.image.classes.get(class_id as usize).copied().unwrap_or_default()
    }

    fn rows(&self, class: &ClassRow) -> &[RuleRow] {
        let start = class.rules_start as usize;
        self.image.rules.get(start..start + class.rules_len as usize).unwrap_or_default()
    }

    fn verdict(&self, of: &Classification) -> Verdict {
        let verdict = if of.deny { "denied" } else { "allowed" };
        Verdict { verdict: verdict.into(), rule: self.rule(of.rule).map(str::to_owned), alerts: of.alert }
    }

    /// What it makes of a destination.
    #[must_use]
    pub fn evaluate(&self, to: std::net::IpAddr, protocol: u8, port: u16) -> Option<(Verdict, Location)> {
        let (version, address) = match to {
            std::net::IpAddr::V4(address) => (4, WireAddress { high: 0, low: address.to_bits().into() }),
            std::net::IpAddr::V6(address) => {
                let bits = address.to_bits();
                (6, WireAddress { high: (bits >> 64) as u64, low: bits as u64 })
            }
        };
        let found = classify(&self.at(), version, address, protocol, Some(port))?;
        Some((self.verdict(&found), Location::of(&self.class_row(found.class_id.into()))))
    }
}

/// What becomes of a packet, whatever the mode: observe counts, and enforce drops, what is denied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// `allowed` or `denied`.
    pub verdict: String,
    /// The rule that decides; none: the class does.
    pub rule: Option<String>,
    /// Whether a new flow makes an alert.
    pub alerts: bool,
}

/// Where an address is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Location {
    /// Country.
    pub country: String,
    /// inside, outside…; `embeds_ipv4` where the address inside decides.
    pub class: String,
}

impl Location {
    fn of(row: &ClassRow) -> Self {
        let class =
            if row.embedded == Embedded::None as u8 { Class::from_wire(row.class).name() } else { "embeds_ipv4" };
        Self { country: Country(row.country).to_string(), class: class.into() }
    }
}

/// A change, and for which traffic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// Where the networks are by the old policy.
    pub old_place: Location,
    /// And by the new.
    pub new_place: Location,
    /// What the old one does.
    pub old: Verdict,
    /// What the new one does.
    pub new: Verdict,
    /// For which ports; empty: for all traffic.
    pub only: Vec<String>,
    /// For all traffic but these ports.
    pub but: Vec<String>,
}

/// Networks of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Networks {
    /// How many, as CIDRs.
    pub networks: u64,
    /// Addresses in them; as text, since 128 bits are more than JSON's numbers hold.
    pub addresses: String,
    /// The largest of them.
    pub largest: Vec<String>,
    /// How many are not listed.
    pub left_out: u64,
}

/// A change and the networks that it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Group {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// IPv4.
    pub ipv4: Networks,
    /// IPv6.
    pub ipv6: Networks,
}

/// A rule that is not in both policies as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleChange {
    /// Its id.
    pub id: String,
    /// In the old policy.
    pub old: Option<RuleTerms>,
    /// In the new one.
    pub new: Option<RuleTerms>,
}

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Diff {
    /// Digest of the old policy.
    pub old: String,
    /// Of the new one.
    pub new: String,
    /// `observe` or `enforce` before and after, where that changes.
    pub mode: Option<(String, String)>,
    /// Changes of verdict, of most IPv4 addresses first.
    pub changes: Vec<Group>,
    /// Changes that are not listed.
    pub left_out: u64,
    /// Networks whose country or class changes and whose verdict does not.
    pub moved: (Networks, Networks),
    /// Rules that came, went, or have other terms.
    pub rules: Vec<RuleChange>,
    /// Reasons for which a packet that could not be read is dropped now and was not, in enforce mode.
    pub reasons_dropped: Vec<String>,
    /// The other way round.
    pub reasons_passed: Vec<String>,
}

/// Networks of one change as the sweep comes to them.
#[derive(Clone, Debug)]
struct Gathered<A> {
    open: Option<(A, A)>,
    networks: u64,
    addresses: u128,
    largest: BTreeSet<Cidr>,
}

impl<A> Default for Gathered<A> {
    fn default() -> Self {
        Self { open: None, networks: 0, addresses: 0, largest: BTreeSet::new() }
    }
}

impl<A: Address + Into<u128>> Gathered<A> {
    /// Ascending and disjoint: what touches is one.
    fn add(&mut self, first: A, last: A, keep: usize) {
        match &mut self.open {
            Some((_, end)) if end.successor() == Some(first) => *end = last,
            _ => {
                self.close(keep);
                self.open = Some((first, last));
            }
        }
    }

    fn close(&mut self, keep: usize) {
        let Some((first, last)) = self.open.take() else { return };
        self.addresses = self.addresses.saturating_add((last.into() - first.into()).saturating_add(1));
        for cidr in cidrs(first.into(), last.into(), size_of::<A>() == 4) {
            self.networks += 1;
            self.largest.insert(cidr);
            if self.largest.len() > keep {
                self.largest.pop_last();
            }
        }
    }

    fn shown(mut self, keep: usize) -> Networks {
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

/// Changes by number, with what they are of.
struct Groups {
    numbers: HashMap<Change, usize>,
    changes: Vec<Change>,
    v4: Vec<Gathered<u32>>,
    v6: Vec<Gathered<u128>>,
}

impl Groups {
    fn number(&mut self, change: Change) -> usize {
        let next = self.changes.len();
        *self.numbers.entry(change).or_insert_with_key(|change| {
            self.changes.push(change.clone());
            self.v4.push(Gathered::default());
            self.v6.push(Gathered::default());
            next
        })
    }
}

/// What two classes differ in: the changes, by number, and whether the place is another.
#[derive(Clone, Default)]
struct Pair {
    changes: Vec<usize>,
    moved: bool,
}

/// Compares two policies; of each change, the `keep` largest networks of each family are listed.
#[must_use]
pub fn compare(old: &Side, new: &Side, keep: usize) -> Diff {
    let mut groups = Groups { numbers: HashMap::new(), changes: Vec::new(), v4: Vec::new(), v6: Vec::new() };
    let mut pairs: HashMap<(u32, u32), Pair> = HashMap::new();
    let (mut moved4, mut moved6) = (Gathered::default(), Gathered::default());
    overlay(&old.image.v4_intervals(), &new.image.v4_intervals(), u32::MAX, |first, last, from, to| {
        let pair = pairs.entry((from, to)).or_insert_with(|| pair(old, new, from, to, &mut groups));
        pair.changes.iter().for_each(|number| groups.v4[*number].add(first, last, keep));
        if pair.moved {
            moved4.add(first, last, keep);
        }
    });
    overlay(&old.image.v6_intervals(), &new.image.v6_intervals(), u128::MAX, |first, last, from, to| {
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
    Diff {
        old: old.digest.clone(),
        new: new.digest.clone(),
        mode: (old.enforce != new.enforce).then(|| (old.mode().into(), new.mode().into())),
        changes: all
            .into_iter()
            .take(MAX_GROUPS)
            .map(|(change, (v4, v6))| Group { change, ipv4: v4.shown(keep), ipv6: v6.shown(keep) })
            .collect(),
        left_out,
        moved: (moved4.shown(keep), moved6.shown(keep)),
        rules: rules(old, new),
        reasons_dropped: reasons(old, new),
        reasons_passed: reasons(new, old),
    }
}

/// Visits every interval on which both partitions are constant.
fn overlay<A: Address + Into<u128> + TryFrom<u128>>(
    old: &[(A, u32)],
    new: &[(A, u32)],
    end: A,
    mut visit: impl FnMut(A, A, u32, u32),
) {
    let (mut i, mut j, mut at) = (0, 0, A::ZERO);
    while let (Some((_, from)), Some((_, to))) = (old.get(i), new.get(j)) {
        let next = [old.get(i + 1), new.get(j + 1)].into_iter().flatten().map(|(start, _)| *start).min();
        // The one before the next start; starts after the first are above 0.
        let last = next.and_then(|next| A::try_from(next.into() - 1).ok()).unwrap_or(end);
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
            let found = classify_row(&side.at(), number, protocol, Some(port)).unwrap_or_default();
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
    for row in rows.filter(|row| row.protocol != 0) {
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
