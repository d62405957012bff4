//! Values, objects and rows in; text in one of the forms that mean the same out.

use super::{Choose, chance, one_of, shuffled};

/// In upper or lower case.
pub(super) fn cased(value: &str, choose: Choose<'_>) -> String {
    if chance(choose, 2) { value.to_lowercase() } else { value.into() }
}

/// As JSON writes it, or with an escape where none is needed.
pub(super) fn quoted(text: &str, choose: Choose<'_>) -> String {
    match text.chars().next().filter(|_| chance(choose, 4)) {
        Some(first) => format!("\"\\u{:04x}{}\"", first as u32, &text[first.len_utf8()..]),
        None => format!("\"{text}\""),
    }
}

pub(super) fn object(values: &[(&str, String)], choose: Choose<'_>) -> String {
    let values: Vec<String> =
        values.iter().map(|(name, value)| format!("\"{name}\": {}", quoted(value, choose))).collect();
    format!("{{{}}}", shuffled(values, choose).join(", "))
}

/// What may stand in a file beside its lines.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Remarks behind values.
    pub remarks: bool,
    /// Comments and empty lines.
    pub blanks: bool,
    /// The first line says what the others are: nothing stands before it.
    pub header: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self { remarks: true, blanks: true, header: false }
    }
}

/// Rows of values as text, in one of the forms that mean the same.
pub fn text(rows: &[Vec<String>], of: Text, choose: Choose<'_>) -> String {
    let separator = one_of(choose, &[",", ";", "\t"]);
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let values = row.iter().enumerate().map(|(at, value)| {
                // The last in quotes: empty values at the end of a line with tabs are blanks else.
                let quoted = chance(choose, 2) || (at > 0 && at + 1 == row.len()) || value.contains([',', ';']);
                let value = if quoted { format!("\"{value}\"") } else { value.clone() };
                // A blank that is no separator here.
                if row.len() > 1 && chance(choose, 2) { format!(" {value} ") } else { value }
            });
            values.collect::<Vec<_>>().join(separator).trim_matches(' ').to_owned()
        })
        .collect();
    joined(&rows, of, choose)
}

/// Lines as a file.
pub(super) fn joined(rows: &[String], of: Text, choose: Choose<'_>) -> String {
    let end = one_of(choose, &["\n", "\r\n", "\r"]);
    let mut text = String::from(one_of(choose, &["", "\u{feff}"]));
    for (at, row) in rows.iter().enumerate() {
        if of.blanks && !(of.header && at == 0) && chance(choose, 6) {
            text += one_of(choose, &["# a comment, with commas", "", "  "]);
            text += end;
        }
        text += row;
        if of.remarks && !(of.header && at == 0) && chance(choose, 6) {
            text += " # Berlin";
        }
        // The end of the last line may be missing.
        if at + 1 < rows.len() || chance(choose, 2) {
            text += end;
        }
    }
    text
}
