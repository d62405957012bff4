//! What packets take of a CPU. Counted by the processor where it lets us; else by the time that the kernel accounts,
//! times the rate of the time stamp counter. Called by the benchmark.
//!
//! What is sent over a veth pair is received in a softirq on the sender's CPU: mostly in the sender's own time, before
//! its system call returns, and where there is too much of it in that CPU's ksoftirqd. So both are read, and work of
//! others on the same CPU is in neither.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::measure::thread_cpu;

// enum perf_type_id, perf_hw_id and perf_sw_ids of linux/perf_event.h.
const HARDWARE: u32 = 0;
const CPU_CYCLES: u64 = 0;

/// Of `/proc/stat`.
const TICKS_A_SECOND: f64 = 100.0;

/// How cycles are had on this machine.
#[derive(Debug)]
pub struct Meter {
    by: By,
    /// The processes that do softirqs' work, by CPU.
    daemons: BTreeMap<usize, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Hardware,
    CpuTime {
        /// Cycles of the time stamp counter a nanosecond, if there is one.
        tsc: Option<f64>,
        /// Whether the kernel takes softirqs' time out of that of the threads they interrupt
        /// (`CONFIG_IRQ_TIME_ACCOUNTING`); `None`: it does not tell.
        apart: Option<bool>,
    },
}

impl Meter {
    /// Looks what there is. Takes a tenth of a second where the processor counts nothing for us.
    #[must_use]
    pub fn new() -> Self {
        let by = match event(HARDWARE, CPU_CYCLES, 0) {
            Ok(_) => By::Hardware,
            Err(_) => By::CpuTime { tsc: tsc_rate(), apart: softirqs_apart() },
        };
        Self { by, daemons: softirq_daemons() }
    }

    /// What the figures are, for whoever reads them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = match self.by {
            By::Hardware => "cycles are the processor's, of the sending threads and of ksoftirqd".to_owned(),
            By::CpuTime { tsc, apart } => {
                let times = tsc.map_or_else(
                    || "in nanoseconds: no time stamp counter".to_owned(),
                    |rate| format!("times {rate:.3} GHz of the time stamp counter"),
                );
                let whose = match apart {
                    Some(true) => "and the softirqs' of their CPUs (/proc/stat)",
                    Some(false) => "in which the receiving end's softirqs run, and ksoftirqd's",
                    None => "and ksoftirqd's (if this kernel accounts softirqs' time apart, that is missing)",
                };
                format!(
                    "cycles are CPU time of the sending threads, {whose}, {times}: no hardware counter on this machine"
                )
            }
        };
        if self.daemons.is_empty() {
            text += "; ksoftirqd is not visible here, and not in it";
        }
        text
    }

    /// The calling thread's. Read by that thread alone.
    ///
    /// # Errors
    /// The kernel gives no counter.
    pub fn thread(&self) -> Result<Cycles> {
        Ok(match self.by {
            By::Hardware => Cycles::Event(event(HARDWARE, CPU_CYCLES, 0).context("perf_event_open")?),
            By::CpuTime { tsc, .. } => Cycles::OwnTime(tsc.unwrap_or(1.0)),
        })
    }

    /// What a CPU does for packets in none of its threads' time.
    ///
    /// # Errors
    /// The kernel gives no counter.
    pub fn softirqs(&self, cpu: usize) -> Result<Cycles> {
        Ok(match (self.by, self.daemons.get(&cpu)) {
            (By::CpuTime { tsc, apart: Some(true) }, _) => Cycles::Stat(tsc.unwrap_or(1.0), cpu),
            (_, None) => Cycles::Nothing,
            (By::Hardware, Some(daemon)) => {
                Cycles::Event(event(HARDWARE, CPU_CYCLES, *daemon).context("perf_event_open for ksoftirqd")?)
            }
            (By::CpuTime { tsc, .. }, Some(daemon)) => {
                Cycles::TimeOf(tsc.unwrap_or(1.0), format!("/proc/{daemon}/schedstat").into())
            }
        })
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

/// A running sum of cycles.
#[derive(Debug)]
pub enum Cycles {
    /// A perf event.
    Event(OwnedFd),
    /// Of the thread that asks; cycles a nanosecond.
    OwnTime(f64),
    /// Of another, in its schedstat.
    TimeOf(f64, PathBuf),
    /// Of a CPU's softirqs.
    Stat(f64, usize),
    /// Nobody can tell.
    Nothing,
}

impl Cycles {
    /// So far.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn read(&self) -> Result<f64> {
        Ok(match self {
            Self::Event(fd) => count(fd).context("reading a perf event")? as f64,
            Self::OwnTime(rate) => thread_cpu().as_nanos() as f64 * rate,
            Self::TimeOf(rate, file) => {
                let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
                ran(&text).with_context(|| format!("{} has another form", file.display()))? * rate
            }
            Self::Stat(rate, cpu) => {
                let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
                softirq_ticks(&text, *cpu).context("/proc/stat has another form")? / TICKS_A_SECOND * 1e9 * rate
            }
            Self::Nothing => 0.0,
        })
    }
}

/// Nanoseconds on a CPU: the first number of a schedstat.
fn ran(schedstat: &str) -> Option<f64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// The seventh number of a CPU's line (proc_stat(5)).
fn softirq_ticks(stat: &str, cpu: usize) -> Option<f64> {
    let name = format!("cpu{cpu}");
    let mut line = stat.lines().map(str::split_whitespace).find(|line| line.clone().next() == Some(&name))?;
    line.nth(7)?.parse().ok()
}

/// Counts for a thread (0: the calling one), wherever it runs, in kernel and userspace.
fn event(kind: u32, config: u64, thread: u32) -> io::Result<OwnedFd> {
    // struct perf_event_attr in its first version: type and size, what to count, and nothing else asked for.
    let mut attributes = [0_u64; 8];
    attributes[0] =
        if cfg!(target_endian = "little") { u64::from(kind) | 64 << 32 } else { u64::from(kind) << 32 | 64 };
    attributes[1] = config;
    // SAFETY: the kernel reads the 64 bytes that the attributes say they are.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), thread, -1, -1, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn count(event: &OwnedFd) -> io::Result<u64> {
    let mut value = 0_u64;
    // SAFETY: the kernel writes at most the eight bytes that are there.
    let length = unsafe { libc::read(event.as_raw_fd(), (&raw mut value).cast(), size_of::<u64>()) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    if length as usize == size_of::<u64>() { Ok(value) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Cycles of the time stamp counter a nanosecond.
fn tsc_rate() -> Option<f64> {
    let (began, first) = (Instant::now(), time_stamp());
    std::thread::sleep(Duration::from_millis(100));
    let (time, last) = (began.elapsed(), time_stamp());
    (last > first).then(|| (last - first) as f64 / time.as_nanos() as f64)
}

fn time_stamp() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this architecture has the instruction.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// Whether the kernel was built to take softirqs' time out of threads' time.
fn softirqs_apart() -> Option<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let config = fs::read_to_string(format!("/boot/config-{}", release.trim())).ok().or_else(|| {
        let output = Command::new("gzip").args(["-dc", "/proc/config.gz"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })?;
    Some(config.lines().any(|line| line == "CONFIG_IRQ_TIME_ACCOUNTING=y"))
}

/// The threads of the kernel that are called `ksoftirqd/CPU`.
fn softirq_daemons() -> BTreeMap<usize, u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            Some((name.trim().strip_prefix("ksoftirqd/")?.parse().ok()?, process))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{By, Cycles, Meter, event, ran, softirq_ticks};
    use std::{
        collections::BTreeMap,
        time::{Duration, Instant},
    };

    /// `PERF_TYPE_SOFTWARE`, `PERF_COUNT_SW_TASK_CLOCK`: there on every machine, and read as the processor's is.
    const TASK_CLOCK: (u32, u64) = (1, 1);

    fn work(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {}
    }

    #[test]
    fn an_event_counts_what_its_thread_does_and_not_what_it_sleeps() {
        let event = Cycles::Event(event(TASK_CLOCK.0, TASK_CLOCK.1, 0).expect("perf_event_open"));
        let own = Cycles::OwnTime(1.0);
        let read = || [&event, &own].map(|cycles| cycles.read().expect("a count"));
        let before = read();
        work(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(60));
        let after = read();
        for (before, after) in before.into_iter().zip(after) {
            // Others may have had the CPU for a part of it.
            assert!((1e6..60e6).contains(&(after - before)), "{} ns of 20 ms of work", after - before);
        }
    }

    #[test]
    fn softirqs_time_is_in_one_place_alone() {
        let meter = |by| Meter { by, daemons: BTreeMap::from([(0, 14)]) };
        let by = |apart| By::CpuTime { tsc: Some(2.0), apart };
        assert!(matches!(meter(by(Some(true))).softirqs(0), Ok(Cycles::Stat(_, 0))));
        assert!(matches!(meter(by(Some(false))).softirqs(0), Ok(Cycles::TimeOf(..))));
        assert!(matches!(meter(by(None)).softirqs(1), Ok(Cycles::Nothing)));
        assert!(meter(by(Some(false))).text().contains("2.000 GHz"));
    }

    #[test]
    fn the_kernels_own_numbers_are_read() {
        assert_eq!(ran("63037122 649271180 1745\n"), Some(63_037_122.0));
        let stat = "cpu  9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 11 12 13 14 15 16 17 18 19 20\nintr 5\n";
        assert_eq!(softirq_ticks(stat, 1), Some(17.0));
        assert_eq!(softirq_ticks(stat, 2), None);
    }
}
