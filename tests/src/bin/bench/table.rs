//! What a run found: rows of figures, each beside what it is compared with, held against goals. Sections make rows,
//! `main` prints them as text, Markdown and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    goal::{By, Goals, met},
    spread::{Spread, Unit},
};

/// A figure with its name.
#[derive(Clone, Debug)]
pub struct Figure {
    label: String,
    spread: Spread,
    unit: Unit,
}

/// A figure that a goal may be set for.
#[derive(Clone, Debug)]
struct Check {
    figure: Figure,
    goals: Option<Goals>,
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

    /// What that comes to.
    pub fn tell(mut self, label: &str, spread: Spread, unit: Unit) -> Self {
        self.checks.push(Check { figure: Figure { label: label.into(), spread, unit }, goals: None });
        self
    }

    /// The same with a goal.
    pub fn check(mut self, label: &str, spread: Spread, unit: Unit, goals: impl Into<Goals>) -> Self {
        self = self.tell(label, spread, unit);
        self.checks.last_mut().expect("one was added").goals = Some(goals.into());
        self
    }

    /// With a goal, where there is one.
    pub fn judge(self, label: &str, spread: Spread, unit: Unit, goals: Option<impl Into<Goals>>) -> Self {
        match goals {
            Some(goals) => self.check(label, spread, unit, goals),
            None => self.tell(label, spread, unit),
        }
    }

    /// A goal for the measured figure itself.
    pub fn goal(self, goals: impl Into<Goals>) -> Self {
        let Figure { spread, unit, .. } = self.measured;
        self.check("", spread, unit, goals)
    }

    /// Something to know of it.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Whether its goals are met; `None` where there is none.
    fn met(&self, by: By) -> Option<bool> {
        met(self.checks.iter().filter_map(|check| Some((&check.figure.spread, check.goals?))), by)
    }

    fn cells(&self) -> [Vec<String>; COLUMNS] {
        let label = |figure: &Figure| {
            let shown = figure.spread.show(figure.unit);
            if figure.label.is_empty() { shown } else { format!("{}: {shown}", figure.label) }
        };
        // A goal for the measured figure says nothing new.
        let comes_to = |check: &Check| if check.figure.label.is_empty() { String::new() } else { label(&check.figure) };
        let goal = |check: &Check| check.goals.map_or_else(String::new, |goals| goals.show(check.figure.unit));
        let met = |by| match self.met(by) {
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
            vec![met(By::Median).into()],
            vec![met(By::Quartile).into()],
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
            let by = |by| met(check.goals.map(|goals| (&check.figure.spread, goals)).into_iter(), by);
            value["goal"] = check.goals.map(|goals| goals.show(check.figure.unit)).into();
            value["met"] = by(By::Median).into();
            value["met_at_quartile"] = by(By::Quartile).into();
            value
        };
        json!({
            "id": self.id,
            "name": self.name,
            "measured": figure(&self.measured),
            "compared_with": self.compared.iter().map(figure).collect::<Vec<_>>(),
            "comes_to": self.checks.iter().map(check).collect::<Vec<_>>(),
            "met": self.met(By::Median),
            "met_at_quartile": self.met(By::Quartile),
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
#[derive(Clone, Debug)]
pub struct Table {
    /// What they have in common.
    pub title: &'static str,
    /// Its rows.
    pub rows: Vec<Row>,
}

const COLUMNS: usize = 7;
const HEADS: [&str; COLUMNS] =
    ["what", "median (quartiles)", "compared with", "which comes to", "goal", "met", "at quartile"];

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
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        let mut text = format!("{}\n", self.title);
        let mut line = |cells: [&str; COLUMNS]| {
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
            let _ = writeln!(text, "  {}: {note}", who(&rows));
        }
        text
    }

    /// A table for a README.
    pub fn markdown(&self) -> String {
        let mut text = format!("**{}**\n\n| {} |\n|{}\n", self.title, HEADS.join(" | "), "---|".repeat(HEADS.len()));
        for row in &self.rows {
            let cells = row.cells().map(|lines| {
                let whole = lines.join("<br>");
                whole.trim_start_matches("<br>").trim_end_matches("<br>").to_owned()
            });
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text.push('\n');
        for (note, rows) in self.notes() {
            let _ = writeln!(text, "- {}: {note}", who(&rows));
        }
        text
    }

    /// The rows as JSON.
    pub fn json(&self) -> Vec<Value> {
        let rows = self.rows.iter().map(Row::json);
        rows.map(|mut row| {
            row["table"] = self.title.into();
            row
        })
        .collect()
    }

    /// Rows with goals that are met by the median, that are met at the quartile, and all with goals.
    pub fn score(&self) -> [usize; 3] {
        let count = |by, wanted: &[bool]| {
            self.rows.iter().filter_map(|row| row.met(by)).filter(|met| wanted.contains(met)).count()
        };
        [count(By::Median, &[true]), count(By::Quartile, &[true]), count(By::Median, &[true, false])]
    }
}

/// The rows that a note is on: by name where they are few.
fn who(rows: &[&str]) -> String {
    match rows {
        [first, _, _, _, ..] => format!("{first} and {} more", rows.len() - 1),
        few => few.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, Spread, Table, Unit, who};
    use crate::goal::Goal;

    fn table(rows: Vec<Row>) -> Table {
        Table { title: "title", rows }
    }

    #[test]
    fn rows_without_a_goal_count_in_no_score() {
        let row =
            |values: &[f64], limit| Row::new("a", "b", Spread::of(values), Unit::Seconds).goal(Goal::AtMost(limit));
        let none = Row::new("a", "b", Spread::of(&[1.0]), Unit::Seconds).tell("x", Spread::of(&[1.0]), Unit::Times);
        let rows = vec![row(&[1.0], 1.0), row(&[1.0, 1.0, 2.0, 2.0, 2.0], 1.0), row(&[3.0], 1.0), none];
        assert_eq!(table(rows).score(), [1, 2, 3]);
    }

    #[test]
    fn text_has_a_line_for_each_comparison() {
        let row = Row::new("a", "name", Spread::of(&[1.0, 2.0, 4.0]), Unit::Seconds)
            .with("x", Spread::of(&[1.0]))
            .with("y", Spread::of(&[8.0]))
            .goal(Goal::AtMost(1.5))
            .note("why");
        let text = table(vec![row]).text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (5, "title"));
        assert_eq!(
            lines[2].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>(),
            ["name", "2.000 s (1.500 to 3.000)", "x: 1.000 s", "≤ 1.5 s", "NO", "yes"]
        );
        assert_eq!(lines[3].trim(), "y: 8.000 s");
        assert_eq!(lines[4].trim(), "name: why");
    }

    #[test]
    fn a_note_that_rows_share_is_told_once() {
        let row = |name: &str| Row::new(name, name, Spread::of(&[1.0]), Unit::Times).note("why");
        let table = table(vec![row("a"), row("b").note("b's own")]);
        assert_eq!(table.notes(), [("why", vec!["a", "b"]), ("b's own", vec!["b"])]);
        assert_eq!(who(&["a", "b", "c", "d", "e"]), "a and 4 more");
        assert!(table.markdown().ends_with("\n- a; b: why\n- b: b's own\n"));
    }

    #[test]
    fn json_has_figures_goals_and_what_is_met() {
        let row = Row::new("a", "b", Spread::of(&[1.0, 2.0, 3.0]), Unit::Seconds).goal(Goal::AtMost(1.5));
        let json = table(vec![row]).json();
        let check = &json[0]["comes_to"][0];
        assert_eq!(
            (&json[0]["table"], &json[0]["met"], &json[0]["met_at_quartile"]),
            (&"title".into(), &false.into(), &true.into())
        );
        assert_eq!(
            (&check["goal"], &check["met"], &check["met_at_quartile"]),
            (&"≤ 1.5 s".into(), &false.into(), &true.into())
        );
    }
}
