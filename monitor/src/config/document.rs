//! One TOML file in, tables and values out that know their file and line. Problems are collected, not returned, so
//! that one reading finds them all. Called by [`super::load`] and [`super::allowlist`].

use std::{cell::RefCell, path::Path, sync::Arc};

use monitor_policy::{Origin, text::is_hidden};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Problem, Sources,
    error::ValueError,
    keys::{Absent, Key, Kind, Section},
};

/// A value in a message: quoted, on one line, without what a terminal would obey, and not endless.
pub(super) fn quote(value: &str) -> String {
    const LONGEST: usize = 80;
    let mut text = String::from("'");
    for (i, character) in value.chars().enumerate() {
        if i == LONGEST {
            text.push('…');
            break;
        }
        if is_hidden(character) { text.extend(character.escape_default()) } else { text.push(character) }
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
    /// Where the files that it names are.
    pub(super) sources: &'a Sources,
    /// The same for the origins of everything in it.
    shared: Arc<Path>,
    text: &'a str,
    /// Where each line starts: an allowlist may have a hundred thousand, each with a rule that knows its own.
    lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, sources: &'a Sources) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { file, sources, shared: file.into(), text, lines, problems: RefCell::default() }
    }

    /// Parses the text; TOML's own errors are the only ones when there are any.
    pub(super) fn parse(&self) -> Option<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let offset = error.span().map_or(self.text.len(), |span| span.start);
            let (line, _) = self.position(offset);
            let content = self.text.lines().nth(line - 1).unwrap_or_default().trim();
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            self.report(offset, format!("not TOML at {}: {what}", quote(content)));
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// The same, of what is TOML in it.
    pub(super) fn parse_what_is_whole(&self) -> DeTable<'a> {
        DeTable::parse_recoverable(self.text).0.into_inner()
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
    pub(super) fn report(&self, offset: usize, message: impl Into<String>) {
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
    section: &'static Section,
    entries: &'a DeTable<'a>,
    /// Where it starts.
    offset: usize,
}

impl<'a> Table<'a> {
    /// The file's outermost table, as one that has these keys.
    pub(super) fn root(source: &'a Source<'a>, entries: &'a DeTable<'a>, section: &'static Section) -> Self {
        Self::new(source, section, entries, 0)
    }

    fn new(source: &'a Source<'a>, section: &'static Section, entries: &'a DeTable<'a>, offset: usize) -> Self {
        let table = Self { source, section, entries, offset };
        table.report_undeclared();
        table
    }

    /// Reports every key that the section does not declare.
    fn report_undeclared(&self) {
        let Section { heading, keys, planned, .. } = self.section;
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if keys.iter().any(|declared| declared.name == name) {
                continue;
            }
            let message = if let Some((_, hint)) = planned.iter().find(|(planned, _)| *planned == name) {
                format!("'{name}' is not supported in this version: {hint}")
            } else {
                let known: Vec<_> = keys.iter().map(|declared| declared.name).collect();
                match nearest(name, &known) {
                    Some(near) => format!("unknown key {} in {heading}: did you mean '{near}'?", quote(name)),
                    None => format!("unknown key {} in {heading}: known are {}", quote(name), known.join(", ")),
                }
            };
            self.source.report(key.span().start, message);
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &Key) -> Option<Value<'a>> {
        self.value(key.name, key.kind)
    }

    fn value(&self, name: &'static str, kind: Kind) -> Option<Value<'a>> {
        // What is not declared is reported as unknown, so nobody could write it.
        debug_assert!(self.section.keys.iter().any(|declared| declared.name == name), "{name} is not declared");
        let found = self.entries.get(name)?;
        Some(Value { source: self.source, name, kind, found })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &Key) -> Option<Value<'a>> {
        let value = self.get(key);
        if let (None, Absent::Refused(example)) = (value, key.absent) {
            let message = format!("{} has no '{name}': add {name} = {example}", self.section.heading, name = key.name);
            self.source.report(self.offset, message);
        }
        value
    }

    /// Whether a table is there, good or not.
    pub(super) fn has(&self, section: &'static Section) -> bool {
        self.entries.contains_key(section.name)
    }

    /// A string through `read`, whose error (which quotes the value) is reported.
    pub(super) fn read<T>(&self, key: &Key, read: impl FnOnce(&str) -> Result<T, ValueError>) -> Option<T> {
        self.get(key)?.read(read)
    }

    /// A sub-table.
    pub(super) fn table(&self, section: &'static Section) -> Option<Table<'a>> {
        self.value(section.name, Kind::Table(section))?.table(section)
    }

    /// An array of tables; empty when there is none.
    pub(super) fn tables(&self, section: &'static Section) -> Vec<Table<'a>> {
        let Some(value) = self.value(section.name, Kind::Table(section)) else { return Vec::new() };
        let elements = value.elements().unwrap_or_default();
        elements.into_iter().filter_map(|element| element.table(section)).collect()
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
    /// Its key.
    name: &'static str,
    /// What it has to be.
    kind: Kind,
    found: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn report(&self, message: impl Into<String>) {
        self.source.report(self.found.span().start, message);
    }

    /// Where the value stands.
    pub(super) fn origin(&self) -> Origin {
        self.source.origin(self.found.span().start)
    }

    /// Reports a value that is not of its kind; `None` for the caller's convenience.
    fn wrong_type<T>(&self) -> Option<T> {
        let found = match self.found.get_ref() {
            DeValue::String(text) => format!("the string {}", quote(text)),
            DeValue::Integer(number) => format!("the integer '{number}'"),
            DeValue::Float(number) => format!("the number '{number}'"),
            DeValue::Boolean(value) => format!("'{value}'"),
            DeValue::Datetime(time) => format!("the time '{time}'"),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.report(format!("'{}' is {found}: write {}", self.name, self.kind));
        None
    }

    fn table(&self, section: &'static Section) -> Option<Table<'a>> {
        match self.found.get_ref() {
            DeValue::Table(entries) => Some(Table::new(self.source, section, entries, self.found.span().start)),
            _ => self.wrong_type(),
        }
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        match self.found.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type(),
        }
    }

    /// A string through `read`, whose error (which quotes the value) is reported.
    pub(super) fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, ValueError>) -> Option<T> {
        read(self.text()?).map_err(|error| self.report(error.to_string())).ok()
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self.found.get_ref() {
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Some(number),
                Err(_) => self.wrong_type(),
            },
            _ => self.wrong_type(),
        }
    }

    /// An integer within the bounds of its kind.
    pub(super) fn number(&self) -> Option<u32> {
        let number = self.integer()?;
        let within = u32::try_from(number).ok().filter(|_| self.kind.bounds().contains(&number));
        if within.is_none() {
            self.report(format!("{} '{number}' is out of bounds: write {}", self.name, self.kind));
        }
        within
    }

    /// An integer above 0.
    pub(super) fn amount(&self) -> Option<u64> {
        let number = self.integer()?;
        let amount = u64::try_from(number).ok().filter(|amount| *amount > 0);
        if amount.is_none() {
            self.report(format!("'{}' is the integer '{number}': write {}, above 0", self.name, self.kind));
        }
        amount
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.found.get_ref(), DeValue::String(_))
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> Option<Vec<Value<'a>>> {
        match self.found.get_ref() {
            DeValue::Array(elements) => {
                Some(elements.iter().map(|found| Value { kind: self.kind.element(), found, ..*self }).collect())
            }
            _ => self.wrong_type(),
        }
    }

    /// The elements of a list that may not be empty.
    pub(super) fn list(&self) -> Option<Vec<Value<'a>>> {
        let elements = self.elements()?;
        if elements.is_empty() {
            self.report(format!("'{}' is empty: write {}", self.name, self.kind));
            return None;
        }
        Some(elements)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        let DeValue::Boolean(is) = self.found.get_ref() else { return self.wrong_type() };
        Some(*is)
    }

    /// A time with its offset from UTC, in seconds since 1970.
    pub(super) fn time(&self) -> Option<i64> {
        let DeValue::Datetime(time) = self.found.get_ref() else { return self.wrong_type() };
        let timestamp = time.to_string().parse::<jiff::Timestamp>();
        if timestamp.is_err() {
            self.report(format!(
                "invalid time '{time}' in '{}': write date, time and offset, such as 2026-12-31T00:00:00Z",
                self.name
            ));
        }
        timestamp.ok().map(jiff::Timestamp::as_second)
    }
}
