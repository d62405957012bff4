//! The files that `[policy] allowlists` and `denylists` name, rules out: `.toml` with `[[allow]]` and `[[deny]]` as in the
//! configuration, `.txt` with one network a line, all of which are allowed or denied. Called by [`super::load`].

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use monitor_policy::{
    Origin,
    spec::{Action, Rule},
    text::lines,
};

use super::{
    Globs, List, Problem, Sources,
    document::{Source, Table, quote},
    globs, keys,
    sections::{self, ListPatterns},
    text::read_text,
    values,
};

/// The files that the patterns name, each once, in the order of the patterns and then of the alphabet. A glob that
/// matches nothing is fine; a file named as such must exist. `globs` gets those among them.
pub(super) fn files(patterns: ListPatterns<'_>, globs: &mut Globs) -> Vec<(PathBuf, Action)> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for (action, patterns) in [(Action::Allow, patterns.allow), (Action::Deny, patterns.deny)] {
        let mut of_one_kind = HashSet::new();
        for (pattern, value) in patterns {
            for file in globs::files(&pattern, value, list_name(action), globs) {
                let name = quote(&file.display().to_string());
                if !matches!(file.extension().and_then(|extension| extension.to_str()), Some("toml" | "txt")) {
                    value.report(format!(
                        "{} {name} is neither .toml nor .txt: rename it or narrow the pattern",
                        list_name(action)
                    ));
                } else if seen.contains(&file) && !of_one_kind.contains(&file) {
                    value.report(format!("{name} is an allowlist and a denylist: leave it in one of them"));
                } else if seen.insert(file.clone()) {
                    of_one_kind.insert(file.clone());
                    files.push((file, action));
                }
            }
        }
    }
    files
}

/// What messages call it.
const fn list_name(action: Action) -> &'static str {
    match action {
        Action::Allow => "allowlist",
        Action::Deny => "denylist",
    }
}

/// Reads one list, which says what it does.
pub(super) fn read(file: &Path, action: Action, sources: &Sources) -> Result<(List, Vec<Rule>), Vec<Problem>> {
    let text = read_text(file, sources.at(file)).map_err(|problem| vec![problem])?;
    let plain_list = file.extension().is_some_and(|extension| extension == "txt");
    let rules = if plain_list { plain(file, &text, action)? } else { tables(file, &text, sources)? };
    let of = |action: Action| rules.iter().filter(|rule| rule.action == action).count();
    let list = List {
        file: file.to_owned(),
        action,
        plain: plain_list,
        allow_rules: of(Action::Allow),
        deny_rules: of(Action::Deny),
        networks: rules.iter().map(|rule| rule.to.len()).sum(),
    };
    Ok((list, rules))
}

fn tables(file: &Path, text: &str, sources: &Sources) -> Result<Vec<Rule>, Vec<Problem>> {
    let source = Source::new(file, text, sources);
    let mut rules = Vec::new();
    if let Some(table) = source.parse() {
        rules = sections::rules(Table::root(&source, &table, &keys::ALLOWLIST));
    }
    let problems = source.into_problems();
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// One rule, for all traffic and all time; a file without networks is none.
fn plain(file: &Path, text: &str, action: Action) -> Result<Vec<Rule>, Vec<Problem>> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let id = values::rule_id(&name).map_err(|error| vec![Problem::of_file(file, error.to_string())])?;
    let mut to = Vec::new();
    let mut problems = Vec::new();
    // One name for a million lines.
    let shared: Arc<Path> = file.into();
    for (number, line) in lines(text.as_bytes()) {
        // Cut at ASCII, text is still text.
        let line = std::str::from_utf8(line).unwrap_or_default();
        // Spamhaus and others write ';' before a comment.
        let entry = line.split(['#', ';']).next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        match values::network(entry) {
            Ok(network) => to.push((network, Origin::new(Arc::clone(&shared), number))),
            Err(error) => {
                let column = Some(line[..line.len() - line.trim_start().len()].chars().count() + 1);
                problems.push(Problem {
                    file: file.to_owned(),
                    line: Some(number),
                    column,
                    message: error.to_string(),
                });
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let Some((_, origin)) = to.first() else { return Ok(Vec::new()) };
    Ok(vec![Rule {
        id,
        origin: origin.clone(),
        to,
        action,
        reason: format!("{} {}", list_name(action), file.display()),
        plain: true,
        ..Rule::default()
    }])
}
