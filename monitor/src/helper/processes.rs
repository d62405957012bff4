//! What /proc says of processes: what one is, and which have something open. Ids in, [`Process`]es out; called by `server`.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::protocol::{Holders, LONGEST_COMMAND, MOST_HOLDERS, NO_LOGIN, Process, Text};

/// Bytes that are read of a file below /proc: of those that are wanted, everything.
const LONGEST: u64 = 4_096;

/// Sockets that are remembered of one look at all processes.
const MOST_SOCKETS: usize = 262_144;

/// How long what was seen by such a look is taken for true, where the process that is named still has the socket.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Whether a line of /proc/PID/fdinfo/NUMBER (proc_pid_fdinfo(5)) says that it is a BPF program, or a link that has it
/// attached, by the program's id.
fn is_program(fdinfo: &str, id: u32) -> bool {
    field(fdinfo, "prog_id") == Some(u64::from(id))
}

/// The number in a line `NAME:<tab>NUMBER`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// What a process is; none where there is none, or another one has its id by now.
pub fn process(pid: u32) -> Option<Process> {
    let at = PathBuf::from(format!("/proc/{pid}"));
    let started = started_at(&at)?;
    let status = read(&at.join("status"))?;
    let name = status.lines().find_map(|line| line.strip_prefix("Name:\t"))?;
    let executable = match fs::read_link(at.join("exe")) {
        Ok(path) => Text::of(path.as_os_str().as_encoded_bytes()),
        Err(_) => Text::of(format!("[{name}]").as_bytes()),
    };
    let cgroup = Text::of(cgroup(&read(&at.join("cgroup"))?).as_bytes());
    let number = |name: &str| field(&status, name).and_then(|number| u32::try_from(number).ok());
    let login = read(&at.join("loginuid")).and_then(|text| text.trim().parse().ok());
    let process = Process {
        pid,
        user: user(&status)?,
        started,
        parent: number("PPid")?,
        login: login.unwrap_or(NO_LOGIN),
        name: Text::of(name.as_bytes()),
        executable,
        command: Text::default(),
        cgroup,
    };
    // All of that was one process's.
    (started_at(&at)? == started).then_some(process)
}

/// How a process was called, if it is still there: its arguments, with a space between them.
pub fn command_of(process: &Process) -> Text {
    Some(command(process.pid)).filter(|_| started(process.pid) == Some(process.started)).unwrap_or_default()
}

fn command(pid: u32) -> Text {
    let mut bytes = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/cmdline"));
    // Whoever has gone, and a thread of the kernel, has none.
    let _ = file.and_then(|file| file.take(LONGEST_COMMAND as u64).read_to_end(&mut bytes));
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    Text::of_command(&bytes)
}

/// When a process began, in clock ticks since the boot.
pub fn started(pid: u32) -> Option<u64> {
    started_at(Path::new(&format!("/proc/{pid}")))
}

fn started_at(process: &Path) -> Option<u64> {
    start_time(&read(&process.join("stat"))?)
}

/// The 22nd field of /proc/PID/stat. The second one is in parentheses, and may have any in it.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(22 - 3)?.trim().parse().ok()
}

/// The effective user in /proc/PID/status.
fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The path in cgroup v2, else the first one.
fn cgroup(cgroups: &str) -> String {
    let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    let path = unified.or_else(|| cgroups.lines().next()?.splitn(3, ':').nth(2));
    path.unwrap_or_default().to_owned()
}

/// Processes that have a BPF program open, or a link of it, looked for until `deadline`.
pub fn holders_of_program(id: u32, deadline: Instant) -> Holders {
    let mut holders = Holders { processes: Vec::new(), complete: true };
    let has_it = |pid: &u32| open_files(*pid, deadline).any(|(_, text)| is_program(&text, id));
    let pids = numbers(Path::new("/proc")).take_while(|_| Instant::now() < deadline);
    holders.describe(pids.filter(has_it).filter_map(process));
    holders.complete &= Instant::now() < deadline;
    holders
}

impl Holders {
    /// Takes in as many of these processes as are named.
    fn describe(&mut self, processes: impl Iterator<Item = Process>) {
        for it in processes {
            if self.processes.len() == MOST_HOLDERS {
                self.complete = false;
                return;
            }
            self.processes.push(it);
        }
    }
}

/// An open file: a process, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct OpenFile {
    pid: u32,
    number: u32,
}

/// Who has which socket open, as it was seen by one look at all processes.
#[derive(Debug, Default)]
pub struct OpenSockets {
    /// By the socket's inode number, one a process, and one process more than are named.
    files: HashMap<u64, Vec<OpenFile>>,
    complete: bool,
    looked: Option<Instant>,
    /// The one that all sockets are on; other file systems may have the same numbers.
    mount: u64,
}

impl OpenSockets {
    /// Processes that have a socket open. Where that was not seen lately, all are looked at, until `deadline`.
    pub fn holders(&mut self, inode: u64, deadline: Instant) -> Holders {
        let fresh = self.looked.is_some_and(|at| at.elapsed() < REMEMBERED);
        let seen = self.files.get(&inode).is_some_and(|files| files.iter().all(|file| self.has(*file, inode)));
        if !(fresh && seen) {
            self.look(deadline);
        }
        let mut files = self.files.get(&inode).cloned().unwrap_or_default();
        files.sort_unstable();
        let mut holders = Holders { processes: Vec::new(), complete: self.complete };
        // Looked at once more behind the description: it is not another process that has the id by now.
        let described = files.into_iter().filter_map(|file| process(file.pid).filter(|_| self.has(file, inode)));
        holders.describe(described);
        holders
    }

    /// Whether that file is the socket, now.
    fn has(&self, OpenFile { pid, number }: OpenFile, inode: u64) -> bool {
        let text = read(Path::new(&format!("/proc/{pid}/fdinfo/{number}")));
        text.and_then(|text| socket_in(&text, self.mount)) == Some(inode)
    }

    fn look(&mut self, deadline: Instant) {
        let mount = mount_of_sockets();
        *self = Self { looked: Some(Instant::now()), mount: mount.unwrap_or_default(), ..Self::default() };
        for pid in numbers(Path::new("/proc")).filter(|_| mount.is_some()) {
            for (number, text) in open_files(pid, deadline) {
                let Some(inode) = socket_in(&text, self.mount) else { continue };
                if self.files.len() >= MOST_SOCKETS {
                    return;
                }
                let files = self.files.entry(inode).or_default();
                if files.last().is_none_or(|last| last.pid != pid) && files.len() <= MOST_HOLDERS {
                    files.push(OpenFile { pid, number });
                }
            }
            if Instant::now() >= deadline {
                return;
            }
        }
        self.complete = mount.is_some();
    }
}

/// The files that a process has open, each with its fdinfo, looked at until `deadline`: somebody may have a million. By
/// fdinfo, which whoever may trace may read; for fd, where a socket's number would stand in one link, it takes a right to
/// files, too.
fn open_files(pid: u32, deadline: Instant) -> impl Iterator<Item = (u32, String)> {
    let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    let files = numbers(&folder).take_while(move |_| Instant::now() < deadline);
    files.filter_map(move |number| Some((number, read(&folder.join(number.to_string()))?)))
}

/// The inode number of the socket whose fdinfo that is.
fn socket_in(fdinfo: &str, mount: u64) -> Option<u64> {
    (field(fdinfo, "mnt_id") == Some(mount)).then(|| field(fdinfo, "ino"))?
}

/// The mount that all sockets are on.
fn mount_of_sockets() -> Option<u64> {
    let own = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    field(&read(Path::new(&format!("/proc/self/fdinfo/{}", own.as_raw_fd())))?, "mnt_id")
}

/// The entries of a folder that are numbers.
fn numbers(folder: &Path) -> impl Iterator<Item = u32> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn a_processs_name_does_not_look_like_other_fields() {
        let fields: Vec<String> = (3..=52).map(|field| (field * 100).to_string()).collect();
        for name in ["sh", "a) S 1 2 3", "((", ") ", "x\ny"] {
            assert_eq!(start_time(&format!("7 ({name}) {}\n", fields.join(" "))), Some(2_200), "{name}");
        }
        for cut in ["", "7 (sh", "7 (sh) S 1 2", "7 (sh) S x"] {
            assert_eq!(start_time(cut), None, "{cut}");
        }
    }

    #[test]
    fn lines_of_proc_are_read_as_they_are_written() {
        assert_eq!(user("Name:\tx\nUid:\t1\t65534\t3\t4\nGid:\t9\t9\t9\t9\n"), Some(65_534));
        assert_eq!((user("Name:\tUid:\n"), user("Uid:\tx\n")), (None, None));
        assert_eq!(cgroup("2:cpu:/old\n0::/system.slice/x.service\n"), "/system.slice/x.service");
        assert_eq!((cgroup("3:cpu,cpuacct:/a:b\n").as_str(), cgroup("").as_str()), ("/a:b", ""));
        let link = "pos:\t0\nflags:\t02000000\nmnt_id:\t16\nino:\t1059\nlink_type:\ttcx\nlink_id:\t7\nprog_id:\t42\n";
        assert_eq!(
            (socket_in(link, 16), socket_in(link, 17), socket_in("ino:\t1059\n", 16)),
            (Some(1_059), None, None)
        );
        assert!(is_program(link, 42) && !is_program(link, 4) && !is_program(link, 7));
        assert!(!is_program("xprog_id:\t42\nprog_id: no\n", 42));
    }

    #[test]
    fn a_process_is_what_it_is_and_one_that_is_gone_is_none() {
        let own = process(std::process::id()).unwrap();
        assert_eq!(own.executable.as_str(), std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!((own.pid, own.user), (std::process::id(), rustix::process::geteuid().as_raw()));
        assert_eq!(Some(own.started), started(std::process::id()));
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!((own.parent, own.name.as_str()), (std::os::unix::process::parent_id(), name.trim_end()));
        let arguments = std::env::args().collect::<Vec<_>>().join(" ");
        assert_eq!((command(own.pid).as_str(), own.command.as_str()), (arguments.as_str(), ""));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let it = process(child.id()).unwrap();
        assert!(it.started >= own.started);
        // The kernel has the file before it has the arguments.
        let called = || Some(command(it.pid)).filter(|command| !command.as_str().is_empty());
        let called = std::iter::repeat_with(called).flatten().next().unwrap();
        assert_eq!((it.parent, called.as_str()), (own.pid, "sleep 60"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((process(child.id()), process(u32::MAX)), (None, None));
        assert_eq!(command(child.id()).as_str(), "");
    }

    #[test]
    fn who_has_a_socket_open_is_found_and_nobody_who_has_another() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().ino();
        let soon = || Instant::now() + Duration::from_secs(20);
        let mut sockets = OpenSockets::default();
        let mut holders = |deadline| {
            let Holders { processes, complete } = sockets.holders(inode, deadline);
            (processes.iter().map(|it| it.pid).collect::<Vec<_>>(), complete)
        };
        assert_eq!(holders(soon()), (vec![std::process::id()], true));
        // Without another look.
        assert_eq!(holders(Instant::now()), (vec![std::process::id()], true));
        // However many a process has open.
        assert_eq!(open_files(std::process::id(), Instant::now()).count(), 0);
        assert!(open_files(std::process::id(), soon()).count() > 3);
        drop(listener);
        // What was seen a moment ago is no more.
        assert_eq!(holders(soon()), (Vec::new(), true));
        assert_eq!(holders(Instant::now()), (Vec::new(), false));
    }
}
