//! The helper as a child's child, with the socket that a service manager would hold for it, and with as little as its unit
//! leaves it: four capabilities, no network, a mount namespace of its own with a /proc that hides what it may not trace.

use std::{
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{fs::PermissionsExt as _, fs::chown, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

use crate::{
    daemon::{PATIENCE, binary},
    leftovers,
};

/// What it has of capabilities, as its unit says.
const FOUR: &str = "-all,+sys_admin,+sys_chroot,+chown,+sys_ptrace";

/// A socket, and the helper that answers on it.
#[derive(Debug)]
pub struct HelperProcess {
    folder: TempDir,
    listener: OwnedFd,
    /// Who starts it.
    child: Option<Child>,
}

impl HelperProcess {
    /// The socket, of this user. Nobody answers yet.
    ///
    /// # Errors
    /// Not root.
    pub fn listen(owner: u32) -> Result<Self> {
        let folder = leftovers::folder()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
            .context("a temporary folder")?;
        let path = folder.path().join("helper.sock");
        let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None).context("a socket")?;
        listener.bind(&SockAddr::unix(&path).context("the socket's name")?).context("the helper's socket")?;
        listener.listen(16).context("the helper's socket")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).context("the helper's socket")?;
        chown(&path, Some(owner), Some(owner)).context("the helper's socket")?;
        Ok(Self { folder, listener: listener.into(), child: None })
    }

    /// The socket's file.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("helper.sock")
    }

    /// Where it mounts.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.folder.path().join(leftovers::MOUNT)
    }

    /// Starts it, and waits until it answers. It mounts in the mount namespace of the process.
    ///
    /// # Errors
    /// It is not built, or ended, which it says on standard error.
    pub fn start(&mut self, namespace_of: u32) -> Result<()> {
        let helper = format!(
            "LISTEN_PID=$$ LISTEN_FDS=1 exec setpriv --pdeathsig KILL --bounding-set {FOUR} --no-new-privs -- \"$0\" \"$@\""
        );
        // Started again when it has ended in order, as by its socket.
        let setup = format!(
            "mount -t proc -o hidepid=invisible,subset=pid proc /proc && while sh -c '{helper}' \"$0\" \"$@\"; do :; done"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--propagation", "slave", "sh", "-c", &setup]).arg(binary()?);
        command.arg("helper").arg("--bpffs").arg(self.bpffs());
        command.arg("--mount-namespace").arg(format!("/proc/{namespace_of}/ns/mnt")).stdin(Stdio::null());
        let listener = self.listener.as_raw_fd();
        // SAFETY: between fork and exec the closure makes three system calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                let done = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
                    && libc::dup2(listener, 3) == 3
                    && libc::fcntl(3, libc::F_SETFD, 0) == 0;
                if done { Ok(()) } else { Err(io::Error::last_os_error()) }
            });
        }
        self.child = Some(command.spawn().context("starting the helper")?);
        self.answers()
    }

    fn answers(&self) -> Result<()> {
        let connection = Self::connect(&self.socket()).context("the helper's socket")?;
        // No question, which is answered, too.
        connection.send(&[0]).context("the helper's socket")?;
        (&connection).read_exact(&mut [0]).context("the helper does not answer")
    }

    /// Its process.
    ///
    /// # Errors
    /// It was not started, or failed.
    pub fn id(&self) -> Result<u32> {
        let keeper = self.child.as_ref().context("the helper was not started")?.id();
        let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"));
        let children = children.context("looking after the helper")?;
        children.split_whitespace().find_map(|child| child.parse().ok()).context("the helper has failed")
    }

    /// Kills it. The socket stays, and whoever connects waits.
    ///
    /// # Errors
    /// It was not started.
    pub fn kill(&mut self) -> Result<()> {
        let (helper, mut keeper) = (self.id()?, self.child.take().context("the helper was not started")?);
        keeper.kill().context("killing the helper")?;
        keeper.wait().context("waiting for the helper")?;
        // It dies of its parent's death, a moment later.
        let deadline = Instant::now() + PATIENCE;
        while std::fs::read_link(format!("/proc/{helper}/exe")).is_ok() {
            ensure!(Instant::now() < deadline, "the helper lives on");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until it has ended by itself, in order, and another one is there.
    ///
    /// # Errors
    /// It does not in this time, or failed.
    pub fn is_another_within(&self, time: Duration) -> Result<()> {
        let (first, deadline) = (self.id()?, Instant::now() + time);
        while self.id().is_ok_and(|id| id == first) {
            ensure!(Instant::now() < deadline, "the helper does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.answers()
    }

    /// A connection to it.
    ///
    /// # Errors
    /// It is refused.
    pub fn connect(path: &Path) -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }
}

impl Drop for HelperProcess {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        leftovers::unmount(self.folder.path());
    }
}
