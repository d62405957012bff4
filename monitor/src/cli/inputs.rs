//! What `check` and `explain` have in common: everything `run` would read, read and compiled, and tables for people.

use std::{
    io::{self, Write as _},
    path::Path,
    time::SystemTime,
};

use crate::{
    config::{self, Config},
    failure::Failure,
    geo::{self, Dataset},
    policy::{self, ClockMap, Policy, PolicyError},
};

/// A configuration, what it names, and what that compiles to.
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) datasets: Vec<Dataset>,
    pub(super) policy: Policy,
    pub(super) clock: ClockMap,
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Compiles a configuration as it would hold now.
pub(super) fn compile(config: Config) -> Result<Inputs, Failure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let clock = ClockMap::wall(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    let mut datasets = Vec::new();
    for source in &config.geo.sources {
        datasets.extend(geo::load(source)?);
    }
    let policy = policy::compile(&config, &datasets, geo::special::table(), &clock)?;
    Ok(Inputs { config, datasets, policy, clock })
}

/// Reads the configuration and compiles it.
pub(super) fn read(file: Option<&Path>) -> Result<Inputs, Failure> {
    compile(config::load(file).map_err(config::ConfigError::into_failure)?)
}

/// Writes to standard output. A reader that has gone (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Unavailable(format!("standard output: {error}: free space on the disk or write elsewhere")))
        }
        _ => Ok(()),
    }
}

/// RFC 3339 in UTC.
pub(super) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows in aligned columns, two spaces apart; the columns numbered in `right` end together.
pub(super) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let cell = if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line += &cell;
            line += "  ";
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn columns_align_and_no_line_ends_in_spaces() {
        let rows = [vec!["a".into(), "1".into(), String::new()], vec!["bbb".into(), "22".into(), "c".into()]];
        assert_eq!(table(&rows, &[1]), "a     1\nbbb  22  c\n");
    }
}
