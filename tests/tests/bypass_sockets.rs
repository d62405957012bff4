//! Promise: in enforce mode no program of the network namespace opens a way past the hook but those that the configuration
//! names, whatever becomes of the daemon, and nothing else that setsockopt(2) does is different.

use std::{
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use egress_monitor_tests::{
    bypass::{self, detach_pinned, packet_bypass, xdp_send},
    netns::Namespace,
    stage::{INTERFACE, PATIENCE, Stage},
};
use socket2::{Domain, Socket, Type};

use crate::support::{
    lives::{HOOKS, config, detach, end, home, start},
    policy::networks_apart,
};

const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// Whether a packet socket may send past the hook there.
pub fn packet_socket(in_namespace: &Namespace) -> bool {
    let tried = in_namespace.run(|| packet_bypass(INTERFACE, []));
    let refused = tried.as_ref().err().map(|error| error.to_string());
    assert!(refused.is_none() || refused.as_deref() == Some("PACKET_QDISC_BYPASS"), "{refused:?}");
    tried.is_ok()
}

/// Whether a packet socket may send past the hook in the end: the kernel takes a program off a grace period after its last pin
/// is gone.
fn may_soon(stage: &Stage) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !packet_socket(&stage.near) {
        if Instant::now() > deadline {
            return false;
        }
    }
    true
}

#[test]
fn who_would_send_past_the_hook_is_refused_whatever_becomes_of_the_daemon() {
    let stage = Stage::build(false).unwrap();
    assert!(packet_socket(&stage.near));
    for hook in HOOKS {
        let daemon = start(&stage, home(&stage), hook);
        assert!(!packet_socket(&stage.near));
        assert!(packet_socket(&stage.far), "another host's, as far as this one knows");
        let xdp = stage.near.run(|| xdp_send(INTERFACE, &[]));
        assert_eq!(xdp.unwrap_err().to_string(), "the size of an AF_XDP ring");
        stage.far.run(|| xdp_send(INTERFACE, &[])).unwrap();
        let status = daemon.json_until(&["status"], |status| status["bypass_refused"]["packet"] == 1).unwrap();
        assert_eq!(status["bypass_refused"]["xdp"], 1, "{status:#}");
        let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"bypass_refused\"")).unwrap();
        assert!(line.contains("1 packet sockets with PACKET_QDISC_BYPASS"), "{line}");
        // Larger maps, a stopped daemon, a killed one: there is no moment in between.
        let over = AtomicBool::new(false);
        let (daemon, refused) = thread::scope(|scope| {
            let mut daemon = daemon;
            let tries = scope.spawn(|| {
                let mut refused = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    assert!(!packet_socket(&stage.near), "after {refused}");
                    refused += 1;
                }
                refused
            });
            let larger = config(&stage) + &networks_apart(daemon.home().path(), 60_000);
            daemon.home().configure(&larger).unwrap();
            let reloaded = daemon.ask(&["reload"]).unwrap();
            for signal in [libc::SIGTERM, libc::SIGKILL] {
                let home = end(daemon, signal);
                home.configure(&config(&stage)).unwrap();
                daemon = start(&stage, home, hook);
            }
            over.store(true, Ordering::Relaxed);
            assert!(reloaded.status.success(), "{reloaded:?}");
            (daemon, tries.join().unwrap())
        });
        assert!(refused > 10);
        // It goes by the mode, as packets do.
        let by_hand = |mode: &str| daemon.json(&["mode", mode, "--reason", "a test"]).unwrap();
        by_hand("observe");
        assert!(packet_socket(&stage.near));
        by_hand("enforce");
        assert!(!packet_socket(&stage.near));
        let status = daemon.json(&["status"]).unwrap();
        assert!(!status["findings"].to_string().contains("bypass_not_refused"), "{status:#}");
        let home = end(daemon, libc::SIGTERM);
        assert!(!packet_socket(&stage.near));
        let removed = detach(&stage, home.bpffs().to_str().unwrap());
        assert!(removed.contains("the program that refuses sockets which send past the hook"), "{removed}");
        assert!(may_soon(&stage));
    }
}

/// A control group of its own, below the root of version 2.
pub struct Group(pub PathBuf);

/// The root of version 2.
pub fn cgroup_root() -> &'static Path {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if unified.join("cgroup.procs").exists() { unified } else { Path::new("/sys/fs/cgroup") }
}

impl Group {
    /// One that is not there yet.
    pub fn new(what: &str) -> Self {
        Self(cgroup_root().join(format!("egm-{}-{what}", std::process::id())))
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Makes it.
    pub fn make(&self) {
        fs::create_dir(&self.0).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whether a process in that group may.
fn may(stage: &Stage, group: Option<&Group>) -> bool {
    let mut command = stage.near.command("true").unwrap();
    let procs = group.map(|group| fs::OpenOptions::new().write(true).open(group.0.join("cgroup.procs")).unwrap());
    // SAFETY: between fork and exec the closure makes system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if let Some(procs) = &procs {
                io::Write::write_all(&mut &*procs, b"0")?;
            }
            let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
            let (on, length) = (1_i32, size_of::<i32>() as libc::socklen_t);
            let value = (&raw const on).cast();
            match libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_QDISC_BYPASS, value, length) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    match command.status() {
        Ok(ended) => ended.success(),
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
            false
        }
    }
}

#[test]
fn a_control_group_that_is_named_may_also_when_it_is_made_again() {
    let stage = Stage::build(false).unwrap();
    let (named, other) = (Group::new("named"), Group::new("other"));
    other.make();
    let text = config(&stage).replace("[monitor]", &format!("[monitor]\nbypass = [\"/{}\"]", named.name()));
    let home = home(&stage);
    home.configure(&text).unwrap();
    let daemon = start(&stage, home, "tcx");
    for _ in 0..2 {
        named.make();
        // It is looked for with each epoch.
        daemon.json(&["status"]).unwrap();
        assert_eq!((may(&stage, Some(&named)), may(&stage, Some(&other)), may(&stage, None)), (true, false, false));
        fs::remove_dir(&named.0).unwrap();
    }
    let home = end(daemon, libc::SIGTERM);
    detach(&stage, home.bpffs().to_str().unwrap());
}

/// What an option of eight pages comes to: no program that looks into options is to cut it off at one. The error's number, if any.
pub fn long_option(interface: &str) -> Option<i32> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let mut value = interface.as_bytes().to_vec();
    value.resize(8 * 4096, 0);
    // SAFETY: the value outlives the call and its size is given.
    let result = unsafe {
        let length = value.len() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, value.as_ptr().cast(), length)
    };
    (result != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap())
}

#[test]
fn every_other_option_however_long_is_what_it_was() {
    let stage = Stage::build(false).unwrap();
    let tried = || stage.near.run(|| [long_option(INTERFACE), long_option("nowhere")]);
    let before = tried();
    assert_eq!(before, [None, Some(libc::ENODEV)]);
    let daemon = start(&stage, home(&stage), "tcx");
    assert!(!packet_socket(&stage.near));
    assert_eq!(tried(), before);
    let home = end(daemon, libc::SIGTERM);
    detach(&stage, home.bpffs().to_str().unwrap());
}

#[test]
fn where_somebody_takes_the_program_off_it_is_told_and_put_back() {
    let stage = Stage::build(false).unwrap();
    let daemon = start(&stage, home(&stage), "tcx");
    for _ in 0..2 {
        let from = daemon.alerts.count();
        detach_pinned(&daemon.home().pins().join("links/bypass")).unwrap();
        let told = |line: &str| line.contains("\"bypass_not_refused\"") && line.contains("it is there again");
        daemon.alerts.wait_for(from, PATIENCE, told).unwrap();
        assert!(!packet_socket(&stage.near));
        daemon.json_until(&["status"], |status| !status["findings"].to_string().contains("bypass_not")).unwrap();
    }
    let home = end(daemon, libc::SIGTERM);
    assert!(!packet_socket(&stage.near));
    detach(&stage, home.bpffs().to_str().unwrap());
    assert!(may_soon(&stage));
}

#[test]
fn sockets_that_are_open_from_before_it_is_enforced_are_listed_until_they_are_closed() {
    let stage = Stage::build(false).unwrap();
    let packet = stage.near.run(|| bypass::packet_socket(INTERFACE).unwrap());
    let xdp = stage.near.run(|| bypass::xdp_socket().unwrap());
    // Another host's.
    let _elsewhere = stage.far.run(|| bypass::packet_socket(INTERFACE).unwrap());
    let inode = |socket: &Socket| fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().ino();
    let home = home(&stage);
    home.configure(&config(&stage).replace("enforce", "observe")).unwrap();
    let daemon = start(&stage, home, "tcx");
    let epoch = |status: &serde_json::Value| status["epoch"].is_object();
    let open = |status: &serde_json::Value| {
        let sockets = status["bypass_open"]["sockets"].as_array().unwrap();
        let of = |kind: &str| -> Vec<u64> {
            let of_kind = sockets.iter().filter(|one| one["kind"] == kind);
            of_kind.map(|one| one["inode"].as_u64().unwrap()).collect()
        };
        let unlisted = status["bypass_open"]["unlisted_xdp"].as_u64().unwrap();
        (of("packet"), of("xdp").len() as u64 + unlisted)
    };
    let status = daemon.json_until(&["status"], epoch).unwrap();
    assert_eq!(open(&status), (vec![], 0), "nothing is enforced");
    daemon.reconfigure(&config(&stage)).unwrap();
    let there = (vec![inode(&packet)], 1);
    let status = daemon.json_until(&["status"], |status| open(status) == there).unwrap();
    let socket = &status["bypass_open"]["sockets"][0];
    assert_eq!((&socket["interface"], &socket["user"]), (&INTERFACE.into(), &0.into()), "{status:#}");
    let line = daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"bypass_open\"")).unwrap();
    assert!(line.contains(&format!("{} of user 0 on {INTERFACE}", inode(&packet))), "{line}");
    let text = String::from_utf8(daemon.ask(&["status", "--all"]).unwrap().stdout).unwrap();
    assert!(text.contains(": AF_PACKET, it may send past the hook"), "{text}");
    // One that is opened later can't have the option, and is no news.
    let later = stage.near.run(|| Socket::new(Domain::PACKET, Type::RAW, None).unwrap());
    drop(packet);
    daemon.json_until(&["status"], |status| open(status) == (vec![], 1)).unwrap();
    drop(xdp);
    let closed = |status: &serde_json::Value| {
        open(status) == (vec![], 0) && !status["findings"].to_string().contains("bypass_open")
    };
    daemon.json_until(&["status"], closed).unwrap();
    // What a start finds is listed by it, and what is not its host's is not.
    let home = end(daemon, libc::SIGTERM);
    let daemon = start(&stage, home, "tcx");
    let status = daemon.json_until(&["status"], |status| epoch(status) && !open(status).0.is_empty()).unwrap();
    assert_eq!(open(&status), (vec![inode(&later)], 0));
    let home = end(daemon, libc::SIGTERM);
    detach(&stage, home.bpffs().to_str().unwrap());
}

#[test]
fn in_observe_mode_nothing_is_refused() {
    let stage = Stage::build(false).unwrap();
    // What an enforcing daemon has left goes by its mode no more.
    let home = end(start(&stage, home(&stage), "tcx"), libc::SIGTERM);
    assert!(!packet_socket(&stage.near));
    home.configure(&config(&stage).replace("enforce", "observe")).unwrap();
    let daemon = start(&stage, home, "tcx");
    assert!(packet_socket(&stage.near));
    assert_eq!(daemon.json(&["status"]).unwrap()["bypass_refused"]["packet"], 0);
    let home = end(daemon, libc::SIGTERM);
    detach(&stage, home.bpffs().to_str().unwrap());
}
