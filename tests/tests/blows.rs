//! Promise: whatever befalls the daemon, and in whatever order, nothing that is denied leaves, each packet is in the totals
//! once or its loss has a name, and each blow is told.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt as _,
    time::{Duration, Instant, SystemTime},
};

use egress_monitor_tests::{
    cgroup::MemoryGroup,
    daemon::{Daemon, Ended, Home},
    monitor::Fault,
    netns::Count,
    stage::{PATIENCE, RULED, RULED_PORT, Stage, v4},
    traffic::send_udp,
};
use serde_json::Value;

use crate::support::{
    lives::{attached, confirmed, detach_from, one, start},
    load::Load,
    policy::networks_apart,
    random,
};

/// What is said of packets that no total has.
const UNCOUNTED: &str = "in no total";

/// What is said of an epoch that was being drained.
const TAKING: &str = "It ended while it was taking them";

/// How many packets were in epochs that were being drained.
fn taken(said: &str) -> u64 {
    let of = said.lines().filter(|line| line.contains(TAKING)).filter_map(|line| line.split(" packets and ").next());
    of.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The port that somebody else takes.
const PORT: &str = "127.0.0.1:9477";

/// What a sender rests between two bursts, so that a life is about as long as it is without load.
const PACE: Duration = Duration::from_micros(500);

/// The daemon's memory where it is to run out of it, in bytes: too little for a policy of [`MANY`] networks.
const LITTLE: u64 = 4 << 20;
const MANY: usize = 60_000;

/// What befalls it.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Killed,
    Stopped,
    OutOfMemory,
    OtherSizes,
    OutgrownPolicy,
    Reload,
    Unconfirmed,
    UnconfirmedAndKilled,
    FullDisk,
    SquattedPort,
    BrokenFile,
    ExpiredRule,
    Budget,
    Fault(Fault),
}

impl Blow {
    fn all() -> Vec<Self> {
        let faults = Fault::ALL.into_iter().map(Self::Fault);
        let others = [
            Self::Killed,
            Self::Stopped,
            Self::OutOfMemory,
            Self::OtherSizes,
            Self::OutgrownPolicy,
            Self::Reload,
            Self::Unconfirmed,
            Self::UnconfirmedAndKilled,
            Self::FullDisk,
            Self::SquattedPort,
            Self::BrokenFile,
            Self::ExpiredRule,
            Self::Budget,
        ];
        others.into_iter().chain(faults).collect()
    }
}

/// How many befall it in all: more in `cargo xtask prove never-open`.
fn blows() -> usize {
    std::env::var("BLOWS").map_or(2 * Blow::all().len(), |blows| blows.parse().expect("BLOWS is a number"))
}

fn text(stage: &Stage) -> String {
    let monitor = "mode = \"enforce\"\nepoch = \"100ms\"";
    // The state's disk is small.
    let config = stage.config(monitor, "").replace("[http]\n", "[alerts]\nkeep = \"256 KiB\"\n[http]\n");
    config.replace("listen = \"\"", &format!("listen = {PORT:?}"))
}

/// The daemon, and what was sent and counted.
struct Host<'a> {
    stage: &'a Stage,
    hook: &'static str,
    load: Load<'a>,
    /// `None` between two lives.
    daemon: Option<Daemon>,
    /// Packets that the test has sent beside the load.
    own: u64,
    /// Those of them that left, which they were allowed to.
    passed: u64,
    /// What the interface had sent at first.
    before: Count,
    /// Offered and counted in all, when that was looked at last, and in which life.
    seen: (u64, u64, u32),
    /// Whether a life that has ended since then said that something is in no total.
    named: bool,
    /// Packets that are in no total.
    lost: u64,
}

impl Host<'_> {
    fn text(&self) -> String {
        text(self.stage)
    }

    /// Another policy, under which the same is denied.
    fn other(&self) -> String {
        self.text().replace("on_unknown = \"allow\"", "on_unknown = \"allow\"\non_private = \"deny\"")
    }

    fn larger(&self) -> String {
        self.text() + &networks_apart(self.daemon().home().path(), MANY)
    }

    const fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("it runs")
    }

    fn end(&mut self, signal: i32) -> Home {
        let daemon = self.daemon.take().expect("it runs");
        daemon.signal(signal).unwrap();
        let (ended, home) = self.ended(daemon);
        assert!(signal == libc::SIGKILL || ended.status.code() == Some(0), "{:#?}", ended.log);
        home
    }

    /// Waits for a daemon's end.
    fn ended(&mut self, mut daemon: Daemon) -> (Ended, Home) {
        let ended = daemon.wait().unwrap();
        // What a life says of those before it, it says when it begins.
        self.named |= daemon.id() != self.seen.2 && ended.alerts.iter().any(|line| line.contains(UNCOUNTED));
        (ended, daemon.into_home().unwrap())
    }

    fn begin(&mut self, home: Home, text: &str) {
        home.configure(text).unwrap();
        self.daemon = Some(start(self.stage, home, self.hook));
    }

    fn again(&mut self, signal: i32) {
        let home = self.end(signal);
        self.begin(home, &self.text());
    }

    fn reload(&self, text: &str, arguments: &[&str]) -> bool {
        self.daemon().home().configure(text).unwrap();
        self.daemon().ask(&[&["reload"], arguments].concat()).unwrap().status.success()
    }

    /// Waits until this life has told it.
    fn told(&self, kind: &str) {
        let types = format!("\"types\":[\"{kind}\"]");
        let told = self.daemon().alerts.wait_for(0, PATIENCE, |line| line.contains(&types)).is_ok();
        assert!(told, "{kind} is not told:\n{}", self.said());
    }

    /// What this life has told of itself.
    fn said(&self) -> String {
        let lines = self.daemon().alerts.all();
        let findings = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let said = findings.map(|line| format!("{} {}", line["finding_info"]["types"], line["finding_info"]["desc"]));
        said.filter(|said| !said.starts_with("null")).collect::<Vec<_>>().join("\n")
    }

    /// Waits until the finding is over.
    fn over(&self, kind: &str) {
        let open = |status: &Value| status["findings"].to_string().contains(kind);
        self.daemon().json_until(&["status"], |status| !open(status)).unwrap();
    }

    fn befall(&mut self, blow: Blow, random: &mut fastrand::Rng) {
        let ends = [libc::SIGKILL, libc::SIGTERM][random.usize(..2)];
        match blow {
            Blow::Killed => {
                self.again(libc::SIGKILL);
                self.told("killed");
            }
            Blow::Stopped => {
                self.again(libc::SIGTERM);
                self.told("adopted");
            }
            Blow::OutOfMemory => self.run_out_of_memory(),
            Blow::OtherSizes => {
                let home = self.end(ends);
                let flows = 1024 << random.u32(0..6);
                self.begin(home, &self.text().replace("[monitor]", &format!("[monitor]\nflows = {flows}")));
                self.told("adopted");
            }
            Blow::OutgrownPolicy => {
                let larger = self.larger();
                assert!(self.reload(&larger, &[]));
                assert!(self.daemon().json(&["status"]).unwrap()["mode"] == "enforce");
                self.again(ends);
            }
            Blow::Reload => {
                assert!(self.reload(&self.other(), &[]));
                assert!(self.reload(&self.text(), &[]));
            }
            Blow::Unconfirmed => {
                assert!(self.reload(&self.other(), &["--confirm", "1s"]));
                self.told("policy_reverted");
                self.again(ends);
            }
            Blow::UnconfirmedAndKilled => {
                confirmed(self.daemon());
                assert!(self.reload(&self.other(), &["--confirm", "10s"]));
                let home = self.end(libc::SIGKILL);
                self.begin(home, &self.other());
                self.told("policy_reverted");
                assert!(self.reload(&self.text(), &[]));
            }
            Blow::FullDisk => self.fill_the_disk(ends),
            Blow::SquattedPort => {
                let home = self.end(ends);
                let taken = self.stage.near.run(|| TcpListener::bind(PORT)).unwrap();
                self.begin(home, &self.text());
                self.told("http_unavailable");
                drop(taken);
                self.over("http_unavailable");
            }
            Blow::BrokenFile => {
                confirmed(self.daemon());
                let home = self.end(ends);
                // `[paths]` follows, so that the state is found.
                self.begin(home, &self.text().replace("mode = ", "colour = "));
                self.told("last_good_policy");
                self.daemon().home().configure(&self.text()).unwrap();
                self.over("last_good_policy");
            }
            Blow::ExpiredRule => {
                let home = self.end(ends);
                let rule = "[[allow]]\nid = \"old\"\nto = [\"0.0.0.0/0\", \"::/0\"]\nexpires = 2020-01-01T00:00:00Z\nreason = \"a test\"\n";
                self.begin(home, &(self.text() + rule));
                self.told("rule_expired");
            }
            Blow::Budget => self.use_up_a_budget(ends),
            Blow::Fault(fault) => {
                // How often it comes by there.
                let times = match fault {
                    Fault::Start | Fault::Replace => 1,
                    Fault::Adopt => 2,
                    _ => 3,
                };
                self.end_at(fault, 1 + random.u32(..times));
            }
        }
    }

    fn run_out_of_memory(&mut self) {
        let group = MemoryGroup::new(LITTLE).unwrap();
        let larger = self.larger();
        group.take(self.daemon().id()).unwrap();
        self.reload(&larger, &[]);
        let daemon = self.daemon.take().expect("it runs");
        let (ended, home) = self.ended(daemon);
        assert_eq!((ended.status.signal(), group.killed().unwrap()), (Some(libc::SIGKILL), 1), "{:#?}", ended.log);
        self.begin(home, &self.text());
        self.told("killed");
    }

    fn fill_the_disk(&mut self, ends: i32) {
        let filler = self.daemon().home().path().join("state/filler");
        // Until nothing more fits.
        assert!(fs::write(&filler, vec![1; 2 << 20]).is_err());
        // To which it cannot come back at a start.
        assert!(self.reload(&self.other(), &[]));
        self.tells_of_the_disk();
        let home = self.end(ends);
        self.begin(home, &self.other());
        // The note of how it ended takes no room.
        self.told("started");
        assert_eq!(self.said().contains("[\"killed\"]"), ends == libc::SIGKILL, "{}", self.said());
        self.tells_of_the_disk();
        fs::remove_file(&filler).unwrap();
        // Without it that is tried again within a minute.
        assert!(self.reload(&self.text(), &[]));
        self.over("policy_state");
        self.over("totals_state");
    }

    /// Alerts that were taken meanwhile may have made room.
    fn tells_of_the_disk(&self) {
        if !self.daemon().json(&["status"]).unwrap()["state_error"].is_null() {
            self.told("policy_state");
        }
    }

    fn use_up_a_budget(&mut self, ends: i32) {
        // The budget is that of a day.
        let seconds = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() % 86_400;
        while seconds() > 86_400 - 30 {
            std::thread::yield_now();
        }
        // The rule is the last thing in the file.
        let budget = self.text() + "max_bytes_per_day = 1000\n";
        assert!(self.reload(&budget, &[]));
        // It may have been used up by the time before.
        self.send_ruled(3);
        self.told("budget_used_up");
        for _ in 0..2 {
            let rules = self.daemon().json(&["rules"]).unwrap();
            let ruled = rules["rules"].as_array().unwrap().iter().find(|row| row["rule"] == "ruled").unwrap();
            assert_eq!(ruled["state"], "suspended", "{rules:#}");
            assert_eq!(self.send_ruled(4), 0);
            let home = self.end(ends);
            self.begin(home, &budget);
        }
        assert_eq!(self.send_ruled(4), 0);
    }

    /// Sends under the rule, and gives how many left.
    fn send_ruled(&mut self, datagrams: usize) -> u64 {
        let to = SocketAddr::new(v4(RULED).into(), RULED_PORT);
        let before = self.stage.sent().unwrap();
        self.stage.near.run(|| send_udp(self.stage.from(to), to, &vec![500; datagrams])).unwrap();
        let left = self.stage.sent().unwrap().since(before).packets;
        self.own += datagrams as u64;
        self.passed += left;
        left
    }

    fn end_at(&mut self, fault: Fault, time: u32) {
        let home = self.end(libc::SIGKILL);
        let at = format!("{}:{time}", fault.name());
        let environment = [("EGRESS_MONITOR_FAULT", OsStr::new(&at))];
        let mut daemon = Daemon::spawn_with(&self.stage.near, home, &["--hook", self.hook], &environment).unwrap();
        let mut reloads = 0;
        // Some of the places are come by when there is something to do.
        while daemon.wait_until_ready().is_ok() {
            let text = if reloads % 2 == 0 { self.other() } else { self.text() };
            daemon.home().configure(&text).unwrap();
            let _ = daemon.ask(&["reload", "--confirm", "10s"]);
            reloads += 1;
            assert!(reloads < 20, "{at}: it is never there");
        }
        let (ended, home) = self.ended(daemon);
        assert_eq!(ended.status.signal(), Some(libc::SIGKILL), "{at}: {:#?}", ended.log);
        self.begin(home, &self.text());
        self.told("adopted");
        // One that is killed before its note is written was never there.
        if ![Fault::Start, Fault::Replace, Fault::Adopt, Fault::Save].contains(&fault) {
            self.told("killed");
        }
    }

    /// While nothing is sent: each packet is counted once, or the daemon has said that what it lacks is in no total.
    fn adds_up(&mut self, blow: Blow) {
        let daemon = self.daemon.as_ref().expect("it runs");
        let (offered, status) = self.load.paused(|offered| (offered + self.own, daemon.json(&["status"]).unwrap()));
        let interface = &status["interfaces"][0];
        let number = |of: &str| interface[of]["packets"].as_u64().unwrap();
        assert_eq!((&status["mode"], number("residual")), (&"enforce".into(), 0), "{blow:?}: {status:#}");
        assert_eq!(attached(self.stage), one(self.hook), "{blow:?}");
        assert_eq!(self.stage.sent().unwrap().since(self.before).packets, self.passed, "{blow:?}: {offered} offered");
        let (before, counted_before, life) = std::mem::replace(&mut self.seen, (offered, number("total"), daemon.id()));
        let said = self.said();
        let named = std::mem::take(&mut self.named) || (daemon.id() != life && said.contains(UNCOUNTED));
        if !named {
            assert_eq!(number("total") - counted_before, offered - before, "{blow:?}: {status:#}\n{said}");
        } else if let Some(counted) = number("total").checked_sub(counted_before) {
            let lost = (offered - before).checked_sub(counted).expect("no packet is counted twice");
            // Where only an epoch was lost that it was draining, it is known to the packet how much that was.
            if !said.contains("not written down") && !said.contains("can't be read") && said.contains(TAKING) {
                assert_eq!(lost, taken(&said), "{blow:?}: {said}");
            }
            self.lost += lost;
        } else {
            self.lost += offered - before;
        }
    }
}

fn whatever_befalls_it(hook: &'static str) {
    let stage = Stage::build(false).unwrap();
    let mut random = random();
    let mut counts = BTreeMap::<String, u32>::new();
    let home = Home::outliving().unwrap();
    home.keep_state_on_a_small_disk().unwrap();
    home.configure(&text(&stage)).unwrap();
    let first = start(&stage, home, hook);
    let before = stage.sent().unwrap();
    let (daemon, offered, lost) = std::thread::scope(|scope| {
        let seen = (0, 0, first.id());
        let load = Load::paced(scope, &stage, 2, PACE);
        let mut host = Host {
            stage: &stage,
            hook,
            load,
            daemon: Some(first),
            own: 0,
            passed: 0,
            before,
            seen,
            named: false,
            lost: 0,
        };
        let mut drawn = Vec::new();
        for _ in 0..blows() / 2 {
            // Each once before any comes again.
            if drawn.is_empty() {
                drawn = Blow::all();
                random.shuffle(&mut drawn);
            }
            let blow = drawn.pop().expect("there are some");
            let began = Instant::now();
            host.befall(blow, &mut random);
            host.adds_up(blow);
            println!("{hook} {blow:?}: {} ms", began.elapsed().as_millis());
            *counts.entry(format!("{blow:?}")).or_default() += 1;
        }
        let daemon = host.daemon.take().expect("it runs");
        (daemon, host.load.end(), host.lost)
    });
    for (blow, times) in counts {
        println!("proven: {hook}, {blow}: {times} times");
    }
    println!(
        "proven: {hook}, whatever befell it: {offered} forbidden packets offered, 0 left, {lost} told to be in no \
         total, and all others counted once"
    );
    detach_from(&stage, daemon);
    assert_eq!(attached(&stage), (0, 0));
}

#[test]
fn whatever_befalls_the_daemon_nothing_leaves_each_packet_is_counted_or_named_and_each_blow_is_told() {
    whatever_befalls_it("tcx");
}

#[test]
fn the_same_by_clsact() {
    whatever_befalls_it("clsact");
}
