//! Each way in which a configuration can be wrong, with the exact line that is said of it. A file a subject; here is
//! what they share.

mod declared;
mod files;
mod forms;
mod keys;
mod receivers;
mod reporting;
mod retiming;
mod rules;
mod zone;

use std::{fs, path::Path};

use monitor_common::parse::Reason;
use monitor_policy::{
    geo::Country,
    spec::{Action, Mode, PortRange, Zone},
};

use super::*;

/// Loads `text` as the file `config.toml` of a directory of its own, with others beside it. Problems are given with
/// that directory and the column left out; the columns have a test of their own.
fn load_with(text: &[u8], others: &[(&str, &[u8])]) -> Result<Config, Vec<String>> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("config.toml");
    fs::write(&file, text).expect("written");
    for (name, content) in others {
        fs::write(directory.path().join(name), content).expect("written");
    }
    let prefix = format!("{}/", directory.path().display());
    load(Some(&file)).map_err(|error| {
        let without_column = |problem: Problem| Problem { column: None, ..problem }.to_string().replace(&prefix, "");
        error.problems.into_iter().map(without_column).collect()
    })
}

fn good(text: &str) -> Config {
    load_with(text.as_bytes(), &[]).unwrap_or_else(|problems| panic!("refused: {problems:#?}"))
}

fn problems(text: &str) -> Vec<String> {
    load_with(text.as_bytes(), &[]).expect_err("must be refused")
}

#[track_caller]
fn refused(text: &str, message: &str) {
    assert_eq!(problems(text), [message]);
}
