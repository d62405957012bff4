//! What a policy has otherwise than the one before it, for whoever is to know: in words, and whether more passes than
//! before. Called when a policy comes in force.

use std::collections::BTreeMap;

use monitor_policy::{Policy, RuleInfo, perimeter::Change, spec::Action};

use super::{
    finding::{Detail, FindingKind},
    in_force::PolicyInForce,
    severity::Severity,
};

/// Rules that are named of each kind of change.
const NAMED: usize = 3;

/// What is told when `new` takes the place of `old`: nothing, a [`FindingKind::PolicyChanged`], a
/// [`FindingKind::ModeChanged`], or both.
pub fn told(old: &PolicyInForce, new: &PolicyInForce) -> Vec<(FindingKind, Detail)> {
    let mut told = Vec::new();
    let (before, after) = (old.reference(), new.reference());
    let by = if new.by.is_empty() { String::new() } else { format!("; by {}", new.by) };
    if before.digest != after.digest {
        let Change { untried, tightened } = old.perimeter.change(&new.perimeter);
        let (looser, tighter) = rules(&old.policy, &new.policy);
        let loosens = !untried.is_empty() || !looser.is_empty();
        let mut what = [untried, looser, tightened, tighter].concat();
        if what.is_empty() {
            what.push("geo data, or networks and terms of rules and sites".into());
        }
        let text = format!("{before} → {after}: {}{by}", what.join("; "));
        let detail = Detail { severity: severity(loosens), by: new.by.to_string(), ..text.into() };
        told.push((FindingKind::PolicyChanged, detail));
    }
    if before.mode != after.mode {
        let text = format!("{} → {}, policy {}{by}", before.mode, after.mode, after.digest);
        let severity = severity(before.mode.enforces());
        told.push((FindingKind::ModeChanged, Detail { severity, by: new.by.to_string(), ..text.into() }));
    }
    told
}

fn severity(loosens: bool) -> Option<Severity> {
    loosens.then_some(Severity::High)
}

/// Which rules are new, gone, or others under the same name: those that let more through, and those that do not.
fn rules(old: &Policy, new: &Policy) -> (Vec<String>, Vec<String>) {
    let by_id = |policy: &Policy| -> BTreeMap<String, RuleInfo> {
        policy.rules.iter().map(|rule| (rule.id.clone(), rule.clone())).collect()
    };
    let (old, new) = (by_id(old), by_id(new));
    let allows = |rule: &RuleInfo| rule.action == Action::Allow;
    let lacks = |of: &BTreeMap<String, RuleInfo>, in_: &BTreeMap<String, RuleInfo>, allow: bool| -> Vec<String> {
        let lacking = of.iter().filter(|(id, rule)| !in_.contains_key(*id) && allows(rule) == allow);
        lacking.map(|(id, _)| id.clone()).collect()
    };
    let terms = |rule: &RuleInfo| {
        (
            rule.scope.clone(),
            rule.action,
            rule.not_before,
            rule.expires,
            rule.max_bytes_per_day,
            rule.tell_bytes_per_day,
        )
    };
    let other = old.iter().filter(|(id, rule)| new.get(*id).is_some_and(|there| terms(there) != terms(rule)));
    let other: Vec<_> = other.map(|(id, _)| id.clone()).collect();
    let said = |what: &str, ids: Vec<String>| (!ids.is_empty()).then(|| format!("{what} {}", named(&ids)));
    let looser = [
        said("allows by new rule", lacks(&new, &old, true)),
        said("denies no more by rule", lacks(&old, &new, false)),
        said("other networks, ports, times or budget of rule", other),
    ];
    let tighter =
        [said("allows no more by rule", lacks(&old, &new, true)), said("denies by new rule", lacks(&new, &old, false))];
    (looser.into_iter().flatten().collect(), tighter.into_iter().flatten().collect())
}

fn named(ids: &[String]) -> String {
    let mut text = ids.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if ids.len() > NAMED {
        text += &format!(" and {} more", ids.len() - NAMED);
    }
    text
}

#[cfg(test)]
mod tests {
    use monitor_policy::{
        perimeter::Perimeter,
        spec::{Mode, Spec},
    };

    use super::*;

    fn policy(digest: &str, rules: &[(&str, Action, &str)]) -> PolicyInForce {
        let rule = |(id, action, scope): &(&str, Action, &str)| RuleInfo {
            id: (*id).into(),
            action: *action,
            scope: (*scope).into(),
            ..RuleInfo::default()
        };
        let policy = Policy { digest: digest.into(), rules: rules.iter().map(rule).collect(), ..Policy::default() };
        let perimeter = Perimeter::of(&Spec::default()).into();
        PolicyInForce { policy: policy.into(), perimeter, by: "root".into(), ..PolicyInForce::default() }
    }

    fn said(old: &PolicyInForce, new: &PolicyInForce) -> Vec<(&'static str, bool, String)> {
        let told = told(old, new).into_iter();
        let known =
            |kind: FindingKind, detail: &Detail| detail.severity.is_none_or(|of| kind.severities().contains(&of));
        let told = told.inspect(|(kind, detail)| assert!(known(*kind, detail), "{kind:?}"));
        told.map(|(kind, detail)| (kind.name(), detail.severity.is_some(), detail.text)).collect()
    }

    #[test]
    fn more_that_passes_is_told_from_less_and_both_say_what_and_by_whom() {
        use Action::{Allow, Deny};
        let old = policy("a", &[("one", Allow, "x"), ("tor", Deny, "x")]);
        assert_eq!(said(&old, &old), []);
        let changed = |rules: &[(&str, Action, &str)]| {
            let told = said(&old, &policy("b", rules));
            let [(kind, loosens, text)] = &told[..] else { panic!("{told:?}") };
            assert_eq!(*kind, "policy_changed");
            let what = text.strip_prefix("a (observe) → b (observe): ").and_then(|text| text.strip_suffix("; by root"));
            (*loosens, what.unwrap_or_else(|| panic!("{text}")).to_owned())
        };
        let same = [("one", Allow, "x"), ("tor", Deny, "x")];
        assert_eq!(changed(&same), (false, "geo data, or networks and terms of rules and sites".into()));
        assert_eq!(changed(&same[1..]), (false, "allows no more by rule one".into()));
        assert_eq!(changed(&same[..1]), (true, "denies no more by rule tor".into()));
        assert_eq!(
            changed(&[same[0], same[1], ("a", Allow, ""), ("b", Allow, ""), ("c", Allow, ""), ("d", Allow, "")]),
            (true, "allows by new rule a, b, c and 1 more".into())
        );
        assert_eq!(
            changed(&[("one", Allow, "y"), same[1], ("new", Deny, "")]),
            (true, "other networks, ports, times or budget of rule one; denies by new rule new".into())
        );
    }

    #[test]
    fn a_mode_that_drops_nothing_any_more_is_looser() {
        let observe = policy("a", &[]);
        let enforce = PolicyInForce { mode: Mode::Enforce, ..observe.clone() };
        assert_eq!(said(&observe, &enforce), [("mode_changed", false, "observe → enforce, policy a; by root".into())]);
        assert_eq!(said(&enforce, &observe), [("mode_changed", true, "enforce → observe, policy a; by root".into())]);
        let other = PolicyInForce { by: "".into(), ..policy("b", &[]) };
        assert_eq!(said(&enforce, &other).len(), 2);
        let mut wider = policy("b", &[]);
        wider.perimeter = Perimeter::default().into();
        assert!(!said(&observe, &wider)[0].1, "less is inside");
        assert!(said(&wider, &PolicyInForce { ..policy("c", &[]) })[0].1);
    }
}
