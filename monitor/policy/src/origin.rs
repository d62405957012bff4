//! Where something of a configuration stands. Made by whoever reads configuration files; shown as `file:line` in
//! messages and documents.

use std::{fmt, path::Path, sync::Arc};

use serde::{Serialize, Serializer};

/// A file and a line in it. Cheap to clone: a million networks of one allowlist share the file's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// Line number, from 1; 0 stands for the file as a whole.
    pub line: u32,
}

impl Origin {
    /// A line of a file. Past 2³² lines, which no file that is read has, the last number stands for all.
    pub fn new(file: impl Into<Arc<Path>>, line: usize) -> Self {
        Self { file: file.into(), line: u32::try_from(line).unwrap_or(u32::MAX) }
    }
}

/// No file at all, shown as nothing: for rules that nobody wrote.
impl Default for Origin {
    fn default() -> Self {
        Self::new(Path::new(""), 0)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line == 0 { Ok(()) } else { write!(f, ":{}", self.line) }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Origin {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Origin".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

/// For tests.
#[cfg(test)]
pub(crate) fn at_line(file: &str, line: usize) -> Origin {
    Origin::new(Path::new(file), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_shown_and_serialised_as_file_and_line() {
        let origin = Origin::new(Path::new("/etc/a:b.toml"), 7);
        assert_eq!(origin.to_string(), "/etc/a:b.toml:7");
        assert_eq!(serde_json::to_string(&origin).unwrap(), "\"/etc/a:b.toml:7\"");
        assert_eq!(Origin::default().to_string(), "");
    }

    #[test]
    fn lines_are_ordered_by_number_and_files_by_name() {
        let [second, tenth, other] =
            [("a", 2), ("a", 10), ("b", 1)].map(|(file, line)| Origin::new(Path::new(file), line));
        assert!(second < tenth && tenth < other);
    }
}
