//! Tables of the configuration file in, the types of [`super`] out, section by section. Called by [`super::load`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use monitor_common::{parse::Reason, wire::Opaque};
use monitor_policy::{
    Origin, region,
    spec::{Action, Management, Mode, PortRange, Rule, Site, Zone},
};

use super::{
    Alerts, Attribution, Config, Paths,
    document::{Table, Value, quote},
    globs,
    keys::{self, Key},
    receivers,
    values::{self, Destination},
};

/// What is said where enforce has no failsafe.
pub(super) const NEEDS_MANAGEMENT: &str = "enforce needs [management]: add networks = [\"NETWORK\"] with the networks that \
     must never be cut off, or networks = [] if there are none on purpose";

/// What `[policy] allowlists` and `denylists` say: each pattern with its value, to report problems at.
#[derive(Default)]
pub(super) struct ListPatterns<'a> {
    pub(super) allow: Vec<(PathBuf, Value<'a>)>,
    pub(super) deny: Vec<(PathBuf, Value<'a>)>,
}

/// Reads the whole file into `config`.
pub(super) fn read<'a>(root: Table<'a>, config: &mut Config) -> ListPatterns<'a> {
    let directory = root.source.file.parent().unwrap_or(Path::new(""));
    let mut mode = None;
    if let Some(table) = root.table(&keys::MONITOR) {
        monitor(table, config);
        mode = table.get(&keys::monitor::MODE);
    }
    if let Some(table) = root.table(&keys::ZONE) {
        zone(table, &mut config.spec.zone);
    }
    if let Some(table) = root.table(&keys::GEO) {
        geo(table, directory, config);
    }
    config.spec.sites = root.tables(&keys::SITE).into_iter().filter_map(site).collect();
    config.spec.rules = rules(root);
    match root.table(&keys::MANAGEMENT) {
        Some(table) => config.spec.management = management(table),
        None if config.mode == Mode::Enforce && !root.has(&keys::MANAGEMENT) => {
            if let Some(mode) = mode {
                mode.report(NEEDS_MANAGEMENT);
            }
        }
        None => {}
    }
    if let Some(value) = root.table(&keys::HTTP).and_then(|table| table.get(&keys::http::LISTEN)) {
        config.listen = value.read(values::listen).unwrap_or_default();
    }
    if let Some(table) = root.table(&keys::ALERTS) {
        alerts(table, directory, &mut config.alerts);
    }
    if let Some(table) = root.table(&keys::ATTRIBUTION) {
        attribution(table, &mut config.attribution);
    }
    if let Some(table) = root.table(&keys::PATHS) {
        paths(table, &mut config.paths);
    }
    root.table(&keys::POLICY).map(|table| policy(table, directory, config)).unwrap_or_default()
}

fn monitor(table: Table<'_>, config: &mut Config) {
    use keys::monitor::{
        BYPASS, CACHE, EPOCH, FLOWS, GUESTS, HEAL, HEAL_ORDER, HOOK, INTERFACES, MEMORY_MAX, MODE, ON_DAEMON_LOSS,
    };
    if let Some(mode) = table.read(&MODE, values::mode) {
        config.mode = mode;
    }
    if let Some(names) = table.get(&INTERFACES).and_then(|value| value.list()) {
        config.interfaces = names.iter().filter_map(|value| value.read(values::interface)).collect();
    }
    if let Some(names) = table.get(&GUESTS).and_then(|value| value.list()) {
        config.guests = names.iter().filter_map(|value| value.read(values::guest)).collect();
    }
    if let Some(epoch) = table.read(&EPOCH, values::epoch) {
        config.epoch = epoch;
    }
    if let Some(flows) = table.get(&FLOWS).and_then(|value| value.number()) {
        config.flows = flows;
    }
    if let Some(mebibytes) = table.get(&MEMORY_MAX).and_then(|value| value.number()) {
        config.memory_max = u64::from(mebibytes) << 20;
    }
    config.cache = table.get(&CACHE).and_then(|value| value.number());
    if let Some(hook) = table.read(&HOOK, values::hook) {
        config.hook = hook;
    }
    if let Some(groups) = table.get(&BYPASS).and_then(|value| value.list()) {
        config.bypass = groups.iter().filter_map(|value| value.read(values::control_group)).collect();
    }
    if let Some(then) = table.read(&ON_DAEMON_LOSS, values::on_daemon_loss) {
        config.on_daemon_loss = then;
    }
    if let Some(when) = table.read(&HEAL, values::heal) {
        config.heal = when;
    }
    if let Some(order) = table.get(&HEAL_ORDER).and_then(|value| value.boolean()) {
        config.heal_order = order;
    }
}

fn zone(table: Table<'_>, zone: &mut Zone) {
    use keys::zone::{
        INSIDE, NAME, NAT64, ON_AMBIGUOUS, ON_LINK_LOCAL, ON_OPAQUE, ON_OUTSIDE, ON_PRIVATE, ON_UNDECODABLE, ON_UNKNOWN,
    };
    if let Some(name) = table.read(&NAME, values::name) {
        zone.name = name;
    }
    let inside = table.read(&INSIDE, |text| Ok((region::parse(text)?, text.to_owned())));
    if let Some((region, text)) = inside {
        zone.inside_text = text;
        zone.inside = region.countries;
        zone.inside_private = region.private;
    }
    for (key, action) in [
        (&ON_OUTSIDE, &mut zone.on_outside),
        (&ON_AMBIGUOUS, &mut zone.on_ambiguous),
        (&ON_UNKNOWN, &mut zone.on_unknown),
        (&ON_PRIVATE, &mut zone.on_private),
        (&ON_LINK_LOCAL, &mut zone.on_link_local),
        (&ON_OPAQUE, &mut zone.on_opaque),
        (&ON_UNDECODABLE, &mut zone.on_undecodable),
    ] {
        if let Some(read) = table.read(key, values::action) {
            *action = read;
        }
    }
    if let Some(table) = table.table(&keys::OPAQUE) {
        for ((mark, _), key) in Opaque::MARKS.into_iter().zip(&keys::opaque::KEYS) {
            zone.opaque.extend(table.read(key, values::action).map(|action| (mark, action)));
        }
    }
    if let Some(table) = table.table(&keys::UNDECODABLE) {
        undecodable(table, &mut zone.undecodable);
    }
    if let Some(value) = table.get(&NAT64) {
        let prefixes = value.list().unwrap_or_default();
        zone.nat64 =
            prefixes.iter().filter_map(|prefix| Some((prefix.read(values::nat64)?, prefix.origin()))).collect();
    }
}

/// Actions by reason.
fn undecodable(table: Table<'_>, actions: &mut BTreeMap<Reason, Action>) {
    for (reason, key) in Reason::ALL.into_iter().zip(&keys::undecodable::KEYS) {
        let Some(value) = table.get(key) else { continue };
        match value.read(values::action) {
            Some(Action::Deny) if reason.always_passes() => value.report(format!(
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

fn geo(table: Table<'_>, directory: &Path, config: &mut Config) {
    use keys::geo::{ASN, INCOMING, KEYS, OVERLAYS, SOURCES};
    let geo = &mut config.geo;
    if let Some(value) = table.get(&OVERLAYS) {
        for value in value.elements().unwrap_or_default() {
            let named = value.text().unwrap_or_default();
            let glob = named.contains(['*', '?', '[']);
            let overlays = if glob {
                globs::files(&directory.join(named), value, "overlay", &mut config.globs)
            } else {
                file(value, directory, "overlay").into_iter().collect()
            };
            for overlay in overlays {
                if !geo.overlays.contains(&overlay) {
                    geo.overlays.push(overlay);
                } else if !glob {
                    let name = quote(&overlay.display().to_string());
                    value.report(format!("overlay {name} stands here twice: remove one"));
                }
            }
        }
    }
    if let Some(value) = table.get(&ASN) {
        geo.asn = match value.text() {
            Some("embedded") => Some("embedded".into()),
            Some(_) => file(value, directory, "AS dataset").map(|file| file.display().to_string()),
            None => None,
        };
    }
    // Of use to `geo stage` alone, which says what is wrong with them: a daemon needs none of these.
    geo.incoming = table.get(&INCOMING).and_then(|value| value.text()).map(|name| directory.join(name));
    let keys = table.get(&KEYS).and_then(|value| value.elements()).unwrap_or_default();
    geo.keys = keys.into_iter().filter_map(|value| value.text()).map(|name| directory.join(name)).collect();
    let Some(sources) = table.get(&SOURCES).and_then(|value| value.list()) else { return };
    geo.sources.clear();
    for value in sources {
        let Some(source) = value.text() else { continue };
        let file = directory.join(source);
        let resolved = if source == "embedded" { source.to_owned() } else { file.display().to_string() };
        if source.is_empty() || (source != "embedded" && !value.source.sources.has_file(&file)) {
            value.report(format!("geo source {} is no file: write \"embedded\" or an existing file", quote(source)));
        } else if geo.sources.contains(&resolved) {
            // Two voices that always agree would be taken for a second opinion.
            value.report(format!("geo source {} stands here twice: remove one", quote(source)));
        } else {
            geo.sources.push(resolved);
        }
    }
}

/// A file that is there, from the configuration's directory on.
fn file(value: Value<'_>, directory: &Path, what: &str) -> Option<PathBuf> {
    let name = value.text()?;
    let file = directory.join(name);
    if name.is_empty() || !value.source.sources.has_file(&file) {
        value.report(format!("{what} {} is no file: write the name of an existing one", quote(name)));
        return None;
    }
    Some(file)
}

/// `[management]`.
fn management(table: Table<'_>) -> Option<Management> {
    use keys::management::{NETWORKS, PORTS, SOURCE_PORTS, TELL_BYTES_PER_DAY};
    let networks = networks(&table.required(&NETWORKS)?.elements()?);
    let source_ports = ports(&table, &SOURCE_PORTS)?;
    if let Some(value) = table.get(&SOURCE_PORTS).filter(|_| table.get(&PORTS).is_some()) {
        value.report("'source_ports' stands beside 'ports': leave one of them out");
    }
    let tell_bytes_per_day = table.get(&TELL_BYTES_PER_DAY).and_then(|value| bytes(&value));
    Some(Management {
        networks,
        ports: ports(&table, &PORTS)?,
        source_ports,
        tell_bytes_per_day,
        origin: table.origin(),
    })
}

fn site(table: Table<'_>) -> Option<Site> {
    use keys::site::{COUNTRY, NAME, NETWORKS};
    let name = table.required(&NAME).and_then(|value| value.read(values::name));
    let country = table.required(&COUNTRY).and_then(|value| value.read(|text| Ok(region::country(text)?)));
    let networks = table.required(&NETWORKS).and_then(|value| value.list()).map(|elements| networks(&elements));
    Some(Site { name: name?, country: country?, networks: networks? })
}

/// The networks of a list that are good.
fn networks(elements: &[Value<'_>]) -> Vec<(ipnetwork::IpNetwork, Origin)> {
    elements.iter().filter_map(|element| Some((element.read(values::network)?, element.origin()))).collect()
}

/// `ports`: empty where the key is left out, `None` where it is no good. A list with a bad element must not turn into
/// "all ports".
fn ports(table: &Table<'_>, key: &Key) -> Option<Vec<PortRange>> {
    let Some(value) = table.get(key) else { return Some(Vec::new()) };
    value.list()?.iter().map(|element| element.read(values::ports)).collect()
}

/// Reads every `[[allow]]` and `[[deny]]`, of the configuration or of an allowlist.
pub(super) fn rules(root: Table<'_>) -> Vec<Rule> {
    let read = |section, action| root.tables(section).into_iter().filter_map(move |table| rule(table, action));
    read(&keys::ALLOW, Action::Allow).chain(read(&keys::DENY, Action::Deny)).collect()
}

fn rule(table: Table<'_>, action: Action) -> Option<Rule> {
    use keys::rule::{
        DENY_REASON, EXPIRES, ID, LEGAL_BASIS, MAX_BYTES_PER_DAY, NOT_BEFORE, OWNER, PORTS, REASON, TICKET, TO,
    };
    let id = table.required(&ID).and_then(|value| {
        let id = value.read(values::rule_id)?;
        if id == Management::RULE {
            value.report(format!("rule id {} is that of [management]: give the rule another id", quote(&id)));
            return None;
        }
        Some(id)
    });
    let mut rule = Rule { action, origin: table.origin(), ..Rule::default() };
    let to = table.required(&TO).and_then(|value| value.list());
    for element in to.iter().flatten() {
        match element.read(values::destination) {
            Some(Destination::Network(network)) => rule.to.push((network, element.origin())),
            Some(Destination::Country(country)) => rule.countries.push((country, element.origin())),
            Some(Destination::As(number)) => rule.ases.push((number, element.origin())),
            None => {}
        }
    }
    let ports = ports(&table, &PORTS);
    let (reason_key, why) = match action {
        Action::Allow => (&REASON, "why this transfer is permitted"),
        Action::Deny => (&DENY_REASON, "why this is forbidden"),
    };
    let text = |value: Value<'_>| value.text().map(str::to_owned);
    let reason_value = table.required(reason_key);
    let reason = reason_value.and_then(text);
    if let (Some(value), Some(text)) = (reason_value, &reason)
        && text.trim().is_empty()
    {
        value.report(format!("'reason' is empty: say {why}"));
    }
    let remark = |key| table.get(key).and_then(text).unwrap_or_default();
    (rule.legal_basis, rule.owner, rule.ticket) = (remark(&LEGAL_BASIS), remark(&OWNER), remark(&TICKET));
    rule.max_bytes_per_day = table.get(&MAX_BYTES_PER_DAY).and_then(|value| budget(value, action));
    rule.not_before = table.get(&NOT_BEFORE).and_then(|value| value.time());
    let expires = table.get(&EXPIRES);
    rule.expires = expires.and_then(|value| value.time());
    let name = id.as_deref().unwrap_or("?");
    // One that has ended once held: it is warned of elsewhere.
    if let (Some(value), Some(end)) = (expires, rule.expires)
        && rule.not_before.is_some_and(|start| start >= end)
    {
        value.report(format!(
            "rule {} expires at {} and so never holds: write a time after its 'not_before'",
            quote(name),
            time(end)
        ));
    }
    to?;
    (rule.id, rule.ports, rule.reason) = (id?, ports?, reason?);
    Some(rule)
}

/// `max_bytes_per_day`.
fn budget(value: Value<'_>, action: Action) -> Option<u64> {
    if action == Action::Deny {
        value.report("'max_bytes_per_day' in [[deny]] has no meaning: remove the key, or write [[allow]]");
        return None;
    }
    bytes(&value)
}

/// An amount, in words or as a number.
fn bytes(value: &Value<'_>) -> Option<u64> {
    if value.is_text() { value.read(values::bytes) } else { value.amount() }
}

/// A time for people: RFC 3339 UTC.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn alerts(table: Table<'_>, directory: &Path, alerts: &mut Alerts) {
    use keys::alerts::{FILE, KEEP, STDOUT};
    receivers::read(table, directory, &mut alerts.sinks);
    if let Some(keep) = table.read(&KEEP, values::kept) {
        alerts.keep = keep;
    }
    if let Some(stdout) = table.get(&STDOUT).and_then(|value| value.boolean()) {
        alerts.stdout = stdout;
    }
    alerts.file = table.get(&FILE).and_then(|value| value.text()).map(|name| directory.join(name));
}

fn attribution(table: Table<'_>, attribution: &mut Attribution) {
    use keys::attribution::{COMMAND_LINE, ENABLED};
    for (key, value) in [(&ENABLED, &mut attribution.enabled), (&COMMAND_LINE, &mut attribution.command_lines)] {
        if let Some(read) = table.get(key).and_then(|value| value.boolean()) {
            *value = read;
        }
    }
}

pub(super) fn paths(table: Table<'_>, paths: &mut Paths) {
    use keys::paths::{AUDITORS, BPFFS, CONFIG_DIR, HELPER, RUNTIME, SECURITY, STATE};
    for (key, path) in [
        (&CONFIG_DIR, &mut paths.config_dir),
        (&STATE, &mut paths.state),
        (&RUNTIME, &mut paths.runtime),
        (&BPFFS, &mut paths.bpffs),
        (&HELPER, &mut paths.helper),
    ] {
        if let Some(read) = table.read(key, values::absolute) {
            *path = read;
        }
    }
    for (key, group) in [(&AUDITORS, &mut paths.groups.auditors), (&SECURITY, &mut paths.groups.security)] {
        if let Some(read) = table.read(key, values::group) {
            *group = read;
        }
    }
}

fn policy<'a>(table: Table<'a>, directory: &Path, config: &mut Config) -> ListPatterns<'a> {
    use keys::policy::{ALLOWLISTS, DENYLISTS, RELOAD, SHADOW};
    if let Some(reload) = table.read(&RELOAD, values::reload) {
        config.reload = reload;
    }
    if let Some(value) = table.get(&SHADOW) {
        // One that is not there is reported and stops nothing, as one that is invalid.
        config.shadow = value.text().map(|name| directory.join(name));
    }
    // An empty list is as good as none.
    let patterns = |key| {
        let elements = table.get(key).and_then(|value| value.elements()).unwrap_or_default();
        elements.into_iter().filter_map(|value| Some((directory.join(value.text()?), value))).collect()
    };
    ListPatterns { allow: patterns(&ALLOWLISTS), deny: patterns(&DENYLISTS) }
}
