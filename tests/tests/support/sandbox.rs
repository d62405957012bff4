//! A host for commands as documentation has them: `/etc`, `/run` and `/var/lib` of its own, empty at first, and the network
//! of a namespace. What is done there is gone with it.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use egress_monitor_tests::{
    daemon::binary,
    lines::Lines,
    netns::Namespace,
    stage::{PATIENCE, v4},
};

/// Where everything of IPv6 is.
const GEO: &str = "2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,IE\n";

/// A configuration of a host in the EEA: sites by name, country, and the numbers of their addresses.
pub fn config(mode: &str, sites: &[(&str, &str, &[u8])]) -> String {
    let site = |(name, country, numbers): &(&str, &str, &[u8])| {
        let networks: Vec<String> = numbers.iter().map(|number| format!("\"{}/32\"", v4(*number))).collect();
        format!("[[site]]\nname = \"{name}\"\ncountry = \"{country}\"\nnetworks = [{}]\n", networks.join(", "))
    };
    format!(
        "[monitor]\nmode = \"{mode}\"\ninterfaces = [\"eth0\"]\n[zone]\ninside = \"EEA\"\n[management]\nnetworks = \
         []\n[geo]\nsources = [\"/etc/egress-monitor/geo.csv\"]\n{}",
        sites.iter().map(site).collect::<String>(),
    )
}

/// See the module.
pub struct Sandbox<'a> {
    namespace: &'a Namespace,
    holder: Child,
    mounts: File,
}

impl<'a> Sandbox<'a> {
    /// Makes one, with a configuration at its place.
    pub fn make(namespace: &'a Namespace, config: &str) -> Self {
        let mut command = namespace.command("sleep").unwrap();
        command.arg("infinity").stdin(Stdio::null());
        // SAFETY: between fork and exec there are system calls alone, with literals.
        unsafe { command.pre_exec(alone) };
        let holder = command.spawn().unwrap();
        let mounts = File::open(format!("/proc/{}/ns/mnt", holder.id())).unwrap();
        let made = Self { namespace, holder, mounts };
        made.write("egress-monitor/config.toml", config);
        made.write("egress-monitor/geo.csv", GEO);
        made
    }

    /// A daemon there, when it has started.
    pub fn daemon(&self, arguments: &[&str]) -> SandboxDaemon {
        let mut command = self.command(binary().unwrap());
        let mut child =
            command.arg("run").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let alerts = Lines::collect(child.stdout.take().unwrap());
        let log = Lines::collect(child.stderr.take().unwrap());
        let daemon = SandboxDaemon { child, alerts, log };
        let started = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"started\""));
        started.unwrap_or_else(|_| panic!("{:#?}", daemon.log.all()));
        daemon
    }

    /// Writes a file below `/etc`.
    pub fn write(&self, name: &str, text: &str) {
        let file = Path::new("/proc").join(self.holder.id().to_string()).join("root/etc").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// What a file below `/etc` says.
    pub fn read(&self, name: &str) -> String {
        let file = Path::new("/proc").join(self.holder.id().to_string()).join("root/etc").join(name);
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// A command there, in `/etc/egress-monitor`; `egress-monitor` is the one that was built.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.namespace.command(program).unwrap();
        let mounts = self.mounts.try_clone().unwrap();
        // SAFETY: the same.
        unsafe {
            command.pre_exec(move || {
                done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
                done(libc::setns(mounts.as_raw_fd(), libc::CLONE_NEWNS))?;
                done(libc::chdir(c"/etc/egress-monitor".as_ptr()))
            });
        }
        let built = binary().unwrap();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", built.parent().unwrap().display());
        command.env("PATH", path).env_remove("NOTIFY_SOCKET").env_remove("SSH_CONNECTION").stdin(Stdio::null());
        command
    }

    /// Lines for a shell.
    pub fn shell(&self, lines: &str) -> Command {
        let mut command = self.command("sh");
        command.args(["-ec", lines]);
        command
    }
}

/// A daemon in a sandbox, which ends with this.
pub struct SandboxDaemon {
    child: Child,
    alerts: Lines,
    log: Lines,
}

impl SandboxDaemon {
    /// Ends it, in order.
    pub fn end(mut self, signal: libc::c_int) {
        // SAFETY: plain system call; the child is ours and not reaped.
        unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), signal) };
        assert!(self.child.wait().unwrap().success(), "{:#?}", self.log.all());
    }
}

impl Drop for SandboxDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Folders of its own, for this process and those that follow it there.
fn alone() -> io::Result<()> {
    let none = std::ptr::null();
    // SAFETY: system calls, with literals that end in NUL.
    unsafe {
        done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        done(libc::unshare(libc::CLONE_NEWNS))?;
        done(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()))?;
        for folder in [c"/etc", c"/run", c"/var/lib"] {
            done(libc::mount(c"tmpfs".as_ptr(), folder.as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()))?;
        }
        done(libc::mkdir(c"/etc/egress-monitor".as_ptr(), 0o755))
    }
}
