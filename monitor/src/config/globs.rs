//! A file name or a glob in, the files that it means out. Called for lists of rules and for overlays.

use std::path::{Path, PathBuf};

use monitor_policy::fs::is_leftover;

use super::document::{Value, quote};

/// The files that a pattern means, in the order of the alphabet; `what` they are is for messages. A glob may match nothing,
/// and means no hidden file and nothing that an editor left; a name without wildcards must be there. `directories` gets
/// where a glob looks.
pub(super) fn files(pattern: &Path, value: Value<'_>, what: &str, directories: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let text = pattern.display().to_string();
    if !text.contains(['*', '?', '[']) {
        if pattern.exists() {
            return vec![pattern.to_owned()];
        }
        value.report(format!("{what} {} does not exist: create it or remove it here", quote(&text)));
        return Vec::new();
    }
    // The deepest directory without a wildcard in its name.
    let fixed = pattern.ancestors().find(|path| !path.to_string_lossy().contains(['*', '?', '[']));
    if let Some(directory) = fixed.map(Path::to_owned).filter(|directory| !directories.contains(directory)) {
        directories.push(directory);
    }
    let paths = match glob::glob(&text) {
        Ok(paths) => paths,
        Err(error) => {
            value.report(format!("{what} {} is no glob ({}): mend the pattern", quote(&text), error.msg));
            return Vec::new();
        }
    };
    let left = |path: &PathBuf| path.file_name().is_some_and(|name| is_leftover(&name.to_string_lossy()));
    let paths = paths.filter_map(|path| {
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
