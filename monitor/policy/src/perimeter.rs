//! What of a policy nobody should find changed without having tried it: the region, what is done with what is not in it,
//! and who is never cut off. Two of them in, in words what the second has otherwise out. Called where files that changed
//! are read by themselves, and where a change is told.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use monitor_common::{parse::Reason, wire::Opaque};

use crate::{
    geo::Country,
    spec::{Action, Spec, Zone},
};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Perimeter {
    inside: BTreeSet<String>,
    /// Keys of `[zone]` that say `"allow"`.
    passes: BTreeSet<String>,
    management: Vec<IpNetwork>,
}

/// What one has otherwise than another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What lets more through, or cuts somebody off who was never to be.
    pub untried: Vec<String>,
    /// The rest.
    pub tightened: Vec<String>,
}

impl Perimeter {
    /// Of a policy.
    pub fn of(spec: &Spec) -> Self {
        let Zone { inside, inside_private, .. } = &spec.zone;
        let countries = inside.iter().map(|Country(code)| String::from_utf8_lossy(code).into_owned());
        let networks = spec.management.iter().flat_map(|management| &management.networks);
        Self {
            inside: countries.chain(inside_private.then(|| "private".to_owned())).collect(),
            passes: passes(&spec.zone),
            management: networks.map(|(network, _)| *network).collect(),
        }
    }

    /// What `next` has otherwise.
    pub fn change(&self, next: &Self) -> Change {
        let mut change = Change::default();
        if let Some(names) = listed(next.inside.difference(&self.inside)) {
            change.untried.push(format!("inside gains {names}"));
        }
        if let Some(names) = listed(self.inside.difference(&next.inside)) {
            change.tightened.push(format!("inside loses {names}"));
        }
        let say = |keys: Option<String>, action: &str| keys.map(|keys| format!("{keys} = \"{action}\""));
        change.untried.extend(say(listed(next.passes.difference(&self.passes)), "allow"));
        change.tightened.extend(say(listed(self.passes.difference(&next.passes)), "deny"));
        if let Some(lost) = listed(lost(&self.management, &next.management).iter()) {
            change.untried.push(format!("[management] loses {lost}"));
        }
        if let Some(new) = listed(lost(&next.management, &self.management).iter()) {
            change.tightened.push(format!("[management] gains {new}"));
        }
        change
    }
}

/// The keys of `[zone]` that say `"allow"`.
fn passes(zone: &Zone) -> BTreeSet<String> {
    let classes = [
        ("on_outside", zone.on_outside),
        ("on_ambiguous", zone.on_ambiguous),
        ("on_unknown", zone.on_unknown),
        ("on_private", zone.on_private),
        ("on_link_local", zone.on_link_local),
    ];
    let classes = classes.into_iter().map(|(key, action)| (key.to_owned(), action));
    let marks =
        Opaque::ALL.into_iter().filter_map(|mark| Some((format!("opaque.{}", mark.name()?), zone.on_mark(mark))));
    let reasons =
        Reason::ALL.into_iter().map(|reason| (format!("undecodable.{}", reason.name()), zone.on_reason(reason)));
    let all = classes.chain(marks).chain(reasons);
    all.filter(|(_, action)| *action == Action::Allow).map(|(key, _)| key).collect()
}

/// Networks of `before` that no network of `after` covers.
fn lost(before: &[IpNetwork], after: &[IpNetwork]) -> Vec<IpNetwork> {
    let covers = |wide: &IpNetwork, of: &IpNetwork| wide.prefix() <= of.prefix() && wide.contains(of.network());
    before.iter().filter(|network| !after.iter().any(|wide| covers(wide, network))).copied().collect()
}

/// The first of them, and how many more there are; `None`: there is none.
fn listed<T: ToString>(of: impl Iterator<Item = T>) -> Option<String> {
    const SHOWN: usize = 5;
    let all: Vec<_> = of.map(|one| one.to_string()).collect();
    let mut text = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        text += &format!(" and {} more", all.len() - SHOWN);
    }
    (!all.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{origin::Origin, spec::Management};

    /// Dropped by default.
    const REASON: Reason = Reason::TruncatedIp;

    fn of(inside: &[&str], management: &[&str]) -> Spec {
        let countries = inside.iter().map(|code| Country::parse(code).unwrap()).collect();
        let networks = management.iter().map(|network| (network.parse().unwrap(), Origin::default())).collect();
        Spec {
            zone: Zone { inside: countries, ..Zone::default() },
            management: Some(Management { networks, ..Management::default() }),
            ..Spec::default()
        }
    }

    fn change(before: &Spec, after: &Spec) -> (Vec<String>, Vec<String>) {
        let Change { untried, tightened } = Perimeter::of(before).change(&Perimeter::of(after));
        (untried, tightened)
    }

    #[test]
    fn what_lets_more_through_or_cuts_somebody_off_is_told_from_what_does_not() {
        let before = of(&["DE", "FR"], &["192.0.2.0/24", "2001:db8::/64"]);
        assert_eq!(change(&before, &before), (vec![], vec![]));
        let after = of(&["DE", "CH", "GB"], &["192.0.0.0/16", "2001:db8::/65"]);
        assert_eq!(
            change(&before, &after),
            (
                vec!["inside gains CH, GB".into(), "[management] loses 2001:db8::/64".into()],
                vec!["inside loses FR".into(), "[management] gains 192.0.0.0/16".into()]
            )
        );
        let none = Spec { management: None, ..before.clone() };
        assert_eq!(change(&before, &none).0, ["[management] loses 192.0.2.0/24, 2001:db8::/64"]);
        let mut loose = before.clone();
        loose.zone.on_unknown = Action::Allow;
        loose.zone.inside_private = true;
        loose.zone.undecodable.insert(REASON, Action::Allow);
        let reason = REASON.name();
        assert_eq!(
            change(&before, &loose).0,
            ["inside gains private".to_owned(), format!("on_unknown, undecodable.{reason} = \"allow\"")]
        );
        assert_eq!(
            change(&loose, &before),
            (vec![], vec!["inside loses private".into(), format!("on_unknown, undecodable.{reason} = \"deny\"")])
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let many = ["AT", "BE", "BG", "CY", "CZ", "DE", "DK"];
        assert_eq!(change(&of(&[], &[]), &of(&many, &[])).0, ["inside gains AT, BE, BG, CY, CZ and 2 more"]);
    }
}
