//! Partial lines: what is out of a line is not said twice, and what is not to come is ended.

use super::*;
use crate::storage::segments::line::Stamp;

fn stamped(sequence: u64, line: &[u8]) -> Line<'_> {
    (Stamp { sequence, time: 0 }, line)
}

#[test]
fn a_line_that_was_broken_off_is_gone_on_with_or_ended_if_another_comes() {
    for (again, expected) in [(1, &b"abcdef\nxyz\n"[..]), (2, b"abc\nxyz\n")] {
        let writer = Flaky::default();
        *writer.left.lock().unwrap() = Some(3);
        let mut stream = Stream::new("x", Box::new(writer.clone()));
        let failure = stream.deliver(&[stamped(1, b"abcdef\n")]).unwrap_err();
        assert_eq!((failure.taken, failure.for_good), (0, false));
        let rest: Vec<Line<'_>> = if again == 1 { vec![stamped(1, b"abcdef\n")] } else { Vec::new() };
        stream.deliver(&[rest, vec![stamped(2, b"xyz\n")]].concat()).unwrap();
        assert_eq!(writer.bytes.lock().unwrap().as_slice(), expected);
    }
}

#[test]
fn a_failure_says_how_many_lines_were_taken_before_it() {
    let writer = Flaky::default();
    *writer.left.lock().unwrap() = Some(4);
    let mut stream = Stream::new("x", Box::new(writer.clone()));
    let failure = stream.deliver(&[stamped(1, b"a\n"), stamped(2, b"b\n"), stamped(3, b"c\n")]).unwrap_err();
    assert_eq!(failure.taken, 2);
    stream.deliver(&[stamped(3, b"c\n")]).unwrap();
    assert_eq!(writer.bytes.lock().unwrap().as_slice(), b"a\nb\nc\n");
}
