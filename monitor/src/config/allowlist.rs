//! The files that `[policy] allowlists` names, rules out: `.toml` with `[[allow]]` and `[[deny]]` as in the
//! configuration, `.txt` with one network a line. Called by [`super::load`].

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use monitor_policy::{Origin, spec::Rule};

use super::{
    Problem,
    document::{Source, Table, quote},
    keys,
    sections::{self, Patterns},
    text::read_text,
    values,
};

/// The files that the patterns name, each once, in the order of the patterns and then of the alphabet. A glob that
/// matches nothing is fine; a file named as such must exist. `directories` gets where the globs look.
pub(super) fn files(patterns: Patterns<'_>, directories: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for (pattern, value) in patterns {
        let text = pattern.display().to_string();
        let found: Vec<PathBuf> = if text.contains(['*', '?', '[']) {
            // The deepest directory without a wildcard in its name.
            let fixed = pattern.ancestors().find(|path| !path.to_string_lossy().contains(['*', '?', '[']));
            if let Some(directory) = fixed.map(Path::to_owned).filter(|directory| !directories.contains(directory)) {
                directories.push(directory);
            }
            match glob::glob(&text) {
                Ok(paths) => paths
                    .filter_map(|path| {
                        path.map_err(|error| {
                            value.report(format!(
                                "allowlist {} can't be read: {}: make the directory readable",
                                quote(&error.path().display().to_string()),
                                error.error()
                            ));
                        })
                        .ok()
                    })
                    .collect(),
                Err(error) => {
                    value.report(format!("allowlist {} is no glob ({}): mend the pattern", quote(&text), error.msg));
                    Vec::new()
                }
            }
        } else if pattern.exists() {
            vec![pattern]
        } else {
            value.report(format!("allowlist {} does not exist: create it or remove it here", quote(&text)));
            Vec::new()
        };
        for file in found {
            if !matches!(file.extension().and_then(|extension| extension.to_str()), Some("toml" | "txt")) {
                value.report(format!(
                    "allowlist {} is neither .toml nor .txt: rename it or narrow the pattern",
                    quote(&file.display().to_string())
                ));
            } else if seen.insert(file.clone()) {
                files.push(file);
            }
        }
    }
    files
}

/// Reads one allowlist.
pub(super) fn read(file: &Path) -> Result<Vec<Rule>, Vec<Problem>> {
    let text = read_text(file).map_err(|problem| vec![problem])?;
    if file.extension().is_some_and(|extension| extension == "txt") { plain(file, &text) } else { tables(file, &text) }
}

fn tables(file: &Path, text: &str) -> Result<Vec<Rule>, Vec<Problem>> {
    let source = Source::new(file, text);
    let mut rules = Vec::new();
    if let Some(table) = source.parse() {
        rules = sections::rules(Table::root(&source, &table, &keys::ALLOWLIST));
    }
    let problems = source.into_problems();
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// One rule, for all traffic and all time; a file without networks is none.
fn plain(file: &Path, text: &str) -> Result<Vec<Rule>, Vec<Problem>> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let id = values::rule_id(&name).map_err(|error| vec![Problem::of_file(file, error.to_string())])?;
    let mut to = Vec::new();
    let mut problems = Vec::new();
    // One name for a million lines.
    let shared: Arc<Path> = file.into();
    for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1_usize..) {
        let entry = line.split('#').next().unwrap_or_default().trim();
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
        reason: format!("allowlist {}", file.display()),
        plain: true,
        ..Rule::default()
    }])
}
