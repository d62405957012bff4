//! rsyslog: by a socket, UDP, TCP, and TLS with certificates on both sides.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::{
    model::receiver::{Identity, Peers, Place, SinkKind, SinkSpec, SyslogAddress},
    sinks,
};

/// A running rsyslog, which writes each message into a file, as it came.
struct Rsyslog {
    folder: tempfile::TempDir,
    configuration: String,
    running: Option<Running>,
}

impl Rsyslog {
    /// With this input.
    fn start(input: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().display();
        let mut configuration = format!("global(workDirectory=\"{at}\" maxMessageSize=\"64k\")\n{input}\n");
        writeln!(configuration, "template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")").expect("a string");
        writeln!(configuration, "action(type=\"omfile\" file=\"{at}/got\" template=\"raw\")").expect("a string");
        let mut rsyslog = Self { folder, configuration, running: None };
        rsyslog.run();
        rsyslog
    }

    fn run(&mut self) {
        let file = self.folder.path().join("rsyslog.conf");
        fs::write(&file, self.configuration.replace("FOLDER", &self.folder.path().display().to_string()))
            .expect("written");
        let mut command = program("usr/sbin/rsyslogd");
        command.args(["-n", "-iNONE", "-f"]).arg(&file).arg("-M").arg(libraries().join("rsyslog"));
        self.running = Some(Running::start(command));
    }

    fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    /// It reads no more, as one that hangs.
    fn stand_still(&self) {
        let running = self.running.as_ref().expect("it runs");
        let id = rustix::process::Pid::from_child(&running.0);
        rustix::process::kill_process(id, rustix::process::Signal::STOP).expect("stopped");
    }

    /// The messages that it has.
    fn messages(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("got")).unwrap_or_default();
        // A last one that is being written is none yet.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// The sequences that it has, in the order in which they came.
    fn sequences(&self) -> Vec<u64> {
        let of = |message: &String| {
            let json = message.split_once("] ").expect(message).1;
            sequence(&serde_json::from_str(json).expect(message))
        };
        self.messages().iter().map(of).collect()
    }

    /// Everything that a sink hands over comes to it, once and in order.
    #[track_caller]
    fn gets_everything(&self, by: &str, to: SyslogAddress, peers: Peers) {
        let (outbox, ended) = outbox(self.folder.path(), sink(to, peers));
        send(&outbox, ALERTS);
        handed_over(&outbox, ALERTS);
        wait_for("it has them", || self.messages().len() as u64 >= ALERTS);
        assert_eq!(self.sequences(), (1..=ALERTS).collect::<Vec<_>>());
        println!("proven: alerts that rsyslog got by {by}, each once and in order: {ALERTS} of {ALERTS}");
        show(&format!("rsyslog by {by}"), &self.messages()[0]);
        drop(outbox);
        finish(ended);
    }
}

fn sink(to: SyslogAddress, peers: Peers) -> Box<dyn Sink> {
    sinks::of(SinkSpec { name: "loghost".into(), to: SinkKind::Syslog { to, peers } })
}

#[test]
#[ignore = "cargo xtask prove receivers"]
fn rsyslog_gets_everything_by_a_socket_of_this_host() {
    let rsyslog = Rsyslog::start(
        "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imuxsock\" Socket=\"FOLDER/log\" UseSpecialParser=\"off\" ParseHostname=\"on\")",
    );
    let socket = rsyslog.folder.path().join("log");
    wait_for("it listens", || socket.exists());
    rsyslog.gets_everything("a unix socket", SyslogAddress::Unix(socket), Peers::default());
}

/// Nothing says that a datagram has come: what did is counted, and none of it twice.
#[test]
#[ignore = "cargo xtask prove receivers"]
fn rsyslog_gets_by_udp_what_the_system_had_room_for() {
    let port = free_port();
    let rsyslog =
        Rsyslog::start(&format!("module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")"));
    let to = || SyslogAddress::Udp(format!("127.0.0.1:{port}"));
    let (outbox, ended) = outbox(rsyslog.folder.path(), sink(to(), Peers::default()));
    // Until the first has come nobody knows that it listens.
    let mut sent = 0;
    wait_for("it listens", || {
        sent += 1;
        send(&outbox, 1);
        std::thread::sleep(Duration::from_millis(50));
        !rsyslog.messages().is_empty()
    });
    send(&outbox, ALERTS);
    sent += ALERTS;
    handed_over(&outbox, sent);
    let mut last = 0;
    wait_for("no more come", || {
        std::thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut last, rsyslog.messages().len()) == rsyslog.messages().len()
    });
    let got = rsyslog.sequences();
    assert!(
        got.is_sorted_by(|one, next| one < next) && got.iter().all(|number| (1..=sent).contains(number)),
        "{got:?}"
    );
    println!("proven: alerts that rsyslog got by UDP, none twice: {} of {sent}", got.len());
    drop(outbox);
    finish(ended);
}

#[test]
#[ignore = "cargo xtask prove receivers"]
fn rsyslog_gets_everything_by_tcp_and_one_that_is_killed_loses_what_it_had_not_written() {
    let port = free_port();
    let input = format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")");
    let mut rsyslog = Rsyslog::start(&input);
    let to = || SyslogAddress::Tcp(format!("127.0.0.1:{port}"));
    rsyslog.gets_everything("TCP", to(), Peers::default());
    // Another outbox, whose alerts begin at 1; it is killed while they come.
    fs::remove_file(rsyslog.folder.path().join("got")).expect("there");
    rsyslog.kill();
    rsyslog.run();
    let state = tempfile::tempdir().expect("a folder");
    let (outbox, ended) = outbox(state.path(), sink(to(), Peers::default()));
    send(&outbox, ALERTS / 2);
    wait_for("half of them have come", || rsyslog.messages().len() as u64 == ALERTS / 2);
    rsyslog.stand_still();
    send(&outbox, ALERTS / 2);
    handed_over(&outbox, ALERTS);
    rsyslog.kill();
    rsyslog.run();
    let marks = rsyslog.messages().len();
    wait_for("the last has come", || {
        send(&outbox, 1);
        std::thread::sleep(Duration::from_millis(100));
        rsyslog.messages().len() > marks
    });
    let got = rsyslog.sequences();
    let of_these = got.iter().filter(|number| **number <= ALERTS).count() as u64;
    assert!(got.is_sorted_by(|one, next| one < next), "{got:?}");
    assert_eq!(of_these, ALERTS / 2);
    println!("proven: alerts that an rsyslog which was killed had of those that TCP had taken: {of_these} of {ALERTS}");
    drop(outbox);
    finish(ended);
}

#[test]
#[ignore = "cargo xtask prove receivers"]
fn rsyslog_gets_everything_by_tls_from_whom_it_knows_and_nothing_from_others() {
    let port = free_port();
    let certificates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/sinks/tests/tls");
    let at = certificates.display();
    let rsyslog = Rsyslog::start(&format!(
        "global(DefaultNetstreamDriver=\"gtls\" DefaultNetstreamDriverCAFile=\"{at}/client-ca.pem\" \
         DefaultNetstreamDriverCertFile=\"{at}/server.pem\" DefaultNetstreamDriverKeyFile=\"{at}/server.key\")\n\
         module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" \
         StreamDriver.AuthMode=\"x509/certvalid\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")"
    ));
    let key = rsyslog.folder.path().join("client.key");
    fs::copy(certificates.join("client.key"), &key).expect("copied");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
    let identity = Identity { certificate: certificates.join("client.pem"), key: Place::File(key) };
    let known = Peers { ca: Some(certificates.join("ca.pem")), identity: Some(identity) };
    let stranger = Peers { identity: None, ..known.clone() };
    let to = || SyslogAddress::Tls(format!("localhost:{port}"));
    let state = tempfile::tempdir().expect("a folder");
    let (outbox, ended) = outbox(state.path(), sink(to(), stranger));
    send(&outbox, 3);
    let delivery = Arc::clone(outbox.delivery());
    let refused = || delivery.sinks()[0].answer().contains("ertificate");
    wait_for("it is refused", refused);
    assert_eq!((delivery.sinks()[0].delivered.load(Relaxed), rsyslog.messages().len()), (0, 0));
    println!("proven: alerts that rsyslog took by TLS from one without a certificate: 0 of 3, and these wait");
    drop(outbox);
    finish(ended);
    rsyslog.gets_everything("TLS 1.3 with certificates on both sides", to(), known);
}
