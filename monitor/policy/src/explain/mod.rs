//! A destination and a policy in, the whole story of its verdict out. Called by `egress-monitor explain` and the API.
//!
//! The verdict comes from the compiled image, looked up as the kernel does. The story (sources, ranges, site, rules) is
//! worked out from what the image was compiled from; should the two ever differ, that is said instead.
//!
//! Here are verdict and reason. What is known of an address is in `standing`, the rules that cover it in `rules`.

mod rules;
mod standing;
pub mod target;

use std::net::{IpAddr, Ipv4Addr};

use monitor_common::{
    classify::{Classification, classify, isatap},
    verdict::decide,
    wire::{self, Class, Embedded, RuleRowAction},
};
use serde::Serialize;

pub use self::standing::{Announcer, Nat64Entry, OverlaySays, SiteEntry, SourceSays, SpecialRange, Standing};
use crate::{
    ClockMap, Knowledge, Policy, compile::Judge, explain::target::Target, origin::Origin, policy::ImageAt,
    precedence::Numbered, protocol,
};
use crate::{
    geo::Country,
    spec::{Action, Rule, Spec},
};

/// What a policy was compiled from, and the policy.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// Datasets, overlays, special-purpose ranges.
    pub knowledge: &'a Knowledge,
    /// The policy that [`super::compile()`] made of them.
    pub policy: &'a Policy,
    /// The moment in question: rules have times.
    pub clock: ClockMap,
}

/// A rule that covers the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CoveringRule {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub origin: Origin,
    /// `allow`, `deny`, or `keep` for the management networks.
    pub action: &'static str,
    /// The entry of `to` that covers the address, with where that stands.
    pub network: String,
    /// Whether it is the one that decides.
    pub applies: bool,
    /// Why it does or does not.
    pub why: String,
}

/// The story of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    let judge = Judge::new(&grounds.spec.zone);
    let outer = grounds.standing(target.address, &judge);
    let mut embedded = None;
    if let IpAddr::V6(address) = target.address
        && let Some(inner) = Embedded::from_wire(outer.row.embedded).extract(address.into())
    {
        embedded = Some(grounds.standing(Ipv4Addr::from_bits(inner).into(), &judge));
    }
    // What says it is local and yet is carried over IPv6 keeps the standing of the prefix.
    let deciding = embedded.as_ref().filter(|inner| inner.row.class != Class::Local as u8).unwrap_or(&outer);
    let numbered = Numbered::of(grounds.spec);
    let mut rules = grounds.rules_of(target, &outer, &numbered);
    if let Some(inner) = &embedded {
        rules = rules.with_inside(grounds.rules_of(target, inner, &numbered), inner, &numbered);
    }
    let mut story = Story { deciding, rule: rules.deciding(), row_action: rules.row_action(&numbered) };
    let isatap = grounds.isatap(&outer, &judge);
    let mut by_isatap = false;
    if let Some(inner) = &isatap {
        let more = grounds.rules_of(target, inner, &numbered);
        let other = Story { deciding: inner, rule: more.deciding(), row_action: more.row_action(&numbered) };
        rules.0.extend(more.0);
        by_isatap = story.row_action != RuleRowAction::Keep && other.standing().rank() > story.standing().rank();
        if by_isatap {
            story = other;
        }
    }
    let rule = story.rule;

    let image = grounds.ask(target);
    let info = image.and_then(|found| grounds.policy.classes.get(usize::from(found.class_id)));
    let told = image.zip(info).map(|(found, info)| {
        let (country, class) = (info.country.to_string(), info.class);
        (describe(&country, class, &found), found, country, class)
    });
    let expected = describe(
        &Country(story.deciding.row.country).to_string(),
        Class::from_wire(story.deciding.row.class),
        &story.standing(),
    );
    let (found, country, class) = match told {
        Some((told, found, country, class)) if told == expected => (found, country, class),
        other => {
            let image = other.map_or_else(|| "nothing".to_owned(), |(told, ..)| told);
            return Err(Disagreement { address: target.address, image, story: expected });
        }
    };
    let ruled = rule.map(|number| (numbered.get(number), story.row_action));
    let reason = match &isatap {
        Some(inner) if by_isatap => {
            let why = grounds.reason(inner, None, inner, class, &found, ruled);
            format!("ISATAP (RFC 5214) carries {}: {why}", inner.address)
        }
        Some(inner) => {
            let why = grounds.reason(&outer, embedded.as_ref(), story.deciding, class, &found, ruled);
            format!("{why}; {}, which it carries by ISATAP (RFC 5214), is judged no stricter", inner.address)
        }
        None => grounds.reason(&outer, embedded.as_ref(), story.deciding, class, &found, ruled),
    };
    Ok(Explanation {
        port: target.port,
        protocol: target.protocol.map(protocol::label),
        country,
        class: class.name(),
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
    row_action: RuleRowAction,
}

impl Story<'_> {
    /// As the image would tell it, but for the class.
    fn standing(&self) -> Classification {
        let row = &self.deciding.row;
        let (deny, alert) = match self.row_action {
            RuleRowAction::None => (row.deny != 0, row.alert != 0),
            RuleRowAction::Deny => (true, true),
            RuleRowAction::Allow | RuleRowAction::Keep => (false, false),
        };
        Classification {
            class_id: 0,
            rule: self.rule.unwrap_or(0),
            deny,
            alert,
            keep: self.row_action == RuleRowAction::Keep,
        }
    }
}

/// What is compared, in words.
fn describe(country: &str, class: Class, found: &Classification) -> String {
    let verdict = if found.deny { "denied" } else { "allowed" };
    match found.rule {
        0 => format!("{country}, {}, {verdict}", class.name()),
        rule => format!("{country}, {}, {verdict} by rule {rule}", class.name()),
    }
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
    fn ask(&self, target: &Target) -> Option<Classification> {
        let (version, address) = match target.address {
            IpAddr::V4(v4) => (4, wire::Address::v4(v4.to_bits())),
            IpAddr::V6(v6) => (6, wire::Address::from(v6)),
        };
        let image = ImageAt { image: &self.policy.image, boot_ns: self.clock.boottime_ns };
        classify(&image, version, address, target.protocol.unwrap_or(0), target.port)
    }

    fn reason(
        &self,
        outer: &Standing,
        embedded: Option<&Standing>,
        deciding: &Standing,
        class: Class,
        found: &Classification,
        rule: Option<(&Rule, RuleRowAction)>,
    ) -> String {
        let mut reason = String::new();
        let carrier = match (&outer.nat64, &outer.special) {
            (Some(nat64), _) => Some((format!("NAT64 prefix {}", nat64.network), nat64.origin.to_string())),
            (None, Some(special)) => Some((special.name.clone(), special.standard.clone())),
            (None, None) => None,
        };
        let prefix_decides = embedded.is_some_and(|inner| inner.address != deciding.address);
        if let (Some(inner), Some((name, source))) = (embedded, &carrier) {
            reason = format!("{name} ({source}) carries {}", inner.address);
            reason += if prefix_decides { ", which is never routed: " } else { ": " };
        }
        let zone = &self.spec.zone;
        let inside = &zone.inside_text;
        reason += &match (class, &deciding.site, &deciding.special) {
            _ if prefix_decides => {
                let name = carrier.map_or_else(String::new, |(name, _)| name);
                format!("{name} is {}", class.name())
            }
            (Class::Local, _, Some(special)) => {
                format!("{} ({}) never leaves the link or the host", special.name, special.standard)
            }
            (_, Some(site), _) => {
                format!("site '{}' ({}) is in {}, {} {inside}", site.name, site.origin, site.country, class.name())
            }
            (Class::Inside, None, Some(special)) => {
                format!("{} ({}), and {inside} takes private networks in", special.name, special.standard)
            }
            (_, None, Some(special)) => {
                format!("{} ({}): no dataset can place it and no site does", special.name, special.standard)
            }
            (_, None, None) if !deciding.overlays.is_empty() => deciding.overlaid(class, inside),
            (Class::Unknown, None, None) => "no source knows it".into(),
            (_, None, None) => {
                let says = deciding.sources.iter().map(|says| (says.source.clone(), says.country.as_deref()));
                standing::told(says, class, inside)
            }
        };
        let (key, action) = match class {
            Class::Outside => ("on_outside", zone.on_outside),
            Class::Ambiguous => ("on_ambiguous", zone.on_ambiguous),
            Class::Unknown => ("on_unknown", zone.on_unknown),
            Class::Private => ("on_private", zone.on_private),
            Class::Inside | Class::Local => ("", Action::Allow),
        };
        if let Some((rule, row_action)) = rule {
            let does = match row_action {
                RuleRowAction::Deny => "denies it",
                RuleRowAction::Keep => "is never dropped",
                RuleRowAction::Allow | RuleRowAction::None => "lets it through",
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

#[cfg(test)]
mod tests;
