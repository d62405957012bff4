//! Tables in aligned columns, JSON documents, and the one way to standard output: on a terminal in lines that fit, and with
//! what matters in colour. Called by every command and by the daemon's closing table.

use std::io::{self, ErrorKind, IsTerminal, Write as _};

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use clap::builder::styling::{AnsiColor, Style};
use monitor_policy::text::{escaped_json, plain};

use crate::error::CliError;

/// Cells of one row.
pub fn cells(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Rows in aligned columns, two spaces apart, `indent` spaces from the left; the columns numbered in `right` end
/// together.
pub fn table(indent: usize, rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let fill = " ".repeat(width - cell.chars().count());
            let cell = plain(cell);
            line += &if right.contains(&column) { fill + &cell } else { cell + &fill };
            line += "  ";
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A document for programs, with a line's end.
///
/// # Errors
/// Never in practice: a defect of ours.
pub fn json(value: &impl serde::Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value)
        .map(|text| escaped_json(text) + "\n")
        .map_err(|error| CliError::Internal(format!("JSON output: {error}")))
}

/// Text of many lines without anything that a terminal would obey.
pub fn shown(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// How much of each row is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// What fits into [`COLUMNS`], with IPv4 addresses.
    Short,
    /// All columns.
    Wide,
}

/// Characters of a line on a terminal.
pub const COLUMNS: usize = 80;

/// How an answer is shown.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Shape {
    /// One JSON document with stable field names
    #[arg(long)]
    pub json: bool,
    /// All columns and whole lines, also on a terminal
    #[arg(long, conflicts_with = "json")]
    wide: bool,
}

impl Shape {
    /// The width of tables: short ones on a terminal, unless all was asked for.
    pub fn width(self) -> Width {
        width_of(&io::stdout(), self.wide)
    }

    /// Shows a document as JSON or as text.
    ///
    /// # Errors
    /// As [`print()`].
    pub fn print<T: serde::Serialize>(
        self,
        value: &T,
        as_text: impl FnOnce(&T, Width) -> String,
    ) -> Result<(), CliError> {
        if self.json { print(&json(value)?) } else { self.page(&as_text(value, self.width())) }
    }

    /// Shows text, [`shaped`].
    ///
    /// # Errors
    /// As [`print()`].
    pub fn page(self, text: &str) -> Result<(), CliError> {
        write(&shaped(&io::stdout(), text, self.wide))
    }
}

/// The width of tables for an output.
pub fn width_of(output: &impl IsTerminal, wide: bool) -> Width {
    if output.is_terminal() && !wide { Width::Short } else { Width::Wide }
}

/// Text as it is [`shown`] on an output: on a terminal in lines that fit, and with what matters in colour, but for those who
/// want none (NO_COLOR).
pub fn shaped(output: &(impl RawStream + IsTerminal), text: &str, wide: bool) -> String {
    let text = shown(text);
    let text = if width_of(output, wide) == Width::Short { folded(&text) } else { text };
    if AutoStream::choice(output) == ColorChoice::Never { text } else { painted(&text) }
}

/// Writes to standard output in one piece, as it is [`shown`]. A reader that has gone (`| head`) is no failure.
///
/// # Errors
/// Standard output can't be written.
pub fn print(text: &str) -> Result<(), CliError> {
    write(&shown(text))
}

fn write(text: &str) -> Result<(), CliError> {
    stream(text).map(drop)
}

/// Writes a part of what goes on as it is. `false`: the reader has gone.
///
/// # Errors
/// Standard output can't be written.
pub fn stream(text: &str) -> Result<bool, CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(CliError::Unavailable(format!("standard output: {error}: free space on the disk or write elsewhere")))
        }
    }
}

/// Text in lines of at most [`COLUMNS`]. A longer one goes on below, under its second column where it has one; a word that is
/// longer stays whole.
pub fn folded(text: &str) -> String {
    text.split('\n').map(fold).collect::<Vec<_>>().join("\n")
}

fn fold(line: &str) -> String {
    let length = |text: &str| text.chars().count();
    if length(line) <= COLUMNS {
        return line.to_owned();
    }
    let margin = length(line) - length(line.trim_start());
    let second = line
        .trim_start()
        .split_once("  ")
        .map(|(first, rest)| margin + length(first) + 2 + length(rest) - length(rest.trim_start()));
    let margin = second.filter(|column| *column <= COLUMNS / 2).unwrap_or(margin + 4);
    let below = format!("\n{}", " ".repeat(margin));
    let (mut text, mut column) = (String::new(), 0);
    let mut add = |gap: usize, word: &str| {
        if column + gap + length(word) > COLUMNS && column > margin {
            text += &below;
            column = margin;
        } else {
            text += &" ".repeat(gap);
            column += gap;
        }
        text += word;
        column += length(word);
        column
    };
    // A cell stays whole where a line of its own has room for it.
    let (mut gap, mut column) = (0, 0);
    for cell in line.split("  ") {
        let (spaces, cell) = (length(cell) - length(cell.trim_start()), cell.trim_start());
        gap += spaces;
        if !cell.is_empty() {
            let in_words = column == 0 || column == margin || margin + length(cell) > COLUMNS;
            if in_words {
                for (at, word) in cell.split(' ').enumerate() {
                    column = add(if at == 0 { gap } else { 1 }, word);
                }
            } else {
                column = add(gap, cell);
            }
            gap = 0;
        }
        gap += 2;
    }
    text
}

const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
const STRESSED: Style = Style::new().bold();

/// What stands out on a page, wherever it stands.
const LOUD: [(&str, Style); 19] = [
    ("NOT OK", BAD),
    ("NOT RELIABLE", BAD),
    ("NOT KEPT", BAD),
    ("FINDING", BAD),
    ("CRITICAL", BAD),
    ("TAMPERED", BAD),
    ("CONTENDED", BAD),
    ("REFUSED", BAD),
    ("SUSPENDED", BAD),
    ("EXPIRED", BAD),
    ("DETACHED", BAD),
    ("UNWATCHED", BAD),
    ("BEHIND", BAD),
    ("HELD", BAD),
    ("LAST GOOD", BAD),
    ("UNCONFIRMED", DOUBTFUL),
    ("BY HAND", DOUBTFUL),
    ("WARNING", DOUBTFUL),
    ("ENFORCE", STRESSED),
];

/// The same of cells of tables.
const CELLS: [(&str, Style); 6] = [
    ("denied", BAD),
    ("dropped", BAD),
    ("High", BAD),
    ("observed", DOUBTFUL),
    ("would drop", DOUBTFUL),
    ("notice", DOUBTFUL),
];

/// A page with what matters in colour. What is other people's text in it is no longer what a terminal would obey.
fn painted(text: &str) -> String {
    let mut painted = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let before = &text[..text.len() - rest.len()];
        let bounds = |word: &str, bound: fn(&str, &str) -> bool| {
            rest.strip_prefix(word).is_some_and(|after| bound(before, after))
        };
        let loud = LOUD.iter().find(|(word, _)| bounds(word, is_word));
        match loud.or_else(|| CELLS.iter().find(|(word, _)| bounds(word, is_cell))) {
            Some((word, style)) => {
                painted += &format!("{style}{word}{style:#}");
                rest = &rest[word.len()..];
            }
            None => {
                painted.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    painted
}

/// Whether what stands between these two is a word of its own.
fn is_word(before: &str, after: &str) -> bool {
    !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
}

/// Whether it is a cell of a table.
fn is_cell(before: &str, after: &str) -> bool {
    let begins = before.is_empty() || before.ends_with('\n') || before.ends_with("  ");
    begins && (after.is_empty() || after.starts_with('\n') || after.starts_with("  "))
}

/// Paragraphs, with an empty line between them.
pub fn joined(paragraphs: impl Iterator<Item = String>) -> String {
    paragraphs.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use monitor_policy::text::is_unsafe;

    use super::*;

    #[test]
    fn what_is_printed_moves_no_cursor_and_turns_no_text_around() {
        let hostile = "a\u{1b}[2J\u{202e}b\u{2066}\u{7f}\u{9b}\u{2028}c";
        let text = shown(&format!("{hostile}\n größe\n"));
        assert_eq!(text, "a\u{fffd}[2J\u{fffd}b\u{fffd}\u{fffd}\u{fffd}\u{fffd}c\n größe\n");
        let document = json(&[hostile, "größe"]).unwrap();
        assert!(document.contains("größe") && !document.chars().any(|c| c != '\n' && is_unsafe(c)), "{document:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&document).unwrap(), [hostile, "größe"]);
    }

    #[test]
    fn columns_line_up_no_line_ends_in_spaces_and_hostile_text_stays_in_its_cell() {
        let rows = [cells(&["name", "packets", ""]), cells(&["eth0", "5", "x"]), cells(&["a\u{1b}[2J", "1,000"])];
        assert_eq!(table(2, &rows, &[1]), "  name   packets\n  eth0         5  x\n  a\u{fffd}[2J    1,000\n");
    }

    #[test]
    fn a_line_that_is_too_long_goes_on_under_its_second_column_and_its_words_stay_whole() {
        let word = "x".repeat(30);
        let line = format!("    notice       {word} {word} {word}");
        let below = format!("    notice       {word} {word}\n                 {word}");
        assert_eq!(folded(&format!("short\n{line}\n")), format!("short\n{below}\n"));
        // Without a second column, and with one that is too far to the right.
        assert_eq!(folded(&format!("a {word} {word} {word}")), format!("a {word} {word}\n    {word}"));
        assert_eq!(folded(&format!("a {word} {word}  {word}")), format!("a {word} {word}\n    {word}"));
        let long = "y".repeat(100);
        assert_eq!(folded(&format!("digest  {long}")), format!("digest  {long}"));
        assert_eq!(folded(&format!("digest {word} {long} z")), format!("digest {word}\n    {long}\n    z"));
    }

    #[test]
    fn what_matters_is_in_colour_as_words_and_cells_and_nothing_in_other_words() {
        let bad = |text: &str| format!("\u{1b}[1m\u{1b}[31m{text}\u{1b}[0m");
        assert_eq!(painted("NOT OK  enforced: dropped\n"), format!("{}  enforced: dropped\n", bad("NOT OK")));
        assert_eq!(painted("SG  denied  2 KiB\n"), format!("SG  {}  2 KiB\n", bad("denied")));
        assert_eq!(painted("    dropped\nundropped"), format!("    {}\nundropped", bad("dropped")));
        assert_eq!(painted("REFUSED_x größe UNREFUSED"), format!("{}_x größe UNREFUSED", bad("REFUSED")));
    }
}
