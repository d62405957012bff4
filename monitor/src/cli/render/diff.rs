//! What another configuration would change in, the page of `egress-monitor diff` out.

use super::{Width, needs::cut_off};
use crate::cli::output::{cells, table};
use monitor_api::{
    diff::{DiffDocument, Fate, Location, Networks, RuleChange, RuleTerms, Traffic, TrafficChange, Verdict},
    status::Sums,
};
use monitor_policy::text::{count, counted, size, time};

/// Changes shown to people; all of them are in the JSON.
const SHOWN: usize = 50;

fn verdict(of: &Verdict) -> String {
    let rule = of.rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default();
    let alerts = if of.alerts && of.verdict != "denied" { ", alerts" } else { "" };
    format!("{}{rule}{alerts}", of.verdict)
}

fn place(old: &Location, new: &Location) -> String {
    let one = |place: &Location| format!("{} {}", place.country, place.class);
    if old == new { one(new) } else { format!("{} → {}", one(old), one(new)) }
}

/// Addresses of both families in the unit that fits each.
fn addresses(v4: &Networks, v6: &Networks) -> [String; 2] {
    let number = |networks: &Networks| networks.addresses.parse::<u128>().unwrap_or(0);
    let sixty_fours = match number(v6) >> 64 {
        0 if v6.networks > 0 => "< 1".into(),
        networks => count(networks),
    };
    [count(number(v4)), sixty_fours]
}

/// `egress-monitor diff`.
pub fn diff(document: &DiffDocument, width: Width) -> String {
    let diff = &document.diff;
    let mut text = effect(document);
    if !text.is_empty() {
        text.push('\n');
    }
    text += &table(0, &[cells(&["old", &diff.old]), cells(&["new", &diff.new])], &[]);
    if let Some((old, new)) = &diff.mode {
        text += &format!("\nmode: {old} → {new}\n");
    }
    if diff.changes.is_empty() {
        text += "\nno network's verdict changes\n";
    } else {
        let (heading, numbers) = match width {
            Width::Short => (cells(&["place", "was → becomes", "for", "IPv4 addresses"]), vec![3]),
            Width::Wide => (cells(&["place", "was", "becomes", "for", "IPv4 addresses", "IPv6 /64s"]), vec![4, 5]),
        };
        let shown = diff.changes.iter().take(SHOWN);
        let rows = shown.clone().map(|group| {
            let change = &group.change;
            let ports = match (&change.only[..], &change.but[..]) {
                ([], []) => "all traffic".to_owned(),
                ([], but) => format!("all but {}", but.join(" ")),
                (only, _) => format!("{} only", only.join(" ")),
            };
            let [v4, v6] = addresses(&group.ipv4, &group.ipv6);
            let place = place(&change.old_place, &change.new_place);
            let (was, becomes) = (verdict(&change.old), verdict(&change.new));
            match width {
                Width::Short => vec![place, format!("{was} → {becomes}"), ports, v4],
                Width::Wide => vec![place, was, becomes, ports, v4, v6],
            }
        });
        let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
        text += "\n";
        // Each change's networks right below it.
        let lines = table(0, &rows, &numbers);
        let mut lines = lines.lines();
        text += &format!("{}\n", lines.next().unwrap_or_default());
        for (line, group) in lines.zip(shown) {
            text += &format!("{line}\n");
            for networks in [&group.ipv4, &group.ipv6].into_iter().filter(|networks| networks.networks > 0) {
                let more = match networks.left_out {
                    0 => String::new(),
                    more => format!(" and {} more", count(more)),
                };
                text += &format!("    {}{more}\n", networks.largest.join(" "));
            }
        }
        let left = diff.changes.len().saturating_sub(SHOWN) as u64 + diff.left_out;
        if left > 0 {
            text += &format!("{} more changes: see --json\n", count(left));
        }
    }
    let (v4, v6) = &diff.moved;
    if v4.networks + v6.networks > 0 {
        let [v4, v6] = addresses(v4, v6);
        text += &format!("\nanother country or class, the same verdict: {v4} IPv4 addresses, {v6} IPv6 /64s\n");
    }
    for (what, reasons) in [("dropped", &diff.reasons_dropped), ("passed", &diff.reasons_passed)] {
        if !reasons.is_empty() {
            text += &format!("\nunparsed, {what} from now on when enforcing: {}\n", reasons.join(" "));
        }
    }
    for (what, marks) in [("denied", &diff.opaque_denied), ("allowed by destination", &diff.opaque_allowed)] {
        if !marks.is_empty() {
            text += &format!("\ncontent that cannot be read, {what} from now on: {}\n", marks.join(" "));
        }
    }
    if !diff.rules.is_empty() {
        text += "\n";
        let rows: Vec<_> = diff.rules.iter().map(rule).collect();
        text += &table(0, &rows, &[]);
    }
    if let Some(traffic) = &document.traffic {
        text += &traffic_text(traffic, width);
    }
    text
}

/// What would happen to packets: of the last hour's, and of what this host needs. Empty where no daemon was asked.
pub fn effect(document: &DiffDocument) -> String {
    let Some(traffic) = &document.traffic else { return String::new() };
    let sums = |sums: &Sums| format!("{} packets, {}", count(sums.packets), size(sums.wire_bytes));
    let mut text = format!("of the traffic since {}\n", traffic.since);
    for (fate, what, of) in [
        (Fate::StartsDropping, "would start to be dropped", &traffic.starts_dropping),
        (Fate::StopsDropping, "would not be dropped any more", &traffic.stops_dropping),
    ] {
        text += &format!("  {what}: {}\n", if of.packets == 0 { "nothing".to_owned() } else { sums(of) });
        let changes: Vec<_> = traffic.changes.iter().filter(|change| change.fate == fate).collect();
        let rows: Vec<_> = changes
            .iter()
            .take(SHOWN)
            .map(|change| {
                let place = place(&change.place, &change.place);
                vec![
                    place,
                    counted(change.flows as usize, "flow"),
                    size(change.sums.wire_bytes),
                    change.destinations.join(" "),
                ]
            })
            .collect();
        text += &table(4, &rows, &[1, 2]);
        let left = changes.len().saturating_sub(SHOWN);
        if left > 0 {
            text += &format!("    {} more: see --json\n", count(left as u64));
        }
    }
    for line in cut_off(&document.cut_off) {
        text += &format!("! this host would be cut off from: {line}\n");
    }
    text
}

fn rule(change: &RuleChange) -> Vec<String> {
    let terms = |terms: &RuleTerms| {
        let begins = terms.not_before.map(|at| format!(" from {}", time(at))).unwrap_or_default();
        let ends = terms.expires.map(|at| format!(" until {}", time(at))).unwrap_or_default();
        let budget = terms.max_bytes_per_day.map(|most| format!(", {} a day", size(most))).unwrap_or_default();
        format!("{}{begins}{ends}{budget}", terms.action)
    };
    let what = match (&change.old, &change.new) {
        (Some(old), Some(new)) => {
            let (before, after) = (terms(old), terms(new));
            let mut parts = if before == after { Vec::new() } else { vec![format!("{before} → {after}")] };
            if old.max_bytes_per_day != new.max_bytes_per_day && before == after {
                // As they are shown they are the same.
                let bytes = |of: &RuleTerms| of.max_bytes_per_day.map(count).unwrap_or_default();
                parts.push(format!("{} → {} bytes a day", bytes(old), bytes(new)));
            }
            if old.scope != new.scope {
                parts.push("other networks or ports".into());
            }
            for (name, old, new) in [
                ("reason", &old.reason, &new.reason),
                ("legal basis", &old.legal_basis, &new.legal_basis),
                ("owner", &old.owner, &new.owner),
                ("ticket", &old.ticket, &new.ticket),
            ] {
                if old != new {
                    parts.push(format!("{name} {old:?} → {new:?}"));
                }
            }
            parts.join("; ")
        }
        (None, Some(new)) => format!("new: {}", terms(new)),
        (Some(old), None) => format!("gone: {}", terms(old)),
        (None, None) => String::new(),
    };
    vec!["rule".into(), change.id.clone(), what]
}

fn traffic_text(traffic: &Traffic, width: Width) -> String {
    let mut text = format!("\ntraffic since {}\n", traffic.since);
    // What becomes of packets stands above.
    let same_fate = |change: &&TrafficChange| [Fate::Passes, Fate::Dropped].contains(&change.fate);
    let changes: Vec<_> = traffic.changes.iter().filter(same_fate).collect();
    if traffic.changes.is_empty() {
        text += "  no recent traffic would change\n";
    } else if !changes.is_empty() {
        let (heading, numbers): (&[&str], &[usize]) = match width {
            Width::Short => (&["place", "was → becomes", "on wire", "to"], &[2]),
            Width::Wide => (&["place", "was", "becomes", "flows", "packets", "on wire", "to"], &[3, 4, 5]),
        };
        let row = |change: &&TrafficChange| {
            let (place, was, becomes) =
                (place(&change.place, &change.place), verdict(&change.old), verdict(&change.new));
            let (bytes, to) = (size(change.sums.wire_bytes), change.destinations.join(" "));
            match width {
                Width::Short => vec![place, format!("{was} → {becomes}"), bytes, to],
                Width::Wide => {
                    vec![place, was, becomes, count(change.flows), count(change.sums.packets), bytes, to]
                }
            }
        };
        let rows: Vec<_> = std::iter::once(cells(heading)).chain(changes.iter().take(SHOWN).map(row)).collect();
        text += &table(2, &rows, numbers);
        let left = changes.len().saturating_sub(SHOWN);
        if left > 0 {
            text += &format!("  {}: see --json\n", counted(left, "more change"));
        }
    }
    text += &format!("  the same: {} packets, {}\n", count(traffic.same.packets), size(traffic.same.wire_bytes));
    if traffic.not_judged != Sums::default() {
        let sums = &traffic.not_judged;
        text += &format!(
            "  not judged, no flow of their own: {} packets, {}\n",
            count(sums.packets),
            size(sums.wire_bytes)
        );
    }
    text
}
