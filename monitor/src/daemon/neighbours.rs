//! Asking the helper what the daemon has no privileges to find out: what the programs before ours are, who has the port or a
//! socket that may send past the hook, who stands in the way of a start; and having the BPF file system mounted. Programs are attached before anything is asked,
//! unless they are to be pinned and there is nowhere to; what is shown is asked for by a thread of its own.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU64,
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::{
    helper::{self, Answer, Helper, Holders, NoAnswer, Program, Question},
    kernel::{self, KernelError},
    model::{
        Neighbours,
        neighbours::{ProgramAhead, unknown},
        readings::Presence,
    },
    privileges,
    store::SharedState,
};

/// How often it is looked whether there is something to ask.
const LOOK: Duration = Duration::from_secs(1);
/// After a question that was not answered.
const AGAIN: Duration = Duration::from_secs(5);
/// Where there is nothing else to ask, whether the helper still answers: it may have to be started for that.
const STILL: Duration = Duration::from_secs(600);

/// Sockets that may send past the hook of which it is asked who has them: as many as `status` lists.
const SOCKETS: usize = 64;

/// Has the BPF file system mounted that the daemon pins on, where it is missing. Why it is not, then.
pub(super) fn mount(helper: &Helper, bpffs: &Path) -> Option<String> {
    if kernel::can_pin_on(bpffs).unwrap_or(false) {
        return None;
    }
    let why = match helper.ask(&Question::Mount) {
        Ok(Answer::Mounted(at)) if Path::new(at.as_str()) == bpffs => {
            tracing::warn!(bpffs = %bpffs.display(), "the BPF file system was missing: the helper has mounted it");
            return None;
        }
        Ok(Answer::Mounted(at)) => format!("the helper mounts {at}: give its unit `--bpffs {}`", bpffs.display()),
        Ok(_) => NoAnswer::Malformed.field(),
        Err(error) => error.silence().map_or_else(|| error.field(), |why| format!("no helper ({why})")),
    };
    Some(why)
}

/// The error, with what the process is that stands in the way.
pub(super) fn with_process(error: String, process: Option<u32>, helper: &Helper) -> String {
    let Some(pid) = process else { return error };
    let started = helper::started(pid).and_then(NonZeroU64::new);
    match helper.ask(&Question::Process { pid, started }) {
        Ok(Answer::Process(process)) => format!("{error}; it is {process}"),
        _ => error,
    }
}

/// The same of a kernel part that could not be loaded.
pub(super) fn refusal(error: &KernelError, helper: &Helper) -> String {
    let running = error.process().map(|pid| format!("already running, pid {pid}: ")).unwrap_or_default();
    with_process(format!("{running}{error}"), error.process(), helper)
}

/// Who has the port, as far as it can be known.
pub(super) fn port(helper: &Helper, address: SocketAddr) -> Option<String> {
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default());
    let Listening { user, inode } = tables.iter().find_map(|table| listening(table, address))?;
    Some(match helper.ask(&Question::Socket { inode, command: false }) {
        Ok(Answer::Holders(holders)) if holders.processes.is_empty() => {
            format!("a process of user {user} that the helper does not see")
        }
        Ok(Answer::Holders(holders)) => list(&holders).join(", "),
        Ok(_) => format!("user {user}'s, process {}", NoAnswer::Malformed.field()),
        Err(error) => format!("user {user}'s, process {}", error.field()),
    })
}

fn list(holders: &Holders) -> Vec<String> {
    let more = (!holders.complete).then(|| "others may have it, too".to_owned());
    holders.processes.iter().map(ToString::to_string).chain(more).collect()
}

/// A socket that takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listening {
    user: u32,
    inode: u64,
}

/// Who takes the connections to an address, by /proc/net/tcp or tcp6.
fn listening(table: &str, address: SocketAddr) -> Option<Listening> {
    let takes = |of: SocketAddr| {
        // Who listens on all addresses of IPv6 has those of IPv4, too.
        let same = of.ip() == address.ip() || of.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let by_v4 = address.is_ipv4() && (of.ip().to_canonical() == address.ip() || of.ip().is_unspecified());
        of.port() == address.port() && (same || by_v4)
    };
    let found = kernel::sockets(table).find(|socket| socket.state == kernel::LISTENS && takes(socket.local))?;
    Some(Listening { user: found.user, inode: found.inode })
}

/// What is known of a program by an answer; `None`: it is asked for again, some time.
fn program(id: u32, answer: &Result<Answer, NoAnswer>) -> ProgramAhead {
    match answer {
        Ok(Answer::Program(Program { tag, user, name, holders })) => ProgramAhead {
            id,
            name: name.to_string(),
            tag: format!("{:016x}", u64::from_be_bytes(*tag)),
            loaded_by: user.to_string(),
            held_by: list(holders),
        },
        Ok(_) => unknown(id, &NoAnswer::Malformed.field()),
        Err(error) => unknown(id, &error.field()),
    }
}

/// Whoever asks for what is shown.
pub(super) struct Enquirer {
    helper: Helper,
    /// Where HTTP is to be served.
    listen: Option<SocketAddr>,
    /// When what was not answered is asked again; and the helper, whether it is there.
    again: Instant,
    /// Programs that it has told of.
    told: BTreeSet<u32>,
}

impl Enquirer {
    pub fn new(helper: Helper, listen: Option<SocketAddr>) -> Self {
        Self { helper, listen, again: Instant::now(), told: BTreeSet::new() }
    }

    /// Asks until `stop`, on a thread that has no capability.
    ///
    /// # Errors
    /// There is no such thread.
    pub async fn run(mut self, state: SharedState, stop: CancellationToken) -> anyhow::Result<()> {
        let (running, ended) = channel::<()>();
        let ask = move || {
            if let Err(error) = privileges::drop_all() {
                tracing::error!(%error, "capabilities can't be dropped: the helper is not asked");
                return;
            }
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                self.look(&state, Instant::now());
            }
        };
        thread::Builder::new().name("neighbours".into()).spawn(ask).context("starting a thread")?;
        stop.cancelled().await;
        drop(running);
        Ok(())
    }

    /// Asks what is not known yet.
    fn look(&mut self, state: &SharedState, now: Instant) {
        let (ahead, sockets, is_taken, before) = {
            let state = state.read();
            let ahead = state.accounts.iter().filter_map(|account| match &account.presence {
                Presence::Attached { ahead } => Some(ahead.clone()),
                Presence::Detached | Presence::Unknown => None,
            });
            let sockets = state.bypass_open.sockets.iter().map(|socket| socket.inode).take(SOCKETS);
            let (ahead, sockets) = (ahead.flatten().collect::<BTreeSet<_>>(), sockets.collect::<BTreeSet<_>>());
            (ahead, sockets, state.http_error.is_some(), state.neighbours.clone())
        };
        let (due, mut known) = (now >= self.again, before.clone());
        known.programs.retain(|id, _| ahead.contains(id));
        self.told.retain(|id| ahead.contains(id));
        for id in ahead {
            // Whoever does not answer is not asked for each of them.
            let silent = matches!(known.helper, Some(Err(_))) && (!due || now < self.again);
            let asked = !due && known.programs.contains_key(&id);
            if !silent && !asked && !self.told.contains(&id) {
                let answer = self.ask(&mut known, &Question::Program(id), now);
                known.programs.insert(id, program(id, &answer));
                if answer.is_ok() {
                    self.told.insert(id);
                }
            }
        }
        known.sockets.retain(|inode, _| sockets.contains(inode));
        for inode in sockets {
            let silent = matches!(known.helper, Some(Err(_))) && (!due || now < self.again);
            if !silent
                && !known.sockets.contains_key(&inode)
                && let Ok(Answer::Holders(holders)) =
                    self.ask(&mut known, &Question::Socket { inode: inode.into(), command: false }, now)
            {
                known.sockets.insert(inode, list(&holders));
            }
        }
        if due {
            known.port = self.listen.filter(|_| is_taken).and_then(|address| port(&self.helper, address));
            // Nothing else was asked.
            if now >= self.again {
                let own = Question::Process { pid: std::process::id(), started: None };
                let _ = self.ask(&mut known, &own, now);
            }
            if is_taken {
                self.again = now + AGAIN;
            }
        }
        if !is_taken {
            known.port = None;
        }
        if known != before {
            state.write().neighbours = known;
        }
    }

    fn ask(&mut self, known: &mut Neighbours, question: &Question, now: Instant) -> Result<Answer, NoAnswer> {
        let answer = self.helper.ask(question);
        let silence = answer.as_ref().err().and_then(NoAnswer::silence);
        self.again = now + if silence.is_some() { AGAIN } else { STILL };
        known.helper = Some(silence.map_or(Ok(()), Err));
        answer
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::bypass::Bypass;

    use super::*;
    use crate::{
        helper::{
            Process,
            testing::{answer, listen_in},
        },
        model::{InterfaceAccount, open_sockets::OpenSocket},
        store::MonitorState,
    };

    /// As the kernel writes it, on a machine that has the lower byte first.
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:2505 00000000:0000 0A 00000000:00000000 00:00000000 00000000   991        0 18437 1 0 100 0 0 10 0\n   \
        1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 0 100 0 0 10 0\n   \
        2: 0100007F:2506 0100007F:2505 01 00000000:00000000 00:00000000 00000000     5        0 19 1 0 20 4 30 10 -1\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn who_takes_the_connections_to_an_address_is_in_the_kernels_table() {
        let of = |table: &str, address: &str| listening(table, address.parse().unwrap());
        assert_eq!(of(TCP, "127.0.0.1:9477"), Some(Listening { user: 991, inode: 18_437 }));
        assert_eq!(
            of(TCP, "127.0.0.1:22"),
            Some(Listening { user: 0, inode: 17 }),
            "whoever takes those to all addresses"
        );
        for other in ["127.0.0.2:9477", "127.0.0.1:9478", "[::1]:9477", "[::1]:22"] {
            assert_eq!(of(TCP, other), None, "{other}");
        }
        let six = |ip: &str| {
            let line = TCP.lines().nth(1).unwrap();
            line.replace("0100007F:2505", &format!("{ip}:2505"))
        };
        let all = six("00000000000000000000000000000000");
        let mapped = six("0000000000000000FFFF00000100007F");
        let own = six("00000000000000000000000001000000");
        assert!(of(&all, "127.0.0.1:9477").is_some() && of(&all, "[::1]:9477").is_some());
        assert!(of(&mapped, "127.0.0.1:9477").is_some() && of(&mapped, "[::1]:9477").is_none());
        assert!(of(&own, "127.0.0.1:9477").is_none() && of(&own, "[::1]:9477").is_some());
        for broken in ["", "x", &TCP.replace("0A", "0a b"), &TCP.replace(':', " ")] {
            assert_eq!(of(broken, "127.0.0.1:9477"), None, "{broken}");
        }
    }

    /// A daemon with these programs before its own.
    fn with(ahead: &[u32]) -> SharedState {
        let account = InterfaceAccount {
            interface: "eth0".into(),
            presence: Presence::Attached { ahead: ahead.to_vec() },
            ..InterfaceAccount::default()
        };
        SharedState::new(MonitorState { accounts: vec![account], ..MonitorState::default() })
    }

    /// A helper that knows this many answers and then none, and takes down what it was asked.
    fn helper(folder: &Path, answers: usize) -> (Helper, thread::JoinHandle<Vec<Question>>) {
        let (helper, listener) = listen_in(folder);
        let socket = helper.socket().to_owned();
        let answering = thread::spawn(move || {
            let asked = (0..answers).map(|_| {
                answer(&listener, |question| match question {
                    Question::Program(id) => Answer::Program(Program { user: id, ..Program::default() }),
                    Question::Process { pid, .. } => Answer::Process(Process { pid, ..Process::default() }),
                    Question::Socket { inode, .. } => {
                        let process = Process { pid: inode as u32, ..Process::default() };
                        Answer::Holders(Holders { processes: vec![process], complete: true })
                    }
                    other @ Question::Mount => panic!("{other:?}"),
                })
            });
            let asked = asked.collect();
            fs::remove_file(socket).unwrap();
            asked
        });
        (helper, answering)
    }

    #[test]
    fn programs_are_asked_for_once_and_who_does_not_answer_is_not_asked_for_each_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let (helper, answering) = helper(folder.path(), 3);
        let (mut enquirer, state, begun) = (Enquirer::new(helper, None), with(&[5, 7]), Instant::now());
        for _ in 0..3 {
            enquirer.look(&state, begun);
        }
        let known = state.read().neighbours.clone();
        assert_eq!(known.programs.values().map(|one| one.loaded_by.as_str()).collect::<Vec<_>>(), ["5", "7"]);
        // Only much later, whether it is still there.
        enquirer.look(&state, begun + STILL / 2);
        enquirer.look(&state, begun + STILL);
        assert_eq!((state.read().neighbours.clone(), known.helper.clone()), (known.clone(), Some(Ok(()))));
        let own = Question::Process { pid: std::process::id(), started: None };
        assert_eq!(answering.join().unwrap(), [Question::Program(5), Question::Program(7), own]);
        // It is gone, and others come: what it has told stays as long as it is true.
        let set = |ahead: &[u32]| state.write().accounts = with(ahead).read().accounts.clone();
        set(&[7, 8, 9]);
        enquirer.look(&state, begun + STILL);
        let without = state.read().neighbours.clone();
        assert!(without.helper.is_some_and(|last| last.is_err_and(|why| why.contains("No such file"))));
        assert_eq!(without.programs.get(&7), known.programs.get(&7));
        assert_eq!(without.programs.keys().collect::<Vec<_>>(), [&7, &8], "the third is not asked for");
        assert_eq!(state.read().neighbours.program(9).name, "unknown (no helper)");
        // There is another one: the two that are not known yet, when it is time.
        let (_, again) = self::helper(folder.path(), 2);
        let soon = begun + STILL + AGAIN;
        enquirer.look(&state, soon - Duration::from_millis(1));
        enquirer.look(&state, soon);
        assert_eq!(again.join().unwrap(), [Question::Program(8), Question::Program(9)]);
        set(&[]);
        enquirer.look(&state, soon);
        assert_eq!(state.read().neighbours.programs.len(), 0);
    }

    #[test]
    fn who_has_a_socket_that_may_send_past_the_hook_is_asked_once_and_forgotten_when_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let (helper, answering) = helper(folder.path(), 2);
        let (mut enquirer, state, begun) = (Enquirer::new(helper, None), with(&[]), Instant::now());
        let socket = |inode| OpenSocket { kind: Bypass::Packet, inode, user: 0, ifindex: 2 };
        state.write().bypass_open.sockets = vec![socket(31), socket(33)];
        assert_eq!(state.read().neighbours.holders(31), ["unknown (no helper)"]);
        for _ in 0..2 {
            enquirer.look(&state, begun);
        }
        let holders = |inode| state.read().neighbours.holders(inode).join(", ");
        assert!(holders(31).contains("31") && holders(33).contains("33"), "{}", holders(31));
        assert_eq!(answering.join().unwrap(), [31, 33].map(|inode| Question::Socket { inode, command: false }));
        state.write().bypass_open.sockets.remove(0);
        enquirer.look(&state, begun);
        assert_eq!(state.read().neighbours.sockets.keys().collect::<Vec<_>>(), [&33]);
    }

    #[test]
    fn a_socket_of_ones_own_is_found_in_the_table_of_this_host() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
        let found = listening(&table, listener.local_addr().unwrap()).unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(format!("/proc/self/fd/{descriptor}")).unwrap());
        assert_eq!(found, Listening { user: rustix::process::geteuid().as_raw(), inode });
    }
}
