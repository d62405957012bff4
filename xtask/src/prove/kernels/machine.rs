//! A kernel in the emulator: booted, its console shown and read.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{process::command, prove::Tests};

pub const EMULATOR: &str = "qemu-system-x86_64";

/// The one that says what the verifier walked through.
const VERIFIER: &str = "attach";

/// A kernel with what is run on it.
pub struct Machine {
    pub name: &'static str,
    pub release: String,
    pub modules: Vec<&'static str>,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

impl Machine {
    /// What there is to say of it, and whether all is well.
    pub fn boot(&self, limit: Duration) -> Result<(String, bool)> {
        let began = Instant::now();
        let (outcome, end) = boot(self.name, &self.kernel, &self.initrd, limit)?;
        let count = format!(
            "{} verified instructions, {} tests passed, {} failed{end} ({:.0} s)",
            outcome.verified.map_or_else(|| "no".into(), |n| n.to_string()),
            outcome.tests.passed,
            outcome.tests.failed,
            began.elapsed().as_secs_f64(),
        );
        Ok((count, outcome.is_good(&self.modules)))
    }
}

/// What a kernel's console said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Instructions that the verifier walked through; none if the program did not load.
    verified: Option<u32>,
    tests: Tests,
    /// Modules of tests that ended well and had a test.
    ended_well: usize,
    /// Tests that had passed when the last module ended.
    before: u32,
}

impl Outcome {
    fn read(&mut self, line: &str) {
        self.tests.read(line);
        if let Some((_, rest)) = line.split_once("verified instructions: ") {
            self.verified = rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|text| text.parse().ok());
        } else if line.contains("=== ") && line.contains(" ended with ") {
            let well = line.trim_end().ends_with(" ended with 0") && self.tests.passed > self.before;
            self.ended_well += usize::from(well);
            self.before = self.tests.passed;
        }
    }

    fn is_good(&self, modules: &[&str]) -> bool {
        let loads = self.verified.is_some() || !modules.contains(&VERIFIER);
        loads && self.tests.failed == 0 && self.ended_well == modules.len()
    }
}

/// Boots, shows the console, and gives what it said; beside it, words on how it ended if not by itself.
fn boot(name: &str, kernel: &Path, initrd: &Path, limit: Duration) -> Result<(Outcome, &'static str)> {
    // Emulated wholly, the same everywhere, with or without KVM. Two processors by turns in one thread: in a thread
    // each, an emulator (QEMU 7.2) that lags behind while one processor patches the other's code (static keys) makes
    // the kernel panic at `int3`.
    let accelerator = "tcg,thread=single";
    let mut emulator: Command = command(EMULATOR, &["-accel", accelerator, "-cpu", "max", "-m", "2G", "-smp", "2"]);
    emulator.args(["-nographic", "-no-reboot", "-nic", "none", "-append", "console=ttyS0 quiet panic=-1"]);
    emulator.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).stdout(Stdio::piped());
    eprintln!("xtask: booting {}", kernel.display());
    let until = Instant::now() + limit;
    let mut child = emulator.spawn().with_context(|| format!("cannot start {EMULATOR}"))?;
    let console = child.stdout.take().context("the emulator has no standard output")?;
    let (send, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n') {
            let Ok(line) = line else { return };
            // The receiver is gone when the time is over.
            if send.send(plain(&String::from_utf8_lossy(&line))).is_err() {
                return;
            }
        }
    });
    let mut outcome = Outcome::default();
    let mut end = "";
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{name}: {line}");
                outcome.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end = ", stopped: time is over (--minutes)";
                break;
            }
        }
    }
    // Harmless when it has ended by itself.
    let _: std::io::Result<()> = child.kill();
    child.wait().with_context(|| format!("waiting for {EMULATOR}"))?;
    drop(lines);
    if reader.join().is_err() {
        bail!("the thread that reads the console panicked");
    }
    Ok((outcome, end))
}

/// A line without what would clear or colour the terminal that it is shown on (the BIOS does).
fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // `[`, parameters, a letter; or one letter alone.
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |letter| letter + 1);
        text.push_str(&part[end..]);
    }
    text.retain(|c| c == '\t' || !c.is_control());
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: [&str; 3] = ["datapath", "attach", "grace"];

    #[test]
    fn nothing_that_would_clear_the_terminal_is_shown() {
        assert_eq!(plain("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1)\r"), "SeaBIOS (version 1)");
        assert_eq!(plain("test a ... \x1b[32mok\x1b[0m"), "test a ... ok");
        assert_eq!(plain("[    2.3] reboot"), "[    2.3] reboot");
    }

    #[test]
    fn the_console_shows_what_the_verifier_and_the_tests_said() {
        let mut outcome = Outcome::default();
        for line in [
            "=== datapath starts",
            "test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 8.01s",
            "=== datapath ended with 0",
            "test the_verifier ... verified instructions: 202072",
        ] {
            outcome.read(line);
        }
        let tests = Tests { passed: 9, failed: 0 };
        assert_eq!(outcome, Outcome { verified: Some(202_072), tests, ended_well: 1, before: 9 });
        for name in &MODULES[1..] {
            assert!(!outcome.is_good(&MODULES), "one module has not ended yet");
            outcome
                .read("test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.00s");
            outcome.read(&format!("=== {name} ended with 0"));
        }
        assert!(outcome.is_good(&MODULES));
    }

    #[test]
    fn a_failed_test_or_a_program_that_died_is_no_success() {
        let ended_well = MODULES.len() - 1;
        let tests = Tests { passed: 5, failed: 0 };
        let mut outcome = Outcome { verified: Some(1), tests, ended_well, before: 4 };
        outcome.read("=== attach ended with 139");
        assert!(!outcome.is_good(&MODULES));
        outcome.read("=== attach ended with 0");
        assert!(!outcome.is_good(&MODULES), "no test has run since");
        outcome.read("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        outcome.read("=== attach ended with 0");
        assert!(outcome.is_good(&MODULES));
        outcome.read("test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!((outcome.tests.passed, outcome.tests.failed), (9, 1));
        assert!(!outcome.is_good(&MODULES));
    }
}
