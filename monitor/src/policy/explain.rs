//! A destination and a policy in, the whole story of its verdict out. Called by `egress-monitor explain` and the API.
//!
//! The verdict comes from the compiled image, looked up as the kernel does. The story (sources, ranges, site, rules) is
//! worked out from what the image was compiled from; should the two ever differ, that is said instead.

#[path = "explain_rules.rs"]
mod rules;

use std::net::{IpAddr, Ipv4Addr};

use monitor_common::{
    classify::{Classified, classify, isatap},
    verdict::decide,
    wire::{self, ClassRow, Embedded, Kind, Ruling},
};
use serde::Serialize;

use super::{
    ClockMap, Knowledge, Policy,
    at::At,
    compile::{Family, Judge},
    precedence::Numbered,
    target::{Target, protocol_name},
};
use crate::{
    config::{Action, Config, Rule, Site},
    geo::{Country, Dataset, Range, overlay::Overlay},
    text,
};

/// What a policy was compiled from, and the policy.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Datasets, overlays, special-purpose ranges.
    pub knowledge: &'a Knowledge,
    /// The policy that [`super::compile()`] made of them.
    pub policy: &'a Policy,
    /// The moment in question: rules have times.
    pub clock: ClockMap,
}

/// What one source says of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceSays {
    /// The source.
    pub source: String,
    /// When it was built, RFC 3339; `null` when it does not say.
    pub built: Option<String>,
    /// The country, `null` where the source does not know.
    pub country: Option<String>,
    /// The range that it says this of.
    pub range: Option<String>,
}

/// What an overlay says of an address that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OverlaySays {
    /// The overlay.
    pub overlay: String,
    /// What kind of list it is.
    pub kind: &'static str,
    /// When it was built, RFC 3339; `null` when it does not say.
    pub built: Option<String>,
    /// The country; `null` where the location is undetermined (anycast, satellite, not to be placed).
    pub country: Option<String>,
    /// The range that it says this of.
    pub range: String,
}

/// Who announces an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Announcer {
    /// AS number.
    pub number: u32,
    /// Its name; may be empty.
    pub name: String,
}

/// The special-purpose range that an address is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecialRange {
    /// Which.
    pub network: String,
    /// Its name in the registry.
    pub name: String,
    /// The standard.
    pub standard: String,
}

/// The translator's prefix that an address is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nat64Entry {
    /// Which.
    pub network: String,
    /// `file:line` of the entry.
    pub origin: String,
}

/// The site that an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteEntry {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub country: String,
    /// The entry that covers the address.
    pub network: String,
    /// `file:line` of the entry.
    pub origin: String,
}

/// A rule that covers the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoveringRule {
    /// Its id.
    pub id: String,
    /// `file:line`.
    pub origin: String,
    /// `allow`, `deny`, or `keep` for the management networks.
    pub action: &'static str,
    /// The entry of `to` that covers the address, with its `file:line`.
    pub network: String,
    /// Whether it is the one that decides.
    pub applies: bool,
    /// Why it does or does not.
    pub why: String,
}

/// What is known of one address, without what it may carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The address.
    pub address: IpAddr,
    /// What each source says.
    pub sources: Vec<SourceSays>,
    /// What each overlay says that holds it; they override the sources.
    pub overlays: Vec<OverlaySays>,
    /// Who announces it, where a dataset of AS numbers is loaded and knows.
    #[serde(rename = "as")]
    pub announcer: Option<Announcer>,
    /// Special-purpose range.
    pub special: Option<SpecialRange>,
    /// Site.
    pub site: Option<SiteEntry>,
    /// Prefix of a translator of the operator's.
    pub nat64: Option<Nat64Entry>,
    #[serde(skip)]
    row: ClassRow,
}

/// The story of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The destination.
    #[serde(flatten)]
    pub standing: Standing,
    /// Port in question.
    pub port: Option<u16>,
    /// Protocol in question.
    pub protocol: Option<String>,
    /// The IPv4 address that this one carries, which decides.
    pub embedded: Option<Standing>,
    /// The IPv4 address of its ISATAP interface identifier: the stricter of both decides.
    pub isatap: Option<Standing>,
    /// Country.
    pub country: String,
    /// Class, by its name.
    pub class: &'static str,
    /// What the class rests on: `sources`, `overlays`, `special`, `site`, `nat64`.
    pub basis: &'static str,
    /// The id of the rule that decides.
    pub rule: Option<String>,
    /// Every rule that covers the address, the more specific before the less.
    pub rules: Vec<CoveringRule>,
    /// Verdict in observe mode.
    pub observe: &'static str,
    /// Verdict in enforce mode.
    pub enforce: &'static str,
    /// Whether a new flow makes an alert.
    pub alert: bool,
    /// All of this in a sentence.
    pub reason: String,
    /// Digest of the policy.
    pub policy: String,
}

/// The image and the story differ: a defect.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the compiled policy says {image} of {address}, its sources say {story}")]
pub struct Disagreement {
    address: IpAddr,
    image: String,
    story: String,
}

/// Explains what the policy makes of a destination.
///
/// # Errors
/// [`Disagreement`], never expected.
pub fn explain(target: &Target, grounds: &Grounds<'_>) -> Result<Explanation, Disagreement> {
    let judge = Judge::new(&grounds.config.zone);
    let outer = grounds.standing(target.address, &judge);
    let mut embedded = None;
    if let IpAddr::V6(address) = target.address
        && let Some(inner) = Embedded::from_wire(outer.row.embedded).extract(address.into())
    {
        embedded = Some(grounds.standing(Ipv4Addr::from_bits(inner).into(), &judge));
    }
    // What says it is local and yet is carried over IPv6 keeps the standing of the prefix.
    let deciding = embedded.as_ref().filter(|inner| inner.row.kind != Kind::Local as u8).unwrap_or(&outer);
    let numbered = Numbered::of(grounds.config);
    let mut rules = grounds.rules_of(target, &outer, &numbered);
    if let Some(inner) = &embedded {
        rules = rules.with_inside(grounds.rules_of(target, inner, &numbered), inner, &numbered);
    }
    let mut story = Story { deciding, rule: rules.deciding(), ruling: rules.ruling(&numbered) };
    let isatap = grounds.isatap(&outer, &judge);
    let mut by_isatap = false;
    if let Some(inner) = &isatap {
        let more = grounds.rules_of(target, inner, &numbered);
        let other = Story { deciding: inner, rule: more.deciding(), ruling: more.ruling(&numbered) };
        rules.0.extend(more.0);
        by_isatap = story.ruling != Ruling::Keep && other.standing().rank() > story.standing().rank();
        if by_isatap {
            story = other;
        }
    }
    let rule = story.rule;

    let image = grounds.ask(target);
    let info = image.and_then(|found| grounds.policy.classes.get(usize::from(found.class)));
    let told = image.zip(info).map(|(found, info)| {
        let (country, kind) = (info.country.to_string(), info.kind);
        (describe(&country, kind, &found), found, country, kind)
    });
    let expected = describe(
        &Country(story.deciding.row.country).to_string(),
        Kind::from_wire(story.deciding.row.kind),
        &story.standing(),
    );
    let (found, country, kind) = match told {
        Some((told, found, country, kind)) if told == expected => (found, country, kind),
        other => {
            let image = other.map_or_else(|| "nothing".to_owned(), |(told, ..)| told);
            return Err(Disagreement { address: target.address, image, story: expected });
        }
    };
    let ruled = rule.map(|number| (numbered.get(number), story.ruling));
    let reason = match &isatap {
        Some(inner) if by_isatap => {
            let why = grounds.reason(inner, None, inner, kind, &found, ruled);
            format!("ISATAP (RFC 5214) carries {}: {why}", inner.address)
        }
        Some(inner) => {
            let why = grounds.reason(&outer, embedded.as_ref(), story.deciding, kind, &found, ruled);
            format!("{why}; {}, which it carries by ISATAP (RFC 5214), is judged no stricter", inner.address)
        }
        None => grounds.reason(&outer, embedded.as_ref(), story.deciding, kind, &found, ruled),
    };
    Ok(Explanation {
        port: target.port,
        protocol: target.protocol.map(protocol_name),
        country,
        class: kind.name(),
        basis: story.deciding.basis(),
        rule: ruled.map(|(rule, _)| rule.id.clone()),
        rules: rules.into_entries().collect(),
        observe: decide(&found, false).name(),
        enforce: decide(&found, true).name(),
        alert: found.alert,
        reason,
        policy: grounds.policy.digest.clone(),
        standing: outer,
        embedded,
        isatap,
    })
}

/// An address with the rule that decides of traffic to it, by its number.
#[derive(Clone, Copy)]
struct Story<'a> {
    deciding: &'a Standing,
    rule: Option<u16>,
    ruling: Ruling,
}

impl Story<'_> {
    /// As the image would tell it, but for the class.
    fn standing(&self) -> Classified {
        let row = &self.deciding.row;
        let (deny, alert) = match self.ruling {
            Ruling::None => (row.deny != 0, row.alert != 0),
            Ruling::Deny => (true, true),
            Ruling::Allow | Ruling::Keep => (false, false),
        };
        Classified { class: 0, rule: self.rule.unwrap_or(0), deny, alert, keep: self.ruling == Ruling::Keep }
    }
}

/// What is compared, in words.
fn describe(country: &str, kind: Kind, found: &Classified) -> String {
    let verdict = if found.deny { "denied" } else { "allowed" };
    match found.rule {
        0 => format!("{country}, {}, {verdict}", kind.name()),
        rule => format!("{country}, {}, {verdict} by rule {rule}", kind.name()),
    }
}

impl Standing {
    fn basis(&self) -> &'static str {
        if Kind::from_wire(self.row.kind) == Kind::Local {
            "special"
        } else if self.nat64.is_some() {
            "nat64"
        } else if self.site.is_some() {
            "site"
        } else if self.special.is_some() {
            "special"
        } else if !self.overlays.is_empty() {
            "overlays"
        } else {
            "sources"
        }
    }
}

impl Standing {
    /// Why overlays make it what it is.
    fn overlaid(&self, kind: Kind, inside: &str) -> String {
        let undetermined: Vec<_> =
            self.overlays.iter().filter(|says| says.country.is_none()).map(|says| says.overlay.as_str()).collect();
        if !undetermined.is_empty() {
            return format!("location undetermined ({})", undetermined.join(", "));
        }
        let says = self.overlays.iter().map(|says| (format!("overlay {}", says.overlay), says.country.as_deref()));
        told(says, kind, inside)
    }
}

/// What each says, and what that comes to.
fn told<'a>(says: impl Iterator<Item = (String, Option<&'a str>)>, kind: Kind, inside: &str) -> String {
    let says: Vec<_> = says.map(|(who, country)| format!("{who} says {}", country.unwrap_or("nothing"))).collect();
    let verdict = match kind {
        Kind::Ambiguous => format!("not all agree that it is inside {inside}"),
        kind => format!("{} {inside}", kind.name()),
    };
    format!("{}: {verdict}", says.join(", "))
}

impl Grounds<'_> {
    /// The standing of the address that an ISATAP interface identifier carries, where the prefix carries none.
    fn isatap(&self, outer: &Standing, judge: &Judge<'_>) -> Option<Standing> {
        let IpAddr::V6(address) = outer.address else { return None };
        if Embedded::from_wire(outer.row.embedded) != Embedded::None {
            return None;
        }
        Some(self.standing(Ipv4Addr::from_bits(isatap(address.into())?).into(), judge))
    }

    /// What the kernel would make of it.
    fn ask(&self, target: &Target) -> Option<Classified> {
        let (version, address) = match target.address {
            IpAddr::V4(v4) => (4, wire::Address::v4(v4.to_bits())),
            IpAddr::V6(v6) => (6, wire::Address::from(v6)),
        };
        let image = At { image: &self.policy.image, boot_ns: self.clock.boottime_ns };
        classify(&image, version, address, target.protocol.unwrap_or(0), target.port)
    }

    fn standing(&self, address: IpAddr, judge: &Judge<'_>) -> Standing {
        let found: Vec<Option<(Country, String)>> = self
            .knowledge
            .datasets
            .iter()
            .map(|dataset| match address {
                IpAddr::V4(v4) => find(&dataset.v4, v4.to_bits()),
                IpAddr::V6(v6) => find(&dataset.v6, v6.to_bits()),
            })
            .collect();
        let countries: Vec<_> = found.iter().map(|range| range.as_ref().map(|(country, _)| country.0)).collect();
        let special = self
            .knowledge
            .special
            .iter()
            .filter(|special| special.network.contains(address))
            .max_by_key(|special| special.network.prefix());
        let site = self.config.sites.iter().find_map(|site| {
            let entry = site.networks.iter().find(|(network, _)| network.contains(address))?;
            Some((site, entry))
        });
        let nat64 = self.config.zone.nat64.iter().filter(|(prefix, _)| prefix.contains(address));
        let nat64 = nat64.max_by_key(|(prefix, _)| prefix.prefix());
        let says = |(dataset, range): (&Dataset, Option<(Country, String)>)| {
            let known = range.filter(|(country, _)| *country != Country::UNKNOWN);
            let (country, range) = known.map(|(country, range)| (country.to_string(), range)).unzip();
            SourceSays {
                source: dataset.about.name.clone(),
                built: dataset.about.built.map(text::time),
                country,
                range,
            }
        };
        let overlaid: Vec<(&Overlay, Country, String)> = self
            .knowledge
            .overlays
            .iter()
            .filter_map(|overlay| {
                let (country, range) = match address {
                    IpAddr::V4(v4) => find(&overlay.v4, v4.to_bits()),
                    IpAddr::V6(v6) => find(&overlay.v6, v6.to_bits()),
                }?;
                Some((overlay, country, range))
            })
            .collect();
        let said: Vec<_> = overlaid.iter().map(|(_, country, _)| Some(country.0)).collect();
        let asn = self.knowledge.asn.as_ref().and_then(|asn| asn.lookup(address));
        Standing {
            address,
            row: judge.row(
                &countries,
                judge.overlaid(&said),
                special,
                site.map(|(site, _): (&Site, _)| site),
                nat64.and_then(|(prefix, _)| Embedded::nat64(prefix.prefix())),
            ),
            sources: self.knowledge.datasets.iter().zip(found).map(says).collect(),
            overlays: overlaid
                .into_iter()
                .map(|(overlay, country, range)| OverlaySays {
                    overlay: overlay.about.name.clone(),
                    kind: overlay.kind.name(),
                    built: overlay.about.built.map(text::time),
                    country: Some(country).filter(|country| *country != Country::UNDETERMINED).map(|c| c.to_string()),
                    range,
                })
                .collect(),
            announcer: asn.map(|(number, name)| Announcer { number, name: name.to_owned() }),
            special: special.map(|special| SpecialRange {
                network: special.network.to_string(),
                name: special.name.to_owned(),
                standard: special.source.to_owned(),
            }),
            site: site.map(|(site, (network, origin))| SiteEntry {
                name: site.name.clone(),
                country: site.country.to_string(),
                network: network.to_string(),
                origin: origin.clone(),
            }),
            nat64: nat64.map(|(prefix, origin)| Nat64Entry { network: prefix.to_string(), origin: origin.clone() }),
        }
    }

    fn reason(
        &self,
        outer: &Standing,
        embedded: Option<&Standing>,
        deciding: &Standing,
        kind: Kind,
        found: &Classified,
        rule: Option<(&Rule, Ruling)>,
    ) -> String {
        let mut reason = String::new();
        let carrier = match (&outer.nat64, &outer.special) {
            (Some(nat64), _) => Some((format!("NAT64 prefix {}", nat64.network), &nat64.origin)),
            (None, Some(special)) => Some((special.name.clone(), &special.standard)),
            (None, None) => None,
        };
        let prefix_decides = embedded.is_some_and(|inner| inner.address != deciding.address);
        if let (Some(inner), Some((name, source))) = (embedded, &carrier) {
            reason = format!("{name} ({source}) carries {}", inner.address);
            reason += if prefix_decides { ", which is never routed: " } else { ": " };
        }
        let zone = &self.config.zone;
        let inside = &zone.inside_text;
        reason += &match (kind, &deciding.site, &deciding.special) {
            _ if prefix_decides => {
                let name = carrier.map_or_else(String::new, |(name, _)| name);
                format!("{name} is {}", kind.name())
            }
            (Kind::Local, _, Some(special)) => {
                format!("{} ({}) never leaves the link or the host", special.name, special.standard)
            }
            (_, Some(site), _) => {
                format!("site '{}' ({}) is in {}, {} {inside}", site.name, site.origin, site.country, kind.name())
            }
            (Kind::Inside, None, Some(special)) => {
                format!("{} ({}), and {inside} takes private networks in", special.name, special.standard)
            }
            (_, None, Some(special)) => {
                format!("{} ({}): no dataset can place it and no site does", special.name, special.standard)
            }
            (_, None, None) if !deciding.overlays.is_empty() => deciding.overlaid(kind, inside),
            (Kind::Unknown, None, None) => "no source knows it".into(),
            (_, None, None) => {
                let says = deciding.sources.iter().map(|says| (says.source.clone(), says.country.as_deref()));
                told(says, kind, inside)
            }
        };
        let (key, action) = match kind {
            Kind::Outside => ("on_outside", zone.on_outside),
            Kind::Ambiguous => ("on_ambiguous", zone.on_ambiguous),
            Kind::Unknown => ("on_unknown", zone.on_unknown),
            Kind::Private => ("on_private", zone.on_private),
            Kind::Inside | Kind::Local => ("", Action::Allow),
        };
        if let Some((rule, ruling)) = rule {
            let does = match ruling {
                Ruling::Deny => "denies it",
                Ruling::Keep => "is never dropped",
                Ruling::Allow | Ruling::None => "lets it through",
            };
            reason += &format!("; rule '{}' ({}) {does}", rule.id, rule.origin);
        } else if !key.is_empty() {
            debug_assert_eq!(found.deny, action == Action::Deny);
            reason += &format!("; {key} = {}", if action == Action::Deny { "deny" } else { "allow" });
        }
        reason
    }
}

/// A time for people: RFC 3339 UTC.
fn time(seconds: Option<i64>) -> String {
    seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).map_or_else(String::new, |at| at.to_string())
}

fn find<A: Family>(ranges: &[Range<A>], address: A) -> Option<(Country, String)> {
    let at = ranges.partition_point(|range| range.first <= address).checked_sub(1)?;
    let range = ranges.get(at).filter(|range| address <= range.last)?;
    Some((range.country, format!("{} - {}", range.first.show(), range.last.show())))
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
