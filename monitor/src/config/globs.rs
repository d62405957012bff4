//! A file name or a glob in, the files that it means out. Called for lists of rules and for overlays.

use std::path::{Path, PathBuf};

use monitor_policy::fs::is_leftover;

use super::document::{Value, quote};

/// The globs of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs {
    /// As they are written, from the configuration's directory on.
    pub patterns: Vec<PathBuf>,
    /// Where they look.
    pub directories: Vec<PathBuf>,
}

impl Globs {
    /// Whether one of them means this file, there or not.
    pub fn mean(&self, file: &Path) -> bool {
        let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
        let matches = |pattern: &PathBuf| {
            let pattern = std::path::absolute(pattern).unwrap_or_else(|_| pattern.clone());
            glob::Pattern::new(&pattern.to_string_lossy()).is_ok_and(|pattern| pattern.matches_path_with(file, options))
        };
        self.patterns.iter().any(matches)
    }
}

/// The files that a pattern means, in the order of the alphabet; `what` they are is for messages. A glob may match nothing,
/// and means no hidden file and nothing that an editor left; a name without wildcards must be there. `globs` gets
/// what it looks for.
pub(super) fn files(pattern: &Path, value: Value<'_>, what: &str, globs: &mut Globs) -> Vec<PathBuf> {
    let text = pattern.display().to_string();
    if !text.contains(['*', '?', '[']) {
        if value.source.sources.exists(pattern) {
            return vec![pattern.to_owned()];
        }
        value.report(format!("{what} {} does not exist: create it or remove it here", quote(&text)));
        return Vec::new();
    }
    let of_directories =
        pattern.parent().is_some_and(|directory| directory.to_string_lossy().contains(['*', '?', '[']));
    if of_directories || text.contains("**") {
        value.report(format!(
            "{what} {} has a wildcard in a directory's name: name the directory, wildcards are for the files in it",
            quote(&text)
        ));
        return Vec::new();
    }
    // The deepest directory without a wildcard in its name.
    let fixed = pattern.ancestors().find(|path| !path.to_string_lossy().contains(['*', '?', '[']));
    if let Some(directory) = fixed.map(Path::to_owned).filter(|directory| !globs.directories.contains(directory)) {
        globs.directories.push(directory);
    }
    globs.patterns.push(pattern.to_owned());
    let paths = match value.source.sources.glob(&text) {
        Ok(paths) => paths,
        Err(error) => {
            value.report(format!("{what} {} is no glob ({}): mend the pattern", quote(&text), error.msg));
            return Vec::new();
        }
    };
    let left = |path: &PathBuf| path.file_name().is_some_and(|name| is_leftover(&name.to_string_lossy()));
    let paths = paths.into_iter().filter_map(|path| {
        let report = |error: &glob::GlobError| {
            value.report(format!(
                "{what} {} can't be read: {}: make the directory readable",
                quote(&error.path().display().to_string()),
                error.error()
            ));
        };
        path.inspect_err(report).ok()
    });
    paths.filter(|path| !left(path)).collect()
}
