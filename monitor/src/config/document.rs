//! One TOML file in, tables and values out that know their file and line. Complaints are collected, not returned, so
//! that one reading finds them all. Called by [`super::load`] and [`super::allowlist`].

use std::{cell::RefCell, path::Path, sync::Arc};

use monitor_policy::Origin;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Problem;

/// A value in a message: quoted, on one line, without what a terminal would obey, and not endless.
pub(super) fn quote(value: &str) -> String {
    const LONGEST: usize = 80;
    let mut text = String::from("'");
    for (i, character) in value.chars().enumerate() {
        if i == LONGEST {
            text.push('…');
            break;
        }
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    text.push('\'');
    text
}

/// The known name most like `name`, if one is near enough to have been meant.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .filter(|(distance, known)| *distance <= 1.max(known.len() / 3))
        .min()
        .map(|(_, known)| known)
}

/// A file being read, and what is wrong with it so far.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    /// The same for the origins of everything in it.
    shared: Arc<Path>,
    text: &'a str,
    /// Where each line starts: an allowlist may have a hundred thousand, each with a rule that knows its own.
    lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { file, shared: file.into(), text, lines, problems: RefCell::default() }
    }

    /// Parses the text; TOML's own complaints are the only ones when there are any.
    pub(super) fn parse(&self) -> Option<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let offset = error.span().map_or(self.text.len(), |span| span.start);
            let (line, _) = self.position(offset);
            let content = self.text.lines().nth(line - 1).unwrap_or_default().trim();
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            self.complain(offset, format!("not TOML at {}: {what}", quote(content)));
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// Line and column, from 1, of a byte of the text.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let before = self.text.get(self.lines[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::new(Arc::clone(&self.shared), self.lines.partition_point(|start| *start <= offset).max(1))
    }

    /// Notes that something is wrong at a byte of the text.
    pub(super) fn complain(&self, offset: usize, message: impl Into<String>) {
        let (line, column) = self.position(offset);
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line: Some(line),
            column: Some(column),
            message: message.into(),
        });
    }

    /// What is wrong, in the order of the lines.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

/// A table of a file.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) source: &'a Source<'a>,
    /// As people write it: `[monitor]`, `[[site]]`.
    name: &'a str,
    entries: &'a DeTable<'a>,
    /// Where it starts.
    offset: usize,
}

/// A key that `interfaces` promise and this version lacks, and what to do about it.
pub(super) type Unsupported = (&'static str, &'static str);

impl<'a> Table<'a> {
    /// The file's outermost table.
    pub(super) fn root(source: &'a Source<'a>, entries: &'a DeTable<'a>) -> Self {
        Self { source, name: "the file", entries, offset: 0 }
    }

    /// Complains about every key that is not known.
    pub(super) fn only(&self, known: &[&str], unsupported: &[Unsupported]) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let message = match unsupported.iter().find(|(unsupported, _)| *unsupported == name) {
                Some((_, mend)) => format!("'{name}' is not supported in this version: {mend}"),
                None => match nearest(name, known) {
                    Some(near) => format!("unknown key {} in {}: did you mean '{near}'?", quote(name), self.name),
                    None => format!("unknown key {} in {}: known are {}", quote(name), self.name, known.join(", ")),
                },
            };
            self.source.complain(key.span().start, message);
        }
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.entries.get(key)?;
        Some(Value { source: self.source, key, value })
    }

    /// A key that must be there.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.complain(format!("{} has no '{key}': add {key} = {example}", self.name));
        }
        value
    }

    pub(super) fn complain(&self, message: impl Into<String>) {
        self.source.complain(self.offset, message);
    }

    /// A sub-table.
    pub(super) fn table(&self, key: &'static str, name: &'a str) -> Option<Table<'a>> {
        let value = self.get(key)?;
        match value.value.get_ref() {
            DeValue::Table(entries) => {
                Some(Table { source: self.source, name, entries, offset: value.value.span().start })
            }
            _ => value.wrong_type(&format!("a table headed {name}")),
        }
    }

    /// An array of tables; empty when there is none.
    pub(super) fn tables(&self, key: &'static str, name: &'a str) -> Vec<Table<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let what = format!("a table headed {name}");
        let DeValue::Array(elements) = value.value.get_ref() else {
            value.wrong_type::<()>(&what);
            return Vec::new();
        };
        elements
            .iter()
            .filter_map(|element| match element.get_ref() {
                DeValue::Table(entries) => {
                    Some(Table { source: self.source, name, entries, offset: element.span().start })
                }
                _ => Value { source: self.source, key, value: element }.wrong_type(&what),
            })
            .collect()
    }

    /// Where the table's heading stands.
    pub(super) fn origin(&self) -> Origin {
        self.source.origin(self.offset)
    }
}

/// A value of a file.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) key: &'static str,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn complain(&self, message: impl Into<String>) {
        self.source.complain(self.value.span().start, message);
    }

    /// Where the value stands.
    pub(super) fn origin(&self) -> Origin {
        self.source.origin(self.value.span().start)
    }

    /// Complains, and is `None` for the caller's convenience.
    pub(super) fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(text) => format!("the string {}", quote(text)),
            DeValue::Integer(number) => format!("the integer '{number}'"),
            DeValue::Float(number) => format!("the number '{number}'"),
            DeValue::Boolean(value) => format!("'{value}'"),
            DeValue::Datetime(time) => format!("the time '{time}'"),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.complain(format!("'{}' is {found}: write {wanted}", self.key));
        None
    }

    pub(super) fn text(&self, wanted: &str) -> Option<&'a str> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type(wanted),
        }
    }

    /// A string through `read`, whose complaint (without the value, which is put in front) is noted.
    pub(super) fn read<T>(&self, wanted: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        read(self.text(wanted)?).map_err(|message| self.complain(message)).ok()
    }

    pub(super) fn integer(&self, wanted: &str) -> Option<i64> {
        match self.value.get_ref() {
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Some(number),
                Err(_) => self.wrong_type(wanted),
            },
            _ => self.wrong_type(wanted),
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::String(_))
    }

    /// The elements of a list; `wanted` is an example of the whole.
    pub(super) fn elements(&self, wanted: &str) -> Option<Vec<Value<'a>>> {
        match self.value.get_ref() {
            DeValue::Array(elements) => Some(elements.iter().map(|value| Value { value, ..*self }).collect()),
            _ => self.wrong_type(wanted),
        }
    }

    /// The elements of a list that may not be empty.
    pub(super) fn list(&self, wanted: &str) -> Option<Vec<Value<'a>>> {
        let elements = self.elements(wanted)?;
        if elements.is_empty() {
            self.complain(format!("'{}' is empty: write {wanted}", self.key));
            return None;
        }
        Some(elements)
    }

    /// A time with its offset from UTC, in seconds since 1970.
    pub(super) fn time(&self) -> Option<i64> {
        let DeValue::Datetime(time) = self.value.get_ref() else {
            return self.wrong_type("a time without quotes, such as 2026-12-31T00:00:00Z");
        };
        match time.to_string().parse::<jiff::Timestamp>() {
            Ok(timestamp) => Some(timestamp.as_second()),
            Err(_) => {
                self.complain(format!(
                    "'{}' is '{time}', which is no moment: write date, time and offset, such as 2026-12-31T00:00:00Z",
                    self.key
                ));
                None
            }
        }
    }
}
