//! The daemon's own life, for those who are to know of it: what there was before it, its beginning, its end. What a start
//! found in, alerts out. Called by the engine only, as a consumer.
//!
//! A note in `[paths] state` ([`Record`]) says of each life how it began, and of one that ended in order that it did: so
//! the next one knows of a daemon that was killed. What changed of policy and mode goes on record beside it (`changes`).

mod changes;
mod record;

use monitor_common::wire::{Counters, HookSums};

pub use self::record::{FILE, Record};

use crate::{
    engine::pipeline::{Consumer, Findings},
    model::{ClosedEpoch, FindingKind, Succession, rfc3339},
    storage::state::StateDirectory,
    store::MonitorState,
};

/// Tells of it.
#[derive(Debug)]
pub struct Life {
    succession: Succession,
    state: StateDirectory,
    before: Option<Record>,
    own: Record,
    /// Whether the next one will know of it.
    noted: bool,
    /// Changes on record that are in the file.
    written: u64,
    /// What had passed the hooks before it began, in the totals that it goes on from.
    carried: HookSums,
}

impl Life {
    /// Of this process, which begins now, after what it found.
    pub fn begun(state: StateDirectory, boot_id: &str, now: i128, succession: Succession) -> Self {
        let before = Record::read(&state);
        let own = Record::begun(boot_id, now);
        let mut life = Self { succession, state, before, own, noted: true, written: 0, carried: HookSums::default() };
        life.note();
        life
    }

    /// Leaves the note for the next one.
    fn note(&mut self) {
        let left = self.own.write(&self.state);
        if let Err(error) = &left
            && self.noted
        {
            let state = self.state.path().display();
            tracing::warn!(%state, %error, "the next start will not know how this one ended, unless this is mended");
        }
        self.noted = left.is_ok();
    }

    /// What came to the hooks while nobody was there.
    fn meanwhile(&self) -> String {
        let mut sums = HookSums::default();
        let Succession { gaps, rests, .. } = &self.succession;
        gaps.values().chain(rests.values()).for_each(|one| sums.add(one));
        if self.succession.adopts || sums != HookSums::default() {
            let HookSums { total, dropped } = sums;
            format!(
                "meanwhile {} packets and {} bytes came to the hooks, of which {} packets and {} bytes were dropped",
                total.packets, total.bytes, dropped.packets, dropped.bytes
            )
        } else {
            "what left meanwhile is not known: no program was there".to_owned()
        }
    }

    /// How the one before ended, and that this one follows it.
    fn follow(&self, findings: &mut Findings<'_>) {
        let meanwhile = self.meanwhile();
        let before = self.before.as_ref().filter(|before| before.boot_id == self.own.boot_id);
        let name = |before: &Record| {
            format!(
                "the daemon before this one (pid {}, version {}, since {})",
                before.pid, before.version, before.started
            )
        };
        if let Some(before) = before.filter(|before| before.ended.is_none()) {
            let text = format!("{} ended without a word: it was killed, or crashed; {meanwhile}", name(before));
            tracing::error!(text, "killed");
            findings.notice(FindingKind::Killed, text);
        }
        if !self.succession.adopts {
            return;
        }
        match before {
            Some(before) if before.version != self.own.version => {
                let text = format!("version {} is in the place of {}; {meanwhile}", self.own.version, name(before));
                findings.notice(FindingKind::Replaced, text);
            }
            _ => {
                let unknown = || "an earlier daemon that could leave no note: how it ended is not known".to_owned();
                let who = before.map_or_else(unknown, name);
                findings.notice(FindingKind::Adopted, format!("took over the programs of {who}; {meanwhile}"));
            }
        }
    }

    fn tell_gaps(&self, findings: &mut Findings<'_>) {
        let Succession { gaps, rests, unreadable, twice, unpinned, .. } = &self.succession;
        let of = |(interface, HookSums { total, dropped }): (&String, &HookSums)| {
            format!(
                "{interface}: {} packets and {} bytes came to the hook since the daemon before this one counted last; {} \
                 packets and {} bytes of them were dropped.",
                total.packets, total.bytes, dropped.packets, dropped.bytes
            )
        };
        for gap in gaps {
            findings.notice(
                FindingKind::Gap,
                of(gap) + " They were judged by the policy that it left, and are in the first epochs of this one",
            );
        }
        for rest in rests {
            findings.notice(FindingKind::Gap, of(rest) + " It ended while it was taking them: they are in no total");
        }
        for why in unreadable {
            let text = format!("What the daemon before this one left counted can't be read ({why}) and is in no total");
            tracing::error!(text, "a gap");
            findings.notice(FindingKind::Gap, text);
        }
        for interface in twice {
            let text = format!(
                "{interface}: the program has changed its hook. Packets of the moment in which both were there are counted \
                 twice in the first epochs"
            );
            tracing::warn!(text, "a gap");
            findings.notice(FindingKind::Gap, text);
        }
        if let Some(why) = unpinned {
            tracing::warn!(why, "nothing outlives this daemon");
            findings.report(FindingKind::NotPinned, Some(why.clone()));
        }
    }
}

impl Consumer for Life {
    fn begin(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.carried = passed(state);
        state.changes.follow(changes::read(&self.state));
        self.follow(findings);
        self.tell_gaps(findings);
        let watched: Vec<String> =
            state.attachments.iter().map(|one| format!("{} ({})", one.interface, one.hook)).collect();
        let then = if self.succession.outlives { "go on without it" } else { "end with it" };
        findings.notice(
            FindingKind::Started,
            format!(
                "version {}, pid {}: policy {}, on {}; counting and enforcing {then}",
                self.own.version,
                self.own.pid,
                state.in_force.reference(),
                if watched.is_empty() { "no interface".to_owned() } else { watched.join(", ") },
            ),
        );
    }

    fn review(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, _: &mut Findings<'_>) {
        // At once with the change itself, which is rare.
        if state.changes.noted() != self.written {
            changes::write(&self.state, &state.changes);
            self.written = state.changes.noted();
        }
        if !self.noted {
            self.note();
        }
    }

    fn stopped(&mut self, now: i128, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let all = passed(state);
        let own = |all: Counters, before: Counters| [all.packets - before.packets, all.bytes - before.bytes];
        let [packets, bytes] = own(all.total, self.carried.total);
        let [dropped_packets, dropped_bytes] = own(all.dropped, self.carried.dropped);
        let then = if self.succession.outlives {
            format!("the kernel part goes on by policy {}; nobody collects what it counts", state.in_force.reference())
        } else {
            "nothing is counted or dropped from now on".to_owned()
        };
        findings.notice(
            FindingKind::Stopped,
            format!(
                "pid {}, since {}: it counted {packets} packets and {bytes} bytes, of which {dropped_packets} packets and \
                 {dropped_bytes} bytes were dropped; {then}",
                self.own.pid, self.own.started
            ),
        );
        self.own.ended = Some(rfc3339(now));
        self.note();
    }
}

/// What passed the hooks, by the totals.
fn passed(state: &MonitorState) -> HookSums {
    let mut all = HookSums::default();
    state.traffic.totals.hook.values().for_each(|one| all.total.add(one));
    state.traffic.totals.dropped.values().for_each(|one| all.dropped.add(one));
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        engine::pipeline,
        model::{Alert, now},
    };

    /// What a life says at its beginning and its end.
    fn told(state: &Path, boot: &str, succession: Succession, ends: bool) -> Vec<(&'static str, String)> {
        let mut life = Life::begun(StateDirectory::open(state), boot, now(), succession);
        let alerts = pipeline::told(|state, findings| {
            life.begin(state, findings);
            if ends {
                life.stopped(now(), state, findings);
            }
        });
        let of = |alert| match alert {
            Alert::Finding(finding) => (finding.kind.name(), finding.detail.text),
            Alert::Incident(alert) => panic!("it sights no flows: {alert:?}"),
        };
        alerts.into_iter().map(of).collect()
    }

    fn kinds(told: &[(&'static str, String)]) -> Vec<&'static str> {
        told.iter().map(|(kind, _)| *kind).collect()
    }

    #[test]
    fn each_life_tells_of_its_beginning_and_its_end_and_of_one_before_that_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let adopts = || {
            let mut succession = Succession { adopts: true, outlives: true, ..Succession::default() };
            let counters = |packets, bytes| Counters { packets, bytes, ..Counters::default() };
            succession.add("eth0", counters(11, 1_362), counters(7, 994));
            succession
        };
        let none = Succession::default;
        // Whoever was there before could leave no note.
        let after = tempfile::tempdir().unwrap();
        let unknown = told(after.path(), "boot", adopts(), false);
        assert!(unknown[0].0 == "adopted" && unknown[0].1.contains("how it ended is not known"), "{unknown:#?}");
        // The first ends in order, the second does not, the third finds that.
        assert_eq!(kinds(&told(folder.path(), "boot", none(), true)), ["started", "stopped"]);
        assert_eq!(kinds(&told(folder.path(), "boot", adopts(), false)), ["adopted", "gap", "started"]);
        let third = told(folder.path(), "boot", adopts(), true);
        assert_eq!(kinds(&third), ["killed", "adopted", "gap", "started", "stopped"]);
        let meanwhile =
            "meanwhile 11 packets and 1362 bytes came to the hooks, of which 7 packets and 994 bytes were dropped";
        assert!(third[0].1.contains(meanwhile) && third[1].1.contains(meanwhile), "{third:#?}");
        assert!(third[0].1.contains(&format!("(pid {}, version", std::process::id())), "{third:#?}");
        assert!(third[4].1.contains("the kernel part goes on by policy"), "{third:#?}");
        // Another boot: nobody was killed, the host went down.
        assert_eq!(kinds(&told(folder.path(), "boot", none(), false)), ["started"]);
        assert_eq!(kinds(&told(folder.path(), "another", none(), false)), ["started"]);
    }

    #[test]
    fn another_version_is_a_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path());
        let mut old = Record::begun("boot", 0);
        (old.version, old.ended) = ("0.0.1".into(), Some(String::new()));
        old.write(&state).unwrap();
        let said = told(folder.path(), "boot", Succession { adopts: true, ..Succession::default() }, false);
        assert_eq!(kinds(&said), ["replaced", "started"]);
        assert!(said[0].1.contains("version 0.0.1"), "{said:#?}");
    }

    #[test]
    fn a_state_directory_that_cant_be_written_keeps_nobody_from_beginning() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let said = told(&folder.path().join("file"), "boot", Succession::default(), true);
        assert_eq!(kinds(&said), ["started", "stopped"]);
    }
}
