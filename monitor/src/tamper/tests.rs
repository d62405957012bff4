use monitor_policy::spec::Mode;

use super::*;
use crate::{
    engine::pipeline::{Consumer as _, told},
    model::Alert,
};

const DETACHED: FindingKind = FindingKind::Detached;

fn seen(kind: FindingKind, subject: &str) -> Sighting {
    Sighting { kind, subject: subject.into(), what: format!("{subject} is wrong"), again: None }
}

/// A warden in one mode, and a clock for both.
struct Bench {
    warden: Warden,
    mode: Mode,
    began: Instant,
    seconds: u64,
}

impl Bench {
    fn of(wanted: Wanted, mode: Mode) -> Self {
        Self { warden: Warden::new(wanted), mode, began: Instant::now(), seconds: 0 }
    }

    fn enforcing() -> Self {
        Self::of(Wanted::default(), Mode::Enforce)
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_secs(self.seconds)
    }

    /// A look a second later; what is to be put right.
    fn look(&mut self, seen: &[Sighting]) -> Vec<usize> {
        self.seconds += 1;
        let at = (self.now(), i128::from(self.seconds));
        self.warden.look(seen.to_vec(), self.mode.enforces(), at).heal
    }

    /// The same, and all of it is put right.
    fn mend(&mut self, seen: &[Sighting]) -> usize {
        let heal = self.look(seen);
        let now = self.now();
        heal.iter().for_each(|place| self.warden.healed(*place, Ok(()), now));
        heal.len()
    }

    fn healing(&self) -> Vec<Healing> {
        self.warden.report().open.iter().map(|one| one.healing.clone()).collect()
    }

    fn times(&self, kind: FindingKind) -> (u64, u64) {
        let times = self.warden.report().times.get(&kind).copied().unwrap_or_default();
        (times.found, times.healed)
    }
}

#[test]
fn each_thing_is_put_right_three_times_in_ten_minutes_and_then_left_alone_until_they_are_over() {
    let mut bench = Bench::enforcing();
    let eth0 = [seen(DETACHED, "eth0")];
    for times in 1..=3 {
        assert_eq!(bench.mend(&eth0), 1);
        assert_eq!(bench.healing(), [Healing::Done(times)]);
        assert_eq!(bench.mend(&[]), 0);
        assert_eq!(bench.warden.report().contended, []);
    }
    assert_eq!((bench.mend(&eth0), bench.healing()), (0, vec![Healing::Contended]));
    assert_eq!(bench.warden.report().contended, [(DETACHED, "eth0".to_owned())]);
    // Another interface, and another kind, have their own.
    let others = [seen(DETACHED, "eth1"), seen(FindingKind::ProgramReplaced, "eth0"), eth0[0].clone()];
    assert_eq!(bench.mend(&others), 2);
    bench.seconds = 500;
    assert_eq!(bench.mend(&eth0), 0);
    bench.seconds = 602;
    assert_eq!(bench.mend(&eth0), 1);
    assert_eq!(bench.warden.report().contended, []);
    // The fourth lasts until it is put right.
    assert_eq!(bench.times(DETACHED), (4 + 1, 4 + 1));
}

#[test]
fn what_was_put_right_and_is_seen_again_is_another_and_what_stays_is_the_same() {
    let mut bench = Bench::of(Wanted::default(), Mode::Observe);
    let eth0 = [seen(DETACHED, "eth0")];
    for _ in 0..5 {
        assert_eq!(bench.look(&eth0), [0; 0]);
    }
    assert_eq!((bench.times(DETACHED), bench.warden.report().open[0].since), ((1, 0), 1));
    bench.look(&[]);
    bench.look(&eth0);
    assert_eq!((bench.times(DETACHED), bench.warden.report().open[0].since), ((2, 0), 7));
    bench.mode = Mode::Enforce;
    bench.mend(&eth0);
    bench.mend(&eth0);
    assert_eq!((bench.times(DETACHED), bench.warden.report().open[0].since), ((3, 2), 9));
}

#[test]
fn it_is_put_right_in_the_modes_that_are_wanted_and_the_order_only_where_that_is() {
    let all = [seen(DETACHED, "eth0"), seen(FindingKind::ProgramAhead, "eth0"), seen(FindingKind::ChangedOnDisk, "")];
    for (heal, order, observing, enforcing) in [
        (When::Enforcing, false, 0, 1),
        (When::Enforcing, true, 0, 2),
        (When::Always, false, 1, 1),
        (When::Always, true, 2, 2),
        (When::Never, true, 0, 0),
    ] {
        let of = |mode| Bench::of(Wanted { heal, order }, mode).look(&all).len();
        assert_eq!((of(Mode::Observe), of(Mode::Enforce)), (observing, enforcing), "{heal:?}, {order}");
    }
}

#[test]
fn what_may_have_gone_with_its_device_counts_when_it_is_seen_again_of_the_same_one() {
    let mut bench = Bench::enforcing();
    let of = |since| Sighting { again: Some(since), ..seen(DETACHED, "eth0") };
    let mut look = |since| {
        bench.seconds += 1;
        let at = (bench.now(), 0);
        let decided = bench.warden.look(vec![of(since)], true, at);
        (decided.heal.len(), decided.soon)
    };
    assert_eq!(look(5), (0, true));
    // Another device has the index since.
    assert_eq!(look(6), (0, true));
    assert_eq!(look(6), (1, false));
    bench.look(&[]);
    assert_eq!(bench.look(&[of(6)]), [0; 0], "it is asked anew");
    assert_eq!(bench.times(DETACHED), (1, 0));
}

#[test]
fn what_could_not_be_put_right_is_tried_again_each_minute_and_does_not_count() {
    let mut bench = Bench::enforcing();
    let bpffs = [seen(FindingKind::BpffsUnmounted, "")];
    for _ in 0..5 {
        assert_eq!(bench.look(&bpffs), [0]);
        let now = bench.now();
        bench.warden.healed(0, Err("not permitted".into()), now);
        assert_eq!(bench.look(&bpffs), [0; 0]);
        assert_eq!(bench.healing(), [Healing::Failed("not permitted".into())]);
        bench.seconds += 60;
    }
    assert_eq!((bench.times(FindingKind::BpffsUnmounted), bench.mend(&bpffs)), ((1, 0), 1));
}

#[test]
fn a_finding_is_raised_for_each_thing_resolved_when_it_is_right_and_raised_anew_when_it_is_done_again() {
    let mut bench = Bench::enforcing();
    let mut consumer = TamperFindings::default();
    let alerts = told(|state, findings| {
        let eth0 = [seen(DETACHED, "eth0")];
        for look in [&eth0[..], &[], &eth0, &eth0, &eth0, &[]] {
            bench.mend(look);
            state.tamper = bench.warden.report().clone();
            consumer.watched(state, findings);
        }
    });
    let of = |alert: &Alert| match alert {
        Alert::Finding(report) => (report.kind.name(), report.subject.clone(), report.resolved),
        Alert::Incident(_) => panic!("{alert:?}"),
    };
    let (detached, contended) = (("detached", "eth0"), ("contended", "detached on eth0"));
    let expected = [
        (detached, false),
        (detached, true),
        (detached, false),
        // Done again.
        (detached, true),
        (detached, false),
        // Once more, and once too often.
        (detached, true),
        (detached, false),
        (contended, false),
        (detached, true),
    ];
    let expected = expected.map(|((kind, subject), resolved)| (kind, subject.to_owned(), resolved));
    assert_eq!(alerts.iter().map(of).collect::<Vec<_>>(), expected);
}
