//! Looking at kept lines without disturbing anybody: whatever the directory holds, what is there comes once, in order,
//! and what is not is named.

use std::{fs, ops::RangeInclusive, path::Path};

use super::{super::view::*, line};

fn write(directory: &Path, first: u64, sequences: impl IntoIterator<Item = u64>) {
    let text: Vec<u8> = sequences.into_iter().flat_map(line).collect();
    fs::write(directory.join(super::super::file_name(first)), text).unwrap();
}

fn sequences(seen: &Seen) -> Vec<u64> {
    seen.lines.iter().map(|text| super::super::line::whole(text).expect("whole").sequence).collect()
}

const ALL: fn(&[u8]) -> bool = |_| true;

#[test]
fn pages_of_any_size_give_each_line_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    // Long enough that places are looked for.
    write(folder.path(), 1, 1..=3_000);
    write(folder.path(), 3_001, 3_001..=3_002);
    write(folder.path(), 3_003, []);
    let view = View::of(folder.path());
    for lines in [1_usize, 7, 999, 5_000] {
        let bounds = Bounds { lines, ..Bounds::NONE };
        let (mut got, mut after) = (Vec::new(), Some(0));
        loop {
            let seen = view.look(after, u64::MAX, bounds, ALL).unwrap();
            assert!(seen.lines.len() <= lines && seen.missing.is_empty());
            got.extend(sequences(&seen));
            after = Some(seen.next);
            if !seen.more {
                break;
            }
        }
        assert_eq!(got, (1..=3_002).collect::<Vec<_>>(), "{lines}");
    }
    for after in [0, 1, 1_499, 2_999, 3_000, 3_001, 3_002, 9_999] {
        let seen = view.look(Some(after), u64::MAX, Bounds { lines: 1, ..Bounds::NONE }, ALL).unwrap();
        assert_eq!(sequences(&seen), (after + 1..=3_002).take(1).collect::<Vec<_>>(), "{after}");
    }
    assert_eq!(view.last().unwrap(), 3_002);
    assert_eq!(
        view.look(Some(5), 9, Bounds::NONE, ALL).map(|seen| (sequences(&seen), seen.next)).unwrap(),
        (vec![6, 7, 8], 8)
    );
}

#[test]
fn a_look_ends_at_its_bounds_and_says_that_there_is_more() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1, 1..=100);
    let view = View::of(folder.path());
    let length = line(10).len();
    let look = |bounds, wanted: fn(&[u8]) -> bool| {
        let seen = view.look(Some(0), u64::MAX, bounds, wanted).unwrap();
        (sequences(&seen).len(), seen.next, seen.more)
    };
    assert_eq!(look(Bounds { lines: 100, ..Bounds::NONE }, ALL), (100, 100, false));
    assert_eq!(look(Bounds { bytes: 3 * length, ..Bounds::NONE }, ALL), (3, 3, true));
    assert_eq!(look(Bounds { bytes: 1, ..Bounds::NONE }, ALL), (1, 1, true));
    // What is not wanted is looked at all the same.
    assert_eq!(look(Bounds { looked: 1, ..Bounds::NONE }, |_| false), (0, 1, true));
    assert_eq!(look(Bounds::NONE, |_| false), (0, 100, false));
}

#[test]
fn what_is_damaged_gone_or_not_there_yet_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 11, 11..=20);
    write(folder.path(), 31, 31..=40);
    let file = folder.path().join(super::super::file_name(11));
    let mut text = fs::read(&file).unwrap();
    let at = line(11).len() * 4 + 10;
    text[at] ^= 1;
    // The last one is half written, and what is no line at all is between.
    text.truncate(text.len() - 5);
    text.push(b'\n');
    fs::write(&file, text).unwrap();
    fs::write(folder.path().join("stdout.cursor"), "x").unwrap();
    fs::create_dir(folder.path().join(super::super::file_name(21))).unwrap();
    let view = View::of(folder.path());
    let seen = view.look(Some(3), 43, Bounds::NONE, ALL).unwrap();
    let missing: [RangeInclusive<u64>; 4] = [4..=10, 15..=15, 20..=30, 41..=42];
    assert_eq!((seen.missing, seen.next), (missing.to_vec(), 42));
    // Who does not say from where does not miss what is before the oldest.
    let seen = view.look(None, u64::MAX, Bounds::NONE, ALL).unwrap();
    assert_eq!((seen.missing, seen.next), (vec![15..=15, 20..=30], 40));
    assert_eq!((view.last().unwrap(), seen.lines.len()), (40, 18));
    assert!(View::of(&folder.path().join("none")).look(None, 1, Bounds::NONE, ALL).is_err());
}

#[test]
fn a_look_begins_behind_segments_that_are_past() {
    let folder = tempfile::tempdir().unwrap();
    for first in [1, 11, 21] {
        write(folder.path(), first, first..first + 10);
    }
    let view = View::of(folder.path());
    let begin = |until: u64| {
        view.begin(|text| super::super::line::whole(text).is_some_and(|stamp| stamp.sequence < until)).unwrap()
    };
    assert_eq!([0, 10, 11, 20, 21, 31].map(begin), [None, None, Some(10), Some(10), Some(20), Some(30)]);
}

#[test]
fn lines_of_any_length_are_found_and_what_is_longer_than_any_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let long = |sequence: u64, length: usize| {
        let filled = "x".repeat(length);
        let json = format!(r#"{{"metadata":{{"sequence":{sequence}}},"time":1,"unmapped":{{"x":"{filled}"}}}}"#);
        super::super::line::seal(&json).unwrap()
    };
    let text = [line(1), long(2, 300_000), vec![b'y'; 3 << 20], b"\n".to_vec(), long(3, 700_000), line(4)].concat();
    fs::write(folder.path().join(super::super::file_name(1)), text).unwrap();
    let view = View::of(folder.path());
    for after in 0..4 {
        let seen = view.look(Some(after), u64::MAX, Bounds::NONE, ALL).unwrap();
        assert_eq!(sequences(&seen), (after + 1..=4).collect::<Vec<_>>());
    }
    assert_eq!(view.last().unwrap(), 4);
}
