//! The packet corpus as inputs of the fuzz targets, one file a case: `seeds FOLDER`. `cargo xtask prove fuzz` runs it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use egress_monitor_tests::corpus::{Case, corpus};

/// Longer inputs (super-packets, jumbograms) are left out: the repository keeps these files.
const MAX_BYTES: usize = 4096;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: seeds FOLDER")?;
    let folder = Path::new(&folder);
    let cases = corpus();
    write(&folder.join("parse"), cases.iter().map(|case| (case.name, parse(case))))?;
    let in_sequence = cases.iter().filter(|case| !case.before.is_empty());
    write(&folder.join("fragments"), in_sequence.map(|case| (case.name, fragments(case))))
}

/// The link layer, then the frame.
fn parse(case: &Case) -> Vec<u8> {
    [&[case.link as u8], case.frame.as_slice()].concat()
}

/// The link layer, then for each frame the seconds since the one before, its length, and the frame.
fn fragments(case: &Case) -> Vec<u8> {
    let mut input = vec![case.link as u8];
    for frame in case.before.iter().chain([&case.frame]) {
        input.push(1);
        // What does not fit is left out below.
        input.extend((frame.len() as u16).to_be_bytes());
        input.extend(frame);
    }
    input
}

fn write(folder: &Path, inputs: impl Iterator<Item = (&'static str, Vec<u8>)>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut count = 0;
    for (name, input) in inputs.filter(|(_, input)| input.len() <= MAX_BYTES) {
        let file = folder.join(name);
        fs::write(&file, input).with_context(|| format!("writing {}", file.display()))?;
        count += 1;
    }
    println!("{count} files in {}", folder.display());
    Ok(())
}
