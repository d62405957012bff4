//! `egress-monitor check`: reads everything `run` would read, and says what is wrong with it or what it comes to.

use std::path::PathBuf;

use monitor_common::{parse::Reason, wire::Class};
use serde_json::{Value, json};

use crate::config::inputs::{self, Inputs};
use crate::{
    cli::output::{cells, print, table},
    config::{self},
    error::CliError,
};
use monitor_policy::{
    Extent,
    geo::{About, Dataset, STALE_AFTER_DAYS},
    spec::{Action, Mode, PortRange, Rule, Zone},
    text::{count, hex, time},
    times::upcoming,
};

/// Says what is wrong with the configuration, or what it comes to.
///
/// Reads everything that `run` would read: the configuration, allowlists, geo data. Each problem is one line on
/// standard error with file, line, value and mend, and the exit code is 64.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor check\n  egress-monitor check --config new.toml && systemctl reload egress-monitor"
)]
pub struct Args {
    /// Configuration file [default: /etc/egress-monitor/config.toml if it exists, else the built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the configuration.
pub fn run(args: Args) -> Result<(), CliError> {
    let checked = match config::load(args.config.as_deref()) {
        Ok(config) => inputs::compile(config),
        Err(error) => {
            if args.json {
                let problems: Vec<Value> = error
                    .problems
                    .iter()
                    .map(|problem| {
                        json!({ "file": problem.file, "line": problem.line, "column": problem.column,
                                "message": problem.message })
                    })
                    .collect();
                print(&format!("{:#}\n", json!({ "ok": false, "problems": problems })))?;
            }
            return Err(error.into_failure());
        }
    };
    match checked {
        Ok(inputs) if args.json => print(&format!("{:#}\n", as_json(&inputs))),
        Ok(inputs) => print(&as_text(&inputs)),
        Err(failure) => {
            if args.json {
                let problem = json!({ "file": null, "line": null, "column": null, "message": failure.to_string() });
                print(&format!("{:#}\n", json!({ "ok": false, "problems": [problem] })))?;
            }
            Err(failure)
        }
    }
}

fn denies(inputs: &Inputs, class: Class) -> bool {
    let zone = &inputs.config.spec.zone;
    let action = match class {
        Class::Inside | Class::Local => Action::Allow,
        Class::Outside => zone.on_outside,
        Class::Ambiguous => zone.on_ambiguous,
        Class::Unknown => zone.on_unknown,
        Class::Private => zone.on_private,
    };
    action == Action::Deny
}

/// As the configuration has it.
const fn action(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    }
}

/// What becomes of packets without a flow, with the reasons for which it is something else.
fn undecodable(zone: &Zone) -> String {
    let mut text = action(zone.on_undecodable).to_owned();
    for of in [Action::Allow, Action::Deny].into_iter().filter(|of| *of != zone.on_undecodable) {
        let differs = |reason: &Reason| !reason.always_passes() && zone.on_reason(*reason) == of;
        let reasons: Vec<_> = Reason::ALL.into_iter().filter(differs).map(Reason::name).collect();
        if !reasons.is_empty() {
            text += &format!(", but {} {}", action(of), reasons.join(" "));
        }
    }
    text
}

/// Most telling first.
const ORDER: [Class; 6] =
    [Class::Inside, Class::Outside, Class::Ambiguous, Class::Unknown, Class::Private, Class::Local];

fn warnings(inputs: &Inputs) -> Vec<String> {
    let mut warnings = Vec::new();
    let now = inputs.clock.seconds();
    for about in inputs.knowledge.datasets.iter().map(|dataset| &dataset.about) {
        if let Some(age) = about.stale_days(now) {
            warnings.push(format!(
                "geo source '{}' is {age} days old: renew sources older than {STALE_AFTER_DAYS} days",
                about.name
            ));
        }
    }
    for overlay in &inputs.knowledge.overlays {
        let name = &overlay.about.name;
        if let Some(age) = overlay.about.stale_days(now) {
            warnings
                .push(format!("overlay '{name}' is {age} days old: renew lists older than {STALE_AFTER_DAYS} days"));
        }
        if let Some(example) = overlay.rejected.kinds.values().find_map(|kind| kind.examples.first()) {
            warnings.push(format!("overlay '{name}': {}; the first: {example}", overlay.rejected.summary()));
        }
        if overlay.contradictions > 0 {
            let count = overlay.contradictions;
            warnings
                .push(format!("overlay '{name}': {count} networks have two countries in it: taken as undetermined"));
        }
    }
    let asn = inputs.knowledge.asn.as_ref().map(|asn| &asn.about);
    if let Some((name, age)) = asn.and_then(|about| Some((&about.name, about.stale_days(now)?))) {
        warnings
            .push(format!("AS numbers '{name}' are {age} days old: renew what is older than {STALE_AFTER_DAYS} days"));
    }
    let config = &inputs.config;
    let none = config.spec.management.as_ref().filter(|management| management.networks.is_empty());
    if let Some(management) = none.filter(|_| config.mode == Mode::Enforce) {
        warnings.push(format!(
            "[management] ({}) names no network: what you reach this host from can be cut off by any mistake in the \
             policy",
            management.origin
        ));
    }
    if let Some(Err(failure)) = inputs.config.shadow.as_ref().map(|file| inputs::read(Some(file))) {
        let why = failure.to_string().lines().collect::<Vec<_>>().join("; ");
        warnings.push(format!("no shadow policy: {why}"));
    }
    for near in upcoming(&inputs.policy.rules, now) {
        let rule = inputs.policy.rules.iter().find(|rule| rule.id == near.rule);
        let origin = rule.map_or_else(String::new, |rule| rule.origin.to_string());
        let (rule, days) = (format!("rule '{}' ({origin})", near.rule), near.seconds.div_euclid(86_400));
        warnings.push(match near.what.as_str() {
            "begins" => format!("{rule} does not hold yet: it begins in {days} days"),
            "expired" => format!("{rule} has expired: renew it or remove it"),
            _ => format!("{rule} expires in {days} days: renew it or remove it"),
        });
    }
    warnings
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

fn ports(ports: &[PortRange]) -> String {
    if ports.is_empty() {
        return "all".into();
    }
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn as_json(inputs: &Inputs) -> Value {
    let (config, policy) = (&inputs.config, &inputs.policy);
    let extent = |extent: &Extent| {
        json!({ "ipv4_ranges": extent.v4_ranges, "ipv4_addresses": extent.v4_addresses,
                "ipv6_ranges": extent.v6_ranges, "ipv6_addresses": extent.v6_addresses.to_string() })
    };
    let mut classes = serde_json::Map::new();
    for class in ORDER {
        let mut document = extent(policy.summary.of(class));
        document["denied"] = denies(inputs, class).into();
        classes.insert(class.name().into(), document);
    }
    let undecodable: serde_json::Map<_, Value> = config
        .spec
        .zone
        .undecodable
        .iter()
        .map(|(reason, of)| (reason.name().to_owned(), action(*of).into()))
        .collect();
    let rules: Vec<Value> = config
        .spec
        .rules
        .iter()
        .map(|rule| {
            json!({ "id": rule.id, "origin": rule.origin, "action": action(rule.action), "networks": rule.to.len(),
                    "countries": rule.countries.iter().map(|(country, _)| country.to_string()).collect::<Vec<_>>(),
                    "systems": rule.ases.iter().map(|(asn, _)| asn).collect::<Vec<_>>(),
                    "max_bytes_per_day": rule.max_bytes_per_day,
                    "ports": rule.ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "reason": rule.reason, "legal_basis": rule.legal_basis, "owner": rule.owner,
                    "ticket": rule.ticket, "not_before": rule.not_before.map(time),
                    "expires": rule.expires.map(time) })
        })
        .collect();
    let knowledge = &inputs.knowledge;
    let described = |about: &About, v4_ranges: usize, v6_ranges: usize| {
        json!({ "name": about.name, "version": about.version, "built": about.built.map(time),
                "age_days": about.age_days(inputs.clock.seconds()), "ipv4_ranges": v4_ranges,
                "ipv6_ranges": v6_ranges, "attribution": about.attribution })
    };
    let sources = knowledge.datasets.iter().map(|of| {
        let mut source = described(&of.about, of.v4.len(), of.v6.len());
        source["digest"] = hex(&of.about.digest).into();
        source
    });
    let overlays = knowledge.overlays.iter().map(|of| {
        let mut overlay = described(&of.about, of.v4.len(), of.v6.len());
        overlay["digest"] = hex(&of.about.digest).into();
        overlay["file"] = json!(of.file);
        overlay["kind"] = of.kind.name().into();
        overlay["contradictions"] = of.contradictions.into();
        overlay["rejected"] = json!(of.rejected);
        overlay
    });
    let as_numbers = knowledge.asn.as_ref().map(|of| {
        let mut numbers = described(&of.about, of.v4.len(), of.v6.len());
        numbers["numbers"] = of.names.len().into();
        numbers
    });
    json!({
        "ok": true,
        "config": config.file,
        "mode": if config.mode == Mode::Enforce { "enforce" } else { "observe" },
        "zone": config.spec.zone.name,
        "inside": config.spec.zone.inside_text,
        "countries": config.spec.zone.inside.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "private_inside": config.spec.zone.inside_private,
        "policy": policy.digest,
        "on_undecodable": action(config.spec.zone.on_undecodable),
        "undecodable": undecodable,
        "nat64": config.spec.zone.nat64.iter().map(|(prefix, _)| prefix.to_string()).collect::<Vec<_>>(),
        "classes": classes,
        "embedded_ipv4": extent(&policy.summary.embedded),
        "class_rows": policy.classes.len(),
        "sites": config.spec.sites.len(),
        "rules": rules,
        "management": config.spec.management.as_ref().map(|management| json!({
            "origin": management.origin,
            "networks": management.networks.iter().map(|(network, _)| network.to_string()).collect::<Vec<_>>(),
            "ports": management.ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })),
        "notes": policy.notes,
        "next_expiry": policy.next_expiry.map(time),
        "sources": sources.collect::<Vec<_>>(),
        "overlays": overlays.collect::<Vec<_>>(),
        "as_numbers": as_numbers,
        "warnings": warnings(inputs),
    })
}

/// IPv6 space for people: networks of /48, the size that a site gets.
fn networks_48(addresses: u128) -> String {
    match addresses >> 80 {
        0 if addresses > 0 => "< 1".into(),
        networks => count(networks),
    }
}

fn as_text(inputs: &Inputs) -> String {
    let (config, policy) = (&inputs.config, &inputs.policy);
    let file = config.file.as_ref().map_or_else(|| "built-in defaults".to_owned(), |file| file.display().to_string());
    let countries: Vec<_> = config.spec.zone.inside.iter().map(ToString::to_string).collect();
    let private = if config.spec.zone.inside_private { ", and private networks" } else { "" };
    let mut head = vec![
        cells(&["configuration", &format!("{file}: good")]),
        cells(&["mode", if config.mode == Mode::Enforce { "enforce" } else { "observe" }]),
        cells(&["zone", &config.spec.zone.name]),
        cells(&["inside", &config.spec.zone.inside_text]),
        cells(&["", &format!("= {} country codes: {}{private}", countries.len(), countries.join(" "))]),
        cells(&["not parsed", &undecodable(&config.spec.zone)]),
        cells(&["policy", &policy.digest]),
    ];
    if let Some(management) = &config.spec.management {
        let networks: Vec<_> = management.networks.iter().map(|(network, _)| network.to_string()).collect();
        let what = if networks.is_empty() { "none, on purpose".into() } else { networks.join(" ") };
        head.push(cells(&["management", &format!("{what}, ports: {}", ports(&management.ports))]));
    }
    if !config.spec.zone.nat64.is_empty() {
        let prefixes: Vec<_> = config.spec.zone.nat64.iter().map(|(prefix, _)| prefix.to_string()).collect();
        head.push(cells(&["nat64", &prefixes.join(" ")]));
    }
    let mut text = table(0, &head, &[]);

    let mut rows = vec![cells(&["class", "IPv4 ranges", "IPv4 addresses", "IPv6 ranges", "IPv6 in /48s", "enforce"])];
    let row = |name: &str, extent: &Extent, verdict: &str| {
        vec![
            name.to_owned(),
            count(extent.v4_ranges),
            count(extent.v4_addresses),
            count(extent.v6_ranges),
            networks_48(extent.v6_addresses),
            verdict.to_owned(),
        ]
    };
    for class in ORDER {
        let verdict = if denies(inputs, class) { "deny" } else { "allow" };
        rows.push(row(class.name(), policy.summary.of(class), verdict));
    }
    rows.push(row("embeds IPv4", &policy.summary.embedded, "as the IPv4 address inside"));
    text += "\n";
    text += &table(0, &rows, &[1, 2, 3, 4]);

    if !config.spec.sites.is_empty() {
        let mut rows = vec![cells(&["site", "country", "networks"])];
        for site in &config.spec.sites {
            let networks: Vec<_> = site.networks.iter().map(|(network, _)| network.to_string()).collect();
            rows.push(vec![site.name.clone(), site.country.to_string(), networks.join(" ")]);
        }
        text += "\n";
        text += &table(0, &rows, &[]);
    }

    text += "\n";
    if config.spec.rules.is_empty() {
        text += "no rules\n";
    } else {
        let mut rows = vec![cells(&["rule", "", "covers", "ports", "expires", "where"])];
        for rule in &config.spec.rules {
            rows.push(vec![
                rule.id.clone(),
                action(rule.action).into(),
                covers(rule),
                ports(&rule.ports),
                rule.expires.map_or_else(|| "never".into(), time),
                rule.origin.to_string(),
            ]);
        }
        text += &table(0, &rows, &[]);
    }

    let mut rows = vec![cells(&["geo source", "version", "built", "age", "IPv4 ranges", "IPv6 ranges"])];
    let knowledge = &inputs.knowledge;
    let built = |about: &About| about.built.map_or_else(|| "unknown".into(), time);
    let age = |about: &About| {
        about.age_days(inputs.clock.seconds()).map_or_else(|| "unknown".into(), |days| format!("{days} days"))
    };
    for Dataset { about, v4, v6 } in &knowledge.datasets {
        rows.push(vec![
            about.name.clone(),
            about.version.clone(),
            built(about),
            age(about),
            count(v4.len() as u128),
            count(v6.len() as u128),
        ]);
    }
    text += "\n";
    text += &table(0, &rows, &[3, 4, 5]);
    if !knowledge.overlays.is_empty() {
        let mut rows = vec![cells(&["overlay", "kind", "built", "age", "IPv4 ranges", "IPv6 ranges", "left out"])];
        for of in &knowledge.overlays {
            rows.push(vec![
                of.about.name.clone(),
                of.kind.name().to_owned(),
                built(&of.about),
                age(&of.about),
                count(of.v4.len() as u128),
                count(of.v6.len() as u128),
                count(of.rejected.count as u128),
            ]);
        }
        text += "\n";
        text += &table(0, &rows, &[3, 4, 5, 6]);
    }
    if let Some(of) = &knowledge.asn {
        let rows = [
            cells(&["AS numbers", "built", "age", "IPv4 ranges", "IPv6 ranges", "names"]),
            vec![
                of.about.name.clone(),
                built(&of.about),
                age(&of.about),
                count(of.v4.len() as u128),
                count(of.v6.len() as u128),
                count(of.names.len() as u128),
            ],
        ];
        text += "\n";
        text += &table(0, &rows, &[2, 3, 4, 5]);
    }
    for about in knowledge.datasets.iter().map(|of| &of.about).filter(|about| !about.attribution.is_empty()) {
        text += &format!("{}: {}\n", about.name, about.attribution);
    }
    for note in &policy.notes {
        text += &format!("\nnote: {}", note.message);
    }
    for warning in warnings(inputs) {
        text += &format!("\nwarning: {warning}");
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
