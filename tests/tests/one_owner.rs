//! Promise: an interface has one monitor, and pins have one owner; what belongs to somebody else, or to nobody any more, is
//! told apart, and no packet that is denied leaves meanwhile.

use std::{
    os::{linux::net::SocketAddrExt as _, unix::net as unix},
    process::Command,
};

use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    monitor::kernel::Interface,
    stage::{INTERFACE, PATIENCE, Stage},
    traffic::send_udp,
};

use crate::support::lives::{HOOKS, attached, detach, detach_from, end, gap, home, one, outside, start};

#[test]
fn a_second_daemon_is_refused_and_names_the_first_and_nothing_is_harmed() {
    let stage = Stage::build(false).unwrap();
    let first = start(&stage, home(&stage), "tcx");
    let mut second = Home::new().unwrap();
    second.pin_in(first.home().bpffs().to_owned());
    second.configure(&stage.config("mode = \"observe\"", "")).unwrap();
    let mut second = Daemon::spawn(&stage.near, second, &[]).unwrap();
    let ended = second.wait().unwrap();
    assert_eq!(ended.status.code(), Some(69));
    let said = ended.log.join("\n");
    let already = format!("already running, pid {}: another egress-monitor (pid {0}, since ", first.id());
    assert!(said.contains(&already), "{said}");
    let mut command = Command::new(binary().unwrap());
    let refused = command.args(["detach", "--bpffs"]).arg(first.home().bpffs()).output().unwrap();
    assert_eq!(refused.status.code(), Some(69));
    let before = stage.sent().unwrap();
    stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 3])).unwrap();
    assert_eq!(stage.sent().unwrap().since(before).packets, 0);
}

#[test]
fn an_interface_has_one_monitor_and_a_second_one_leaves_it_alone() {
    let stage = Stage::build(false).unwrap();
    for hook in HOOKS {
        let config = stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "");
        let first = Daemon::start(&stage.near, &config, &["--hook", hook]).unwrap();
        let second = Home::outliving().unwrap();
        second.configure(&config).unwrap();
        let mut second = Daemon::spawn(&stage.near, second, &["--hook", hook]).unwrap();
        let ended = second.wait().unwrap();
        assert_eq!(ended.status.code(), Some(69), "{:#?}", ended.log);
        let said = ended.log.join("\n");
        assert!(said.contains(&format!("another egress-monitor (pid {}, since ", first.id())), "{said}");
        assert!(said.contains(&format!("watches {INTERFACE}: stop that one")), "{said}");
        assert_eq!(attached(&stage), one(hook));
        let before = stage.sent().unwrap();
        stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 3])).unwrap();
        assert_eq!(stage.sent().unwrap().since(before).packets, 0);
        assert!(!detach(&stage, "/nonexistent").contains("removed the program"), "it is somebody's");
        end(first, libc::SIGTERM);
        assert_eq!(attached(&stage), (0, 0));
    }
}

/// Does something in this thread as a user without privileges.
fn as_nobody<T>(what: impl FnOnce() -> T) -> T {
    let become_user = |user: libc::uid_t| {
        // SAFETY: plain system call, of this thread alone: the C library's would change all of them.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, -1, user, -1) };
        assert_eq!(result, 0);
    };
    become_user(65_534);
    let done = what();
    become_user(0);
    done
}

#[test]
fn whoever_takes_a_monitors_name_without_being_root_keeps_it_from_nothing() {
    let stage = Stage::build(false).unwrap();
    let index = stage.near.run(|| Interface::find(INTERFACE)).unwrap().index;
    let name = unix::SocketAddr::from_abstract_name(format!("egress-monitor/{index}")).unwrap();
    let squatter = stage.near.run(|| as_nobody(|| unix::UnixListener::bind_addr(&name).unwrap()));
    let daemon = start(&stage, home(&stage), "tcx");
    assert!(daemon.log.all().iter().any(|line| line.contains("another program has taken the name")));
    let before = stage.sent().unwrap();
    stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 3])).unwrap();
    assert_eq!(stage.sent().unwrap().since(before).packets, 0);
    drop(squatter);
}

#[test]
fn a_program_at_another_hook_is_taken_off_when_ours_is_there_and_nothing_leaves_between() {
    let stage = Stage::build(false).unwrap();
    let mut home = home(&stage);
    let before = stage.sent().unwrap();
    for (number, hook) in ["tcx", "clsact", "tcx"].into_iter().enumerate() {
        let daemon = start(&stage, home, hook);
        assert_eq!(attached(&stage), one(hook));
        stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 3])).unwrap();
        if number > 0 {
            let told = |line: &str| line.contains("\"gap\"") && line.contains("has changed its hook");
            daemon.alerts.wait_for(0, PATIENCE, told).unwrap();
        }
        let status = daemon.json(&["status"]).unwrap();
        // Three of its own, and of each before it three and two, which it did not take.
        let dropped = 3 + 5 * number;
        assert_eq!(status["interfaces"][0]["dropped"]["packets"], dropped, "{status:#}");
        daemon.stand_still().unwrap();
        stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 2])).unwrap();
        home = end(daemon, libc::SIGKILL);
        assert_eq!(attached(&stage), one(hook));
    }
    assert_eq!(stage.sent().unwrap().since(before).packets, 0);
    detach(&stage, home.bpffs().to_str().unwrap());
}

#[test]
fn a_start_that_watches_nothing_leaves_what_an_earlier_one_left_as_it_is() {
    let stage = Stage::build(false).unwrap();
    for hook in HOOKS {
        let mut home = end(start(&stage, home(&stage), hook), libc::SIGKILL);
        let before = stage.sent().unwrap();
        stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 3])).unwrap();
        // A name that is not there, or not yet.
        let mut nothing = Daemon::spawn(&stage.near, home, &["--hook", hook, "--interface", "nosuch0"]).unwrap();
        nothing.wait_until_ready().unwrap();
        assert_eq!(attached(&stage), one(hook));
        stage.near.run(|| send_udp(stage.from(outside()), outside(), &[1; 2])).unwrap();
        home = end(nothing, libc::SIGTERM);
        assert_eq!(attached(&stage), one(hook));
        assert_eq!(stage.sent().unwrap().since(before).packets, 0);
        // What was counted meanwhile is not lost.
        let next = start(&stage, home, hook);
        assert_eq!(gap(&next), [5, 5 * 43, 5, 5 * 43]);
        detach_from(&stage, next);
    }
}

#[test]
fn pins_that_are_somebody_elses_are_left_alone() {
    let stage = Stage::build(false).unwrap();
    let home = home(&stage);
    std::fs::create_dir(home.bpffs()).unwrap();
    let mut permissions = std::fs::metadata(home.bpffs()).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o777);
    std::fs::set_permissions(home.bpffs(), permissions).unwrap();
    let daemon = start(&stage, home, "tcx");
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"not_pinned\"")).unwrap();
    assert!(line.contains("others may write to it"), "{line}");
    assert_eq!(std::fs::read_dir(daemon.home().bpffs()).unwrap().count(), 0);
}

#[test]
fn who_starts_beside_what_an_earlier_daemon_left_is_told() {
    let stage = Stage::build(false).unwrap();
    let kept = end(start(&stage, home(&stage), "tcx"), libc::SIGTERM);
    let config = std::fs::read_to_string(kept.config()).unwrap();
    let beside = Home::new().unwrap();
    let config = config.lines().filter(|line| !line.starts_with("runtime = ")).collect::<Vec<_>>().join("\n");
    std::fs::write(beside.config(), format!("{config}\nruntime = \"{}/run\"\n", beside.path().display())).unwrap();
    let mut daemon = Daemon::spawn(&stage.near, beside, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    assert_eq!(attached(&stage), (2, 0));
    assert!(daemon.log.all().iter().any(|line| line.contains("programs that an earlier daemon has left")));
    end(daemon, libc::SIGTERM);
    assert_eq!(attached(&stage), (1, 0));
}

#[test]
fn a_start_that_comes_to_nothing_leaves_nothing() {
    let stage = Stage::build(false).unwrap();
    let mut home = end(start(&stage, home(&stage), "tcx"), libc::SIGKILL);
    let maps = home.pins().join("maps");
    let kept = || std::fs::read_dir(&maps).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let before = kept();
    assert_eq!(before.len(), 1);
    // Refused after everything was loaded: our filter's priority has one for another protocol.
    stage.near.tc(&["qdisc", "add", "dev", INTERFACE, "clsact"]).unwrap();
    let other = format!("filter add dev {INTERFACE} egress protocol ip prio 1 bpf bytecode");
    stage.near.tc(&other.split(' ').chain(["1,6 0 0 4294967295"]).collect::<Vec<_>>()).unwrap();
    for _ in 0..3 {
        let mut refused = Daemon::spawn(&stage.near, home, &["--hook", "clsact"]).unwrap();
        let ended = refused.wait().unwrap();
        assert_eq!(ended.status.code(), Some(69), "{:#?}", ended.log);
        home = refused.into_home().unwrap();
        assert_eq!(kept(), before);
        assert_eq!(attached(&stage).0, 1, "what was there goes on");
    }
    // One that was killed while it was loading.
    std::fs::create_dir(maps.join("77")).unwrap();
    let daemon = start(&stage, home, "tcx");
    assert_eq!(kept().len(), 1, "{:?}", kept());
    end(daemon, libc::SIGTERM);
}

#[test]
fn what_another_version_left_goes_on_beside_until_it_is_to_be_replaced() {
    let stage = Stage::build(false).unwrap();
    for hook in HOOKS {
        let home = end(start(&stage, home(&stage), hook), libc::SIGKILL);
        let (own, other) = (home.pins(), home.bpffs().join("v99"));
        std::fs::rename(&own, &other).unwrap();
        let before = stage.sent().unwrap();
        let beside = start(&stage, home, hook);
        // A filter's place can be taken without knowing what it is; a link is its pin's.
        assert_eq!(attached(&stage), if hook == "tcx" { (2, 0) } else { (0, 1) });
        beside.log.wait_for(0, PATIENCE, |line| line.contains("or start with --replace")).unwrap();
        assert!(other.exists());
        assert!(!stage.leaves(outside(), 1).unwrap());
        // One that lives keeps it.
        let lock = std::fs::File::open(&other).unwrap();
        lock.lock().unwrap();
        let home = end(beside, libc::SIGKILL);
        let replace = |home| {
            let mut daemon = Daemon::spawn(&stage.near, home, &["--hook", hook, "--replace"]).unwrap();
            daemon.wait_until_ready().unwrap();
            daemon
        };
        let refused = replace(home);
        let why = refused.log.wait_for(0, PATIENCE, |line| line.contains("not replaced")).unwrap();
        assert!(why.contains(&format!("pid {}", std::process::id())), "{why}");
        assert!(other.exists());
        let home = end(refused, libc::SIGKILL);
        drop(lock);
        let replaced = replace(home);
        assert_eq!(attached(&stage), one(hook));
        assert!(!other.exists() && own.exists());
        let told = if hook == "tcx" { "eth0 has sent " } else { "its interfaces are not known" };
        let told = format!("layout 99 is another version's; {told}");
        replaced.alerts.wait_for(0, PATIENCE, |line| line.contains("\"gap\"") && line.contains(&told)).unwrap();
        assert!(!stage.leaves(outside(), 1).unwrap());
        assert_eq!(stage.sent().unwrap().since(before).packets, 0);
        detach_from(&stage, replaced);
    }
}

#[test]
fn who_fills_the_queue_of_a_monitors_name_takes_it_from_nobody() {
    let stage = Stage::build(false).unwrap();
    let first = start(&stage, home(&stage), "clsact");
    let index = stage.near.run(|| Interface::find(INTERFACE)).unwrap().index;
    let name = format!("egress-monitor/{index}");
    let full = stage.near.run(|| as_nobody(|| (0..70_000).any(|_| connect_and_close(&name).is_err())));
    assert!(full, "the queue has no end");
    let second = Home::outliving().unwrap();
    second.configure(&stage.config("mode = \"observe\"", "")).unwrap();
    let mut second = Daemon::spawn(&stage.near, second, &["--hook", "clsact"]).unwrap();
    let ended = second.wait().unwrap();
    assert_eq!(ended.status.code(), Some(69), "{:#?}", ended.log);
    let said = ended.log.join("\n");
    assert!(said.contains(&format!("another egress-monitor watches {INTERFACE}")), "{said}");
    assert!(!detach(&stage, "/nonexistent").contains("removed the program"), "it is somebody's");
    assert!(!stage.leaves(outside(), 3).unwrap());
    detach_from(&stage, first);
}

/// Connects to an abstract name without waiting, and lets go of it again.
fn connect_and_close(name: &str) -> rustix::io::Result<()> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}
