//! Segments over a file system that forgets what was not synced, stops at any byte and is full at any write.

mod fake;
mod kill;
mod view;

use std::sync::Arc;

use self::fake::{Fake, Left};
use super::{files::Files, *};

/// Room for three of the lines below a segment, and for four segments.
const SMALL: Settings = Settings { segment: 300, keep: 1_600, reserve: 64 };

/// The same with room for all.
const ROOMY: Settings = Settings { keep: 1 << 20, ..SMALL };

fn line(sequence: u64) -> Vec<u8> {
    let json = format!(r#"{{"metadata":{{"sequence":{sequence}}},"time":{},"unmapped":{{"x":"…"}}}}"#, sequence * 10);
    line::seal(&json).unwrap()
}

fn open(files: &Fake, settings: Settings) -> (Log, Recovered) {
    Log::open(Arc::new(files.clone()), settings).unwrap()
}

/// Everything that a reader gets until there is no more, acknowledged or not.
fn drain(reader: &mut Reader, lines: usize, acknowledge: bool) -> (Vec<u64>, Vec<std::ops::RangeInclusive<u64>>) {
    let (mut got, mut missing) = (Vec::new(), Vec::new());
    loop {
        let batch = reader.read(lines, 20_000).unwrap();
        if batch.is_empty() {
            return (got, missing);
        }
        for (stamp, bytes) in batch.lines() {
            assert_eq!(bytes, line(stamp.sequence));
            got.push(stamp.sequence);
        }
        missing.extend(batch.missing().iter().cloned());
        if acknowledge {
            reader.acknowledge(&batch, usize::MAX).unwrap();
        } else {
            return (got, missing);
        }
    }
}

fn all(log: &Log, name: &str) -> Vec<u64> {
    log.shared.index().advance(name, 1);
    let mut reader = Reader::new(name, Arc::clone(&log.files), Arc::clone(&log.shared), 1);
    drain(&mut reader, 2, true).0
}

#[test]
fn what_is_committed_is_read_in_order_and_goes_on_where_it_was_after_a_restart() {
    let files = Fake::default();
    let (mut log, recovered) = open(&files, ROOMY);
    assert_eq!(recovered, Recovered::default());
    let mut reader = log.reader("a");
    for _ in 1..=5 {
        log.push(line);
    }
    assert_eq!(drain(&mut reader, 9, true).0, [0; 0], "nothing before it is durable");
    log.commit().unwrap();
    assert_eq!((log.pending(), log.next(), reader.backlog()), (0, 6, 5));
    // The same again until it is acknowledged; then what follows.
    assert_eq!(drain(&mut reader, 3, false).0, [1, 2, 3]);
    let batch = reader.read(3, 1_000).unwrap();
    reader.acknowledge(&batch, 2).unwrap();
    assert_eq!((reader.next(), reader.backlog()), (3, 3));
    drop((log, reader));
    let (mut log, recovered) = open(&files, ROOMY);
    assert_eq!(recovered, Recovered::default());
    let mut reader = log.reader("a");
    for _ in 6..=20 {
        log.push(line);
        log.commit().unwrap();
    }
    assert_eq!(drain(&mut reader, 2, true), ((3..=20).collect(), vec![]));
    // Who comes later begins with what comes.
    let mut late = log.reader("b");
    log.push(line);
    log.commit().unwrap();
    assert_eq!(drain(&mut late, 9, true).0, [21]);
    let mut names = files.names().unwrap();
    names.retain(|name| name.ends_with(".jsonl"));
    assert!(names.len() > 1 && names.iter().all(|name| first_of(name).is_some()), "{names:?}");
    log.forget_others(&["b"]);
    assert_eq!(log.reader("a").next(), 22);
}

#[test]
fn at_the_bound_the_oldest_goes_and_who_had_not_taken_it_is_told_what_he_lost() {
    let files = Fake::default();
    let (mut log, _) = open(&files, SMALL);
    let (mut quick, mut slow) = (log.reader("quick"), log.reader("slow"));
    let mut lost = Vec::new();
    for _ in 1..=60 {
        log.push(line);
        log.commit().unwrap();
        drain(&mut quick, 9, true);
        lost.extend(log.take_losses());
        assert!(log.shared.index().bytes() <= SMALL.keep);
    }
    assert!(lost.iter().all(|loss| loss.reader == "slow"), "{lost:?}");
    let gone: Vec<u64> = lost.into_iter().flat_map(|loss| loss.sequences).collect();
    let (got, missing) = drain(&mut slow, 9, true);
    // Each was told or is delivered, and none both.
    assert_eq!([gone, got].concat(), (1..=60).collect::<Vec<_>>());
    assert_eq!(missing, [], "what the writer told is not told again");
    assert_eq!(quick.next(), 61);
}

#[test]
fn a_batch_that_is_out_when_its_segment_goes_does_not_bring_its_reader_back() {
    let (mut log, _) = open(&Fake::default(), SMALL);
    let mut slow = log.reader("slow");
    log.push(line);
    log.commit().unwrap();
    let batch = slow.read(9, 1_000).unwrap();
    for _ in 2..=60 {
        log.push(line);
        log.commit().unwrap();
    }
    let lost = log.take_losses();
    slow.acknowledge(&batch, usize::MAX).unwrap();
    let oldest = lost.iter().map(|loss| *loss.sequences.end()).max().unwrap() + 1;
    assert_eq!(drain(&mut slow, 100, true).0, (oldest..=60).collect::<Vec<_>>());
}

#[test]
fn a_damaged_line_and_a_segment_that_somebody_removed_are_named_and_the_rest_is_delivered() {
    let files = Fake::default();
    let (mut log, _) = open(&files, ROOMY);
    let mut reader = log.reader("a");
    for _ in 1..=20 {
        log.push(line);
        log.commit().unwrap();
    }
    let mut firsts: Vec<u64> = files.names().unwrap().iter().filter_map(|name| first_of(name)).collect();
    firsts.sort_unstable();
    // The second line of the first segment; and the third segment.
    files.open(&file_name(1), false).unwrap().write(b"?", line(1).len() as u64 + 5).unwrap();
    files.remove(&file_name(firsts[2])).unwrap();
    let (got, missing) = drain(&mut reader, 9, true);
    assert_eq!(missing, [2..=2, firsts[2]..=firsts[3] - 1]);
    let expected: Vec<u64> = (1..=20).filter(|number| !missing.iter().any(|gone| gone.contains(number))).collect();
    assert_eq!(got, expected);
    // A start finds the hole too, and whoever has taken everything is where he was.
    let mut again = open(&files, ROOMY).0.reader("a");
    assert_eq!(drain(&mut again, 9, true), (vec![], vec![]));
}

#[test]
fn a_start_cuts_to_the_last_whole_line_wherever_the_end_is_torn_and_says_what_was_cut() {
    let last = line(3).len() as u64;
    for left in 0..=last {
        let files = Fake::default();
        let (mut log, _) = open(&files, Settings::keep(1 << 30));
        (1..=3).for_each(|_| log.push(line));
        log.commit().unwrap();
        drop(log);
        let file = files.open(&file_name(1), false).unwrap();
        let length = file.length().unwrap();
        file.cut(length - last + left).unwrap();
        let (mut log, recovered) = open(&files, Settings::keep(1 << 30));
        let cut = (left > 0 && left < last).then_some((left, 0));
        assert_eq!((recovered.cut, recovered.gone), (cut, None));
        let next = if left == last { 4 } else { 3 };
        assert_eq!(log.next(), next);
        log.push(line);
        log.commit().unwrap();
        assert_eq!(all(&log, "all"), (1..=next).collect::<Vec<_>>());
    }
}

/// Somebody put it there: it takes no memory, and nothing is cut.
#[test]
fn a_last_segment_without_any_line_at_its_end_is_refused() {
    let files = Fake::default();
    let file = files.open(&file_name(5), true).unwrap();
    file.write(b"\n", (16 << 20) + 1).unwrap();
    let Err(error) = Log::open(Arc::new(files.clone()), ROOMY) else { panic!("it is taken") };
    assert!(error.to_string().contains("000000000005.jsonl: move it away"), "{error}");
    assert_eq!(file.length().unwrap(), (16 << 20) + 2);
}

#[test]
fn no_sequence_is_given_twice_where_somebody_removed_everything() {
    let files = Fake::default();
    let (mut log, _) = open(&files, SMALL);
    let mut reader = log.reader("a");
    (1..=3).for_each(|_| log.push(line));
    log.commit().unwrap();
    drain(&mut reader, 9, true);
    files.remove(&file_name(1)).unwrap();
    // While it runs it is noticed, and a file is there again.
    log.push(line);
    log.commit().unwrap();
    assert_eq!(drain(&mut reader, 9, true), (vec![4], vec![]));
    files.remove(&file_name(4)).unwrap();
    let (log, recovered) = open(&files, SMALL);
    assert_eq!((log.next(), recovered.gone), (5, Some(1..=4)));
}

/// As many as the environment says: more in `cargo xtask prove receivers`.
fn times(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |times| times.parse().expect("a number"))
}

/// A life of a log: commits of several sizes, a quick reader, and a slow one that acknowledges now and then. Gives what
/// was durable, and what the slow one had acknowledged, when it ended.
fn live(files: &Fake, commits: u64) -> (u64, u64) {
    let Ok((mut log, _)) = Log::open(Arc::new(files.clone()), SMALL) else { return (0, 0) };
    let mut reader = log.reader("a");
    let (mut durable, mut taken) = (0, 0);
    for commit in 0..commits {
        for _ in 0..=commit % 3 {
            log.push(line);
        }
        if log.commit().is_err() {
            break;
        }
        durable = log.next() - 1;
        if commit % 2 == 1 {
            let Ok(batch) = reader.read(2, 1_000) else { break };
            if reader.acknowledge(&batch, usize::MAX).is_err() {
                break;
            }
            taken = reader.next() - 1;
        }
    }
    (durable, taken)
}

/// Cut at every byte of the write path, whatever of the unsynced is left: what was committed is there, in order and once;
/// nobody comes back to before what he had acknowledged; and it goes on.
#[test]
fn a_power_cut_at_every_byte_loses_nothing_that_was_committed() {
    let commits = times("POWER_CUT_COMMITS", 12);
    let whole = Fake::default();
    live(&whole, commits);
    let total = whole.spent();
    assert!(total > 1_500, "{total}");
    for at in 0..total {
        for left in Left::ALL {
            let files = Fake::ending_at(at);
            let (durable, taken) = live(&files, commits);
            let files = files.after_the_cut(left);
            let (mut log, recovered) = open(&files, SMALL);
            assert_eq!(recovered.gone, None, "at {at}, {left:?}");
            let mut reader = log.reader("a");
            assert!(reader.next() > taken, "at {at}, {left:?}: {} and {taken}", reader.next());
            log.push(line);
            log.commit().unwrap();
            // What is not there any more went at the bound.
            let oldest = log.shared.index().oldest();
            assert!(oldest == 1 || log.next() > 15, "at {at}, {left:?}: {oldest}");
            assert_eq!(all(&log, "all"), (oldest..log.next()).collect::<Vec<_>>(), "at {at}, {left:?}");
            assert!(log.next() - 1 > durable, "at {at}, {left:?}: {durable} were durable");
            let next = reader.next().max(oldest);
            assert_eq!(drain(&mut reader, 9, true).0, (next..log.next()).collect::<Vec<_>>(), "at {at}, {left:?}");
        }
    }
    println!("proven: power cuts, at each byte of the write path and with each rest: {}", total * Left::ALL.len());
}

/// The disk is full at every byte; then there is room again.
#[test]
fn a_full_disk_at_every_write_keeps_what_was_pushed_and_is_mended_by_room() {
    let lines = times("FULL_DISK_LINES", 12);
    let most = lines as usize * 220;
    for room in 0..most {
        let files = Fake::default();
        files.make_room(Some(room));
        let Ok((mut log, _)) = Log::open(Arc::new(files.clone()), SMALL) else { panic!("room {room}") };
        let mut reader = log.reader("a");
        let mut failed = 0;
        for _ in 1..=lines {
            log.push(line);
            while let Err(error) = log.commit() {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                failed += 1;
                if !log.give_way() {
                    // What is pushed stays.
                    break;
                }
            }
            if let Ok(batch) = reader.read(9, 1_000) {
                let _ = reader.acknowledge(&batch, usize::MAX);
            }
        }
        assert!(failed > 0 || room > 1_000, "room {room}");
        files.make_room(None);
        log.commit().unwrap();
        assert!(log.reserve());
        assert_eq!((log.pending(), log.next()), (0, lines + 1));
        drain(&mut reader, 9, true);
        assert_eq!(reader.next(), lines + 1);
        drop((log, reader));
        let (log, recovered) = open(&files, SMALL);
        assert_eq!((recovered, log.next()), (Recovered::default(), lines + 1));
        // What is there is in order, up to the last; spare segments went.
        let there = all(&log, "all");
        assert_eq!(there, (lines + 1 - there.len() as u64..=lines).collect::<Vec<_>>());
        assert_eq!(log.reader("a").next(), lines + 1);
    }
    println!("proven: disks that were full after each byte: {most}");
}

/// Nobody else gets what was taken ahead.
#[test]
fn a_full_disk_leaves_the_reserve_and_is_told_until_there_is_room() {
    let files = Fake::default();
    let (mut log, _) = open(&files, Settings { reserve: 400, ..ROOMY });
    let mut reader = log.reader("a");
    assert!(log.reserve());
    files.make_room(Some(0));
    let mut committed = 0;
    loop {
        log.push(line);
        if log.commit().is_err() {
            break;
        }
        committed += 1;
        let left = log.reserve();
        // What was taken ahead in steps is used up before the reserve is.
        assert!(left || committed > 10, "{committed}");
    }
    assert!(committed >= 16, "{committed}: four times the reserve");
    assert!(!log.reserve() && !log.give_way());
    files.make_room(Some(4_000));
    log.commit().unwrap();
    assert!(log.reserve());
    assert_eq!(drain(&mut reader, 99, true).0, (1..=committed + 1).collect::<Vec<_>>());
}

#[test]
fn a_full_segment_goes_on_where_there_is_no_room_for_another() {
    let files = Fake::default();
    let (mut log, _) = open(&files, Settings { reserve: 200, ..ROOMY });
    files.make_room(Some(100));
    for _ in 1..=8 {
        log.push(line);
        let _ = log.commit();
    }
    let segments = || files.names().unwrap().iter().filter(|name| first_of(name).is_some()).count();
    assert_eq!(segments(), 1);
    files.make_room(None);
    for _ in 1..=2 {
        log.push(line);
        log.commit().unwrap();
    }
    assert_eq!(segments(), 2);
    assert_eq!(all(&log, "all"), (1..=10).collect::<Vec<_>>());
}
