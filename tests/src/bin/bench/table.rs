//! What a run found: rows of figures, each beside what it is compared with, judged by goals. Sections make rows, `main`
//! prints them as text, Markdown and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Seconds,
    PacketsPerSecond,
    GigabitsPerSecond,
    /// Of one core.
    Percent,
    Mebibytes,
    Times,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Seconds => "s",
            Self::PacketsPerSecond => "packets/s",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::Percent => "% of a core",
            Self::Mebibytes => "MiB",
            Self::Times => "×",
        }
    }

    fn number(self, value: f64) -> String {
        match self {
            Self::PacketsPerSecond if value.abs() >= 1e5 => format!("{:.3} M", value / 1e6),
            Self::Seconds | Self::Times if value.abs() < 9.95 => format!("{value:.3}"),
            Self::Percent if value.abs() < 0.95 => format!("{value:.2}"),
            Self::Nanoseconds | Self::Microseconds | Self::Percent | Self::GigabitsPerSecond if value.abs() < 99.95 => {
                format!("{value:.1}")
            }
            Self::Mebibytes | Self::Seconds | Self::Times => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Times => format!("{}×", self.number(value)),
            Self::PacketsPerSecond => format!("{}/s", self.number(value)),
            _ => format!("{} {}", self.number(value), self.name()),
        }
    }
}

/// Median and range of what the rounds gave.
#[derive(Clone, Debug)]
pub struct Spread {
    median: f64,
    low: f64,
    high: f64,
    rounds: usize,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Self {
            median,
            low: sorted.first().copied().unwrap_or(f64::NAN),
            high: sorted.last().copied().unwrap_or(f64::NAN),
            rounds: sorted.len(),
        }
    }

    /// Of one value for each round of two, round by round.
    pub fn pairs(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> Self {
        let values: Vec<f64> = a.iter().zip(b).map(|(a, b)| of(*a, *b)).collect();
        Self::of(&values)
    }

    /// `a - b` in each round.
    pub fn difference(a: &[f64], b: &[f64]) -> Self {
        Self::pairs(a, b, |a, b| a - b)
    }

    /// `a / b` in each round.
    pub fn ratio(a: &[f64], b: &[f64]) -> Self {
        Self::pairs(a, b, |a, b| a / b)
    }

    /// The greatest.
    pub const fn high(&self) -> f64 {
        self.high
    }

    fn show(&self, unit: Unit) -> String {
        let median = unit.show(self.median);
        if self.rounds < 2 {
            return median;
        }
        format!("{median} ({} to {})", unit.number(self.low), unit.number(self.high))
    }

    fn json(&self) -> Value {
        json!({ "median": self.median, "low": self.low, "high": self.high, "rounds": self.rounds })
    }
}

/// A figure with its name.
#[derive(Clone, Debug)]
pub struct Figure {
    label: String,
    spread: Spread,
    unit: Unit,
}

/// What a check is to come to.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    MoreThan(f64),
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::MoreThan(limit) => value > limit,
        }
    }

    fn show(self, unit: Unit) -> String {
        let (sign, limit) = match self {
            Self::AtMost(limit) => ('≤', limit),
            Self::AtLeast(limit) => ('≥', limit),
            Self::MoreThan(limit) => ('>', limit),
        };
        // Goals are round numbers.
        if unit == Unit::Times { format!("{sign} {limit}×") } else { format!("{sign} {limit} {}", unit.name()) }
    }
}

/// A figure that a goal is set for: judged by its median.
#[derive(Clone, Debug)]
struct Check {
    figure: Figure,
    goal: Option<Goal>,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    id: String,
    name: String,
    measured: Figure,
    compared: Vec<Figure>,
    checks: Vec<Check>,
    notes: Vec<String>,
}

impl Row {
    /// `id` is for `--only` and JSON, `name` for people.
    pub fn new(id: impl Into<String>, name: impl Into<String>, measured: Spread, unit: Unit) -> Self {
        let measured = Figure { label: String::new(), spread: measured, unit };
        Self { id: id.into(), name: name.into(), measured, compared: Vec::new(), checks: Vec::new(), notes: Vec::new() }
    }

    /// What it is compared with, in the same unit.
    pub fn with(mut self, label: &str, spread: Spread) -> Self {
        self.compared.push(Figure { label: label.into(), spread, unit: self.measured.unit });
        self
    }

    /// What that comes to, and the goal for it.
    pub fn check(mut self, label: &str, spread: Spread, unit: Unit, goal: impl Into<Option<Goal>>) -> Self {
        self.checks.push(Check { figure: Figure { label: label.into(), spread, unit }, goal: goal.into() });
        self
    }

    /// A goal for the measured figure itself.
    pub fn goal(self, goal: Goal) -> Self {
        let Figure { spread, unit, .. } = self.measured.clone();
        self.check("", spread, unit, goal)
    }

    /// Something to know of it.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Whether every goal was met; `None` where there is none.
    fn met(&self) -> Option<bool> {
        let mut goals = self.checks.iter().filter_map(|c| c.goal.map(|goal| goal.met(c.figure.spread.median)));
        goals.clone().next().map(|_| goals.all(|met| met))
    }

    fn cells(&self) -> [Vec<String>; 6] {
        let label = |figure: &Figure| {
            let shown = figure.spread.show(figure.unit);
            if figure.label.is_empty() { shown } else { format!("{}: {shown}", figure.label) }
        };
        // A goal for the measured figure says nothing new.
        let comes_to = |check: &Check| if check.figure.label.is_empty() { String::new() } else { label(&check.figure) };
        let goal = |check: &Check| check.goal.map_or_else(String::new, |goal| goal.show(check.figure.unit));
        let met = match self.met() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        [
            vec![self.name.clone()],
            vec![self.measured.spread.show(self.measured.unit)],
            self.compared.iter().map(label).collect(),
            self.checks.iter().map(comes_to).collect(),
            self.checks.iter().map(goal).collect(),
            vec![met.into()],
        ]
    }

    fn json(&self) -> Value {
        let figure = |figure: &Figure| {
            let mut value = figure.spread.json();
            value["of"] = figure.label.clone().into();
            value["unit"] = figure.unit.name().into();
            value
        };
        let check = |check: &Check| {
            let mut value = figure(&check.figure);
            value["goal"] = check.goal.map(|goal| goal.show(check.figure.unit)).into();
            value["met"] = check.goal.map(|goal| goal.met(check.figure.spread.median)).into();
            value
        };
        json!({
            "id": self.id,
            "name": self.name,
            "measured": figure(&self.measured),
            "compared_with": self.compared.iter().map(figure).collect::<Vec<_>>(),
            "comes_to": self.checks.iter().map(check).collect::<Vec<_>>(),
            "met": self.met(),
            "notes": self.notes,
        })
    }
}

/// A section that could not be measured.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its name.
    pub section: String,
    /// Why.
    pub error: String,
}

/// Rows under one title.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its rows.
    pub rows: Vec<Row>,
}

const HEADS: [&str; 6] = ["what", "measured (range)", "compared with", "which comes to", "goal", "met"];

impl Table {
    /// Every note, with the rows that have it.
    fn notes(&self) -> Vec<(&str, Vec<&str>)> {
        let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
        for row in &self.rows {
            for note in &row.notes {
                match notes.iter_mut().find(|(text, _)| text == note) {
                    Some((_, rows)) => rows.push(&row.name),
                    None => notes.push((note, vec![&row.name])),
                }
            }
        }
        notes
    }

    /// Aligned columns, with the notes of the rows below.
    pub fn text(&self) -> String {
        let rows: Vec<_> = self.rows.iter().map(Row::cells).collect();
        let width = |column: usize| {
            let lines = rows.iter().flat_map(|cells| &cells[column]).map(|line| line.chars().count());
            lines.chain([HEADS[column].len()]).max().unwrap_or(0)
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        let mut text = String::new();
        let mut line = |cells: [&str; 6]| {
            let mut whole = String::new();
            for (cell, width) in cells.iter().zip(widths) {
                let _ = write!(whole, "{cell:<width$}  ");
            }
            text.push_str(whole.trim_end());
            text.push('\n');
        };
        line(HEADS);
        for cells in &rows {
            for number in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                line(std::array::from_fn(|column| cells[column].get(number).map_or("", String::as_str)));
            }
        }
        for (note, rows) in self.notes() {
            let _ = writeln!(text, "  {}: {note}", rows.join("; "));
        }
        text
    }

    /// A table for a README.
    pub fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|{}\n", HEADS.join(" | "), "---|".repeat(HEADS.len()));
        for row in &self.rows {
            let cells = row.cells().map(|lines| {
                let whole = lines.join("<br>");
                whole.trim_start_matches("<br>").trim_end_matches("<br>").to_owned()
            });
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text.push('\n');
        for (note, rows) in self.notes() {
            let _ = writeln!(text, "- {}: {note}", rows.join("; "));
        }
        text
    }

    /// The rows as JSON.
    pub fn json(&self) -> Value {
        self.rows.iter().map(Row::json).collect()
    }

    /// Goals met, and goals.
    pub fn score(&self) -> (usize, usize) {
        let met: Vec<bool> = self.rows.iter().filter_map(Row::met).collect();
        (met.iter().filter(|met| **met).count(), met.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{Goal, Row, Spread, Table, Unit};

    #[test]
    fn a_row_is_met_when_the_medians_of_all_its_goals_are() {
        let row = |times: [f64; 3], limit| {
            Row::new("a", "b", Spread::of(&times), Unit::Nanoseconds)
                .with("empty", Spread::of(&[1.0]))
                .check("over empty", Spread::of(&times), Unit::Nanoseconds, Goal::AtMost(limit))
                .check("faster", Spread::of(&[2.0]), Unit::Times, Goal::AtLeast(2.0))
        };
        assert_eq!(row([30.0, 9.0, 12.0], 12.0).met(), Some(true));
        assert_eq!(row([30.0, 9.0, 12.5], 12.0).met(), Some(false));
        assert_eq!(Row::new("a", "b", Spread::of(&[1.0]), Unit::Seconds).met(), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let spread = Spread::ratio(&[10.0, 30.0, 20.0], &[10.0, 60.0, 10.0]);
        assert_eq!((spread.low, spread.median, spread.high), (0.5, 1.0, 2.0));
    }

    #[test]
    fn text_has_a_line_for_each_comparison() {
        let row = Row::new("a", "name", Spread::of(&[1.0, 2.0, 4.0]), Unit::Seconds)
            .with("x", Spread::of(&[1.0]))
            .with("y", Spread::of(&[8.0]))
            .goal(Goal::AtMost(0.5))
            .note("why");
        let text = Table { rows: vec![row] }.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>(),
            ["name", "2.000 s (1.000 to 4.000)", "x: 1.000 s", "≤ 0.5 s", "NO"]
        );
        assert_eq!(lines[2].trim(), "y: 8.000 s");
        assert_eq!(lines[3].trim(), "name: why");
    }

    #[test]
    fn a_note_that_rows_share_is_told_once() {
        let row = |name: &str| Row::new(name, name, Spread::of(&[1.0]), Unit::Times).note("why");
        let table = Table { rows: vec![row("a"), row("b").note("b's own")] };
        assert_eq!(table.notes(), [("why", vec!["a", "b"]), ("b's own", vec!["b"])]);
        assert!(table.markdown().ends_with("\n- a; b: why\n- b: b's own\n"));
    }
}
