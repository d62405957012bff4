//! What a configuration comes to in, the page of `egress-monitor check` out.

use super::{Width, needs::cut_off};
use crate::cli::output::{cells, table};
use monitor_api::check::{Data, Extent, Good, List, Overlay, Table};
use monitor_common::{
    parse::Reason,
    wire::{Class, Opaque},
};
use monitor_policy::{
    spec::{Action, Rule, Spec, Zone},
    text::{count, size, when},
};

/// The classes in the order of the page, most telling first.
const ORDER: [Class; 7] =
    [Class::Inside, Class::Outside, Class::Ambiguous, Class::Unknown, Class::Private, Class::LinkLocal, Class::Local];

/// What becomes of content that cannot be read, with the marks for which it is something else.
fn opaque(on_opaque: &str, zone: &Zone) -> String {
    let other = if zone.on_opaque == Action::Allow { Action::Deny } else { Action::Allow };
    let differs = |mark: &(Opaque, &str)| zone.on_mark(mark.0) == other;
    let marks: Vec<_> = Opaque::MARKS.into_iter().filter(differs).map(|(_, name)| name).collect();
    let by = if zone.on_opaque == Action::Allow { " (by destination)" } else { "" };
    let name = if other == Action::Allow { "allow" } else { "deny" };
    if marks.is_empty() {
        format!("{on_opaque}{by}")
    } else {
        format!("{on_opaque}{by}, but {name} {}", marks.join(" "))
    }
}

/// What becomes of packets without a flow, with the reasons for which it is something else.
fn undecodable(on_undecodable: &str, zone: &Zone) -> String {
    let mut text = on_undecodable.to_owned();
    for (of, name) in [(Action::Allow, "allow"), (Action::Deny, "deny")] {
        let differs = |reason: &Reason| !reason.always_passes() && zone.on_reason(*reason) == of;
        let reasons: Vec<_> = Reason::ALL.into_iter().filter(differs).map(Reason::name).collect();
        if of != zone.on_undecodable && !reasons.is_empty() {
            text += &format!(", but {name} {}", reasons.join(" "));
        }
    }
    text
}

/// What a rule names, shortened to numbers where there is more than one network.
fn covers(rule: &Rule) -> String {
    let networks = match rule.to.as_slice() {
        [] => None,
        [(network, _)] => Some(network.to_string()),
        more => Some(format!("{} networks", count(more.len() as u128))),
    };
    let systems = rule.ases.iter().map(|(asn, _)| format!("AS{asn}"));
    let named = systems.chain(rule.countries.iter().map(|(country, _)| country.to_string()));
    networks.into_iter().chain(named).collect::<Vec<_>>().join(", ")
}

fn ports(ports: &[String]) -> String {
    if ports.is_empty() { "all".into() } else { ports.join(" ") }
}

/// IPv6 space for people: networks of /48, the size that a site gets.
fn networks_48(addresses: &str) -> String {
    let addresses: u128 = addresses.parse().unwrap_or(0);
    match addresses >> 80 {
        0 if addresses > 0 => "< 1".into(),
        networks => count(networks),
    }
}

fn extent_row(name: &str, extent: &Extent, verdict: &str) -> Vec<String> {
    vec![
        name.to_owned(),
        count(extent.ipv4_ranges),
        count(extent.ipv4_addresses),
        count(extent.ipv6_ranges),
        networks_48(&extent.ipv6_addresses),
        verdict.to_owned(),
    ]
}

/// Version where it is told, when it was built where there is room, age, and ranges of both families.
fn data_cells(data: &Data, wide: bool) -> impl Iterator<Item = String> {
    let unknown = || "unknown".to_owned();
    let built = wide.then(|| data.built.clone().unwrap_or_else(unknown));
    let age = data.age_days.map_or_else(unknown, |days| format!("{days} days"));
    let ranges = [data.ipv4_ranges, data.ipv6_ranges].map(|number| count(number as u128));
    built.into_iter().chain([age]).chain(ranges)
}

/// A table of data: its names, what [`data_cells`] tells, and what is told besides.
fn data_table(names: &[&str], more: &[&str], wide: bool, rows: impl Iterator<Item = Vec<String>>) -> String {
    let heading =
        cells(&[names, if wide { &["built"] } else { &[] }, &["age", "IPv4 ranges", "IPv6 ranges"], more].concat());
    let first = names.len() + usize::from(wide);
    let numbers: Vec<usize> = (first..heading.len()).collect();
    table(0, &std::iter::once(heading).chain(rows).collect::<Vec<_>>(), &numbers)
}

/// `egress-monitor check` at `now`, of a configuration that can be put in force; `spec` is what it says of networks.
pub fn check(found: &Good, spec: &Spec, now: i128, width: Width) -> String {
    let mut text = head(found, &spec.zone);

    let wide = width == Width::Wide;
    // How many ranges is for whoever asks for all.
    let short = |mut row: Vec<String>| {
        if !wide {
            row.remove(3);
            row.remove(1);
        }
        row
    };
    let heading = cells(&["class", "IPv4 ranges", "IPv4 addresses", "IPv6 ranges", "IPv6 in /48s", "enforce"]);
    let mut rows = vec![short(heading)];
    for name in ORDER.map(Class::name) {
        let Some(class) = found.classes.get(name) else { continue };
        let does = match class.denied {
            true if name == Class::LinkLocal.name() => "deny, but for fe80::/10",
            true => "deny",
            false => "allow",
        };
        rows.push(short(extent_row(name, &class.extent, does)));
    }
    rows.push(short(extent_row("embeds IPv4", &found.embedded_ipv4, "as the IPv4 address inside")));
    text += "\n";
    let numbers: Vec<usize> = (1..rows[0].len() - 1).collect();
    text += &table(0, &rows, &numbers);

    let mut rows = vec![cells(&["in the kernel", "entries", "memory"])];
    let of = |of: &Table| vec![of.name.to_owned(), count(of.entries as u64), size(of.bytes)];
    rows.extend(found.tables.iter().map(of));
    text += "\n";
    text += &table(0, &rows, &[1, 2]);

    if !spec.sites.is_empty() {
        let mut rows = vec![cells(&["site", "country", "networks"])];
        for site in &spec.sites {
            let networks: Vec<_> = site.networks.iter().map(|(network, _)| network.to_string()).collect();
            rows.push(vec![site.name.clone(), site.country.to_string(), networks.join(" ")]);
        }
        text += "\n";
        text += &table(0, &rows, &[]);
    }

    text += "\n";
    if found.rules.is_empty() {
        text += "no rules\n";
    } else {
        let mut rows = vec![cells(&["rule", "action", "covers", "ports", "expires"])];
        rows[0].extend(wide.then(|| "origin".to_owned()));
        for (rule, configured) in found.rules.iter().zip(&spec.rules) {
            let ends = |at: &String| if wide { at.clone() } else { when(at, now) };
            let expires = rule.expires.as_ref().map_or_else(|| "never".into(), ends);
            let row = vec![rule.id.clone(), rule.action.into(), covers(configured), ports(&rule.ports), expires];
            rows.push(row.into_iter().chain(wide.then(|| rule.origin.clone())).collect());
        }
        text += &table(0, &rows, &[]);
    }
    text += &lists(&found.lists);
    text += &knowledge(found, wide);
    for note in &found.notes {
        text += &format!("\nnote: {}", note.message);
    }
    for warning in &found.warnings {
        text += &format!("\nwarning: {warning}");
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let cut_off = cut_off(&found.cut_off);
    if !cut_off.is_empty() {
        text += "\nenforce would drop what this host needs:\n";
        cut_off.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    if !found.unresolved.is_empty() {
        let names = found.unresolved.join(", ");
        text += &format!("\nnot resolved, so nobody knows whether enforce would drop them: {names}\n");
    }
    text
}

/// What each file with rules does.
fn lists(lists: &[List]) -> String {
    if lists.is_empty() {
        return String::new();
    }
    let mut rows = vec![cells(&["list", "does", "networks"])];
    for list in lists {
        let does = match list.action {
            Some("deny") => "denies its networks".to_owned(),
            Some(_) => "allows its networks".to_owned(),
            None => format!("{} allow, {} deny", count(list.allow_rules as u128), count(list.deny_rules as u128)),
        };
        rows.push(vec![list.file.display().to_string(), does, count(list.networks as u128)]);
    }
    format!("\n{}", table(0, &rows, &[2]))
}

/// The configuration as a whole.
fn head(found: &Good, zone: &Zone) -> String {
    let file = found.config.as_ref().map_or_else(|| "built-in defaults".to_owned(), |file| file.display().to_string());
    let private = if found.private_inside { ", and private networks" } else { "" };
    let named: Vec<_> = found.named.iter().map(|(code, name)| format!("{code} is {name}")).collect();
    let named = named.join(", ");
    let mut rows = vec![
        cells(&["configuration", &format!("{file}: good")]),
        cells(&["mode", found.mode.name()]),
        cells(&["zone", &found.zone]),
        cells(&["inside", &found.inside]),
        cells(&["", &format!("= {} country codes: {}{private}", found.countries.len(), found.countries.join(" "))]),
        cells(&["", &named]),
        cells(&["opaque", &opaque(found.on_opaque, zone)]),
        cells(&["unparsed", &undecodable(found.on_undecodable, zone)]),
        cells(&["policy", &found.policy]),
    ];
    rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
    if let Some(management) = &found.management {
        let networks = &management.networks;
        let what = if networks.is_empty() { "none, on purpose".into() } else { networks.join(" ") };
        let of = if management.source_ports.is_empty() {
            format!("ports: {}", ports(&management.ports))
        } else {
            format!("from {}", management.source_ports.join(" "))
        };
        let told =
            management.tell_bytes_per_day.map_or_else(String::new, |most| format!(", told above {most} bytes a day"));
        rows.push(cells(&["management", &format!("{what}, {of}{told}")]));
    }
    if !found.nat64.is_empty() {
        rows.push(cells(&["nat64", &found.nat64.join(" ")]));
    }
    for (at, platform) in found.platforms.iter().enumerate() {
        let does = if platform.denied { "deny" } else { "allow" };
        let text = format!("{does} {} ({})", platform.address, platform.what);
        rows.push(cells(&[if at == 0 { "platforms" } else { "" }, &text]));
    }
    table(0, &rows, &[])
}

/// What is known of addresses, and from whom.
fn knowledge(found: &Good, wide: bool) -> String {
    let of = |data: &Data, names: Vec<String>, more: Option<usize>| {
        let more = more.map(|number| count(number as u128));
        names.into_iter().chain(data_cells(data, wide)).chain(more).collect::<Vec<_>>()
    };
    let sources =
        found.sources.iter().map(|it| of(&it.data, vec![it.data.name.clone(), it.data.version.clone()], None));
    let mut text = format!("\n{}", data_table(&["geo source", "version"], &[], wide, sources));
    if !found.overlays.is_empty() {
        let row = |it: &Overlay| of(&it.data, vec![it.data.name.clone(), it.kind.to_owned()], Some(it.rejected.count));
        let rows = found.overlays.iter().map(row);
        text += &format!("\n{}", data_table(&["overlay", "kind"], &["left out"], wide, rows));
    }
    if let Some(it) = &found.as_numbers {
        let row = of(&it.data, vec![it.data.name.clone()], Some(it.numbers));
        text += &format!("\n{}", data_table(&["AS numbers"], &["names"], wide, std::iter::once(row)));
    }
    for of in found.sources.iter().map(|of| &of.data).filter(|of| !of.attribution.is_empty()) {
        text += &format!("{}: {}\n", of.name, of.attribution);
    }
    text
}
