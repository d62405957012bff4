//! The built `egress-monitor` as a child in a namespace, with folders of its own: started, waited for by
//! condition, asked, signalled, stopped, and killed when dropped.

use std::{
    ffi::OsStr,
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{leftovers, lines::Lines, netns::Namespace};

/// How long the daemon may take to start, answer or stop before a test calls it hung: it may run in an emulator.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions to a daemon that is not ready.
const AGAIN: Duration = Duration::from_millis(20);

/// Where the built binary is: beside the tests in cargo's folder, or what `EGRESS_MONITOR` names.
///
/// # Errors
/// It is not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("EGRESS_MONITOR") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("finding this program's own file")?;
    // target/release/demo, or target/release/deps/test-…
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("egress-monitor"))
        .find(|file| file.is_file())
        .with_context(|| format!("no egress-monitor beside {}: `cargo xtask test` builds it first", own.display()))
}

/// The daemon's folders: state, runtime, configuration; each instance has its own.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    bpffs: PathBuf,
    /// What daemons here attach outlives them, until the home is gone.
    outlives: bool,
    /// Groups that the control socket serves: `auditors` and `security`.
    groups: [String; 2],
    /// The helper's socket. No test asks the host's.
    helper: PathBuf,
}

impl Home {
    /// Makes the folders.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = leftovers::folder()?;
        for name in ["config", "state", "run"] {
            std::fs::create_dir(folder.path().join(name)).context("a temporary folder")?;
        }
        let bpffs = leftovers::pins(NUMBER.fetch_add(1, Ordering::Relaxed));
        let helper = folder.path().join("run/no-helper.sock");
        Ok(Self { folder, bpffs, outlives: false, groups: Default::default(), helper })
    }

    /// One whose daemons' programs and counters outlive them, pinned on a BPF file system of its own.
    ///
    /// # Errors
    /// Not root.
    pub fn outliving() -> Result<Self> {
        let mut home = Self::new()?;
        leftovers::mount_bpffs(home.path())?;
        home.bpffs = home.path().join(leftovers::MOUNT).join("egress-monitor");
        home.outlives = true;
        Ok(home)
    }

    /// Has the state on a disk of its own, of a mebibyte.
    ///
    /// # Errors
    /// Not root.
    pub fn keep_state_on_a_small_disk(&self) -> Result<()> {
        leftovers::mount_disk(self.path())
    }

    /// Where pins are.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Where the pins of this build's layouts are.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.bpffs.join(format!("v{}", monitor_common::wire::LAYOUT))
    }

    /// Has the daemon pin in this folder, which need not be fit for it.
    pub fn pin_in(&mut self, bpffs: PathBuf) {
        (self.bpffs, self.outlives) = (bpffs, true);
    }

    /// Has the daemon ask the helper on this socket. To be called before [`configure`](Self::configure).
    pub fn ask(&mut self, helper: PathBuf) {
        self.helper = helper;
    }

    /// Has the control socket serve these groups, and lets everybody into the folders, but for the state. To be called
    /// before [`configure`](Self::configure).
    ///
    /// # Errors
    /// The folders are gone.
    pub fn serve(&mut self, auditors: &str, security: &str) -> Result<()> {
        self.groups = [auditors.into(), security.into()];
        for folder in ["", "config", "run"] {
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(self.path().join(folder), open).context("a temporary folder")?;
        }
        Ok(())
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path().join("config/config.toml")
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path().join("run/control.sock")
    }

    /// The folder around everything, for more files.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration: `text`, and `[paths]` with this home's folders. The file is replaced in one step.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, text: &str) -> Result<()> {
        let path = self.path().display();
        let [auditors, security] = &self.groups;
        let text = format!(
            "{text}\n[paths]\nconfig_dir = \"{path}/config\"\nstate = \"{path}/state\"\nruntime = \"{path}/run\"\n\
             bpffs = \"{}\"\nhelper = \"{}\"\nauditors = {auditors:?}\nsecurity = {security:?}\n",
            self.bpffs.display(),
            self.helper.display()
        );
        let draft = self.path().join("config/draft");
        std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, self.config())).context("the configuration")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Only there if the daemon pinned something and was killed.
        if !self.outlives && self.bpffs.exists() {
            let _ = std::fs::remove_dir_all(&self.bpffs);
        }
        leftovers::unmount(self.folder.path());
    }
}

/// A running `egress-monitor run`.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    home: Home,
    /// Its standard output: alerts, one JSON object a line.
    pub alerts: Lines,
    /// Its standard error.
    pub log: Lines,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit status.
    pub status: ExitStatus,
    /// Everything on standard output.
    pub alerts: Vec<String>,
    /// Everything on standard error.
    pub log: Vec<String>,
}

impl Daemon {
    /// Starts it in `namespace` with `config` (TOML without `[paths]`) and further arguments of `run`, and waits
    /// until it answers.
    ///
    /// # Errors
    /// It ended or did not answer in time; says what it printed.
    pub fn start(namespace: &Namespace, config: &str, arguments: &[&str]) -> Result<Self> {
        let home = Home::new()?;
        home.configure(config)?;
        let mut daemon = Self::spawn(namespace, home, arguments)?;
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// Starts it without waiting for anything. It is killed when the calling thread ends, so that a killed test leaves no
    /// daemon behind, not even one that stands still.
    ///
    /// # Errors
    /// It is not built.
    pub fn spawn(namespace: &Namespace, home: Home, arguments: &[&str]) -> Result<Self> {
        Self::spawn_with(namespace, home, arguments, &[])
    }

    /// The same with further environment variables.
    ///
    /// # Errors
    /// It is not built.
    pub fn spawn_with(
        namespace: &Namespace,
        home: Home,
        arguments: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> Result<Self> {
        Self::spawn_by(namespace.command(binary()?)?, home, arguments, environment)
    }

    /// The same by a command that runs it, or something that does with the arguments that follow.
    ///
    /// # Errors
    /// It is not there.
    pub fn spawn_by(
        mut command: Command,
        home: Home,
        arguments: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> Result<Self> {
        // Whoever runs the tests as a service is not notified of each daemon in them.
        command.env_remove("NOTIFY_SOCKET").envs(environment.iter().copied());
        command.arg("run").arg("--config").arg(home.config()).args(arguments);
        if !home.outlives {
            command.arg("--ephemeral");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn().context("starting egress-monitor")?;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("egress-monitor was started without its output streams");
        };
        Ok(Self { child, home, alerts: Lines::collect(out), log: Lines::collect(err) })
    }

    /// Waits until `status` is answered.
    ///
    /// # Errors
    /// It ended or did not answer in time; says what it printed.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().context("looking after egress-monitor")? {
                let log = self.log.wait_for_end(PATIENCE)?;
                bail!("egress-monitor ended ({status}) instead of starting:\n{}", log.join("\n"));
            }
            let asked = self.ask(&["status", "--json"])?;
            if asked.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let said = String::from_utf8_lossy(&asked.stderr);
                bail!("egress-monitor does not answer: {}\n{}", said.trim(), self.log.all().join("\n"));
            }
            // The socket gives no sign of its coming; its being there is the condition.
            std::thread::sleep(AGAIN);
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its folders.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// Its folders, when it has ended: for the next one.
    ///
    /// # Errors
    /// It runs.
    pub fn into_home(mut self) -> Result<Home> {
        if self.child.try_wait().context("looking after egress-monitor")?.is_none() {
            bail!("egress-monitor still runs");
        }
        let next = Home {
            folder: leftovers::folder()?,
            bpffs: PathBuf::new(),
            outlives: false,
            groups: Default::default(),
            helper: PathBuf::new(),
        };
        Ok(std::mem::replace(&mut self.home, next))
    }

    /// Runs another `egress-monitor` command on its socket: `daemon.ask(&["flows", "--json"])`.
    ///
    /// # Errors
    /// The command cannot be started; its own failure is in the output.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(arguments).arg("--socket").arg(self.home.socket()).stdin(Stdio::null());
        command.output().context("starting egress-monitor")
    }

    /// Like [`Daemon::ask`] for a command that prints JSON.
    ///
    /// # Errors
    /// The command failed, or printed something else.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.ask(&[arguments, &["--json"]].concat())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`egress-monitor {}` ended with {}: {}", arguments.join(" "), output.status, said.trim());
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`egress-monitor {} --json` printed no JSON", arguments.join(" ")))
    }

    /// Asks again and again until `enough` accepts the answer.
    ///
    /// # Errors
    /// It did not within [`PATIENCE`]; says the last answer.
    pub fn json_until(&self, arguments: &[&str], enough: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.json(arguments)?;
            if enough(&answer) {
                return Ok(answer);
            }
            if Instant::now() > deadline {
                bail!("`egress-monitor {}` did not become as expected: {answer:#}", arguments.join(" "));
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: i32) -> Result<()> {
        // SAFETY: plain system call; the child is not yet waited for, so its id is still its own.
        if unsafe { libc::kill(self.child.id() as libc::pid_t, signal) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error()).context("sending a signal to egress-monitor")
        }
    }

    /// Stops it (SIGSTOP), and returns when all its threads stand still: the signal alone takes a while to reach them.
    ///
    /// # Errors
    /// It is gone, or does not stop.
    pub fn stand_still(&self) -> Result<()> {
        self.signal(libc::SIGSTOP)?;
        let tasks = format!("/proc/{}/task", self.child.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let stopped = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
            let mut threads = std::fs::read_dir(&tasks).context("reading the daemon's threads")?.flatten();
            if threads.all(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(stopped)) {
                return Ok(());
            }
            std::thread::yield_now();
        }
        bail!("egress-monitor does not stop")
    }

    /// Writes a new configuration and has it read (SIGHUP).
    ///
    /// # Errors
    /// It cannot be written, or the daemon is gone.
    pub fn reconfigure(&self, config: &str) -> Result<()> {
        self.home.configure(config)?;
        self.signal(libc::SIGHUP)
    }

    /// Ctrl-C, then waits for its end.
    ///
    /// # Errors
    /// It does not end within [`PATIENCE`].
    pub fn stop(mut self) -> Result<Ended> {
        self.signal(libc::SIGINT)?;
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within [`PATIENCE`].
    pub fn wait(&mut self) -> Result<Ended> {
        let ended = self.child.try_wait().context("looking after egress-monitor")?.is_some();
        if !ended && !ends_within(&self.child, PATIENCE)? {
            bail!("egress-monitor does not end:\n{}", self.log.all().join("\n"));
        }
        let status = self.child.wait().context("waiting for egress-monitor")?;
        let ended =
            Ended { status, alerts: self.alerts.wait_for_end(PATIENCE)?, log: self.log.wait_for_end(PATIENCE)? };
        // For `cargo xtask prove receivers`, which has somebody else look at them.
        if let Some(file) = std::env::var_os("ALERT_LINES") {
            let lines: String = ended.alerts.iter().flat_map(|line| [line, "\n"]).collect();
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).context("ALERT_LINES")?;
            file.write_all(lines.as_bytes()).context("ALERT_LINES")?;
        }
        Ok(ended)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Ctrl-C first: it takes its programs off the interfaces.
            let _ = self.signal(libc::SIGINT);
            if !ends_within(&self.child, Duration::from_secs(3)).unwrap_or(false) {
                let _ = self.child.kill();
            }
            let _ = self.child.wait();
        }
    }
}

/// Waits for a child's end without reaping it.
fn ends_within(child: &Child, time: Duration) -> Result<bool> {
    // SAFETY: plain system call; the child is ours and not reaped, so the id is its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("pidfd_open");
    }
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut ready = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, which outlives the call.
        let result = unsafe { libc::poll(&raw mut ready, 1, i32::try_from(left.as_millis()).unwrap_or(i32::MAX)) };
        match result {
            0 => return Ok(false),
            1.. => return Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error).context("poll");
                }
            }
        }
    }
}
