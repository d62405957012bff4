//! Tables in aligned columns, JSON documents, and the one way to standard output. Called by every command and by the
//! daemon's closing table.

use std::io::{self, ErrorKind, Write as _};

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

/// Writes to standard output in one piece, as it is [`shown`]. A reader that has gone (`| head`) is no failure.
///
/// # Errors
/// Standard output can't be written.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(shown(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::Unavailable(format!("standard output: {error}: free space on the disk or write elsewhere")))
        }
        _ => Ok(()),
    }
}

/// [`print()`]s a document as JSON or as text.
///
/// # Errors
/// As [`print()`].
pub fn print_either<T: serde::Serialize>(
    as_json: bool,
    value: &T,
    as_text: impl FnOnce(&T) -> String,
) -> Result<(), CliError> {
    print(&if as_json { json(value)? } else { as_text(value) })
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
}
