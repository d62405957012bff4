//! What makes two policies the same: everything that can change a verdict or what is said about it, and nothing that
//! differs between two hosts, two boots or two ways to write the same down. Called by the policy compiler.
//!
//! It is taken over what the policy comes to, not over how it was written or how the kernel's tables hold it: over each
//! family's intervals with what each stands for, its rules in the order in which they decide. So files, their order,
//! comments, and how a list of networks is cut into files or lines are of no account. The terms and the record of each
//! rule (id, reason, owner…) go in besides, but for plain lists of networks, which have none.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnetwork::IpNetwork;
use monitor_common::wire::{ClassRow, RuleRow};
use sha2::{Digest as _, Sha256};

use super::zone::{drop_reasons, opaque_denied};
use crate::{
    geo::{Knowledge, Space},
    origin::Origin,
    precedence::NumberedRules,
    spec::{PortRange, Rule, Spec},
    text::hex,
};

/// SHA-256 in hexadecimal over the intervals of both families, the rules, the zone and the digests of what is known of
/// addresses. Rule times go in as wall-clock times.
pub(crate) fn of(
    spec: &Spec,
    knowledge: &Knowledge,
    rules: &NumberedRules<'_>,
    v4: &[(u32, u32)],
    v6: &[(u128, u32)],
    (classes, rows): (&[ClassRow], &[RuleRow]),
) -> String {
    let mut hash = Hash(Sha256::new());
    hash.field(b"egress-monitor policy 3");
    let terms: Vec<Vec<u8>> = rules.iter().map(|(_, rule)| record(rule)).collect();
    let meanings: Vec<Vec<u8>> = classes.iter().map(|class| meaning(class, rows, &terms)).collect();
    // NumberedRules as they are met, so that the order of the class table is of no account.
    let mut met: HashMap<&[u8], u32> = HashMap::new();
    hash.intervals(v4, &meanings, &mut met);
    hash.intervals(v6, &meanings, &mut met);
    let met: BTreeMap<u32, &[u8]> = met.into_iter().map(|(meaning, number)| (number, meaning)).collect();
    for meaning in met.values() {
        hash.field(meaning);
    }
    // Rules that decide nothing are on the record too.
    let records: BTreeSet<&[u8]> = terms.iter().map(Vec::as_slice).collect();
    hash.count(records.len());
    for record in records {
        hash.field(record);
    }
    let zone = &spec.zone;
    hash.field(zone.name.as_bytes());
    let actions = [zone.on_outside, zone.on_ambiguous, zone.on_unknown, zone.on_private, zone.on_link_local];
    hash.field(&actions.map(|action| action as u8));
    // What becomes of each reason, however the configuration comes to it.
    hash.field(&drop_reasons(zone).to_be_bytes());
    hash.field(&opaque_denied(zone).to_be_bytes());
    hash.count(zone.inside.len());
    for country in &zone.inside {
        hash.field(&country.0);
    }
    hash.field(&[u8::from(zone.inside_private)]);
    hash.count(knowledge.datasets.len());
    for dataset in &knowledge.datasets {
        hash.field(&dataset.about.digest);
    }
    hash.count(knowledge.overlays.len());
    for overlay in &knowledge.overlays {
        hash.field(&overlay.about.digest);
    }
    if let Some(asn) = knowledge.asn.as_ref().filter(|_| spec.rules.iter().any(|rule| !rule.ases.is_empty())) {
        hash.field(&asn.about.digest);
    }
    hex(&hash.0.finalize())
}

/// A sequence of fields, each with its length in front, so that no two sequences read the same.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend((bytes.len() as u64).to_be_bytes());
        self.0.extend(bytes);
    }

    /// What a rule names beside networks.
    fn named(&mut self, rule: &Rule) {
        let ports =
            |ports: &PortRange| [&[ports.protocol][..], &ports.low.to_be_bytes(), &ports.high.to_be_bytes()].concat();
        self.all(rule.ports.iter().map(ports).collect());
        if rule.from {
            self.add(b"from");
        }
        self.all(rule.countries.iter().map(|(country, _)| country.0.to_vec()).collect());
        self.all(rule.ases.iter().map(|(asn, _)| asn.to_be_bytes().to_vec()).collect());
    }

    fn all(&mut self, elements: BTreeSet<Vec<u8>>) {
        self.0.extend((elements.len() as u64).to_be_bytes());
        for element in elements {
            self.add(&element);
        }
    }
}

/// SHA-256 in hexadecimal over the networks, countries, systems and ports that a rule names, in whatever order.
pub(crate) fn scope(rule: &Rule) -> String {
    let mut fields = Fields::default();
    fields.named(rule);
    let network = |(network, _): &(IpNetwork, Origin)| {
        let first = match network.network() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        [first, vec![network.prefix()]].concat()
    };
    fields.all(rule.to.iter().map(network).collect());
    hex(&Sha256::digest(&fields.0))
}

/// A rule without its networks, which are in the intervals. Of a plain list nothing but that it is one: its id is a
/// file's name.
fn record(rule: &Rule) -> Vec<u8> {
    let mut fields = Fields::default();
    if rule.plain {
        return fields.0;
    }
    for text in [&rule.id, &rule.reason, &rule.legal_basis, &rule.owner, &rule.ticket] {
        fields.add(text.as_bytes());
    }
    fields.add(&[rule.action as u8]);
    fields.named(rule);
    for time in [rule.not_before, rule.expires] {
        fields.add(&time.map(i64::to_be_bytes).map_or(Vec::new(), |bytes| bytes.to_vec()));
    }
    for bytes in [rule.max_bytes_per_day, rule.tell_bytes_per_day] {
        fields.add(&bytes.map(u64::to_be_bytes).map_or(Vec::new(), |bytes| bytes.to_vec()));
    }
    fields.0
}

/// What a class stands for, with what each of its rows says.
fn meaning(class: &ClassRow, rows: &[RuleRow], terms: &[Vec<u8>]) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.add(&class.country);
    fields.add(&[class.class, class.deny, class.alert, class.embedded]);
    let (start, length) = (class.rules_start as usize, class.rules_len as usize);
    for row in rows.iter().skip(start).take(length) {
        let terms = usize::from(row.rule).checked_sub(1).and_then(|place| terms.get(place));
        fields.add(terms.map_or(&[], Vec::as_slice));
        fields.add(
            &[&[row.protocol, row.action][..], &row.port_low.to_be_bytes(), &row.port_high.to_be_bytes()].concat(),
        );
    }
    fields.0
}

struct Hash(Sha256);

impl Hash {
    /// With its length in front.
    fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_be_bytes());
    }

    /// Where what begins. Neighbours that mean the same are one.
    fn intervals<'a, A: Space>(
        &mut self,
        partition: &[(A, u32)],
        meanings: &'a [Vec<u8>],
        met: &mut HashMap<&'a [u8], u32>,
    ) {
        const AT_ONCE: usize = 1 << 16;
        // By class: what it is called here, once that is known.
        let mut names: Vec<Option<u32>> = vec![None; meanings.len()];
        let mut before = None;
        let mut bytes = Vec::with_capacity(AT_ONCE + 32);
        let mut count = 0;
        for (start, class_id) in partition {
            let class_id = *class_id as usize;
            let name = *names[class_id].get_or_insert_with(|| {
                let next = met.len() as u32;
                *met.entry(&meanings[class_id]).or_insert(next)
            });
            if before.replace(name) == Some(name) {
                continue;
            }
            count += 1;
            // In network order, as long as an address of the family is.
            bytes.extend(&start.number().to_be_bytes()[16 - A::BITS as usize / 8..]);
            bytes.extend(name.to_be_bytes());
            if bytes.len() >= AT_ONCE {
                self.0.update(&bytes);
                bytes.clear();
            }
        }
        self.0.update(&bytes);
        self.count(count);
    }
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
