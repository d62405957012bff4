//! Promise: what the daemon has no privileges for is told by the helper, which answers nobody else, nothing else, and is not
//! needed: without it those fields read `unknown (no helper)`, and everything else goes on.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    num::NonZeroU64,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use egress_monitor_tests::{
    bypass::PassesEverything,
    daemon::{Daemon, Home, binary},
    helper::HelperProcess,
    monitor::helper::{Answer, Helper, NoAnswer, Process, Question, Why, started},
    stage::{INTERFACE, OUTSIDE, PATIENCE, Stage, v4},
    traffic::send_udp,
    user::{NOBODY, become_user},
};
use serde_json::Value;

use crate::support::{lives, random};

const ONLY: &str = "-all,+bpf,+net_admin,+perfmon";

/// A home whose daemons are a user without privileges, but for three capabilities, and what runs them.
struct Unprivileged {
    stage: Stage,
    before: Vec<String>,
}

impl Unprivileged {
    fn new(before: &[&str]) -> Self {
        let stage = Stage::build(false).unwrap();
        // What the daemon reads of the stage's is in a folder of root's.
        std::fs::set_permissions(stage.folder(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { stage, before: before.iter().map(|word| (*word).to_owned()).collect() }
    }

    fn start(&self, home: Home, config: &str) -> Daemon {
        home.configure(config).unwrap();
        for part in ["", "config", "state", "run", "config/config.toml"] {
            std::os::unix::fs::chown(home.path().join(part), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let program = home.path().join("egress-monitor");
        if !program.exists() {
            std::fs::copy(binary().unwrap(), &program).unwrap();
        }
        let words = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL"];
        let before = self.before.iter().map(String::as_str).chain(["setpriv"]).chain(words);
        let mut words = before.chain(["--bounding-set", ONLY, "--inh-caps", ONLY, "--ambient-caps", ONLY, "--"]);
        let mut command: Command = self.stage.near.command(words.next().unwrap()).unwrap();
        command.args(words).arg(program);
        Daemon::spawn_by(command, home, &[], &[]).unwrap()
    }

    fn is_closed(&self) {
        let (before, to) = (self.stage.sent().unwrap(), SocketAddr::new(v4(OUTSIDE).into(), 9));
        self.stage.near.run(|| send_udp(self.stage.from(to), to, &[1; 3])).unwrap();
        assert_eq!(self.stage.sent().unwrap().since(before).packets, 0, "it enforces");
    }
}

/// What `status` has of the programs before ours, when there are so many, and the helper answers or does not.
fn ahead(daemon: &Daemon, count: usize, answers: bool, known: usize) -> Vec<Value> {
    let there = |status: &Value| status["interfaces"][0]["programs_ahead"].as_array().cloned().unwrap_or_default();
    let is_known = |program: &Value| program["name"] != "unknown (no helper)";
    let status = daemon.json_until(&["status"], |status| {
        let programs = there(status);
        let as_many = programs.len() == count && programs.iter().filter(|one| is_known(one)).count() == known;
        as_many && status["helper"]["answers"] == answers
    });
    there(&status.unwrap())
}

/// This process, as the helper has it.
fn this_process() -> String {
    format!("pid {} ({}, user 0, cgroup ", std::process::id(), std::env::current_exe().unwrap().display())
}

/// What the kernel says of a program that this process has open.
fn tag(id: u64) -> String {
    let files = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let text =
        texts.into_iter().find(|text| text.contains("prog_type:") && text.contains(&format!("prog_id:\t{id}\n")));
    text.unwrap().lines().find_map(|line| line.strip_prefix("prog_tag:")).unwrap().trim().to_owned()
}

#[test]
fn what_the_daemon_has_no_privileges_for_is_told_by_the_helper_and_is_unknown_without_it() {
    let of = Unprivileged::new(&[]);
    let mut helper = HelperProcess::listen(NOBODY).unwrap();
    let squatter = of.stage.near.run(|| std::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let listen = format!("listen = \"{}\"", squatter.local_addr().unwrap());
    let config = of.stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "").replace("listen = \"\"", &listen);
    // Ours is put before it.
    let _behind = of.stage.near.run(|| PassesEverything::ahead_on(INTERFACE)).unwrap();
    // Without it: everything goes on, and what it would say is unknown.
    let mut home = Home::new().unwrap();
    home.ask(home.path().join("run/nobody.sock"));
    let mut daemon = of.start(home, &config);
    daemon.wait_until_ready().unwrap();
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"http_unavailable\"")).unwrap();
    assert!(line.contains("it is user 0's, process unknown (no helper)"), "{line}");
    let second = of.stage.near.run(|| PassesEverything::ahead_on(INTERFACE)).unwrap();
    let unknown = ahead(&daemon, 1, false, 0);
    for field in ["name", "tag", "loaded_by"] {
        assert_eq!(unknown[0][field], "unknown (no helper)", "{unknown:#?}");
    }
    let text = String::from_utf8(daemon.ask(&["status", "--all"]).unwrap().stdout).unwrap();
    assert!(text.contains("does not answer: No such file or directory"), "{text}");
    assert!(
        daemon.json(&["status"]).unwrap()["findings"].as_array().unwrap().iter().all(|one| one["type"] != "helper")
    );
    // What passes that one does not come to ours.
    drop(second);
    of.is_closed();
    daemon.signal(libc::SIGTERM).unwrap();
    daemon.wait().unwrap();
    // With it.
    helper.start(std::process::id()).unwrap();
    let mut home = Home::new().unwrap();
    home.ask(helper.socket());
    let mut daemon = of.start(home, &config);
    daemon.wait_until_ready().unwrap();
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"http_unavailable\"")).unwrap();
    assert!(line.contains(&format!("it is {}", this_process())), "{line}");
    let third = of.stage.near.run(|| PassesEverything::ahead_on(INTERFACE)).unwrap();
    let told = ahead(&daemon, 1, true, 1);
    assert_eq!((&told[0]["name"], &told[0]["loaded_by"]), (&"passes".into(), &"0".into()), "{told:#?}");
    let tag = tag(told[0]["id"].as_u64().unwrap());
    assert_eq!(told[0]["tag"], tag, "{told:#?}");
    let holders = told[0]["held_by"].as_array().unwrap();
    assert!(holders.len() == 1 && holders[0].as_str().unwrap().starts_with(&this_process()), "{told:#?}");
    let text = String::from_utf8(daemon.ask(&["status", "--all"]).unwrap().stdout).unwrap();
    assert!(text.contains(&format!("(passes, tag {tag}), loaded by user 0, held open by pid ")), "{text}");
    // Killed in the middle: what was told is still known, the rest is not, and nothing waits for it.
    helper.kill().unwrap();
    let fourth = of.stage.near.run(|| PassesEverything::ahead_on(INTERFACE)).unwrap();
    let partly = ahead(&daemon, 2, false, 1);
    assert_eq!(partly[1], told[0], "{partly:#?}");
    let before = daemon.json(&["status"]).unwrap()["epoch"]["number"].as_u64().unwrap();
    daemon.json_until(&["status"], |status| status["epoch"]["number"].as_u64().unwrap() > before + 10).unwrap();
    helper.start(std::process::id()).unwrap();
    assert_eq!(ahead(&daemon, 2, true, 2)[1], told[0]);
    helper.kill().unwrap();
    drop((third, fourth));
    ahead(&daemon, 0, true, 0);
    of.is_closed();
    // Whoever has the port lets go of it.
    drop(squatter);
    daemon.json_until(&["status"], |status| status["findings"].as_array().unwrap().is_empty()).unwrap();
    daemon.signal(libc::SIGTERM).unwrap();
    let ended = daemon.wait().unwrap();
    assert!(ended.status.success(), "{:#?}", ended.log);
}

#[test]
fn who_keeps_a_second_daemon_off_is_named_with_what_it_runs() {
    let of = Unprivileged::new(&[]);
    let first = Daemon::start(&of.stage.near, &lives::config(&of.stage), &[]).unwrap();
    let mut helper = HelperProcess::listen(NOBODY).unwrap();
    helper.start(std::process::id()).unwrap();
    let mut home = Home::new().unwrap();
    home.ask(helper.socket());
    let mut second = of.start(home, &lives::config(&of.stage));
    let ended = second.wait().unwrap();
    assert_eq!(ended.status.code(), Some(69), "{:#?}", ended.log);
    let said = ended.log.join("\n");
    let it = format!("; it is pid {} ({}, user 0, cgroup ", first.id(), binary().unwrap().display());
    assert!(said.contains(&format!("watches {INTERFACE}: stop that one")) && said.contains(&it), "{said}");
    of.is_closed();
}

/// A mount namespace, for as long as it is held: a host, to those whose own ones are its slaves.
struct MountNamespace(Child);

impl MountNamespace {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "shared", "sh", "-c", "echo; exec cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It is there when it says something.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn is_mounted(&self, at: &Path) -> Option<String> {
        let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", self.id())).unwrap();
        let found = mounts.lines().find(|line| line.split(' ').nth(1) == at.to_str() && line.contains(" bpf "));
        found.map(str::to_owned)
    }

    fn umount(&self, at: &Path) {
        let target = self.id().to_string();
        let done = Command::new("nsenter").args(["--target", &target, "--mount", "umount", "--lazy"]).arg(at).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn where_the_bpf_file_system_is_missing_the_helper_mounts_it_for_the_daemons_user_where_the_host_sees_it() {
    let host = MountNamespace::new();
    let target = host.id().to_string();
    let of =
        Unprivileged::new(&["nsenter", "--target", &target, "--mount", "unshare", "--mount", "--propagation", "slave"]);
    let mut helper = HelperProcess::listen(NOBODY).unwrap();
    let bpffs = helper.bpffs();
    let start = |helper: &HelperProcess| {
        let mut home = Home::new().unwrap();
        home.ask(helper.socket());
        home.pin_in(bpffs.clone());
        let mut daemon = of.start(home, &lives::config(&of.stage));
        daemon.wait_until_ready().unwrap();
        of.is_closed();
        daemon
    };
    // The socket is there, and nobody takes what is asked: it is attached all the same, and says that it is not pinned.
    let daemon = start(&helper);
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"not_pinned\"")).unwrap();
    assert!(line.contains("mount one there") && line.contains("no helper (no answer in time)"), "{line}");
    let not_pinned = daemon.stop().unwrap();
    assert!(not_pinned.status.success() && host.is_mounted(&bpffs).is_none());
    helper.start(host.id()).unwrap();
    for _ in 0..2 {
        let mut daemon = start(&helper);
        let status = daemon.json(&["status"]).unwrap();
        assert_eq!(status["findings"].as_array().map(Vec::len), Some(0), "{:#}", status["findings"]);
        let mount = host.is_mounted(&bpffs).expect("the host sees it");
        assert!(mount.contains("nosuid,nodev,noexec") && mount.contains("mode=700"), "{mount}");
        let there = Path::new("/proc").join(&target).join("root").join(bpffs.strip_prefix("/").unwrap());
        let found = std::fs::metadata(&there).unwrap();
        let owned = (std::os::unix::fs::MetadataExt::uid(&found), std::os::unix::fs::MetadataExt::mode(&found) & 0o777);
        assert_eq!(owned, (NOBODY, 0o700));
        let links = || {
            std::fs::read_dir(there.join(format!("v{}/links", monitor_common::wire::LAYOUT))).map_or(0, Iterator::count)
        };
        assert_eq!(links(), 2, "the interface's and the sockets' are pinned");
        // Somebody takes it away from under a daemon that runs: there is another, and all is pinned again.
        host.umount(&bpffs);
        let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"bpffs_unmounted\"")).unwrap();
        assert!(line.contains("pinned nowhere"), "{line}");
        let is_over = |status: &serde_json::Value| status["findings"].as_array().map(Vec::len) == Some(0);
        daemon.json_until(&["status"], |status| is_over(status) && links() == 2).unwrap();
        assert!(host.is_mounted(&bpffs).is_some());
        assert!(
            !std::fs::read_to_string("/proc/self/mounts").unwrap().contains(bpffs.to_str().unwrap()),
            "the host's alone"
        );
        // It outlives the daemon.
        daemon.signal(libc::SIGTERM).unwrap();
        assert!(daemon.wait().unwrap().status.success());
        of.is_closed();
        // Somebody takes it away, with all that is pinned; the next start has another.
        host.umount(&bpffs);
        assert_eq!(lives::attached(&of.stage), (0, 0));
    }
    // Where others can write it mounts nothing.
    std::fs::set_permissions(bpffs.parent().unwrap(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let client = Helper::at(helper.socket());
    let Err(NoAnswer::Unknown(Why::Failed(why))) = client.ask(&Question::Mount) else { panic!("it mounted") };
    assert!(why.as_str().contains("is not safe to mount on: take that away (`chmod go-w "), "{why}");
    assert_eq!(host.is_mounted(&bpffs), None);
}

/// Sends a message, and gives the answer: none where it was hung up.
fn said(socket: &Path, message: &[u8]) -> Vec<u8> {
    let mut connection = HelperProcess::connect(socket).unwrap();
    connection.send(message).unwrap();
    let mut answer = vec![0; 65_536];
    let length = connection.read(&mut answer).unwrap();
    answer.truncate(length);
    assert_eq!(connection.read(&mut [0]).unwrap(), 0, "one question, one answer");
    answer
}

#[test]
fn whatever_somebody_hostile_does_the_helper_answers_the_next_question_and_nobody_else() {
    let mut helper = HelperProcess::listen(NOBODY).unwrap();
    let socket = helper.socket();
    helper.start(std::process::id()).unwrap();
    let client = Helper::at(socket.clone());
    let own = Question::Process { pid: std::process::id(), started: None };
    let answers = || {
        let Ok(Answer::Process(Process { pid, executable, .. })) = client.ask(&own) else { panic!("no answer") };
        assert_eq!(
            (pid, executable.as_str()),
            (std::process::id(), std::env::current_exe().unwrap().to_str().unwrap())
        );
    };
    answers();
    let _first = said(&socket, &own.encode());
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", helper.id().unwrap())).unwrap().count();
    let before = descriptors();
    // Others do not get in; and where the socket lets them in, the helper does not answer.
    let stranger = |user: u32| {
        let connected = std::thread::scope(|scope| {
            let connect = scope.spawn(|| {
                become_user(user, &[]).unwrap();
                HelperProcess::connect(&socket).map(|connection| {
                    // It may have been hung up on already.
                    let _ = connection.send(&own.encode());
                    (&connection).read(&mut [0; 4_096]).unwrap_or(0)
                })
            });
            connect.join().unwrap()
        });
        connected.map_err(|error| error.kind())
    };
    assert_eq!(stranger(1_000), Err(std::io::ErrorKind::PermissionDenied));
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(stranger(1_000), Ok(0), "refused by who he is");
    assert!(stranger(NOBODY).is_ok_and(|length| length > 0), "whose the socket is");
    answers();
    // What is none of its questions.
    let not_understood = Answer::None(Why::NotUnderstood).encode();
    let cut = &own.encode()[..7];
    for message in [&[0][..], &[1], &[9, 1, 0, 0, 0, 0], &[1, 5], cut, &[own.encode(), vec![0]].concat(), &[1; 16_000]]
    {
        assert_eq!(said(&socket, message), not_understood, "{} bytes", message.len());
    }
    let mut random = random();
    for _ in 0..2_000 {
        let message: Vec<u8> = (0..random.usize(1..20)).map(|_| random.u8(..)).collect();
        let answer = Answer::decode(&said(&socket, &message)).unwrap();
        assert!(Question::decode(&message).is_ok() || answer == Answer::None(Why::NotUnderstood), "{message:x?}");
    }
    answers();
    // Those who say nothing, or nothing at all is read by, and those who go before they are answered.
    let silent: Vec<_> = (0..3).map(|_| HelperProcess::connect(&socket).unwrap()).collect();
    let deaf: Vec<_> = (0..3).map(|_| HelperProcess::connect(&socket).unwrap()).collect();
    for connection in &deaf {
        connection.send(&own.encode()).unwrap();
    }
    for _ in 0..3 {
        let mut gone = HelperProcess::connect(&socket).unwrap();
        gone.write_all(&own.encode()).unwrap();
    }
    let mut last = HelperProcess::connect(&socket).unwrap();
    last.write_all(&own.encode()).unwrap();
    let mut answer = [0; 4_096];
    let length = last.read(&mut answer).unwrap();
    assert!(matches!(Answer::decode(&answer[..length]), Ok(Answer::Process(_))));
    drop((silent, deaf));
    let _last = said(&socket, &own.encode());
    assert_eq!(descriptors(), before);
    // Processes and programs that are gone; and a process that has the id of another one since.
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let began = started(child.id()).and_then(NonZeroU64::new);
    let of = |started| client.ask(&Question::Process { pid: child.id(), started });
    assert!(matches!(of(began), Ok(Answer::Process(_))));
    let another = began.and_then(|began| began.checked_add(1));
    assert!(matches!(of(another), Err(NoAnswer::Unknown(Why::Gone))));
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = client.ask(&Question::Process { pid: child.id(), started: began });
    assert!(matches!(gone, Err(NoAnswer::Unknown(Why::Gone))));
    assert!(matches!(client.ask(&Question::Program(u32::MAX)), Err(NoAnswer::Unknown(Why::Gone))));
    assert!(
        matches!(client.ask(&Question::Socket { inode: u64::MAX, command: true }), Ok(Answer::Holders(of)) if of.processes.is_empty())
    );
    // Killed: whoever asks waits a second, and knows nothing. It is not the socket's end.
    helper.kill().unwrap();
    let Err(nobody) = client.ask(&own) else { panic!("nobody is there") };
    assert_eq!(
        (nobody.field().as_str(), nobody.silence().as_deref()),
        ("unknown (no helper)", Some("no answer in time"))
    );
    helper.start(std::process::id()).unwrap();
    answers();
}

#[test]
fn the_helper_has_what_it_needs_ends_when_nobody_asks_and_starts_by_its_socket_alone() {
    let mut helper = HelperProcess::listen(NOBODY).unwrap();
    helper.start(std::process::id()).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", helper.id().unwrap())).unwrap();
    // CAP_CHOWN, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_ADMIN (include/uapi/linux/capability.h).
    let four = format!("{:016x}", 1_u64 | 1 << 18 | 1 << 19 | 1 << 21);
    let none = "0".repeat(16);
    for (set, expected) in
        [("CapPrm", &four), ("CapEff", &four), ("CapBnd", &four), ("CapInh", &none), ("CapAmb", &none)]
    {
        assert!(status.contains(&format!("{set}:\t{expected}\n")), "{set}: {status}");
    }
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    helper.is_another_within(Duration::from_secs(60)).unwrap();
    let by_hand = Command::new(binary().unwrap()).args(["helper", "--bpffs", "/nonexistent"]).output().unwrap();
    assert_eq!(by_hand.status.code(), Some(64));
    let said = String::from_utf8(by_hand.stderr).unwrap();
    assert!(said.contains("systemctl start egress-monitor-helper.socket"), "{said}");
}
