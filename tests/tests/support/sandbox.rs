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

use egress_monitor_tests::{daemon::binary, netns::Namespace};

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
        made
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
