//! Promise: the daemon does with three capabilities and no user of its own beside them, and its threads that have nothing to
//! do with the kernel part without any.

use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::process::CommandExt as _, process::Command};

use egress_monitor_tests::{
    bypass::{PassesEverything, detach_first},
    daemon::{Daemon, Home, binary},
    stage::{INTERFACE, OUTSIDE, PATIENCE, Stage, v4},
    traffic::send_udp,
    user::NOBODY,
};

/// What the service has: CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF (include/uapi/linux/capability.h).
const THREE: u64 = 1 << 12 | 1 << 38 | 1 << 39;

/// What /proc says of each thread of a process: its name, and its effective and permitted capabilities.
fn threads(process: u32) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut threads: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name));
        // One that renders may have ended.
        let (Ok(name), Ok(status)) = (read("comm"), read("status")) else { continue };
        let set = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        threads.entry(name.trim().to_owned()).or_default().push((set("CapEff:"), set("CapPrm:")));
    }
    threads
}

/// What this process has.
fn own() -> u64 {
    threads(std::process::id()).values().flatten().next().unwrap().1
}

/// Asserts that threads have no capabilities, but for those of the kernel part, and those of some by name.
fn only_the_kernel_parts(daemon: &Daemon, of_kernel: u64, others: &[(&str, u64)]) {
    let threads = threads(daemon.id());
    for (name, sets) in &threads {
        let other = others.iter().find(|(other, _)| other == name).map_or(0, |(_, set)| *set);
        let expected = if name == "kernel" { of_kernel } else { other };
        assert!(sets.iter().all(|sets| *sets == (expected, expected)), "{name}: {threads:x?}");
    }
    // The main thread, and all that there are while nothing is asked.
    for name in ["egress-monitor", "kernel", "http", "alert-outbox", "sink-stdout", "neighbours"] {
        assert!(threads.contains_key(name), "{name}: {threads:x?}");
    }
}

#[test]
fn a_user_with_three_capabilities_enforces_and_pins_and_what_serves_has_none_of_them() {
    let stage = Stage::build(false).unwrap();
    let home = Home::outliving().unwrap();
    home.configure(&stage.config("mode = \"enforce\"\nepoch = \"100ms\"", "")).unwrap();
    let folder = home.path().to_owned();
    for part in ["", "config", "state", "run", "bpf"] {
        std::os::unix::fs::chown(folder.join(part), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    std::os::unix::fs::chown(home.config(), Some(NOBODY), Some(NOBODY)).unwrap();
    // What it reads of the stage's is in a folder of root's.
    std::fs::set_permissions(stage.folder(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.join("egress-monitor");
    std::fs::copy(binary().unwrap(), &program).unwrap();
    let only = "-all,+bpf,+net_admin,+perfmon";
    let by = |program: &std::path::Path| {
        let mut command: Command = stage.near.command("setpriv").unwrap();
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL"]);
        command.args(["--bounding-set", only, "--inh-caps", only, "--ambient-caps", only]).arg("--").arg(program);
        command
    };
    let mut daemon = Daemon::spawn_by(by(&program), home, &[], &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(status["findings"].as_array().map(Vec::len), Some(0), "{:#}", status["findings"]);
    let (before, to) = (stage.sent().unwrap(), SocketAddr::new(v4(OUTSIDE).into(), 9));
    stage.near.run(|| send_udp(stage.from(to), to, &[1; 3])).unwrap();
    assert_eq!(stage.sent().unwrap().since(before).packets, 0, "it enforces");
    only_the_kernel_parts(&daemon, THREE, &[]);
    // Another takes its place by the pins.
    daemon.signal(libc::SIGTERM).unwrap();
    let ended = daemon.wait().unwrap();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let home = daemon.into_home().unwrap();
    let mut daemon = Daemon::spawn_by(by(&program), home, &[], &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    assert_eq!(daemon.json(&["status"]).unwrap()["not_ready"], serde_json::Value::Null);
    stage.near.run(|| send_udp(stage.from(to), to, &[1; 3])).unwrap();
    assert_eq!(stage.sent().unwrap().since(before).packets, 0, "it enforces again");
    // Without more it puts right what root changes; whose program is ahead it may not read.
    stage.near.run(|| detach_first(INTERFACE)).unwrap();
    fs::remove_file(daemon.home().pins().join("maps/2/HOT")).unwrap();
    daemon.json_until(&["status"], |status| status["tamper"]["healed"] == 2).unwrap();
    let ahead = stage.near.run(|| PassesEverything::ahead_on(INTERFACE)).unwrap();
    let unknown = |line: &str| line.contains("\"program_ahead\"") && line.contains("name and tag unknown");
    daemon.alerts.wait_for(0, PATIENCE, unknown).unwrap();
    drop(ahead);
    let left = stage.sent().unwrap();
    stage.near.run(|| send_udp(stage.from(to), to, &[1; 3])).unwrap();
    assert_eq!(stage.sent().unwrap(), left, "it is there again");
    daemon.signal(libc::SIGTERM).unwrap();
    daemon.wait().unwrap();
    let _home = daemon.into_home().unwrap();
    // Root takes off what it left.
    let mut detach = stage.near.command(binary().unwrap()).unwrap();
    let output = detach.args(["detach", "--config"]).arg(folder.join("config/config.toml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("(tcx)"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_serves_has_no_capabilities_when_root_starts_it_either_and_the_port_may_come_from_a_service_manager() {
    let stage = Stage::build(false).unwrap();
    let home = Home::new().unwrap();
    let held = stage.near.run(|| std::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = held.local_addr().unwrap();
    let config = stage.config("epoch = \"100ms\"", "").replace("listen = \"\"", &format!("listen = \"{address}\""));
    home.configure(&config).unwrap();
    // As sd_listen_fds(3) has it: the socket is descriptor 3, and the process that is to have it is named.
    let mut command = stage.near.command("sh").unwrap();
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\""]).arg(binary().unwrap());
    let number = std::os::fd::AsRawFd::as_raw_fd(&held);
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || match (libc::dup2(number, 3), libc::fcntl(3, libc::F_SETFD, 0)) {
            (3, 0) => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let alerts = stage.folder().join("alerts.jsonl");
    let to = ["--alerts-file", alerts.to_str().unwrap()];
    let mut daemon = Daemon::spawn_by(command, home, &to, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    let status = daemon.json(&["status"]).unwrap();
    assert_eq!(status["findings"].as_array().map(Vec::len), Some(0), "the port is held: {:#}", status["findings"]);
    // Nobody else takes connections from it: it is answered by the daemon.
    let reply = stage.near.run(|| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).map(|_| reply).unwrap()
    });
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    // CAP_DAC_OVERRIDE: root may want alerts in somebody else's directory.
    only_the_kernel_parts(&daemon, own(), &[("sink-file", 1 << 1)]);
}
