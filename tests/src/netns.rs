//! Network namespaces: made by a test, removed when the value is dropped, also by a panic (see [`leftovers`]). Called
//! by everything that makes traffic.

use std::{
    ffi::CString,
    fs::File,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::leftovers;

/// Where iproute2 keeps named namespaces.
pub(crate) const FOLDER: &str = "/run/netns";

/// A network namespace of this test's own. It has no way out but the links that the test makes.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes one with its loopback interface up. `purpose` (letters and digits) is for the reader of `ip netns`.
    ///
    /// # Errors
    /// Not root, or no iproute2.
    pub fn new(purpose: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}-{purpose}", leftovers::prefix());
        ip(&["netns", "add", &name])?;
        let path = path(&name);
        let handle = match File::open(&path) {
            Ok(handle) => handle,
            Err(error) => {
                remove(&name);
                return Err(error).with_context(|| format!("opening {}", path.display()));
            }
        };
        let namespace = Self { name, handle };
        // No unasked-for frames: no duplicate address detection, no router solicitations, no link-local addresses,
        // no second multicast report within the life of a test.
        for family in ["default", "all"] {
            for (key, value) in [
                ("accept_dad", "0"),
                ("dad_transmits", "0"),
                ("router_solicitations", "0"),
                ("addr_gen_mode", "1"),
                ("mldv1_unsolicited_report_interval", "86400000"),
                ("mldv2_unsolicited_report_interval", "86400000"),
            ] {
                namespace.sysctl(&format!("net/ipv6/conf/{family}/{key}"), value)?;
            }
        }
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as in `ip -n NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside. Only the network namespace is another: files are the same.
    ///
    /// # Panics
    /// With `work`, or if the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(self.handle.as_fd()).expect("entering a namespace that this process made");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Like [`Namespace::run`], but goes on beside the caller. The sockets that `work` makes keep the namespace
    /// alive, even when this value is dropped first.
    ///
    /// # Errors
    /// The namespace's handle cannot be duplicated.
    ///
    /// # Panics
    /// The thread, if the namespace cannot be entered.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<thread::JoinHandle<T>> {
        let handle = self.handle.try_clone().context("duplicating a namespace handle")?;
        Ok(thread::spawn(move || {
            enter(handle.as_fd()).expect("entering a namespace that this process made");
            drop(handle);
            work()
        }))
    }

    /// A command that will run inside: in this network namespace, with the caller's file systems (`ip netns exec`
    /// would remount /sys, and hide bpffs).
    ///
    /// # Errors
    /// The namespace's handle cannot be duplicated.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let handle = self.handle.try_clone().context("duplicating a namespace handle")?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(move || enter(handle.as_fd())) };
        Ok(command)
    }

    /// `ip -n NAME ARGUMENTS`; gives back what it printed.
    ///
    /// # Errors
    /// What ip said.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// `tc ARGUMENTS` inside; gives back what it printed.
    ///
    /// # Errors
    /// What tc said.
    pub fn tc(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command("tc")?.args(arguments).output().context("cannot start `tc`: install iproute2")?;
        ensure!(
            output.status.success(),
            "`tc {}`: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes `/proc/sys/KEY`.
    ///
    /// # Errors
    /// The kernel has no such key or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys").join(key);
        self.run(|| std::fs::write(&file, value)).with_context(|| format!("writing {value} to {}", file.display()))
    }

    /// TCP segments that this namespace's TCP has sent since it was made, over both families, with those that
    /// repeat: counted by TCP itself before the packet meets any hook.
    ///
    /// # Errors
    /// `/proc/net/snmp` has another form.
    pub fn tcp_segments_sent(&self) -> Result<u64> {
        // The first number is without those that only repeat.
        self.counted_by("Tcp", &["OutSegs", "RetransSegs"])
    }

    /// IPv4 packets that have come to this namespace since it was made: no frame of what links say to each other.
    ///
    /// # Errors
    /// `/proc/net/snmp` has another form.
    pub fn ipv4_packets_received(&self) -> Result<u64> {
        self.counted_by("Ip", &["InReceives"])
    }

    /// The sum of what a protocol counts under these names.
    fn counted_by(&self, protocol: &str, wanted: &[&str]) -> Result<u64> {
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).context("/proc/net/snmp")?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            bail!("/proc/net/snmp has no {protocol} lines")
        };
        let find = |wanted: &&str| {
            let mut columns = names.split_whitespace().zip(values.split_whitespace());
            let value = columns.find(|(name, _)| name == wanted).and_then(|(_, value)| value.parse::<u64>().ok());
            value.with_context(|| format!("/proc/net/snmp has no {protocol} {wanted}"))
        };
        wanted.iter().map(find).sum()
    }

    /// What the kernel has counted on an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn statistics(&self, interface: &str) -> Result<Statistics> {
        let text = self.ip(&["-j", "-s", "link", "show", "dev", interface])?;
        let json: serde_json::Value = serde_json::from_str(&text).context("`ip -j` printed no JSON")?;
        let number = |direction: &str, name: &str| {
            json.pointer(&format!("/0/stats64/{direction}/{name}"))
                .and_then(serde_json::Value::as_u64)
                .with_context(|| format!("`ip -j -s link show dev {interface}` has no stats64.{direction}.{name}"))
        };
        Ok(Statistics {
            sent: Count { packets: number("tx", "packets")?, bytes: number("tx", "bytes")? },
            received: Count { packets: number("rx", "packets")?, bytes: number("rx", "bytes")? },
            sent_dropped: number("tx", "dropped")?,
            received_dropped: number("rx", "dropped")?,
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Packets and bytes: skbs, with their link headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub packets: u64,
    /// Their lengths summed up.
    pub bytes: u64,
}

impl Count {
    /// Adds one packet.
    pub const fn packet(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }

    /// What was added since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self { packets: self.packets - earlier.packets, bytes: self.bytes - earlier.bytes }
    }
}

/// An interface's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// `tx_packets`, `tx_bytes`.
    pub sent: Count,
    /// `rx_packets`, `rx_bytes`.
    pub received: Count,
    /// `tx_dropped`.
    pub sent_dropped: u64,
    /// `rx_dropped`.
    pub received_dropped: u64,
}

/// The number of an interface of the calling thread's namespace.
///
/// # Errors
/// There is none of that name.
pub fn index(interface: &str) -> Result<u32> {
    let name = CString::new(interface).context("an interface name with a NUL")?;
    // SAFETY: the name is a C string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(index != 0, "there is no interface `{interface}`");
    Ok(index)
}

/// Moves the calling thread.
fn enter(namespace: BorrowedFd<'_>) -> std::io::Result<()> {
    // SAFETY: plain system call on an open descriptor; it changes the calling thread alone.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// Runs iproute2's `ip`.
pub(crate) fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot start `ip`: install iproute2 (`cargo xtask setup` does)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}`: {} (tests that make network namespaces need root)", arguments.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Removes a namespace; what cannot be removed now is swept away later.
pub(crate) fn remove(name: &str) {
    if let Err(error) = ip(&["netns", "del", name]) {
        eprintln!("leaving a network namespace behind: {error:#}");
    }
}
