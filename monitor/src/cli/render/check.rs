//! What a configuration comes to in, the page of `egress-monitor check` out.

use super::needs::cut_off;
use crate::cli::output::{cells, table};
use monitor_api::check::{Data, Extent, Good, List, Table};
use monitor_common::{
    parse::Reason,
    wire::{Class, Opaque},
};
use monitor_policy::{
    spec::{Action, Rule, Spec, Zone},
    text::{count, size},
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

/// Built, age, and ranges of both families.
fn data_cells(data: &Data) -> [String; 4] {
    let unknown = || "unknown".to_owned();
    [
        data.built.clone().unwrap_or_else(unknown),
        data.age_days.map_or_else(unknown, |days| format!("{days} days")),
        count(data.ipv4_ranges as u128),
        count(data.ipv6_ranges as u128),
    ]
}

/// `egress-monitor check`, of a configuration that can be put in force; `spec` is what it says of networks.
pub fn check(found: &Good, spec: &Spec) -> String {
    let mut text = head(found, &spec.zone);

    let mut rows = vec![cells(&["class", "IPv4 ranges", "IPv4 addresses", "IPv6 ranges", "IPv6 in /48s", "enforce"])];
    for name in ORDER.map(Class::name) {
        let Some(class) = found.classes.get(name) else { continue };
        let does = match class.denied {
            true if name == Class::LinkLocal.name() => "deny, but for fe80::/10",
            true => "deny",
            false => "allow",
        };
        rows.push(extent_row(name, &class.extent, does));
    }
    rows.push(extent_row("embeds IPv4", &found.embedded_ipv4, "as the IPv4 address inside"));
    text += "\n";
    text += &table(0, &rows, &[1, 2, 3, 4]);

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
        let mut rows = vec![cells(&["rule", "", "covers", "ports", "expires", "where"])];
        for (rule, configured) in found.rules.iter().zip(&spec.rules) {
            rows.push(vec![
                rule.id.clone(),
                rule.action.into(),
                covers(configured),
                ports(&rule.ports),
                rule.expires.clone().unwrap_or_else(|| "never".into()),
                rule.origin.clone(),
            ]);
        }
        text += &table(0, &rows, &[]);
    }
    text += &lists(&found.lists);
    text += &knowledge(found);
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
        cells(&["not parsed", &undecodable(found.on_undecodable, zone)]),
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
fn knowledge(found: &Good) -> String {
    let mut rows = vec![cells(&["geo source", "version", "built", "age", "IPv4 ranges", "IPv6 ranges"])];
    for of in &found.sources {
        rows.push([of.data.name.clone(), of.data.version.clone()].into_iter().chain(data_cells(&of.data)).collect());
    }
    let mut text = format!("\n{}", table(0, &rows, &[3, 4, 5]));
    if !found.overlays.is_empty() {
        let mut rows = vec![cells(&["overlay", "kind", "built", "age", "IPv4 ranges", "IPv6 ranges", "left out"])];
        for of in &found.overlays {
            let names = [of.data.name.clone(), of.kind.to_owned()];
            let left_out = count(of.rejected.count as u128);
            rows.push(names.into_iter().chain(data_cells(&of.data)).chain([left_out]).collect());
        }
        text += "\n";
        text += &table(0, &rows, &[3, 4, 5, 6]);
    }
    if let Some(of) = &found.as_numbers {
        let heading = cells(&["AS numbers", "built", "age", "IPv4 ranges", "IPv6 ranges", "names"]);
        let row = [of.data.name.clone()].into_iter().chain(data_cells(&of.data));
        let row = row.chain([count(of.numbers as u128)]).collect();
        text += "\n";
        text += &table(0, &[heading, row], &[2, 3, 4, 5]);
    }
    for of in found.sources.iter().map(|of| &of.data).filter(|of| !of.attribution.is_empty()) {
        text += &format!("{}: {}\n", of.name, of.attribution);
    }
    text
}
