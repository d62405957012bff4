//! Promise: an alert says who sends, by what its socket shows, and nothing that it does not: process, command line, user, unit
//! and container of what is looked for in time, `forwarded` of others' packets, `none` and why of the rest.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use egress_monitor_tests::{
    daemon::{Daemon, Home},
    helper::HelperProcess,
    stage::{ABROAD, INTERFACE, OUTSIDE, PATIENCE, Stage, abroad, incidents, v4, v6},
    traffic::send_frames,
    user::{NOBODY, as_user},
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::bypass_sockets::Group;

/// A host whose daemon asks a helper, or nobody.
struct Host {
    daemon: Daemon,
    stage: Stage,
    _helper: Option<HelperProcess>,
}

impl Host {
    fn new(helped: bool, more: &str) -> Self {
        let stage = Stage::build(false).unwrap();
        // So sockets reach what otherwise only frames do.
        stage.near.ip(&["route", "add", "198.19.0.0/16", "via", &v4(OUTSIDE).to_string()]).unwrap();
        let mut home = Home::new().unwrap();
        let helper = helped.then(|| {
            let mut helper = HelperProcess::listen(0).unwrap();
            helper.start(std::process::id()).unwrap();
            home.ask(helper.socket());
            helper
        });
        if !helped {
            home.ask(home.path().join("run/nobody.sock"));
        }
        // Epochs are too long to help: what the first alert says is what was found at once.
        home.configure(&format!("{}{ABROAD}{more}", stage.config("epoch = \"5min\"", ""))).unwrap();
        let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
        daemon.wait_until_ready().unwrap();
        Self { daemon, stage, _helper: helper }
    }

    /// The first alert on what goes to this address.
    fn told(&self, to: IpAddr) -> Value {
        let to = to.to_string();
        let is = |line: &str| {
            serde_json::from_str::<Value>(line).is_ok_and(|line| line["dst_endpoint"]["ip"].as_str() == Some(&to))
        };
        serde_json::from_str(&self.daemon.alerts.wait_for(0, PATIENCE, is).unwrap()).unwrap()
    }

    /// Who that says.
    fn who(&self, to: IpAddr) -> Value {
        self.told(to)["unmapped"]["attribution"].clone()
    }
}

/// A process that sends to somewhere and stays. It is ended with its children.
struct Sender(Child);

impl Sender {
    /// `what`: of bash, which has its standard input to wait on.
    fn start(host: &Host, what: &str, user: u32, group: Option<&Group>) -> Self {
        let mut command = host.stage.near.command("bash").unwrap();
        command.args(["-c", what, "sender"]).stdin(Stdio::piped()).process_group(0);
        if let Some(group) = group {
            join(&mut command, group);
        }
        as_user(&mut command, user, &[]);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // SAFETY: a signal to the group of our own child, which is not reaped yet.
        unsafe { libc::kill(-self.0.id().cast_signed(), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// Has the command run in the group.
fn join(command: &mut Command, group: &Group) {
    let procs = fs::OpenOptions::new().write(true).open(group.0.join("cgroup.procs")).unwrap();
    // SAFETY: between fork and exec the closure makes a system call and allocates nothing.
    unsafe { command.pre_exec(move || io::Write::write_all(&mut &procs, b"0")) };
}

/// 198.19.`third`.9, which is in a network of its own.
fn network(third: u8) -> IpAddr {
    IpAddr::from([198, 19, third, 9])
}

fn pids(who: &Value) -> Vec<u64> {
    println!("{who}");
    who["processes"].as_array().unwrap().iter().map(|process| process["pid"].as_u64().unwrap()).collect()
}

#[test]
fn who_sends_is_named_with_user_unit_and_command_line_however_the_socket_came_to_be() {
    let host = Host::new(true, "");
    let service = Group::new("sync.service");
    service.make();
    let unit = service.name();

    // A datagram, by a service.
    let what = "exec 3<>/dev/udp/198.19.1.9/443; echo x >&3; read";
    let sender = Sender::start(&host, what, NOBODY, Some(&service));
    let line = host.told(network(1));
    let who = &line["unmapped"]["attribution"];
    let own = |field: &str| who[field].clone();
    let expected = [Value::from("scan"), NOBODY.into(), unit.as_str().into()];
    assert_eq!([own("method"), own("user"), own("unit")], expected, "{who:#}");
    assert_eq!(
        [own("container"), own("missing"), own("more")],
        [Value::Null, Value::Null, Value::Bool(false)],
        "{who:#}"
    );
    assert_eq!(own("cgroup"), format!("/{unit}"));
    assert_eq!(pids(who), [u64::from(sender.0.id())]);
    let process = &who["processes"][0];
    assert_eq!(process["command"], format!("bash -c {what} sender"), "{who:#}");
    assert_eq!((&process["name"], &process["user"]), (&"bash".into(), &NOBODY.into()));
    assert_eq!(process["parent"], std::process::id());
    assert!(process["executable"].as_str().unwrap().ends_with("/bash"), "{who:#}");
    assert_eq!(line["actor"]["process"]["pid"], sender.0.id());
    let text = line["message"].as_str().unwrap();
    let by = format!(
        "by {unit}, pid {} (bash -c exec 3<>/dev/udp/198.19.1.9/443; echo x >&3; read sender), user 65534",
        sender.0.id()
    );
    assert!(text.ends_with(&by), "{text}");

    // A connection that nobody answers yet, by root.
    let connecting = Sender::start(&host, "exec 3<>/dev/tcp/198.19.2.9/443", 0, None);
    let who = host.who(network(2));
    assert_eq!((pids(&who), &who["user"]), (vec![connecting.0.id().into()], &0.into()), "{who:#}");

    // IPv6.
    let six = IpAddr::from(v6(OUTSIDE));
    let sender = Sender::start(&host, &format!("exec 3<>/dev/udp/{six}/443; echo x >&3; read"), 0, None);
    assert_eq!(pids(&host.who(six)), [u64::from(sender.0.id())]);

    // Two have it.
    let forked = Sender::start(&host, "exec 3<>/dev/udp/198.19.3.9/443; sleep 60 & echo x >&3; read", 0, None);
    let who = host.who(network(3));
    let both = pids(&who);
    assert_eq!((both.len(), who["more"].as_bool()), (2, Some(false)), "{who:#}");
    assert!(both.contains(&forked.0.id().into()), "{who:#}");

    // Who calls himself otherwise: the file that it runs is the kernel's word.
    let lie = "exec -a /usr/bin/apt bash -c 'exec 3<>/dev/udp/198.19.7.9/443; echo x >&3; read'";
    let _liar = Sender::start(&host, lie, 0, None);
    let who = host.who(network(7));
    let process = &who["processes"][0];
    assert!(process["command"].as_str().unwrap().starts_with("/usr/bin/apt -c "), "{who:#}");
    assert!(process["executable"].as_str().unwrap().ends_with("/bash"), "{who:#}");

    // This process: a socket that is not connected; one of both versions; one bound to the interface.
    let this = [u64::from(std::process::id())];
    let unconnected = host.stage.near.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    unconnected.send_to(b"x", SocketAddr::new(network(4), 443)).unwrap();
    assert_eq!(pids(&host.who(network(4))), this);
    let both = host.stage.near.run(|| UdpSocket::bind("[::]:0")).unwrap();
    both.send_to(b"x", "[::ffff:198.19.5.9]:443").unwrap();
    assert_eq!(pids(&host.who(network(5))), this);
    let bound = host.stage.near.run(|| Socket::new(Domain::IPV4, Type::DGRAM, None)).unwrap();
    bound.bind_device(Some(INTERFACE.as_bytes())).unwrap();
    bound.send_to(b"x", &SocketAddr::new(network(6), 443).into()).unwrap();
    assert_eq!(pids(&host.who(network(6))), this);

    // The document has it once the epoch is closed, and so has whoever asks for it.
    let open = incidents(&host.daemon).unwrap().incidents;
    let of = |third: u8| {
        let network = format!("198.19.{third}.0/24");
        open.iter().find(|row| row.network.as_deref() == Some(&network)).unwrap()
    };
    let known = of(1).attribution.clone().unwrap();
    assert_eq!((known.unit.as_deref(), known.processes.len()), (Some(unit.as_str()), 1));
    let shown = host.daemon.ask(&["alerts", "show", &of(1).id]).unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&format!("  by     {unit}, pid ")) && shown.contains("/bash, user 65534"), "{shown}");
}

#[test]
fn what_no_socket_shows_is_not_guessed() {
    let host = Host::new(true, "");
    // Somebody else's packets.
    let frame = abroad(1, 9);
    host.stage.near.run(|| send_frames(INTERFACE, [frame.as_slice()])).unwrap();
    let line = host.told(network(1));
    assert_eq!((&line["unmapped"]["attribution"]["method"], line.get("actor")), (&"forwarded".into(), None));
    // Our own address, by a packet socket.
    let mut frame = abroad(2, 9);
    let IpAddr::V4(own) = host.stage.source(network(2)) else { panic!("{frame:?}") };
    frame[26..30].copy_from_slice(&own.octets());
    host.stage.near.run(|| send_frames(INTERFACE, [frame.as_slice()])).unwrap();
    let line = host.told(network(2));
    let who = &line["unmapped"]["attribution"];
    assert_eq!((&who["method"], pids(who), &who["user"]), (&"none".into(), Vec::new(), &Value::Null), "{who:#}");
    assert_eq!(who["missing"], "when it was looked for, no socket of the flow was there");
    let text = line["message"].as_str().unwrap();
    assert!(line.get("actor").is_none() && text.ends_with(&format!("on {INTERFACE}")), "{text}");
}

#[test]
fn without_a_helper_the_socket_says_what_it_can_and_what_is_turned_off_is_not_there() {
    let send = |host: &Host, third: u8| {
        let socket = host.stage.near.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        socket.send_to(b"x", SocketAddr::new(network(third), 443)).unwrap();
        (host.told(network(third)), socket).0
    };
    let alone = Host::new(false, "");
    let line = send(&alone, 1);
    let who = &line["unmapped"]["attribution"];
    assert_eq!((&who["method"], &who["user"], pids(who)), (&"scan".into(), &0.into(), Vec::new()), "{who:#}");
    assert!(who["missing"].as_str().unwrap().starts_with("no helper (") && who["cgroup"].is_string(), "{who:#}");
    assert_eq!(line["actor"], serde_json::json!({"user": {"uid": "0"}}));
    let quiet = Host::new(true, "\n[attribution]\ncommand_line = false\n");
    let line = send(&quiet, 1);
    let process = &line["unmapped"]["attribution"]["processes"][0];
    assert_eq!((&process["pid"], &process["command"]), (&std::process::id().into(), &Value::Null), "{process:#}");
    let off = Host::new(true, "\n[attribution]\nenabled = false\n");
    let line = send(&off, 1);
    assert_eq!((line.get("actor"), line["unmapped"].get("attribution")), (None, None), "{line:#}");
}
