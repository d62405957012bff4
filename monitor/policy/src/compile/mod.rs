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
//! - Rules cover what they name whatever its class; [`super::precedence`] says which decides. A rule on a country covers
//!   what the layers above put there; one on an autonomous system what the AS dataset says, but for special-purpose
//!   ranges and translators' prefixes: those are nobody's.

mod digest;
pub(crate) mod layers;
mod networks;
#[cfg(test)]
pub(crate) mod random;
mod rows;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use monitor_common::{
    classify::build::{BuildError, Image},
    parse::Reason,
    wire::{Class, ClassRow, Embedded},
};

use crate::{
    ClassInfo, ClockMap, Extent, Knowledge, Policy, RuleInfo, Summary,
    compile::{
        layers::{Address, Covering, Partition, overlay, sweep},
        rows::{ClassTable, RuleTable},
    },
    origin::Origin,
    precedence::Numbered,
};
use crate::{
    geo::{
        Country, Range,
        asn::{AsDataset, AsRange},
        special::Special,
    },
    spec::{Action, Rule, Site, Spec, Zone},
};

/// Rules are numbered from 1 in 16 bits; one is management's.
const MAX_RULES: usize = u16::MAX as usize - 1;

/// Why a checked configuration can't be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// More rule rows meet at one network than the kernel looks at.
    #[error(
        "at {at} the rules {rules} come to more than {max} port ranges: merge ranges or leave 'ports' out",
        max = monitor_common::wire::MAX_RULES_PER_CLASS
    )]
    TooManyRules {
        /// Where they meet.
        at: String,
        /// Which: id and origin of each.
        rules: String,
    },
    /// A rule names an autonomous system, and nothing says which networks that has.
    #[error("rule '{id}' ({origin}) names AS{asn}, and no dataset says what that is: name one by [geo] asn")]
    NoAsDataset {
        /// The rule.
        id: String,
        /// Where the number stands.
        origin: Origin,
        /// The number.
        asn: u32,
    },
    /// More rules than numbers.
    #[error("{0} rules, at most {MAX_RULES} fit: put networks with equal terms into one rule")]
    TooManyRulesInAll(usize),
    /// A source's ranges overlap or are out of order.
    #[error("geo source '{name}': {family} range {index} overlaps or precedes the one before it: import it anew")]
    BadDataset {
        /// The source.
        name: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Which range, from 0.
        index: usize,
    },
    /// The index can't be built.
    #[error("{0}")]
    Build(#[from] BuildError),
}

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
    let numbered = Numbered::of(spec);
    if let (None, Some((rule, (asn, origin)))) =
        (asn, spec.rules.iter().find_map(|rule| rule.ases.first().map(|asn| (rule, asn))))
    {
        return Err(PolicyError::NoAsDataset { id: rule.id.clone(), origin: origin.clone(), asn: *asn });
    }
    let nobody = AsDataset::default();
    let systems = asn.as_deref().unwrap_or(&nobody);
    let mut rules = RuleTable::new(&numbered, *clock);
    let judge = Judge::new(&spec.zone);
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
    let v4 = family(&v4_sources, spec, special, &judge, &mut rules, &mut classes)?;
    let v6 = family(&v6_sources, spec, special, &judge, &mut rules, &mut classes)?;

    let summary = summarise(&v4, &v6, &classes.rows);
    let infos = classes
        .rows
        .iter()
        .map(|row| ClassInfo { country: Country(row.country), class: Class::from_wire(row.class) })
        .collect();
    let digest = digest::of(spec, knowledge, &numbered, &v4, &v6, (&classes.rows, &rules.rows));
    let notes = rules.notes();
    let mut image = Image::build(&v4, &v6, classes.rows, rules.rows)?;
    image.host_boot_ns = clock.boottime_ns;
    image.drop_reasons = drop_reasons(&spec.zone);
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

/// One bit for each reason whose packets are dropped in enforce mode.
pub(crate) fn drop_reasons(zone: &Zone) -> u64 {
    let denied = Reason::ALL.into_iter().filter(|reason| zone.on_reason(*reason) == Action::Deny);
    denied.fold(0, |bits, reason| bits | reason.bit())
}

fn describe_rule(rule: &Rule) -> RuleInfo {
    RuleInfo {
        id: rule.id.clone(),
        origin: rule.origin.clone(),
        action: rule.action,
        not_before: rule.not_before,
        expires: rule.expires,
        max_bytes_per_day: rule.max_bytes_per_day,
        owner: rule.owner.clone(),
        ticket: rule.ticket.clone(),
        legal_basis: rule.legal_basis.clone(),
        reason: rule.reason.clone(),
    }
}

fn check_sorted<A: Address>(name: &str, family: &'static str, ranges: &[Range<A>]) -> Result<(), PolicyError> {
    let reversed = ranges.iter().position(|range| range.first > range.last);
    let overlapping = ranges.windows(2).position(|pair| pair[1].first <= pair[0].last).map(|index| index + 1);
    match reversed.into_iter().chain(overlapping).min() {
        Some(index) => Err(PolicyError::BadDataset { name: name.to_owned(), family, index }),
        None => Ok(()),
    }
}

/// Addresses of one family as the configuration and the registries give them.
pub(crate) trait Family: Address {
    /// A network's first and last address; `None` for the other family.
    fn network(network: &ipnetwork::IpNetwork) -> Option<(Self, Self)>;
    /// A special-purpose range's; `None` for the other family.
    fn special(special: &Special) -> Option<(Self, Self)>;
    /// For messages.
    fn show(self) -> IpAddr;
    /// In network order.
    fn write(self, bytes: &mut Vec<u8>);
}

impl Family for u32 {
    fn network(network: &ipnetwork::IpNetwork) -> Option<(Self, Self)> {
        match network {
            ipnetwork::IpNetwork::V4(v4) => Some((v4.network().to_bits(), v4.broadcast().to_bits())),
            ipnetwork::IpNetwork::V6(_) => None,
        }
    }
    fn special(special: &Special) -> Option<(Self, Self)> {
        special.ends_v4()
    }
    fn show(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }
    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_be_bytes());
    }
}

impl Family for u128 {
    fn network(network: &ipnetwork::IpNetwork) -> Option<(Self, Self)> {
        match network {
            ipnetwork::IpNetwork::V4(_) => None,
            ipnetwork::IpNetwork::V6(v6) => Some((v6.network().to_bits(), v6.broadcast().to_bits())),
        }
    }
    fn special(special: &Special) -> Option<(Self, Self)> {
        special.ends_v6()
    }
    fn show(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }
    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_be_bytes());
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

fn family<A: Family>(
    sources: &Sources<'_, A>,
    spec: &Spec,
    special: &[Special],
    judge: &Judge,
    rules: &mut RuleTable,
    classes: &mut ClassTable,
) -> Result<Partition<A>, PolicyError> {
    let special_ranges: Vec<Covering<A>> = numbered(special.iter().map(A::special));
    let prefix = |number: u32| special.get(number as usize).map_or(0, |special| special.network.prefix());
    let special_layer = overlay(&special_ranges, |_, active| {
        Ok::<_, PolicyError>(active.keys().copied().max_by_key(|n| prefix(*n)).map_or(NONE, |n| n + 1))
    })?;
    let site_ranges: Vec<Covering<A>> = spec
        .sites
        .iter()
        .zip(0..)
        .flat_map(|(site, number)| covering(site.networks.iter().map(|(network, _)| network), number))
        .collect();
    let site_layer = overlay(&site_ranges, |_, active| {
        Ok::<_, PolicyError>(active.keys().next().map_or(NONE, |number| number + 1))
    })?;
    let nat64_ranges: Vec<Covering<A>> = numbered(spec.zone.nat64.iter().map(|(prefix, _)| A::network(prefix)));
    let nat64_prefix = |number: u32| spec.zone.nat64.get(number as usize).map_or(0, |(prefix, _)| prefix.prefix());
    let nat64_layer = overlay(&nat64_ranges, |_, active| {
        Ok::<_, PolicyError>(active.keys().copied().max_by_key(|n| nat64_prefix(*n)).map_or(NONE, |n| n + 1))
    })?;
    let named = rules.numbered().iter().flat_map(|(number, rule)| {
        let ends = rule.to.iter().filter_map(|(network, _)| A::network(network));
        ends.map(move |(first, last)| (first, last, number))
    });
    let rule_layer = rules.networks(named.collect());
    let system_layer = rules.systems(sources.systems);
    let overlaid_layer = sweep(&sources.overlays, [], |says, []| overlaid_value(judge.overlaid(says)));
    let layers: [&[(A, u32)]; 6] =
        [&overlaid_layer, &special_layer, &site_layer, &nat64_layer, &rule_layer, &system_layer];
    let partition =
        sweep(&sources.datasets, layers, |countries, [overlaid, special_number, site, nat64, state, system]| {
            let special = special_number.checked_sub(1).and_then(|number| special.get(number as usize));
            let site = site.checked_sub(1).and_then(|number| spec.sites.get(number as usize));
            let nat64 = nat64.checked_sub(1).map(nat64_prefix).and_then(Embedded::nat64);
            let row = judge.row(countries, overlaid_from(overlaid), special, site, nat64);
            let system = if special.is_none() && nat64.is_none() { system } else { NONE };
            match rules.block(state, system, row.country) {
                Some((rules_start, rules_len)) => classes.number(ClassRow { rules_start, rules_len, ..row }),
                None => TOO_MANY,
            }
        });
    match partition.iter().find(|(_, class_id)| *class_id == TOO_MANY) {
        Some((at, _)) => Err(rules.too_many(at.show().to_string())),
        None => Ok(partition),
    }
}

/// No class: more rows than fit.
const TOO_MANY: u32 = u32::MAX;

fn numbered<A>(ranges: impl Iterator<Item = Option<(A, A)>>) -> Vec<Covering<A>> {
    ranges.zip(0..).filter_map(|(range, number)| range.map(|(first, last)| (first, last, number))).collect()
}

fn covering<'a, A: Family>(
    networks: impl Iterator<Item = &'a ipnetwork::IpNetwork>,
    number: u32,
) -> impl Iterator<Item = Covering<A>> {
    networks.filter_map(A::network).map(move |(first, last)| (first, last, number))
}

/// The zone in a form that half a million questions a second can be put to.
pub(crate) struct Judge<'a> {
    zone: &'a Zone,
    /// By the country's two letters as a number.
    inside: Vec<bool>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(zone: &'a Zone) -> Self {
        let mut inside = vec![false; 1 << 16];
        for country in &zone.inside {
            inside[usize::from(u16::from_be_bytes(country.0))] = true;
        }
        Self { zone, inside }
    }

    /// Whether a country is in the region.
    pub(crate) fn inside(&self, country: [u8; 2]) -> bool {
        self.inside[usize::from(u16::from_be_bytes(country))]
    }

    /// What several sources come to.
    fn place(&self, countries: &[Option<[u8; 2]>]) -> (Class, Country) {
        let known = |country: &Option<[u8; 2]>| country.filter(|code| *code != Country::UNKNOWN.0);
        let (mut inside, mut outside, mut silent) = (false, false, false);
        for country in countries {
            match known(country) {
                None => silent = true,
                Some(code) if self.inside(code) => inside = true,
                Some(_) => outside = true,
            }
        }
        let class = match (inside, outside, silent) {
            (false, false, _) => Class::Unknown,
            (true, false, false) => Class::Inside,
            (false, true, _) => Class::Outside,
            (true, true, _) | (true, false, true) => Class::Ambiguous,
        };
        (class, countries.iter().find_map(known).map_or(Country::UNKNOWN, Country))
    }

    /// What several overlays come to; `None` where none says anything.
    pub(crate) fn overlaid(&self, says: &[Option<[u8; 2]>]) -> Option<(Class, Country)> {
        let (mut inside, mut outside) = (false, false);
        for code in says.iter().flatten() {
            if *code == Country::UNDETERMINED.0 {
                return Some((Class::Unknown, Country::UNKNOWN));
            }
            *(if self.inside(*code) { &mut inside } else { &mut outside }) = true;
        }
        let class = match (inside, outside) {
            (true, true) => Class::Ambiguous,
            (true, false) => Class::Inside,
            (false, true) => Class::Outside,
            (false, false) => return None,
        };
        Some((class, says.iter().flatten().next().copied().map_or(Country::UNKNOWN, Country)))
    }

    /// The class row, still without rules.
    pub(crate) fn row(
        &self,
        countries: &[Option<[u8; 2]>],
        overlaid: Option<(Class, Country)>,
        special: Option<&Special>,
        site: Option<&Site>,
        nat64: Option<Embedded>,
    ) -> ClassRow {
        let (class, country, embedded) = match (special, nat64, site) {
            (Some(special), ..) if special.class == Class::Local => (Class::Local, Country::NONE, Embedded::None),
            (_, Some(form), _) => (Class::Unknown, Country::NONE, form),
            (_, None, Some(site)) => {
                let class = if self.inside(site.country.0) { Class::Inside } else { Class::Outside };
                (class, site.country, Embedded::None)
            }
            (Some(special), None, None) => {
                let private_inside = special.class == Class::Private && self.zone.inside_private;
                let class = if private_inside { Class::Inside } else { special.class };
                (class, Country::NONE, special.embedded)
            }
            (None, None, None) => {
                let (class, country) = overlaid.unwrap_or_else(|| self.place(countries));
                (class, country, Embedded::None)
            }
        };
        let deny = self.denied(class);
        let alert = deny || matches!(class, Class::Outside | Class::Ambiguous | Class::Unknown);
        ClassRow {
            country: country.0,
            class: class as u8,
            deny: u8::from(deny),
            alert: u8::from(alert),
            embedded: embedded as u8,
            ..ClassRow::default()
        }
    }

    fn denied(&self, class: Class) -> bool {
        let action = match class {
            Class::Inside | Class::Local => Action::Allow,
            Class::Outside => self.zone.on_outside,
            Class::Ambiguous => self.zone.on_ambiguous,
            Class::Unknown => self.zone.on_unknown,
            Class::Private => self.zone.on_private,
        };
        action == Action::Deny
    }
}

fn summarise(v4: &[(u32, u32)], v6: &[(u128, u32)], classes: &[ClassRow]) -> Summary {
    let mut summary = Summary::default();
    let mut add = |class_id: u32, count: &dyn Fn(&mut Extent)| {
        let row = &classes[class_id as usize];
        count(if row.embedded == 0 {
            &mut summary.classes[Class::from_wire(row.class) as usize]
        } else {
            &mut summary.embedded
        });
    };
    let v4_ends = v4.iter().skip(1).map(|step| u64::from(step.0)).chain([1 << 32]);
    for (&(start, class_id), end) in v4.iter().zip(v4_ends) {
        add(class_id, &|extent| {
            extent.v4_ranges += 1;
            extent.v4_addresses += end - u64::from(start);
        });
    }
    let v6_lasts = v6.iter().skip(1).map(|step| step.0 - 1).chain([u128::MAX]);
    for (&(start, class_id), last) in v6.iter().zip(v6_lasts) {
        add(class_id, &|extent| {
            extent.v6_ranges += 1;
            extent.v6_addresses = extent.v6_addresses.saturating_add((last - start).saturating_add(1));
        });
    }
    summary
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod overlay_tests;
#[cfg(test)]
mod tests;
