//! Child processes: quiet look-ups, long steps with a sign of life, and stages whose own output is shown.
//! Commands come in, checked results go out; every other file of xtask runs its programs through here.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A long step says that it is alive this often.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Lines of a failed step's output that are shown.
const TAIL: usize = 25;

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A command that runs in the repository, without the library path that `cargo run` gives to its children (it
/// names the wrong toolchain's libraries for every other one), and without standard input.
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).env_remove("LD_LIBRARY_PATH").stdin(Stdio::null());
    command
}

/// What the command printed on stdout; `None` if it is not there or failed.
pub fn look(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = command(program, arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as a person would type it.
pub fn show(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            // Writing to a String does not fail.
            let _ = write!(text, "{}={} ", name.to_string_lossy(), value.to_string_lossy());
        }
    }
    text.push_str(&command.get_program().to_string_lossy());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs one step of the set-up: a line that says what it is, elapsed seconds while it runs, and how it ended. Its
/// output is shown only if it fails.
///
/// # Errors
/// The command that failed, with the end of its output.
pub fn step(what: &str, command: &mut Command) -> Result<()> {
    let begun = Instant::now();
    let mut err = std::io::stderr();
    let say = |err: &mut std::io::Stderr, text: &str| {
        // A closed stderr is no reason to stop the work.
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    };
    say(&mut err, &format!("setup: {what} …"));
    let (mut reader, writer) = std::io::pipe().context("making a pipe")?;
    let text = show(command);
    let mut child = command
        .stdout(writer.try_clone().context("duplicating a pipe")?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start `{text}`"))?;
    // The command keeps the pipe's other end open until it is dropped or given other streams.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (done, ended) = mpsc::channel();
    let collector = thread::spawn(move || {
        let mut output = Vec::new();
        let read = reader.read_to_end(&mut output);
        // The receiver waits for exactly this.
        let _ = done.send(());
        read.map(|_| output)
    });
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(HEARTBEAT) {
        say(&mut err, &format!(" {}s", begun.elapsed().as_secs()));
    }
    let status = child.wait().with_context(|| format!("waiting for `{text}`"))?;
    let output = match collector.join() {
        Ok(output) => output.with_context(|| format!("reading the output of `{text}`"))?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    if status.success() {
        say(&mut err, &format!(" done in {:.1} s\n", begun.elapsed().as_secs_f64()));
        return Ok(());
    }
    say(&mut err, &format!(" failed after {:.1} s\n", begun.elapsed().as_secs_f64()));
    let output = String::from_utf8_lossy(&output);
    let lines: Vec<&str> = output.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n    ");
    bail!("`{text}` failed ({status}). The end of its output:\n    {tail}")
}

/// Runs a stage whose output people want to see, and says how long it took.
///
/// # Errors
/// The command that failed.
pub fn stage(name: &str, command: &mut Command) -> Result<()> {
    let begun = Instant::now();
    let text = show(command);
    let status = command.status().with_context(|| format!("cannot start `{text}`"))?;
    let took = begun.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{name} failed after {took:.1} s: `{text}` ({status})");
    }
    eprintln!("xtask: {name}: {took:.1} s");
    Ok(())
}

/// Like [`stage`], and gives each line of what is shown to `see`, too.
///
/// # Errors
/// The command that failed.
pub fn watched(name: &str, command: &mut Command, mut see: impl FnMut(&str)) -> Result<()> {
    let begun = Instant::now();
    let text = show(command);
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    command.stdout(writer.try_clone().context("duplicating a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start `{text}`"))?;
    // The command keeps the pipe's other end open until it is dropped or given other streams.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.with_context(|| format!("reading the output of `{text}`"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        see(&line);
    }
    let status = child.wait().with_context(|| format!("waiting for `{text}`"))?;
    let took = begun.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{name} failed after {took:.1} s: `{text}` ({status})");
    }
    eprintln!("xtask: {name}: {took:.1} s");
    Ok(())
}

/// The cargo that runs this xtask.
pub fn cargo(arguments: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}
