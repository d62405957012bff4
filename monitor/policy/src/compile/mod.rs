//! Configuration, datasets, overlays and special-purpose ranges in, one [`Policy`] out. Called by `run` (at start and
//! at every reload), `check` and `explain`.
//!
//! Each layer overrides the one before: the datasets, the overlays, the special-purpose registries, the operator's site
//! map, the prefixes of the operator's translators.
//!
//! - The datasets place an address *inside* only where every one of them does. One that says nothing is a doubt:
//!   with an *inside* beside it the address is *ambiguous*; with an *outside* it is *outside*, since nobody says
//!   otherwise and neither may pass. The first source that knows names the country.
//! - Where overlays say something, the datasets are not asked. Overlays on different sides of the border make an address
//!   *ambiguous*; one that says that it is in no one place (anycast, satellite) makes it *unknown*, whatever others
//!   say. One that says nothing of it is no doubt: each knows some networks only. The first names the country.
//! - No dataset or overlay places a special-purpose range. Where several of these are nested the narrowest holds.
//! - A site's country decides for its networks, private ones and prefixes with embedded IPv4 too. Only what never
//!   leaves the link or the host (class *local*) is not to be placed.
//! - A NAT64 prefix that the operator names carries IPv4 addresses, which decide; of several nested the narrowest.
//!   That a translator stands there says more than in which site it stands.
//! - Rules cover what they name whatever its class; `precedence` says which decides. A rule on a country covers
//!   what the layers above put there; one on an autonomous system what the AS dataset says, but for special-purpose
//!   ranges and translators' prefixes: those are nobody's.

mod below;
mod digest;
mod error;
pub(crate) mod layers;
mod networks;
#[cfg(test)]
pub(crate) mod random;
mod rows;
mod summary;
mod zone;

use monitor_common::{
    classify::build::Image,
    wire::{Class, ClassRow, Embedded},
};

use self::{
    error::MAX_RULES,
    layers::{NumberedRange, Partition, overlay, sweep},
    rows::{ClassTable, RuleTable},
    summary::summarise,
    zone::{drop_reasons, opaque_denied},
};
use crate::{
    clock::ClockMap,
    geo::{AsDataset, AsRange, Country, Knowledge, Range, Space, special::Special},
    policy::{ClassInfo, Policy, RuleInfo},
    precedence::NumberedRules,
    spec::{Rule, Spec},
};

pub use self::error::PolicyError;
pub(crate) use self::zone::ZoneEvaluator;

/// Compiles a policy. `clock` is needed for rules with times only: the kernel times them by CLOCK_BOOTTIME.
///
/// # Errors
/// [`PolicyError`] when the policy does not fit the kernel's tables or a dataset is not sorted.
pub fn compile(spec: &Spec, knowledge: &Knowledge, clock: &ClockMap) -> Result<Policy, PolicyError> {
    let Knowledge { datasets, overlays, special, asn } = knowledge;
    if spec.rules.len() > MAX_RULES {
        return Err(PolicyError::TooManyRulesInAll(spec.rules.len()));
    }
    for dataset in datasets {
        check_sorted(&dataset.about.name, "IPv4", &dataset.v4)?;
        check_sorted(&dataset.about.name, "IPv6", &dataset.v6)?;
    }
    for overlay in overlays {
        check_sorted(&overlay.about.name, "IPv4", &overlay.v4)?;
        check_sorted(&overlay.about.name, "IPv6", &overlay.v6)?;
    }
    let mut classes = ClassTable::default();
    // Multicast that stays on its link is of this row, wherever its group is.
    classes.number(ClassRow { country: Country::NONE.0, class: Class::Local as u8, ..ClassRow::default() });
    let numbered = NumberedRules::of(spec);
    if let (None, Some((rule, (asn, origin)))) =
        (asn, spec.rules.iter().find_map(|rule| rule.ases.first().map(|asn| (rule, asn))))
    {
        return Err(PolicyError::NoAsDataset { id: rule.id.clone(), origin: origin.clone(), asn: *asn });
    }
    let nobody = AsDataset::default();
    let systems = asn.as_deref().unwrap_or(&nobody);
    let mut rules = RuleTable::new(&numbered, *clock);
    let evaluator = ZoneEvaluator::new(&spec.zone);
    let v4_sources = Sources {
        datasets: datasets.iter().map(|dataset| dataset.v4.as_slice()).collect(),
        overlays: overlays.iter().map(|overlay| overlay.v4.as_slice()).collect(),
        systems: &systems.v4,
    };
    let v6_sources = Sources {
        datasets: datasets.iter().map(|dataset| dataset.v6.as_slice()).collect(),
        overlays: overlays.iter().map(|overlay| overlay.v6.as_slice()).collect(),
        systems: &systems.v6,
    };
    let v4 = family(&v4_sources, spec, special, &evaluator, &mut rules, &mut classes)?;
    let v6 = family(&v6_sources, spec, special, &evaluator, &mut rules, &mut classes)?;

    let summary = summarise(&v4, &v6, &classes.rows);
    let infos = classes
        .rows
        .iter()
        .map(|row| ClassInfo { country: Country(row.country), class: Class::from_wire(row.class) })
        .collect();
    let digest = digest::of(spec, knowledge, &numbered, &v4, &v6, (&classes.rows, &rules.rows));
    let notes = rules.notes();
    let image = Image::build(&v4, &v6, classes.rows, rules.rows);
    let mut image = image.map_err(|error| below::explained(error, spec, knowledge))?;
    image.host_boot_ns = clock.boottime_ns;
    image.drop_reasons = drop_reasons(&spec.zone);
    image.opaque_denied = opaque_denied(&spec.zone);
    Ok(Policy {
        digest,
        notes,
        image,
        classes: infos,
        rules: numbered.iter().map(|(_, rule)| describe_rule(rule)).collect(),
        zone: spec.zone.name.clone(),
        inside: spec.zone.inside_text.clone(),
        summary,
        asn: asn.clone(),
        next_expiry: spec.rules.iter().filter_map(|rule| rule.expires).filter(|at| *at > clock.seconds()).min(),
        ..Policy::default()
    })
}

fn describe_rule(rule: &Rule) -> RuleInfo {
    RuleInfo {
        id: rule.id.clone(),
        origin: rule.origin.clone(),
        action: rule.action,
        not_before: rule.not_before,
        expires: rule.expires,
        max_bytes_per_day: rule.max_bytes_per_day,
        tell_bytes_per_day: rule.tell_bytes_per_day,
        owner: rule.owner.clone(),
        ticket: rule.ticket.clone(),
        legal_basis: rule.legal_basis.clone(),
        reason: rule.reason.clone(),
        scope: digest::scope(rule),
    }
}

fn check_sorted<A: Space>(name: &str, family: &'static str, ranges: &[Range<A>]) -> Result<(), PolicyError> {
    let reversed = ranges.iter().position(|range| range.first > range.last);
    let overlapping = ranges.windows(2).position(|pair| pair[1].first <= pair[0].last).map(|index| index + 1);
    match reversed.into_iter().chain(overlapping).min() {
        Some(index) => Err(PolicyError::BadDataset { name: name.to_owned(), family, index }),
        None => Ok(()),
    }
}

/// In the special and site layers: nothing here. What is there is its place in the list, plus 1.
const NONE: u32 = 0;

/// One family's ranges of every dataset, of every overlay, and of the dataset of AS numbers.
struct Sources<'a, A> {
    datasets: Vec<&'a [Range<A>]>,
    overlays: Vec<&'a [Range<A>]>,
    systems: &'a [AsRange<A>],
}

/// What overlays come to, as the value of a layer: [`NONE`], or class and country.
fn overlaid_value(overlaid: Option<(Class, Country)>) -> u32 {
    overlaid.map_or(NONE, |(class, country)| {
        1 << 24 | u32::from(class as u8) << 16 | u32::from(u16::from_be_bytes(country.0))
    })
}

fn overlaid_from(value: u32) -> Option<(Class, Country)> {
    let [_, class, country @ ..] = value.to_be_bytes();
    (value != NONE).then(|| (Class::from_wire(class), Country(country)))
}

fn family<A: Space>(
    sources: &Sources<'_, A>,
    spec: &Spec,
    special: &[Special],
    evaluator: &ZoneEvaluator,
    rules: &mut RuleTable,
    classes: &mut ClassTable,
) -> Result<Partition<A>, PolicyError> {
    let special_ranges: Vec<NumberedRange<A>> = numbered(special.iter().map(|special| A::ends(&special.network)));
    let prefix = |number: u32| special.get(number as usize).map_or(0, |special| special.network.prefix());
    let special_layer = overlay(&special_ranges, |_, active| {
        Ok::<_, PolicyError>(active.keys().copied().max_by_key(|n| prefix(*n)).map_or(NONE, |n| n + 1))
    })?;
    let site_ranges: Vec<NumberedRange<A>> = spec
        .sites
        .iter()
        .zip(0..)
        .flat_map(|(site, number)| covering(site.networks.iter().map(|(network, _)| network), number))
        .collect();
    let site_layer = overlay(&site_ranges, |_, active| {
        Ok::<_, PolicyError>(active.keys().next().map_or(NONE, |number| number + 1))
    })?;
    let nat64_ranges: Vec<NumberedRange<A>> = numbered(spec.zone.nat64.iter().map(|(prefix, _)| A::ends(prefix)));
    let nat64_prefix = |number: u32| spec.zone.nat64.get(number as usize).map_or(0, |(prefix, _)| prefix.prefix());
    let nat64_layer = overlay(&nat64_ranges, |_, active| {
        Ok::<_, PolicyError>(active.keys().copied().max_by_key(|n| nat64_prefix(*n)).map_or(NONE, |n| n + 1))
    })?;
    let named = rules.numbered().iter().flat_map(|(number, rule)| {
        let ends = rule.to.iter().filter_map(|(network, _)| A::ends(network));
        ends.map(move |(first, last)| (first, last, number))
    });
    let rule_layer = rules.networks(named.collect());
    let system_layer = rules.systems(sources.systems);
    let overlaid_layer = sweep(&sources.overlays, [], |says, []| overlaid_value(evaluator.overlaid(says)));
    let layers: [&[(A, u32)]; 6] =
        [&overlaid_layer, &special_layer, &site_layer, &nat64_layer, &rule_layer, &system_layer];
    let partition =
        sweep(&sources.datasets, layers, |countries, [overlaid, special_number, site, nat64, cover, system]| {
            let special = special_number.checked_sub(1).and_then(|number| special.get(number as usize));
            let site = site.checked_sub(1).and_then(|number| spec.sites.get(number as usize));
            let nat64 = nat64.checked_sub(1).map(nat64_prefix).and_then(Embedded::nat64);
            let row = evaluator.row(countries, overlaid_from(overlaid), special, site, nat64);
            let system = if special.is_none() && nat64.is_none() { system } else { NONE };
            match rules.block(cover, system, row.country) {
                Some((rules_start, rules_len)) => classes.number(ClassRow { rules_start, rules_len, ..row }),
                None => TOO_MANY,
            }
        });
    match partition.iter().find(|(_, class_id)| *class_id == TOO_MANY) {
        Some((at, _)) => Err(rules.too_many(at.ip().to_string())),
        None => Ok(partition),
    }
}

/// No class: more rows than fit.
const TOO_MANY: u32 = u32::MAX;

fn numbered<A>(ranges: impl Iterator<Item = Option<(A, A)>>) -> Vec<NumberedRange<A>> {
    ranges.zip(0..).filter_map(|(range, number)| range.map(|(first, last)| (first, last, number))).collect()
}

fn covering<'a, A: Space>(
    networks: impl Iterator<Item = &'a ipnetwork::IpNetwork>,
    number: u32,
) -> impl Iterator<Item = NumberedRange<A>> {
    networks.filter_map(A::ends).map(move |(first, last)| (first, last, number))
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod overlay_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;
