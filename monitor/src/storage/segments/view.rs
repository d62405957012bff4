//! Kept lines for whoever only looks: a directory and a number in, the lines behind it out, in order. Nothing is
//! written, locked or acknowledged, so it works beside the daemon that writes there, and without one. What a look costs
//! is bounded by whoever looks.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    ops::RangeInclusive,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    LONGEST, file_name, first_of,
    line::{self, Stamp},
};

/// Read at once.
const PIECE: usize = 256 << 10;
/// A place in a segment is not looked for more closely.
const NEAR: u64 = 64 << 10;

/// Where lines are kept.
#[derive(Clone, Debug)]
pub struct View(PathBuf);

/// What one look may come to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Lines given.
    pub lines: usize,
    /// Bytes of these, but one line in any case.
    pub bytes: usize,
    /// Bytes looked at.
    pub looked: u64,
}

impl Bounds {
    /// As much as there is.
    pub const NONE: Self = Self { lines: usize::MAX, bytes: usize::MAX, looked: u64::MAX };
}

/// What one look gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The lines that were wanted, without their ends.
    pub lines: Vec<Vec<u8>>,
    /// The number looked at last: what comes next is behind it.
    pub next: u64,
    /// Whether a bound ended it.
    pub more: bool,
    /// Numbers that were to come and are not there.
    pub missing: Vec<RangeInclusive<u64>>,
}

/// What becomes of the look after a line.
enum Go {
    On,
    End,
}

impl View {
    /// Of a directory.
    pub fn of(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The lines that are `wanted` behind the number `after`, or from the oldest on, and before the number `before`.
    ///
    /// # Errors
    /// What the system said of the directory or a segment. No segment at all is none.
    pub fn look(
        &self,
        after: Option<u64>,
        before: u64,
        bounds: Bounds,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Seen> {
        let mut seen = Seen { next: after.unwrap_or(0), ..Seen::default() };
        let firsts = self.firsts()?;
        let due = seen.next.saturating_add(1);
        let begin = firsts.range(..=due).next_back().or(firsts.first()).copied().unwrap_or(due);
        // Who did not say from where does not miss what is before the oldest.
        let mut known = after.is_some();
        let (mut looked, mut bytes) = (0, 0);
        for first in firsts.range(begin..).take_while(|first| **first < before) {
            let Some(file) = self.open(*first)? else { continue };
            let end = file.metadata()?.len();
            let from = if *first < due { seek(&file, end, due)? } else { 0 };
            let each = |stamp: Stamp, line: &[u8]| {
                let Stamp { sequence, .. } = stamp;
                if sequence <= seen.next {
                    return Go::On;
                }
                if sequence >= before {
                    return Go::End;
                }
                let full = seen.lines.len() >= bounds.lines || looked >= bounds.looked;
                let is_wanted = !full && wanted(line);
                if full || is_wanted && !seen.lines.is_empty() && bytes + line.len() > bounds.bytes {
                    seen.more = true;
                    return Go::End;
                }
                if known && sequence > seen.next + 1 {
                    seen.missing.push(seen.next + 1..=sequence - 1);
                }
                known = true;
                seen.next = sequence;
                looked += line.len() as u64 + 1;
                if is_wanted {
                    bytes += line.len();
                    seen.lines.push(line.to_owned());
                }
                Go::On
            };
            if matches!(lines(&file, from, end, each)?, Go::End) {
                return Ok(seen);
            }
        }
        // Known to be there, as far as somebody knows how far it goes.
        if known && before != u64::MAX && seen.next + 1 < before {
            seen.missing.push(seen.next + 1..=before - 1);
            seen.next = before - 1;
        }
        Ok(seen)
    }

    /// The number of the last line; 0: there is none.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn last(&self) -> io::Result<u64> {
        for first in self.firsts()?.into_iter().rev() {
            if let Some((stamp, _)) = self.last_of(first)? {
                return Ok(stamp.sequence);
            }
        }
        Ok(0)
    }

    /// Behind which number a look may begin that wants nothing of segments of which the last line is `past`.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn begin(&self, mut past: impl FnMut(&[u8]) -> bool) -> io::Result<Option<u64>> {
        let mut begin = None;
        for first in self.firsts()? {
            match self.last_of(first)? {
                Some((stamp, line)) if past(&line) => begin = Some(stamp.sequence),
                Some(_) => break,
                None => {}
            }
        }
        Ok(begin)
    }

    /// The numbers that segments begin with.
    fn firsts(&self) -> io::Result<BTreeSet<u64>> {
        let mut firsts = BTreeSet::new();
        for entry in fs::read_dir(&self.0)? {
            firsts.extend(entry?.file_name().to_str().and_then(first_of));
        }
        Ok(firsts)
    }

    /// A segment; `None`: it went meanwhile. No link is followed, and no pipe waited for.
    fn open(&self, first: u64) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        match options.open(self.0.join(file_name(first))) {
            Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last whole line of a segment.
    fn last_of(&self, first: u64) -> io::Result<Option<(Stamp, Vec<u8>)>> {
        let Some(file) = self.open(first)? else { return Ok(None) };
        let end = file.metadata()?.len();
        let mut from = end;
        // Nearly always it is in the first piece.
        for size in [NEAR, 2 * LONGEST as u64, end] {
            let begin = end.saturating_sub(size);
            if begin == from {
                break;
            }
            from = begin;
            let mut last = None;
            lines(&file, from, end, |stamp, line| {
                last = Some((stamp, line.to_owned()));
                Go::On
            })?;
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(None)
    }
}

/// Where to begin in a segment to find the line with this number: at a line's beginning that is not behind it.
fn seek(file: &File, end: u64, due: u64) -> io::Result<u64> {
    let (mut low, mut high) = (0, end);
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        let mut found = None;
        let mut at = middle;
        pieces(file, middle, high.min(middle + PIECE as u64), |whole, length| {
            if let Some(stamp) = line::whole(whole) {
                found = Some((stamp.sequence, at));
                return Go::End;
            }
            at += length;
            Go::On
        })?;
        match found {
            Some((sequence, at)) if sequence <= due => {
                // The same line again: it is as near as can be.
                if at <= low {
                    break;
                }
                low = at;
            }
            Some(_) => high = middle,
            // Damaged, or longer than the piece: from what is known on.
            None => break,
        }
    }
    Ok(low)
}

/// Goes through the whole lines from an offset on, which may be within a line.
fn lines(file: &File, from: u64, end: u64, mut each: impl FnMut(Stamp, &[u8]) -> Go) -> io::Result<Go> {
    pieces(file, from, end, |text, _| line::whole(text).map_or(Go::On, |stamp| each(stamp, text)))
}

/// Goes through what stands between ends of lines, each with its length with its end, whatever it is.
fn pieces(file: &File, from: u64, end: u64, mut each: impl FnMut(&[u8], u64) -> Go) -> io::Result<Go> {
    let (mut held, mut at) = (Vec::new(), from);
    let mut piece = vec![0; PIECE.min(usize::try_from(end.saturating_sub(from)).unwrap_or(PIECE))];
    while at < end {
        let wanted = piece.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let read = match file.read_at(&mut piece[..wanted], at) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        at += read as u64;
        let mut rest = &piece[..read];
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            held.extend_from_slice(&rest[..length]);
            rest = &rest[length + 1..];
            let go = each(&held, held.len() as u64 + 1);
            held.clear();
            if matches!(go, Go::End) {
                return Ok(go);
            }
        }
        held.extend_from_slice(rest);
        // What is longer than any line is none of ours: its rest is no line either.
        if held.len() > LONGEST {
            let dropped = held.len();
            held.clear();
            each(&[], dropped as u64);
        }
    }
    Ok(Go::On)
}
