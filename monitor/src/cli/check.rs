//! `egress-monitor check`: reads everything `run` would read, and says what is wrong with it or what it comes to.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use monitor_common::{
    classify::classify,
    wire::{Address, Class},
};

use crate::{
    cli::{
        output::{Shape, json, print},
        render,
    },
    config::{
        self, Config, List,
        inputs::{self, Inputs},
    },
    error::CliError,
    kernel,
    model::{now, rfc3339},
    needs,
    reload::confirmations::ConfirmationStore,
    storage::state::StateDirectory,
};
use monitor_api::check::{self, Bad, Good, Kept, Problem};
use monitor_policy::{
    Extent, ImageAt, Policy,
    geo::{
        About, STALE_AFTER_DAYS, names, overlay,
        platform::{self, Platform},
    },
    region,
    spec::{Action, Mode, Rule},
    text::{hex, time},
    times::upcoming,
};

/// Validate the configuration and summarise the policy
///
/// Reads everything that `run` would read: the configuration, allowlists, geo data. Each problem is one line on
/// standard error with file, line, value and mend, and the exit code is 64. Says as well which of its gateways, resolvers,
/// time servers, package mirrors and open connections this host would lose in enforce mode; their names are resolved for
/// that, in two seconds at most.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor check\n  egress-monitor check --config new.toml && egress-monitor try new.toml --for 5min"
)]
pub struct Args {
    /// Configuration file [default: /etc/egress-monitor/config.toml if it exists, else the built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// End with 1 where there is something to warn of
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    shape: Shape,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the configuration.
pub fn run(args: &Args) -> Result<(), CliError> {
    let last_good = || last_good(&config::paths(args.config.as_deref()).state);
    let checked = match config::load(args.config.as_deref()) {
        Ok(config) => match gone(&config) {
            Some(why) => Err(CliError::Usage(why)),
            None => inputs::compile(config),
        },
        Err(error) => {
            if args.shape.json {
                let problems = error.problems.iter().map(|problem| Problem {
                    file: Some(problem.file.clone()),
                    line: problem.line,
                    column: problem.column,
                    message: problem.message.clone(),
                });
                print_bad(problems.collect(), last_good())?;
            } else {
                name(last_good());
            }
            return Err(error.into_failure());
        }
    };
    match checked {
        Ok(inputs) => {
            let found = document(&inputs);
            args.shape.print(&found, |found, width| render::check(found, &inputs.config.spec, now(), width))?;
            let warns = args.strict && !(found.warnings.is_empty() && found.cut_off.is_empty());
            if warns { Err(CliError::Answered(1)) } else { Ok(()) }
        }
        Err(failure) => {
            if args.shape.json {
                let problem = Problem { file: None, line: None, column: None, message: failure.to_string() };
                print_bad(vec![problem], last_good())?;
            } else {
                name(last_good());
            }
            Err(failure)
        }
    }
}

fn print_bad(problems: Vec<Problem>, last_good: Option<Kept>) -> Result<(), CliError> {
    print(&json(&Bad { ok: false, problems, last_good })?)
}

/// Why nothing is good although there is no configuration file: there was one, as far as this user may know.
fn gone(config: &Config) -> Option<String> {
    let store = ConfirmationStore::open(StateDirectory::open(&config.paths.state));
    let file = store.confirmed()?.config().filter(|_| config.file.is_none())?.display().to_string();
    Some(format!("{file}: no such file any more: put it back; an empty one stands for the built-in policy"))
}

/// What a service that starts now has instead, if this user may know.
fn last_good(state: &Path) -> Option<Kept> {
    let store = ConfirmationStore::open(StateDirectory::open(state));
    let kept = store.confirmed().filter(|kept| kept.has_files())?;
    let since = rfc3339(i128::from(kept.since) * 1_000_000_000);
    Some(Kept { policy: kept.policy.digest.clone(), mode: kept.policy.mode, since })
}

fn name(last_good: Option<Kept>) {
    if let Some(Kept { policy, mode, since }) = last_good {
        eprintln!(
            "egress-monitor: a service that starts now has the last good policy {policy} ({mode}), kept since {since}"
        );
    }
}

fn denies(inputs: &Inputs, class: Class) -> bool {
    let zone = &inputs.config.spec.zone;
    let action = match class {
        Class::Inside | Class::Local => Action::Allow,
        // fe80::/10 is allowed all the same.
        Class::LinkLocal => zone.on_link_local,
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

/// Words in the names of lists that people block.
const BLOCKED: [&str; 12] =
    ["abuse", "attack", "bad", "ban", "block", "bogon", "botnet", "deny", "drop", "malware", "spam", "tor-"];

/// What is to be said of the data.
fn geo_warnings(inputs: &Inputs) -> Vec<String> {
    let mut warnings = Vec::new();
    let now = inputs.clock.seconds();
    for dataset in &inputs.knowledge.datasets {
        let name = &dataset.about.name;
        if let Some(age) = dataset.about.stale_days(now) {
            warnings.push(format!(
                "geo source '{name}' is {age} days old: renew sources older than {STALE_AFTER_DAYS} days"
            ));
        }
        for (family, missing) in [("IPv4", dataset.v4.is_empty()), ("IPv6", dataset.v6.is_empty())] {
            if missing {
                warnings.push(format!(
                    "geo source '{name}' knows no {family}: no address of {family} is inside while it is a source"
                ));
            }
        }
    }
    for overlay in &inputs.knowledge.overlays {
        let name = &overlay.about.name;
        if let Some(age) = overlay.about.stale_days(now) {
            warnings
                .push(format!("overlay '{name}' is {age} days old: renew lists older than {STALE_AFTER_DAYS} days"));
        }
        if !overlay.rejected.unknown_regions.is_empty() {
            warnings.push(format!(
                "overlay '{name}': where these regions are is not known (regions as of {}), and so undetermined: {}",
                overlay::regions::AS_OF,
                overlay.rejected.regions()
            ));
        }
        let mut kinds = overlay.rejected.kinds.iter().filter(|(kind, _)| **kind != "unknown region");
        if let Some(example) = kinds.find_map(|(_, kind)| kind.examples.first()) {
            warnings.push(format!("overlay '{name}': {}; the first: {example}", overlay.rejected.summary()));
        }
        if overlay.contradictions > 0 {
            let count = overlay.contradictions;
            warnings
                .push(format!("overlay '{name}': {count} networks have two countries in it: taken as undetermined"));
        }
        for range in overlay.broad() {
            warnings.push(format!(
                "overlay '{name}' puts all from {} to {} into {}: no source is asked there",
                range.first, range.last, range.country
            ));
        }
    }
    let asn = inputs.knowledge.asn.as_ref().map(|asn| &asn.about);
    if let Some((name, age)) = asn.and_then(|about| Some((&about.name, about.stale_days(now)?))) {
        warnings
            .push(format!("AS numbers '{name}' are {age} days old: renew what is older than {STALE_AFTER_DAYS} days"));
    }
    warnings
}

fn warnings(inputs: &Inputs) -> Vec<String> {
    let mut warnings = geo_warnings(inputs);
    let now = inputs.clock.seconds();
    let zone = &inputs.config.spec.zone;
    warnings.extend(region::doubts(&zone.inside_text).into_iter().map(|doubt| format!("[zone] inside: {doubt}")));
    for list in inputs.config.lists.iter().filter(|list| list.plain && list.action == Action::Allow) {
        let name = list.file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if BLOCKED.iter().any(|word| name.contains(word)) && list.networks > 0 {
            warnings.push(format!(
                "{} is an allowlist: everything may go to its networks. If it is a list of what to block, name it in \
                 [policy] denylists instead",
                list.file.display()
            ));
        }
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
    warnings.extend(config.spec.management.iter().flat_map(monitor_policy::spec::Management::doubts));
    if let Some(Err(failure)) = inputs.config.shadow.as_ref().map(|file| inputs::read(Some(file))) {
        let why = failure.to_string().lines().collect::<Vec<_>>().join("; ");
        warnings.push(format!("no shadow policy: {why}"));
    }
    warnings.extend(needs::pppoe(&inputs.policy));
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

/// The document of a configuration that can be put in force.
pub(super) fn document(inputs: &Inputs) -> Good {
    let Inputs { config, policy, knowledge, clock } = inputs;
    let zone = &config.spec.zone;
    let class = |class: Class| {
        let of = check::Class { extent: extent(policy.summary.of(class)), denied: denies(inputs, class) };
        (class.name().to_owned(), of)
    };
    let now = clock.seconds();
    let needs = needs::find(policy, clock.boottime_ns, true);
    Good {
        ok: true,
        config: config.file.clone(),
        mode: config.mode,
        zone: zone.name.clone(),
        inside: zone.inside_text.clone(),
        countries: texts(&zone.inside),
        named: region::named_alone(&zone.inside_text)
            .into_iter()
            .map(|of| (of.to_string(), names::name(of).unwrap_or_default()))
            .collect(),
        private_inside: zone.inside_private,
        policy: policy.digest.clone(),
        on_opaque: action(zone.on_opaque),
        opaque: zone.opaque.iter().filter_map(|(mark, of)| Some((mark.name()?, action(*of)))).collect(),
        on_undecodable: action(zone.on_undecodable),
        undecodable: zone.undecodable.iter().map(|(reason, of)| (reason.name().to_owned(), action(*of))).collect(),
        nat64: texts(zone.nat64.iter().map(|(prefix, _)| prefix)),
        classes: Class::ALL.into_iter().map(class).collect(),
        embedded_ipv4: extent(&policy.summary.embedded),
        platforms: platform::ALL.iter().map(|of| platform(of, policy, clock.boottime_ns)).collect(),
        class_rows: policy.classes.len(),
        tables: kernel::tables(&policy.image)
            .into_iter()
            .map(|(name, entries, bytes)| check::Table { name, entries, bytes })
            .collect(),
        sites: config.spec.sites.len(),
        rules: config.spec.rules.iter().map(rule).collect(),
        lists: config.lists.iter().map(list).collect(),
        management: config.spec.management.as_ref().map(|management| check::Management {
            origin: management.origin.to_string(),
            networks: texts(management.networks.iter().map(|(network, _)| network)),
            ports: texts(&management.ports),
            source_ports: texts(&management.source_ports),
            tell_bytes_per_day: management.tell_bytes_per_day,
        }),
        notes: policy.notes.clone(),
        next_expiry: policy.next_expiry.map(time),
        sources: knowledge
            .datasets
            .iter()
            .map(|of| check::Source {
                data: data(&of.about, of.v4.len(), of.v6.len(), now),
                digest: hex(&of.about.digest),
            })
            .collect(),
        overlays: knowledge
            .overlays
            .iter()
            .map(|of| check::Overlay {
                data: data(&of.about, of.v4.len(), of.v6.len(), now),
                digest: hex(&of.about.digest),
                file: of.file.clone(),
                kind: of.kind.name(),
                contradictions: of.contradictions,
                rejected: of.rejected.clone(),
            })
            .collect(),
        as_numbers: knowledge.asn.as_ref().map(|of| check::AsNumbers {
            data: data(&of.about, of.v4.len(), of.v6.len(), now),
            numbers: of.names.len(),
        }),
        cut_off: needs.cut_off,
        unresolved: needs.unresolved.into_iter().collect(),
        warnings: warnings(inputs),
    }
}

/// What becomes of traffic to a platform's address.
fn platform(of: &Platform, policy: &Policy, boot_ns: u64) -> check::Platform {
    let (version, address) = match of.address {
        IpAddr::V4(v4) => (4, Address::v4(v4.to_bits())),
        IpAddr::V6(v6) => (6, Address::from(v6)),
    };
    let image = ImageAt { image: &policy.image, boot_ns };
    // A whole image has an answer.
    let found = classify(&image, version, address, of.protocol, Some(of.port)).unwrap_or_default();
    check::Platform { address: of.address, what: of.what, denied: found.deny }
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

fn extent(of: &Extent) -> check::Extent {
    check::Extent {
        ipv4_ranges: of.v4_ranges,
        ipv4_addresses: of.v4_addresses,
        ipv6_ranges: of.v6_ranges,
        ipv6_addresses: of.v6_addresses.to_string(),
    }
}

fn rule(rule: &Rule) -> check::Rule {
    check::Rule {
        id: rule.id.clone(),
        origin: rule.origin.to_string(),
        action: action(rule.action),
        networks: rule.to.len(),
        countries: texts(rule.countries.iter().map(|(country, _)| country)),
        systems: rule.ases.iter().map(|(asn, _)| *asn).collect(),
        max_bytes_per_day: rule.max_bytes_per_day,
        ports: texts(&rule.ports),
        reason: rule.reason.clone(),
        legal_basis: rule.legal_basis.clone(),
        owner: rule.owner.clone(),
        ticket: rule.ticket.clone(),
        not_before: rule.not_before.map(time),
        expires: rule.expires.map(time),
    }
}

fn list(list: &List) -> check::List {
    check::List {
        file: list.file.clone(),
        action: list.plain.then(|| action(list.action)),
        allow_rules: list.allow_rules,
        deny_rules: list.deny_rules,
        networks: list.networks,
    }
}

fn data(about: &About, ipv4_ranges: usize, ipv6_ranges: usize, now: i64) -> check::Data {
    check::Data {
        name: about.name.clone(),
        version: about.version.clone(),
        built: about.built.map(time),
        age_days: about.age_days(now),
        ipv4_ranges,
        ipv6_ranges,
        attribution: about.attribution.clone(),
    }
}
