//! What /proc says of processes: what one is, and which have something open. Ids in, [`Process`]es out; called by `server`.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::Instant,
};

use super::protocol::{Holders, MOST_HOLDERS, Process, Text};

/// Bytes that are read of a file below /proc: of those that are wanted, everything.
const LONGEST: u64 = 4_096;

/// What of an open file is looked for: a line of /proc/PID/fdinfo/NUMBER (proc_pid_fdinfo(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A BPF program, or a link that has it attached, by the program's id.
    Program(u32),
    /// A socket.
    Socket {
        /// Its inode number.
        inode: u64,
        /// The mount that all sockets are on: other file systems may have the same number.
        mount: u64,
    },
}

impl Held {
    /// Whether the text is that of such a file.
    pub fn is_in(self, fdinfo: &str) -> bool {
        match self {
            Self::Program(id) => field(fdinfo, "prog_id") == Some(u64::from(id)),
            Self::Socket { inode, mount } => {
                field(fdinfo, "ino") == Some(inode) && field(fdinfo, "mnt_id") == Some(mount)
            }
        }
    }
}

/// The number in a line `NAME:<tab>NUMBER`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// The mount that an open file of this process is on.
pub fn mount_of(descriptor: i32) -> Option<u64> {
    field(&read(Path::new(&format!("/proc/self/fdinfo/{descriptor}")))?, "mnt_id")
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
    let process = Process { pid, user: user(&status)?, started, executable, cgroup };
    // All of that was one process's.
    (started_at(&at)? == started).then_some(process)
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

/// Processes that have something open, looked for until `deadline`.
pub fn holders(held: Held, deadline: Instant) -> Holders {
    let mut holders = Holders { processes: Vec::new(), complete: true };
    for pid in numbers(Path::new("/proc")) {
        if Instant::now() >= deadline {
            break;
        }
        let Some(it) = has_open(pid, held, deadline).then(|| process(pid)).flatten() else { continue };
        if holders.processes.len() == MOST_HOLDERS {
            holders.complete = false;
            break;
        }
        holders.processes.push(it);
    }
    holders.complete &= Instant::now() < deadline;
    holders
}

fn has_open(pid: u32, held: Held, deadline: Instant) -> bool {
    let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    let in_time = |_: &u32| Instant::now() < deadline;
    numbers(&folder)
        .take_while(in_time)
        .any(|number| read(&folder.join(number.to_string())).is_some_and(|text| held.is_in(&text)))
}

/// The entries of a folder that are numbers.
fn numbers(folder: &Path) -> impl Iterator<Item = u32> {
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
    use std::{net::TcpListener, os::fd::AsRawFd as _, os::unix::fs::MetadataExt as _, time::Duration};

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
        assert!(Held::Program(42).is_in(link) && !Held::Program(4).is_in(link) && !Held::Program(7).is_in(link));
        let socket = Held::Socket { inode: 1_059, mount: 16 };
        assert!(socket.is_in(link) && !socket.is_in(&link.replace("16", "17")) && !socket.is_in("ino:\t1059\n"));
        assert!(!Held::Program(42).is_in("xprog_id:\t42\nprog_id: no\n"));
    }

    #[test]
    fn a_process_is_what_it_is_and_one_that_is_gone_is_none() {
        let own = process(std::process::id()).unwrap();
        assert_eq!(own.executable.as_str(), std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!((own.pid, own.user), (std::process::id(), rustix::process::geteuid().as_raw()));
        assert_eq!(Some(own.started), started(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let it = process(child.id()).unwrap();
        assert!(it.started >= own.started);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((process(child.id()), process(u32::MAX)), (None, None));
    }

    #[test]
    fn who_has_a_socket_open_is_found_and_nobody_who_has_another() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().ino();
        let mount = mount_of(listener.as_raw_fd()).unwrap();
        let soon = || Instant::now() + Duration::from_secs(20);
        let pids = |held| holders(held, soon()).processes.iter().map(|it| it.pid).collect::<Vec<_>>();
        assert_eq!(pids(Held::Socket { inode, mount }), [std::process::id()]);
        // A file of the same number on another file system.
        assert_eq!(pids(Held::Socket { inode, mount: mount + 1_000 }), [0; 0]);
        let late = holders(Held::Socket { inode, mount }, Instant::now());
        assert_eq!((late.processes.len(), late.complete), (0, false));
        drop(listener);
        let after = holders(Held::Socket { inode, mount }, soon());
        assert_eq!((after.processes.len(), after.complete), (0, true));
    }
}
