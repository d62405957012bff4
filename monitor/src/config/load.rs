//! A file name in, a checked [`Config`] or everything that is wrong with it out.

use std::{collections::HashMap, path::Path};

use monitor_policy::{Origin, spec::Site};

use super::{
    Config, ConfigError, Paths, Problem, Sources, allowlist,
    document::{Source, Table, quote},
    keys, sections,
    text::read_text,
};

/// What is read when no file is named, if it exists.
pub const DEFAULT_FILE: &str = "/etc/egress-monitor/config.toml";

/// Reads and checks the configuration: `path`, or [`DEFAULT_FILE`] if that exists, or the defaults.
///
/// # Errors
/// Everything that is wrong, each with file, line, value and hint.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let file = match path {
        Some(path) => path,
        // Not being allowed to look is no reason to run on defaults.
        None if matches!(Path::new(DEFAULT_FILE).try_exists(), Ok(false)) => return Ok(Config::default()),
        None => Path::new(DEFAULT_FILE),
    };
    load_kept(Some(file), Sources::Disk)
}

/// As [`load`], of a file and the files that it names wherever they are; without one, the defaults.
///
/// # Errors
/// As [`load`].
pub fn load_kept(file: Option<&Path>, sources: Sources) -> Result<Config, ConfigError> {
    let Some(file) = file else { return Ok(Config::default()) };
    let text = read_text(file, sources.at(file)).map_err(|problem| ConfigError { problems: vec![problem] })?;
    parse_from(file, &text, sources)
}

/// `[paths]` of a file in which anything may be wrong, or that can't be read: what commands need to find the daemon.
pub fn paths(path: Option<&Path>) -> Paths {
    let file = path.unwrap_or(Path::new(DEFAULT_FILE));
    let mut paths = Paths::default();
    if let Ok(text) = read_text(file, file) {
        let source = Source::new(file, &text, &Sources::Disk);
        let table = source.parse_what_is_whole();
        if let Some(table) = Table::root(&source, &table, &keys::FILE).table(&keys::PATHS) {
            sections::paths(table, &mut paths);
        }
    }
    paths
}

/// As [`load`], of a file's text; `file` is for messages, and file names are taken from its directory on.
///
/// # Errors
/// As [`load`].
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    parse_from(file, text, Sources::Disk)
}

fn parse_from(file: &Path, text: &str, sources: Sources) -> Result<Config, ConfigError> {
    let source = Source::new(file, text, &sources);
    let Some(table) = source.parse() else {
        return Err(ConfigError { problems: source.into_problems() });
    };
    let mut config = Config { file: Some(file.to_owned()), text: text.into(), ..Config::default() };
    let patterns = sections::read(Table::root(&source, &table, &keys::FILE), &mut config);
    let mut elsewhere = Vec::new();
    for (file, action) in allowlist::files(patterns, &mut config.globs) {
        match allowlist::read(&file, action, &sources) {
            Ok((list, rules)) => {
                config.lists.push(list);
                config.spec.rules.extend(rules);
            }
            Err(problems) => elsewhere.extend(problems),
        }
    }
    let mut problems = source.into_problems();
    problems.extend(elsewhere);
    problems.extend(duplicate_rules(&config));
    problems.extend(overlapping_sites(&config.spec.sites));
    config.sources = sources;
    if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
}

fn problem_at(origin: &Origin, message: String) -> Problem {
    let line = (origin.line > 0).then_some(origin.line as usize);
    Problem { file: origin.file.to_path_buf(), line, column: None, message }
}

fn duplicate_rules(config: &Config) -> Vec<Problem> {
    let mut seen: HashMap<&str, &Origin> = HashMap::new();
    let mut problems = Vec::new();
    for rule in &config.spec.rules {
        if let Some(first) = seen.get(rule.id.as_str()) {
            problems.push(problem_at(
                &rule.origin,
                format!("rule id {} is taken by the rule at {first}: give one of them another id", quote(&rule.id)),
            ));
        } else {
            seen.insert(&rule.id, &rule.origin);
        }
    }
    problems
}

/// Names that stand for two sites, and networks that two sites claim.
fn overlapping_sites(sites: &[Site]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut names: HashMap<&str, &Origin> = HashMap::new();
    let mut networks = Vec::new();
    // For a site none of whose networks could be read.
    let nowhere = Origin::default();
    for (number, site) in sites.iter().enumerate() {
        let origin = site.networks.first().map_or(&nowhere, |(_, origin)| origin);
        if let Some(first) = names.insert(&site.name, origin) {
            problems.push(problem_at(
                origin,
                format!("site name {} is taken by the site at {first}: put their networks into one", quote(&site.name)),
            ));
        }
        networks.extend(site.networks.iter().map(|(network, origin)| (network, number, origin)));
    }
    // CIDR networks nest or are apart: in this order whatever encloses a network is on the stack.
    networks.sort_by_key(|(network, number, _)| (network.network(), network.prefix(), *number));
    let mut enclosing: Vec<(&ipnetwork::IpNetwork, usize, &Origin)> = Vec::new();
    for (network, number, origin) in networks {
        while enclosing.last().is_some_and(|(outer, _, _)| !outer.contains(network.network())) {
            enclosing.pop();
        }
        if let Some((outer, other, elsewhere)) = enclosing.iter().rev().find(|(_, other, _)| *other != number) {
            problems.push(problem_at(
                origin,
                format!(
                    "network '{network}' of site {} overlaps '{outer}' of site {} at {elsewhere}: leave it in one of \
                     them",
                    quote(&sites[number].name),
                    quote(&sites[*other].name)
                ),
            ));
        }
        enclosing.push((network, number, origin));
    }
    problems
}
