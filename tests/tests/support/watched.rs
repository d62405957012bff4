//! A daemon whose maps, links and pins somebody changes, and what has to come of that.

use std::time::{Duration, Instant};

use egress_monitor_tests::{
    daemon::{Daemon, Home},
    map_memory::MapMemory,
    netns::Count,
    stage::{PATIENCE, Stage},
    traffic::send_udp,
};
use serde_json::Value;

use super::lives::{attached, detach_from, one, outside};

/// What everything is found within.
const BOUND: Duration = Duration::from_secs(10);

/// The findings of the watch.
const KINDS: [&str; 16] = [
    "detached",
    "program_replaced",
    "filter_deleted",
    "qdisc_deleted",
    "program_ahead",
    "pin_removed",
    "bpffs_unmounted",
    "control_word_changed",
    "class_row_changed",
    "rule_row_changed",
    "image_changed",
    "interface_table_changed",
    "bypass_table_changed",
    "changed_on_disk",
    "impossible_verdict",
    "contended",
];

/// A daemon of epochs of 10 s, on a stage.
pub struct Watched {
    pub stage: Stage,
    pub daemon: Daemon,
    /// What the interface had sent before.
    pub before: Count,
}

pub fn config(stage: &Stage, monitor: &str) -> String {
    stage.config(&format!("mode = \"enforce\"\n{monitor}"), "")
}

impl Watched {
    pub fn start(hook: &str, monitor: &str) -> Self {
        Self::start_with(hook, |stage| config(stage, monitor))
    }

    pub fn start_with(hook: &str, config: impl FnOnce(&Stage) -> String) -> Self {
        let (stage, home) = (Stage::build(false).unwrap(), Home::outliving().unwrap());
        home.configure(&config(&stage)).unwrap();
        let before = stage.sent().unwrap();
        let mut daemon = Daemon::spawn(&stage.near, home, &["--hook", hook]).unwrap();
        daemon.wait_until_ready().unwrap();
        let watched = Self { stage, daemon, before };
        watched.send(5);
        assert_eq!(watched.left(), 0);
        watched
    }

    pub fn send(&self, packets: usize) {
        self.stage.near.run(|| send_udp(self.stage.from(outside()), outside(), &vec![1; packets])).unwrap();
    }

    pub fn left(&self) -> u64 {
        self.stage.sent().unwrap().since(self.before).packets
    }

    pub fn memory(&self, map: &str) -> MapMemory {
        MapMemory::of(self.daemon.id(), map).unwrap()
    }

    /// Does it, and waits until it is told; prints how long that took.
    pub fn told(&self, kind: &str, tamper: impl FnOnce(&Self)) -> String {
        let from = self.daemon.alerts.all().len();
        let began = Instant::now();
        tamper(self);
        let wanted = format!("\"type\":\"{kind}\"");
        // That the one before is over may be told as late as this.
        let is_told = |line: &str| line.contains(&wanted) && line.contains("\"activity_name\":\"Create\"");
        let line = self.daemon.alerts.wait_for(from, PATIENCE, is_told).unwrap();
        let took = began.elapsed();
        println!("proven: tampering, {kind} is told after: {} ms", took.as_millis());
        assert!(took < BOUND, "{took:?}");
        let line: Value = serde_json::from_str(&line).unwrap();
        line["finding_info"]["desc"].as_str().unwrap().to_owned()
    }

    /// That it is right again, and stays so: nothing leaves, and every packet that did was counted once.
    pub fn is_right_again(&self, kind: &str) {
        let is_right = |status: &Value| {
            let tamper = &status["tamper"];
            tamper["open"].as_array().unwrap().is_empty() && tamper["healed"].as_u64().unwrap() > 0
        };
        self.daemon.json_until(&["status"], is_right).unwrap();
        let wanted = format!("\"type\":\"{kind}\"");
        let resolved = |line: &str| line.contains(&wanted) && line.contains("\"Close\"");
        self.daemon.alerts.wait_for(0, PATIENCE, resolved).unwrap();
        let left = self.left();
        self.send(20);
        assert_eq!(self.left(), left, "nothing that is denied leaves");
        self.adds_up();
    }

    /// What passed the hook and was not dropped, and what left beside it, is what left.
    pub fn adds_up(&self) -> Value {
        let status = self.daemon.json(&["status"]).unwrap();
        let of = &status["interfaces"][0];
        let number = |path: &str| of.pointer(path).and_then(Value::as_u64).unwrap();
        let passed = number("/total/packets") - number("/dropped/packets") + number("/nic/unaccounted/packets");
        assert_eq!(passed, self.left(), "{status:#}");
        assert_eq!(number("/residual/packets"), 0);
        status
    }

    /// The kinds that were told, of those that there are here, each once.
    pub fn kinds(&self) -> Vec<&'static str> {
        let alerts = self.daemon.alerts.all();
        let told = |kind: &&&str| alerts.iter().any(|line| line.contains(&format!("\"type\":\"{kind}\"")));
        KINDS.iter().filter(told).copied().collect()
    }

    pub fn end(self) {
        detach_from(&self.stage, self.daemon);
        assert_eq!(attached(&self.stage), (0, 0));
    }
}

/// Tampers once by this hook: that alone is told, and put right.
pub fn is_told_and_put_right(hook: &str, kind: &'static str, tamper: impl FnOnce(&Watched)) -> String {
    let watched = Watched::start(hook, "");
    let what = watched.told(kind, tamper);
    watched.is_right_again(kind);
    assert_eq!(attached(&watched.stage), one(hook));
    assert_eq!(watched.kinds(), [kind]);
    watched.end();
    what
}
