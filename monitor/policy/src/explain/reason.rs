//! Why an address is what it is and what becomes of traffic to it, in a sentence.

use monitor_common::wire::{Class, RuleRowAction};

use super::address::AddressInfo;
use crate::{
    geo::platform,
    spec::{Action, Rule, Zone},
};

/// What a sentence is about.
pub(super) struct Reason<'a> {
    pub(super) zone: &'a Zone,
    /// Class of the address that decides.
    pub(super) class: Class,
    pub(super) denied: bool,
    /// The rule that decides, if one does.
    pub(super) rule: Option<(&'a Rule, RuleRowAction)>,
}

impl Reason<'_> {
    /// The sentence: `outer` is the destination, `embedded` the address that it carries, `deciding` one of the two.
    pub(super) fn text(&self, outer: &AddressInfo, embedded: Option<&AddressInfo>, deciding: &AddressInfo) -> String {
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
        let Self { zone, class, .. } = *self;
        let inside = &zone.inside_text;
        reason += &match (class, &deciding.site, &deciding.special) {
            _ if prefix_decides => {
                let name = carrier.map_or_else(String::new, |(name, _)| name);
                format!("{name} is {}", class.name())
            }
            (Class::LinkLocal, _, Some(special)) if deciding.address.is_ipv4() => format!(
                "{} ({}) should never leave the link, and some gateways forward it",
                special.name, special.standard
            ),
            (Class::Local | Class::LinkLocal, _, Some(special)) => {
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
            (_, None, None) if !deciding.overlays.is_empty() => overlaid(deciding, class, inside),
            (Class::Unknown, None, None) => "no source knows it".into(),
            (_, None, None) => {
                let says = deciding.sources.iter().map(|says| (says.source.clone(), says.country.as_deref()));
                opinions(says, class, inside)
            }
        };
        let (key, action) = match class {
            Class::Outside => ("on_outside", zone.on_outside),
            Class::Ambiguous => ("on_ambiguous", zone.on_ambiguous),
            Class::Unknown => ("on_unknown", zone.on_unknown),
            Class::Private => ("on_private", zone.on_private),
            Class::LinkLocal if deciding.address.is_ipv4() => ("on_link_local", zone.on_link_local),
            Class::Inside | Class::Local | Class::LinkLocal => ("", Action::Allow),
        };
        if let Some((rule, row_action)) = self.rule {
            let does = match row_action {
                RuleRowAction::Deny => "denies it",
                RuleRowAction::Keep => "is never dropped",
                RuleRowAction::Allow | RuleRowAction::None => "lets it through",
            };
            reason += &format!("; rule '{}' ({}) {does}", rule.id, rule.origin);
        } else if !key.is_empty() {
            debug_assert_eq!(self.denied, action == Action::Deny);
            reason += &format!("; {key} = {}", if action == Action::Deny { "deny" } else { "allow" });
        }
        if let Some(platform) = platform::lookup(deciding.address) {
            reason += &format!("; a platform's address: {}", platform.what);
        }
        reason
    }
}

/// What the overlays that hold the address say.
fn overlaid(deciding: &AddressInfo, class: Class, inside: &str) -> String {
    let undetermined: Vec<_> =
        deciding.overlays.iter().filter(|says| says.country.is_none()).map(|says| says.overlay.as_str()).collect();
    if !undetermined.is_empty() {
        return format!("location undetermined ({})", undetermined.join(", "));
    }
    let says = deciding.overlays.iter().map(|says| (format!("overlay {}", says.overlay), says.country.as_deref()));
    opinions(says, class, inside)
}

/// What each says, and what follows.
fn opinions<'a>(says: impl Iterator<Item = (String, Option<&'a str>)>, class: Class, inside: &str) -> String {
    let says: Vec<_> = says.map(|(who, country)| format!("{who} says {}", country.unwrap_or("nothing"))).collect();
    let verdict = match class {
        Class::Ambiguous => format!("not all agree that it is inside {inside}"),
        class => format!("{} {inside}", class.name()),
    };
    format!("{}: {verdict}", says.join(", "))
}
