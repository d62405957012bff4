//! A destination and a policy in, the verdict with everything that it rests on out. Called by `egress-monitor explain`
//! and the API.
//!
//! The verdict comes from the compiled image, looked up as the kernel does. What it rests on (sources, ranges, site,
//! rules) is worked out from what the image was compiled from; should the two ever differ, that is reported instead.
//!
//! `address` has what is known of an address, `rules` the rules that cover it, `reason` puts it all into a sentence.

mod address;
mod inputs;
mod reason;
mod rules;
pub mod target;

use std::net::{IpAddr, Ipv4Addr};

use monitor_common::{
    classify::{Classification, classify, isatap, judge_content},
    parse::mark_of_destination,
    verdict::decide,
    wire::{self, Class, Embedded, RuleRowAction},
};
use serde::Serialize;

use self::{reason::Reason, rules::RankedRules, target::Target};
use crate::{compile::ZoneEvaluator, geo::Country, policy::ImageAt, precedence::NumberedRules, protocol};

pub use self::{
    address::{AddressInfo, Announcer, Nat64Entry, OverlayOpinion, SiteEntry, SourceOpinion, SpecialRange},
    inputs::ExplainInputs,
    rules::CoveringRule,
};

/// What becomes of traffic to one destination, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// What is known of the destination.
    #[serde(flatten)]
    pub destination: AddressInfo,
    /// Port in question.
    pub port: Option<u16>,
    /// Protocol in question.
    pub protocol: Option<String>,
    /// The IPv4 address that this one carries, which decides.
    pub embedded: Option<AddressInfo>,
    /// The IPv4 address of its ISATAP interface identifier: the stricter of both decides.
    pub isatap: Option<AddressInfo>,
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

/// The compiled image and what it was compiled from differ: a defect.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the compiled policy says {image} of {address}, its sources say {expected}")]
pub struct Disagreement {
    address: IpAddr,
    image: String,
    expected: String,
}

/// Explains what the policy makes of a destination.
///
/// # Errors
/// [`Disagreement`], never expected.
pub fn explain(target: &Target, inputs: &ExplainInputs<'_>) -> Result<Explanation, Disagreement> {
    let evaluator = ZoneEvaluator::new(&inputs.spec.zone);
    let outer = inputs.address_info(target.address, &evaluator);
    let embedded = match target.address {
        IpAddr::V6(address) => Embedded::from_wire(outer.row.embedded).extract(address.into()),
        IpAddr::V4(_) => None,
    };
    let embedded = embedded.map(|inner| inputs.address_info(Ipv4Addr::from_bits(inner).into(), &evaluator));
    // An address that never leaves the host, and yet is carried over IPv6, leaves the decision to the prefix.
    let deciding = embedded.as_ref().filter(|inner| !Class::from_wire(inner.row.class).stays()).unwrap_or(&outer);
    let numbered = NumberedRules::of(inputs.spec);
    let mut rules = inputs.rules_of(target, &outer, &numbered);
    if let Some(inner) = &embedded {
        rules = rules.with_inner(inputs.rules_of(target, inner, &numbered), inner, &numbered);
    }
    let mut outcome = Outcome::of(deciding, &rules, &numbered);
    let isatap = inputs.isatap(&outer, &evaluator);
    let mut by_isatap = false;
    if let Some(inner) = &isatap {
        let more = inputs.rules_of(target, inner, &numbered);
        let other = Outcome::of(inner, &more, &numbered);
        rules.0.extend(more.0);
        // The stricter decides, but for what management networks keep.
        by_isatap = outcome.row_action != RuleRowAction::Keep
            && other.classification().rank() > outcome.classification().rank();
        if by_isatap {
            outcome = other;
        }
    }
    let (found, country, class) = inputs.agreed(target, &outcome)?;
    let rule = outcome.rule.map(|number| (numbered.get(number), outcome.row_action));
    let reason = Reason { zone: &inputs.spec.zone, class, denied: found.deny, rule };
    let reason = match &isatap {
        Some(inner) if by_isatap => {
            format!("ISATAP (RFC 5214) carries {}: {}", inner.address, reason.text(inner, None, inner))
        }
        Some(inner) => {
            let why = reason.text(&outer, embedded.as_ref(), outcome.deciding);
            format!("{why}; {}, which it carries by ISATAP (RFC 5214), is judged no stricter", inner.address)
        }
        None => reason.text(&outer, embedded.as_ref(), outcome.deciding),
    };
    let mark = mark_of_destination(target.protocol.unwrap_or(0), target.port);
    // A whole image has an answer.
    let judged = judge_content(&inputs.policy.image, found, mark as u8).unwrap_or(found);
    let reason = match mark.name().filter(|_| judged != found) {
        Some(mark) => format!("{reason}; its content cannot be read: {mark} is denied by [zone] on_opaque"),
        None => reason,
    };
    let found = judged;
    Ok(Explanation {
        port: target.port,
        protocol: target.protocol.map(protocol::label),
        country,
        class: class.name(),
        basis: outcome.deciding.basis(),
        rule: rule.map(|(rule, _)| rule.id.clone()),
        rules: rules.into_entries().collect(),
        observe: decide(&found, false).name(),
        enforce: decide(&found, true).name(),
        alert: found.alert,
        reason,
        policy: inputs.policy.digest.clone(),
        destination: outer,
        embedded,
        isatap,
    })
}

/// An address with the rule that decides of traffic to it, by its number.
#[derive(Clone, Copy)]
struct Outcome<'a> {
    deciding: &'a AddressInfo,
    rule: Option<u16>,
    row_action: RuleRowAction,
}

impl<'a> Outcome<'a> {
    fn of(deciding: &'a AddressInfo, rules: &RankedRules, numbered: &NumberedRules<'_>) -> Self {
        Self { deciding, rule: rules.deciding(), row_action: rules.row_action(numbered) }
    }

    /// As the image has it, but for the class's number.
    fn classification(&self) -> Classification {
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

impl ExplainInputs<'_> {
    /// What is known of the address that an ISATAP interface identifier carries, where the prefix carries none.
    fn isatap(&self, outer: &AddressInfo, evaluator: &ZoneEvaluator<'_>) -> Option<AddressInfo> {
        let IpAddr::V6(address) = outer.address else { return None };
        if Embedded::from_wire(outer.row.embedded) != Embedded::None {
            return None;
        }
        Some(self.address_info(Ipv4Addr::from_bits(isatap(address.into())?).into(), evaluator))
    }

    /// What the kernel would find in the image.
    fn classify(&self, target: &Target) -> Option<Classification> {
        let (version, address) = match target.address {
            IpAddr::V4(v4) => (4, wire::Address::v4(v4.to_bits())),
            IpAddr::V6(v6) => (6, wire::Address::from(v6)),
        };
        let image = ImageAt { image: &self.policy.image, boot_ns: self.clock.boottime_ns };
        classify(&image, version, address, target.protocol.unwrap_or(0), target.port)
    }

    /// What the image says of the target, with country and class, if that is what is expected.
    fn agreed(&self, target: &Target, expected: &Outcome<'_>) -> Result<(Classification, String, Class), Disagreement> {
        let row = &expected.deciding.row;
        let country = Country(row.country).to_string();
        let expected = describe(&country, Class::from_wire(row.class), &expected.classification());
        let found = self.classify(target).and_then(|found| {
            let info = self.policy.classes.get(usize::from(found.class_id))?;
            Some((found, info.country.to_string(), info.class))
        });
        let image = found.as_ref().map(|(found, country, class)| describe(country, *class, found));
        match found {
            Some(found) if image.as_ref() == Some(&expected) => Ok(found),
            _ => {
                let image = image.unwrap_or_else(|| "nothing".to_owned());
                Err(Disagreement { address: target.address, image, expected })
            }
        }
    }
}

#[cfg(test)]
mod tests;
