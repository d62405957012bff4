//! What every page looks like, against files beside this one that somebody has read: `NAME.80.txt` as a terminal has it,
//! `NAME.200.txt` with all columns, as `--wide` and a pipe have it. `BLESS=1` writes them; read what it changed.

mod compiled;
mod counted;
mod told;

use std::path::Path;

use super::Width;
use crate::cli::output::{COLUMNS, folded};

/// When all of it is shown: 2026-11-30T12:00:00Z.
const NOW: i128 = 1_796_040_000_000_000_000;

/// A page by its name.
type Page = (&'static str, Box<dyn Fn(Width) -> String>);

fn page(name: &'static str, text: impl Fn(Width) -> String + 'static) -> Page {
    (name, Box::new(text))
}

fn digest(letter: &str) -> String {
    letter.repeat(64)
}

#[test]
fn every_page_is_what_somebody_has_read_and_a_terminal_has_lines_that_fit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/render/golden");
    let bless = std::env::var_os("BLESS").is_some();
    let mut different = Vec::new();
    for (name, text) in counted::pages().into_iter().chain(told::pages()).chain(compiled::pages()) {
        for (columns, text) in [(COLUMNS, folded(&text(Width::Short))), (200, text(Width::Wide))] {
            let fits = |line: &str| line.chars().count() <= columns;
            // Addresses of IPv6, and words that nobody cuts, may be longer.
            assert!(columns != COLUMNS || name.ends_with("ipv6") || text.lines().all(fits), "{name}:\n{text}");
            assert!(!text.lines().any(|line| line.ends_with(' ')), "{name}:\n{text}");
            let file = folder.join(format!("{name}.{columns}.txt"));
            if bless {
                std::fs::write(&file, &text).unwrap();
            }
            if std::fs::read_to_string(&file).unwrap_or_default() != text {
                different.push(format!("{} is not:\n{text}", file.display()));
            }
        }
    }
    assert!(different.is_empty(), "{}\nBLESS=1 writes them", different.join("\n"));
}
