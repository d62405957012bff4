//! A configuration: anything is a checked configuration or a list of complaints, each of one printable line. What is taken
//! has the rules and sites that a plain reading of the same TOML has, each with as many networks and ports, and no more.

#![no_main]

use std::path::Path;

use egress_monitor::config::{self, Config};
use libfuzzer_sys::fuzz_target;
use toml::{Table, Value};

fuzz_target!(|text: &str| {
    // Patterns of file names are looked up: not in the tree of whoever fuzzes.
    if ["allowlists", "denylists", "overlays"].iter().any(|key| text.contains(key)) {
        return;
    }
    match config::parse(Path::new("/nonexistent/c.toml"), text) {
        Ok(config) => compare(&config, &text.trim_start_matches('\u{feff}').parse().expect("it was taken")),
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                let line = problem.to_string();
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
});

/// The tables of an array, in order.
fn tables<'a>(of: &'a Table, name: &str) -> Vec<&'a Table> {
    of.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table).collect()
}

fn length(of: &Table, name: &str) -> usize {
    of.get(name).and_then(Value::as_array).map_or(0, Vec::len)
}

fn text<'a>(of: &'a Table, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or("")
}

fn compare(config: &Config, plain: &Table) {
    let rules = ["allow", "deny"].map(|action| tables(plain, action).into_iter().map(move |rule| (action, rule)));
    let mut rules: Vec<_> = rules.into_iter().flatten().collect();
    assert_eq!(config.spec.rules.len(), rules.len());
    for rule in &config.spec.rules {
        let at = rules.iter().position(|(_, plain)| text(plain, "id") == rule.id).expect("a rule that is not there");
        let (action, plain) = rules.remove(at);
        assert_eq!(action == "deny", format!("{:?}", rule.action) == "Deny");
        assert_eq!(rule.reason, text(plain, "reason"));
        assert_eq!(rule.to.len() + rule.countries.len() + rule.ases.len(), length(plain, "to"));
        assert_eq!(rule.ports.len(), length(plain, "ports"));
    }
    let sites = tables(plain, "site");
    assert_eq!(config.spec.sites.len(), sites.len());
    for (site, plain) in config.spec.sites.iter().zip(sites) {
        assert_eq!((site.name.as_str(), site.networks.len()), (text(plain, "name"), length(plain, "networks")));
    }
    let management = plain.get("management").and_then(Value::as_table);
    assert_eq!(config.spec.management.is_some(), management.is_some());
    let mode = plain.get("monitor").and_then(Value::as_table).map_or("", |monitor| text(monitor, "mode"));
    assert_eq!(config.mode.enforces(), mode.eq_ignore_ascii_case("enforce"));
}
