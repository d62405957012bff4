use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::{report::ClockReport, *};
use crate::{
    engine::pipeline::{Consumer as _, told},
    model::{Alert, FindingKind},
    store::MonitorState,
};

const SECOND: i128 = 1_000_000_000;
const HOUR: i128 = 3_600 * SECOND;
const DAY: i128 = 24 * HOUR;
/// When the tests' host booted, by a right clock.
const BOOTED: i128 = 1_800_000_000 * SECOND;

/// So long after the boot, by a wall clock that is so much off.
fn at(boottime: i128, off: i128, synchronised: bool) -> Reading {
    Reading {
        realtime: BOOTED + boottime + off,
        boottime: u64::try_from(boottime).unwrap(),
        synchronised: Some(synchronised),
    }
}

/// What is believed then, against a clock that was always right.
fn off(trust: &Trust, reading: Reading) -> i128 {
    i128::from(trust.map(reading).realtime_ns) - BOOTED - i128::from(reading.boottime)
}

#[test]
fn what_is_believed_after_each_reading() {
    // Since the boot, how far the wall clock is off, whether the kernel calls itself synchronised; what is believed.
    type Row = (i128, i128, bool, i128);
    let cases: [(&str, &[Row]); 9] = [
        ("right all the time", &[(HOUR, 0, true, 0), (2 * HOUR, 0, true, 0)]),
        ("set back, which also makes it unsynchronised", &[(HOUR, 0, true, 0), (2 * HOUR, -HOUR, false, 0)]),
        ("set back and called synchronised", &[(HOUR, 0, true, 0), (2 * HOUR, -HOUR, true, 0), (DAY, -HOUR, true, 0)]),
        ("set back by years", &[(HOUR, 0, true, 0), (2 * HOUR, -900 * DAY, true, 0), (DAY, -900 * DAY, false, 0)]),
        ("never synchronised: believed as it is", &[(HOUR, 0, false, 0), (2 * HOUR, -HOUR, false, -HOUR)]),
        (
            "a wrong RTC that a time service corrects",
            &[
                (1, 5_000 * DAY, false, 5_000 * DAY),
                (SECOND, 0, true, 0),
                (HOUR, 0, true, 0),
                (2 * HOUR, -DAY, true, 0),
            ],
        ),
        ("an RTC that has no time, corrected", &[(1, -9_000 * DAY, false, -9_000 * DAY), (HOUR, 0, true, 0)]),
        (
            "a lie of a time service is believed for a day at most",
            &[
                (HOUR, 0, true, 0),
                (2 * HOUR, 5_000 * DAY, true, 5_000 * DAY),
                (3 * HOUR, 0, true, DAY),
                (9 * DAY, 0, true, DAY),
            ],
        ),
        (
            "half an hour ahead and back",
            &[(HOUR, 0, true, 0), (2 * HOUR, HOUR / 2, true, HOUR / 2), (DAY, 0, true, HOUR / 2)],
        ),
    ];
    for (name, rows) in cases {
        let mut trust: Option<Trust> = None;
        for (boottime, wall, synchronised, believed) in rows {
            let reading = at(*boottime, *wall, *synchronised);
            match &mut trust {
                Some(trust) => drop(trust.look(reading)),
                None => trust = Some(Trust::begin("one", None, reading).0),
            }
            assert_eq!(off(trust.as_ref().unwrap(), reading), *believed, "{name}, {boottime}");
        }
    }
}

#[test]
fn a_boot_goes_on_from_what_the_one_before_remembered_and_a_day_at_most() {
    let (mut trust, _) = Trust::begin("one", None, at(0, 0, true));
    trust.look(at(10 * HOUR, 0, true));
    // Another boot, whose clock begins at zero again; `base` is where the right time is then.
    let later = |boottime: i128, off: i128, synchronised| Reading {
        realtime: BOOTED + 10 * HOUR + boottime + off,
        ..at(boottime, 0, synchronised)
    };
    let believed = |trust: &Trust, reading: Reading| {
        i128::from(trust.map(reading).realtime_ns) - BOOTED - 10 * HOUR - i128::from(reading.boottime)
    };
    for (set, first, after) in [
        // Set back: the time goes on where it was.
        (-HOUR, 0, 0),
        (-DAY, 0, 0),
        // By more than a day: not believed whole.
        (-3 * DAY, -2 * DAY, -2 * DAY),
        // Later, as is right when it was off.
        (5 * DAY, 5 * DAY, 5 * DAY),
    ] {
        let (mut next, jump) = Trust::begin("two", Some(trust.kept().clone()), later(0, set, false));
        assert_eq!((believed(&next, later(0, set, false)), jump), (first, None), "{set}");
        next.look(later(HOUR, set, false));
        assert_eq!(believed(&next, later(HOUR, set, false)), after, "{set}");
        // The one after that goes on from there: nobody knows how long it was off.
        let (again, _) = Trust::begin("three", Some(next.kept().clone()), later(0, set, false));
        assert_eq!(believed(&again, later(0, set, false)), set.max(HOUR.min(set + DAY)), "{set}");
        // As soon as a time service has it right, it is right: the day counts from there.
        next.look(later(2 * HOUR, 0, true));
        assert_eq!(believed(&next, later(2 * HOUR, -HOUR, false)), 0, "{set}");
    }
}

#[test]
fn a_restart_in_the_same_boot_is_no_way_to_set_it_back() {
    let (trust, _) = Trust::begin("one", None, at(HOUR, 0, true));
    // Set back by a month while no daemon was there.
    let reading = at(2 * HOUR, -30 * DAY, false);
    let (next, jump) = Trust::begin("one", Some(trust.kept().clone()), reading);
    assert_eq!((off(&next, reading), jump), (0, Some(Jump { by: -30 * DAY, to: reading.realtime })));
}

#[test]
fn a_jump_is_two_seconds_or_more_against_the_boot_clock_between_two_looks() {
    let (mut trust, _) = Trust::begin("one", None, at(0, 0, true));
    let mut by = |boottime: i128, off: i128| trust.look(at(boottime, off, false)).map(|jump| jump.by);
    assert_eq!(by(5 * SECOND, 0), None);
    assert_eq!(by(10 * SECOND, 2 * SECOND - 1), None);
    assert_eq!(by(15 * SECOND, 4 * SECOND - 1), Some(2 * SECOND));
    assert_eq!(by(20 * SECOND, 4 * SECOND - 1), None);
    assert_eq!(by(DAY, -HOUR), Some(-HOUR - 4 * SECOND + 1));
}

#[test]
fn a_reset_forgets_what_was_and_the_wall_clock_is_believed() {
    let (mut trust, _) = Trust::begin("one", None, at(HOUR, 0, true));
    trust.look(at(2 * HOUR, 20 * HOUR, true));
    let reading = at(3 * HOUR, 0, true);
    trust.look(reading);
    let standing = trust.standing(reading);
    assert_eq!((standing.ahead, standing.latest, standing.beyond), (20 * HOUR, Some(BOOTED + 23 * HOUR), false));
    assert_eq!(trust.reset(reading), Some(BOOTED + 23 * HOUR));
    assert_eq!(trust.standing(reading).ahead, 0);
    // And from then on as ever.
    assert_eq!(off(&trust, at(4 * HOUR, -HOUR, false)), 0);
    let (mut trust, _) = Trust::begin("one", None, at(HOUR, 0, false));
    assert_eq!(trust.reset(at(HOUR, 0, false)), None);
}

#[test]
fn whatever_a_file_says_and_clocks_show_there_is_a_time() {
    let extremes = [i64::MIN, -1, 0, 1, i64::MAX];
    for at in extremes {
        for boottime in [0, 1, u64::MAX] {
            let mark = format!("{{\"at\":{at},\"boottime\":{boottime},\"boot_id\":\"one\"}}");
            let text = format!(
                "{{\"format\":\"x\",\"latest\":{mark},\"base\":{mark},\"base_synchronised\":true,\"seen\":{mark}}}"
            );
            let kept: Kept = serde_json::from_str(&text).unwrap();
            for realtime in extremes.map(i128::from) {
                let reading = Reading { realtime, boottime: 7, synchronised: Some(true) };
                let (mut trust, _) = Trust::begin("one", Some(kept.clone()), reading);
                let standing = trust.standing(reading);
                assert!(standing.ahead >= 0 && i128::from(trust.map(reading).realtime_ns) >= realtime);
                trust.reset(reading);
                assert_eq!(trust.standing(reading).ahead, 0);
            }
        }
    }
}

/// A clock of a host in the state directory, and the host's: seconds since the boot, seconds off, synchronised.
fn host(directory: &std::path::Path, boot: &str) -> (TrustedClock, Arc<(AtomicI64, AtomicI64, AtomicBool)>) {
    let clocks = Arc::new((AtomicI64::new(3_600), AtomicI64::new(0), AtomicBool::new(true)));
    let own = Arc::clone(&clocks);
    let read = move || {
        let [since, off] = [&own.0, &own.1].map(|of| i128::from(of.load(Ordering::Relaxed)) * SECOND);
        at(since, off, own.2.load(Ordering::Relaxed))
    };
    (TrustedClock::new(Box::new(read), StateDirectory::open(directory), boot), clocks)
}

#[test]
fn it_is_kept_once_a_minute_and_at_the_end_and_what_is_no_such_file_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let kept = || std::fs::read(folder.path().join(FILE)).unwrap_or_default();
    let (clock, host_clocks) = host(folder.path(), "one");
    let mut looks = |since: i64| {
        let before = kept();
        host_clocks.0.store(since, Ordering::Relaxed);
        assert!(!clock.look());
        kept() != before
    };
    assert_eq!([3_600, 3_605, 3_659, 3_660, 3_719, 3_720].map(&mut looks), [true, false, false, true, false, true]);
    host_clocks.0.store(3_750, Ordering::Relaxed);
    clock.close();
    // Another boot, with its clock set back.
    let booted = || {
        let read = || Reading { realtime: BOOTED, boottime: 0, synchronised: Some(false) };
        TrustedClock::new(Box::new(read), StateDirectory::open(folder.path()), "two")
    };
    assert_eq!(booted().ahead(), 3_750 * SECOND);
    for text in ["", "{}", "{\"format\":\"egress-monitor clock 2\"}", &" ".repeat(1 << 20)] {
        std::fs::write(folder.path().join(FILE), text).unwrap();
        assert_eq!(booted().ahead(), 0);
    }
}

#[test]
fn a_clock_that_is_set_back_is_told_and_that_it_is_behind_until_it_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, clocks) = host(folder.path(), "one");
    let mut report = ClockReport(clock.clone());
    let mut state = MonitorState::default();
    let mut findings = |clock: &TrustedClock| {
        clock.look();
        let made = told(|_, findings| report.begin(&mut state, findings));
        let of = |alert: Alert| match alert {
            Alert::Finding(of) => (of.kind, of.detail.text),
            Alert::Incident(_) => panic!("no traffic"),
        };
        (made.into_iter().map(of).collect::<Vec<_>>(), state.clock)
    };
    assert_eq!(findings(&clock).0, []);
    clocks.1.store(-3_600, Ordering::Relaxed);
    clocks.2.store(false, Ordering::Relaxed);
    let (made, standing) = findings(&clock);
    let back = "the wall clock was set back by 3600 s, to 2027-01-15T08:00:00.000Z";
    let behind = "the wall clock is 3600 s behind the latest time at which the kernel called itself synchronised \
                  (2027-01-15T09:00:00.000Z by now): rules and budgets go by that";
    assert_eq!(made, [(FindingKind::ClockJump, back.into()), (FindingKind::ClockBehind, behind.into())]);
    assert_eq!((standing.ahead, standing.jumps, standing.synchronised), (HOUR, 1, Some(false)));
    clocks.1.store(0, Ordering::Relaxed);
    let (made, standing) = findings(&clock);
    assert_eq!(
        made,
        [(FindingKind::ClockJump, "the wall clock was set forward by 3600 s, to 2027-01-15T09:00:00.000Z".into())]
    );
    assert_eq!((standing.ahead, standing.jumps), (0, 2));
}
