//! Tables of the configuration file in, the types of [`super`] out, section by section. Called by [`super::load`].

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use monitor_common::parse::Reason;
use monitor_policy::{
    Origin, region,
    spec::{Action, Management, Mode, PortRange, Rule, Site, Zone},
};

use super::{
    Config, Geo, Paths,
    document::{Table, Unsupported, Value, quote},
    values::{self, Destination},
};

/// Fewest and most places in the flow table.
const FLOWS: RangeInclusive<i64> = 1024..=4_194_304;
/// Fewest and most places in a CPU's flow cache.
const CACHE: RangeInclusive<i64> = 128..=1_048_576;

const LATER: &str = "remove the key";

/// What is said where enforce has no failsafe.
pub(super) const NEEDS_MANAGEMENT: &str = "enforce needs [management]: add networks = [\"192.0.2.0/24\"] with the networks that \
     must never be cut off, or networks = [] if there are none on purpose";

/// What `[policy] allowlists` says: each pattern with the place to complain about.
pub(super) type Patterns<'a> = Vec<(PathBuf, Value<'a>)>;

/// Reads the whole file into `config`.
pub(super) fn read<'a>(root: Table<'a>, now: i64, config: &mut Config) -> Patterns<'a> {
    root.only(&["monitor", "zone", "geo", "site", "allow", "deny", "management", "http", "paths", "policy"], &[]);
    let directory = root.source.file.parent().unwrap_or(Path::new(""));
    if let Some(table) = root.table("monitor", "[monitor]") {
        monitor(table, config);
    }
    if let Some(table) = root.table("zone", "[zone]") {
        zone(table, &mut config.spec.zone);
    }
    if let Some(table) = root.table("geo", "[geo]") {
        geo(table, directory, &mut config.geo);
    }
    config.spec.sites = root.tables("site", "[[site]]").into_iter().filter_map(site).collect();
    config.spec.rules = rules(root, now);
    if let Some(table) = root.table("management", "[management]") {
        config.spec.management = management(table);
    }
    if config.mode == Mode::Enforce && root.get("management").is_none() {
        let mode = root.table("monitor", "[monitor]").and_then(|table| table.get("mode"));
        if let Some(mode) = mode {
            mode.complain(NEEDS_MANAGEMENT);
        }
    }
    if let Some(table) = root.table("http", "[http]") {
        let tls: [Unsupported; 4] =
            [("tls_cert", LATER), ("tls_key", LATER), ("token_file", LATER), ("client_ca", LATER)];
        table.only(&["listen"], &tls);
        if let Some(value) = table.get("listen") {
            config.listen = value.read("an address and port in quotes", values::listen).unwrap_or_default();
        }
    }
    if let Some(table) = root.table("paths", "[paths]") {
        paths(table, &mut config.paths);
    }
    match root.table("policy", "[policy]") {
        Some(table) => {
            if let Some(reload) =
                table.get("reload").and_then(|value| value.read("\"auto\" or \"signal\"", values::reload))
            {
                config.reload = reload;
            }
            if let Some(value) = table.get("shadow") {
                // One that is not there is told and stops nothing, as one that is no good.
                config.shadow = value.text("a file name in quotes").map(|name| directory.join(name));
            }
            policy(table, directory)
        }
        None => Vec::new(),
    }
}

fn monitor(table: Table<'_>, config: &mut Config) {
    table.only(&["mode", "interfaces", "epoch", "flows", "cache", "hook"], &[]);
    if let Some(mode) = table.get("mode").and_then(|value| value.read("\"observe\" or \"enforce\"", values::mode)) {
        config.mode = mode;
    }
    if let Some(names) = table.get("interfaces").and_then(|value| value.list("a list such as [\"auto\"]")) {
        config.interfaces = names.iter().filter_map(|value| value.read("names in quotes", values::interface)).collect();
    }
    if let Some(epoch) =
        table.get("epoch").and_then(|value| value.read("a duration in quotes, such as \"10s\"", values::epoch))
    {
        config.epoch = epoch;
    }
    if let Some(flows) = places(&table, "flows", &FLOWS) {
        config.flows = flows;
    }
    config.cache = places(&table, "cache", &CACHE);
    if let Some(hook) = table.get("hook").and_then(|value| value.read("\"auto\", \"tcx\" or \"clsact\"", values::hook))
    {
        config.hook = hook;
    }
}

fn places(table: &Table<'_>, key: &'static str, bounds: &RangeInclusive<i64>) -> Option<u32> {
    let value = table.get(key)?;
    let wanted = format!("a number of {} to {}", bounds.start(), bounds.end());
    let number = value.integer(&wanted)?;
    let places = u32::try_from(number).ok().filter(|_| bounds.contains(&number));
    if places.is_none() {
        value.complain(format!("{key} '{number}' is out of bounds: write {wanted}"));
    }
    places
}

fn zone(table: Table<'_>, zone: &mut Zone) {
    table.only(
        &[
            "name",
            "inside",
            "on_outside",
            "on_ambiguous",
            "on_unknown",
            "on_private",
            "on_undecodable",
            "undecodable",
            "nat64",
        ],
        &[],
    );
    if let Some(name) = table.get("name").and_then(|value| value.read("a name in quotes", values::name)) {
        zone.name = name;
    }
    if let Some(value) = table.get("inside") {
        let region = value.read("countries and regions in quotes, such as \"EEA + CH\"", |text| {
            region::parse(text).map(|region| (region, text.to_owned())).map_err(|error| error.to_string())
        });
        if let Some((region, text)) = region {
            zone.inside_text = text;
            zone.inside = region.countries;
            zone.inside_private = region.private;
        }
    }
    let read = |key, action: &mut Action| {
        if let Some(read) = table.get(key).and_then(|value| value.read("\"allow\" or \"deny\"", values::action)) {
            *action = read;
        }
    };
    read("on_outside", &mut zone.on_outside);
    read("on_ambiguous", &mut zone.on_ambiguous);
    read("on_unknown", &mut zone.on_unknown);
    read("on_private", &mut zone.on_private);
    read("on_undecodable", &mut zone.on_undecodable);
    if let Some(table) = table.table("undecodable", "[zone.undecodable]") {
        undecodable(table, &mut zone.undecodable);
    }
    if let Some(value) = table.get("nat64") {
        let prefixes = value.list("prefixes such as [\"64:ff9b:1::/96\"], or leave the key out").unwrap_or_default();
        let read = |prefix: &Value<'_>| Some((prefix.read("a prefix in quotes", values::nat64)?, prefix.origin()));
        zone.nat64 = prefixes.iter().filter_map(read).collect();
    }
}

/// Actions by reason.
fn undecodable(table: Table<'_>, actions: &mut BTreeMap<Reason, Action>) {
    table.only(&Reason::ALL.map(Reason::name), &[]);
    for reason in Reason::ALL {
        let Some(value) = table.get(reason.name()) else { continue };
        match value.read("\"allow\" or \"deny\"", values::action) {
            Some(Action::Deny) if reason.always_passes() => value.complain(format!(
                "'{}' can't be denied: without ARP and its like the host has no neighbours: remove the key",
                reason.name()
            )),
            Some(action) => {
                actions.insert(reason, action);
            }
            None => {}
        }
    }
}

fn geo(table: Table<'_>, directory: &Path, geo: &mut Geo) {
    table.only(&["sources", "overlays", "asn"], &[]);
    if let Some(value) = table.get("overlays") {
        for value in value.elements("a list such as [\"geo/aws.json\"]").unwrap_or_default() {
            let Some(overlay) = file(value, directory, "overlay") else { continue };
            if geo.overlays.contains(&overlay) {
                value.complain(format!(
                    "overlay {} stands here twice: remove one",
                    quote(&overlay.display().to_string())
                ));
            } else {
                geo.overlays.push(overlay);
            }
        }
    }
    if let Some(value) = table.get("asn") {
        geo.asn = match value.text("a file name in quotes") {
            Some("embedded") => Some("embedded".into()),
            Some(_) => file(value, directory, "AS dataset").map(|file| file.display().to_string()),
            None => None,
        };
    }
    let Some(sources) = table.get("sources").and_then(|value| value.list("a list such as [\"embedded\"]")) else {
        return;
    };
    geo.sources.clear();
    for value in sources {
        let Some(source) = value.text("\"embedded\" or a file name in quotes") else { continue };
        let file = directory.join(source);
        let resolved = if source == "embedded" { source.to_owned() } else { file.display().to_string() };
        if source.is_empty() || (source != "embedded" && !file.is_file()) {
            value.complain(format!("geo source {} is no file: write \"embedded\" or an existing file", quote(source)));
        } else if geo.sources.contains(&resolved) {
            // Two voices that always agree would be taken for a second opinion.
            value.complain(format!("geo source {} stands here twice: remove one", quote(source)));
        } else {
            geo.sources.push(resolved);
        }
    }
}

/// A file that is there, from the configuration's directory on.
fn file(value: Value<'_>, directory: &Path, what: &str) -> Option<PathBuf> {
    let name = value.text("a file name in quotes")?;
    let file = directory.join(name);
    if name.is_empty() || !file.is_file() {
        value.complain(format!("{what} {} is no file: write the name of an existing one", quote(name)));
        return None;
    }
    Some(file)
}

/// `[management]`.
fn management(table: Table<'_>) -> Option<Management> {
    table.only(&["networks", "ports"], &[]);
    let networks = table.required("networks", "[\"192.0.2.0/24\"], or [] for none on purpose")?;
    let networks = networks.elements("networks such as [\"192.0.2.0/24\"], or [] for none on purpose")?;
    let networks = networks
        .iter()
        .filter_map(|element| Some((element.read("a network in quotes", values::network)?, element.origin())))
        .collect();
    Some(Management { networks, ports: ports(&table)?, origin: table.origin() })
}

fn site(table: Table<'_>) -> Option<Site> {
    table.only(&["name", "country", "networks"], &[]);
    let name = table.required("name", "\"dublin-1\"").and_then(|value| value.read("a name in quotes", values::name));
    let country = table.required("country", "\"IE\"").and_then(|value| {
        value.read("an ISO 3166-1 code in quotes, such as \"IE\"", |text| {
            region::country(text).map_err(|error| error.to_string())
        })
    });
    let networks = table.required("networks", "[\"10.64.0.0/10\"]").and_then(networks);
    Some(Site { name: name?, country: country?, networks: networks? })
}

fn networks(value: Value<'_>) -> Option<Vec<(ipnetwork::IpNetwork, Origin)>> {
    let elements = value.list("networks such as [\"10.64.0.0/10\", \"2001:db8:5::/48\"]")?;
    Some(
        elements
            .iter()
            .filter_map(|element| Some((element.read("a network in quotes", values::network)?, element.origin())))
            .collect(),
    )
}

/// `ports`: empty where the key is left out, `None` where it is no good. A list with a bad element must not turn into
/// "all ports".
fn ports(table: &Table<'_>) -> Option<Vec<PortRange>> {
    let Some(value) = table.get("ports") else { return Some(Vec::new()) };
    let elements = value.list("ports such as [\"tcp/443\"], or leave the key out for all traffic")?;
    elements.iter().map(|element| element.read("ports in quotes", values::ports)).collect()
}

/// Reads every `[[allow]]` and `[[deny]]`, of the configuration or of an allowlist.
pub(super) fn rules(root: Table<'_>, now: i64) -> Vec<Rule> {
    let read = |key, name, action| root.tables(key, name).into_iter().filter_map(move |table| rule(table, action, now));
    let mut rules: Vec<Rule> = read("allow", "[[allow]]", Action::Allow).collect();
    rules.extend(read("deny", "[[deny]]", Action::Deny));
    rules
}

fn rule(table: Table<'_>, action: Action, now: i64) -> Option<Rule> {
    table.only(
        &[
            "id",
            "to",
            "ports",
            "reason",
            "legal_basis",
            "owner",
            "ticket",
            "not_before",
            "expires",
            "max_bytes_per_day",
        ],
        &[],
    );
    let id = table.required("id", "\"backup-ch\"").and_then(|value| {
        let id = value.read("a name in quotes", values::name)?;
        if id == Management::RULE {
            value.complain(format!("rule id {} is that of [management]: give the rule another id", quote(&id)));
            return None;
        }
        Some(id)
    });
    let mut rule = Rule { action, origin: table.origin(), ..Rule::default() };
    let to = table.required("to", "[\"192.0.2.0/24\"]");
    let to = to.and_then(|value| value.list("what it covers, such as [\"10.64.0.0/10\", \"SG\", \"AS64500\"]"));
    for element in to.iter().flatten() {
        match element.read("a network, a country or an autonomous system in quotes", values::destination) {
            Some(Destination::Network(network)) => rule.to.push((network, element.origin())),
            Some(Destination::Country(country)) => rule.countries.push((country, element.origin())),
            Some(Destination::As(number)) => rule.ases.push((number, element.origin())),
            None => {}
        }
    }
    let ports = ports(&table);
    let why = match action {
        Action::Allow => "why this transfer is permitted",
        Action::Deny => "why this is forbidden",
    };
    let text = |value: Value<'_>| value.text("text in quotes").map(str::to_owned);
    let reason = table.required("reason", &format!("\"{why}\"")).and_then(text);
    if let (Some(value), Some(text)) = (table.get("reason"), &reason)
        && text.trim().is_empty()
    {
        value.complain(format!("'reason' is empty: say {why}"));
    }
    let remark = |key| table.get(key).and_then(text).unwrap_or_default();
    (rule.legal_basis, rule.owner, rule.ticket) = (remark("legal_basis"), remark("owner"), remark("ticket"));
    rule.max_bytes_per_day = table.get("max_bytes_per_day").and_then(|value| budget(value, action));
    rule.not_before = table.get("not_before").and_then(|value| value.time());
    rule.expires = table.get("expires").and_then(|value| value.time());
    let name = id.as_deref().unwrap_or("?");
    if let (Some(value), Some(end)) = (table.get("expires"), rule.expires) {
        if rule.not_before.is_some_and(|start| start >= end) {
            value.complain(format!(
                "rule {} expires at {} and so never holds: write a time after its 'not_before'",
                quote(name),
                time(end)
            ));
        } else if end <= now {
            value.complain(format!(
                "rule {} expired at {}: renew 'expires' or remove the rule",
                quote(name),
                time(end)
            ));
        }
    }
    to?;
    (rule.id, rule.ports, rule.reason) = (id?, ports?, reason?);
    Some(rule)
}

/// `max_bytes_per_day`.
fn budget(value: Value<'_>, action: Action) -> Option<u64> {
    if action == Action::Deny {
        value.complain("'max_bytes_per_day' in [[deny]] has no meaning: remove the key, or write [[allow]]");
        return None;
    }
    const WANTED: &str = "an amount in quotes, such as \"200 GiB\", or a number of bytes";
    if value.is_text() {
        return value.read(WANTED, values::bytes);
    }
    let number = value.integer(WANTED)?;
    let bytes = u64::try_from(number).ok().filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        value.complain(format!("'max_bytes_per_day' is the integer '{number}': write {WANTED}, above 0"));
    }
    bytes
}

/// A time for people: RFC 3339 UTC.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn paths(table: Table<'_>, paths: &mut Paths) {
    table.only(&["config_dir", "state", "runtime", "bpffs"], &[]);
    let read = |key, path: &mut PathBuf| {
        let Some(value) = table.get(key) else { return };
        let Some(text) = value.text("a path in quotes") else { return };
        if Path::new(text).is_absolute() {
            *path = text.into();
        } else {
            value.complain(format!("path {} is not absolute: write it from '/' on", quote(text)));
        }
    };
    read("config_dir", &mut paths.config_dir);
    read("state", &mut paths.state);
    read("runtime", &mut paths.runtime);
    read("bpffs", &mut paths.bpffs);
}

fn policy<'a>(table: Table<'a>, directory: &Path) -> Patterns<'a> {
    table.only(&["allowlists", "reload", "shadow"], &[]);
    // An empty list is as good as none.
    let elements = match table.get("allowlists") {
        Some(value) if value.value.get_ref().as_array().is_some_and(|list| list.is_empty()) => return Vec::new(),
        Some(value) => value.list("a list such as [\"/etc/egress-monitor/allow.d/*.toml\"]").unwrap_or_default(),
        None => return Vec::new(),
    };
    elements
        .into_iter()
        .filter_map(|value| Some((directory.join(value.text("a file name or glob in quotes")?), value)))
        .collect()
}
