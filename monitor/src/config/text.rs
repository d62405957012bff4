//! A file name in, its text or what is wrong with the file out. Called for the configuration and for allowlists.

use std::{
    io::{self, Read as _},
    path::Path,
};

use monitor_policy::fs::open_regular;

use super::Problem;

/// More than this is no configuration; nor does an allowlist need it.
const LONGEST_FILE: u64 = 64 << 20;

/// A file's text, as it is at `at`.
pub(super) fn read_text(file: &Path, at: &Path) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    let read = open_regular(at).and_then(|opened| opened.take(LONGEST_FILE + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Problem::of_file(file, "no such file: create it or name another"));
        }
        Err(error) => {
            return Err(Problem::of_file(file, format!("can't be read: {error}: give a readable file")));
        }
        Ok(length) if length as u64 > LONGEST_FILE => {
            return Err(Problem::of_file(file, format!("longer than {} MiB: split it", LONGEST_FILE >> 20)));
        }
        Ok(_) => {}
    }
    String::from_utf8(bytes).map_err(|error| {
        let bad = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..bad];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        Problem {
            file: file.to_owned(),
            line: Some(line),
            column: Some(String::from_utf8_lossy(&before[start..]).chars().count() + 1),
            message: format!("not UTF-8 at byte '0x{:02x}': save the file as UTF-8", error.as_bytes()[bad]),
        }
    })
}
