//! A configuration: anything is a checked configuration or a list of complaints, each of one printable line.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Patterns of file names are looked up: not in the tree of whoever fuzzes.
    if text.contains("allowlists") {
        return;
    }
    if let Err(error) = egress_monitor::config::parse(Path::new("/nonexistent/c.toml"), text) {
        assert!(!error.problems.is_empty());
        for problem in &error.problems {
            let line = problem.to_string();
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
});
