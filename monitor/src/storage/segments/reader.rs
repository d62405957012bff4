//! The reading end of segments: what is durable, in order, from where the reader was.

use std::{
    io,
    ops::{Range, RangeInclusive},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    LONGEST, Shared,
    cursor::Cursor,
    file_name,
    files::{Bytes, Files, read_all},
    index::Index,
    line::{self, Stamp},
};

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    /// The sequence that it is to have next.
    next: u64,
    /// The segment that it was in, and how far. Not kept: after a start the segment is searched from its beginning.
    segment: u64,
    offset: u64,
}

/// Lines that a reader got and has not acknowledged.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    lines: Vec<(Stamp, Range<usize>)>,
    /// Where the first byte of `bytes` is.
    segment: u64,
    offset: u64,
    /// What was to come and is damaged or gone, before the line that follows it or the end.
    missing: Vec<RangeInclusive<u64>>,
    /// Where it leaves off.
    end: Position,
}

impl Batch {
    /// The lines with their ends.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = (Stamp, &[u8])> {
        self.lines.iter().map(|(stamp, range)| (*stamp, &self.bytes[range.clone()]))
    }

    /// Nothing to deliver, and nothing to be told.
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.missing.is_empty()
    }

    /// Sequences that nobody will get: their lines are damaged, or gone.
    pub fn missing(&self) -> &[RangeInclusive<u64>] {
        &self.missing
    }
}

/// One reader.
pub struct Reader {
    name: String,
    files: Arc<dyn Files>,
    shared: Arc<Shared>,
    cursor: Cursor,
    /// Whether it would be found again.
    kept: bool,
    at: Position,
    open: Option<(u64, Box<dyn Bytes>)>,
}

impl Reader {
    pub(super) fn new(name: &str, files: Arc<dyn Files>, shared: Arc<Shared>, begin: u64) -> Self {
        let (cursor, kept) = Cursor::open(&*files, name);
        let at = Position { next: kept.unwrap_or(begin), ..Position::default() };
        shared.index().advance(name, at.next);
        let mut reader = Self { name: name.to_owned(), files, shared, cursor, kept: kept.is_some(), at, open: None };
        reader.keep();
        reader
    }

    /// Who it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sequence that it is to have next.
    pub const fn next(&self) -> u64 {
        self.at.next
    }

    /// Lines that are durable and that it has not acknowledged.
    pub fn backlog(&self) -> u64 {
        self.shared.index().next().saturating_sub(self.at.next)
    }

    /// Waits until there is something or nobody writes any more, at most this long.
    pub fn wait(&self, most: Duration) {
        let index = self.shared.index();
        let none = |index: &mut Index| index.next() <= self.at.next && !self.is_closed();
        drop(self.shared.changed.wait_timeout_while(index, most, none));
    }

    /// Whether nobody writes any more.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Relaxed)
    }

    /// What comes next: at most so many lines and so many bytes, but one line in any case. The same again, until it is
    /// acknowledged.
    ///
    /// # Errors
    /// What the system said.
    pub fn read(&mut self, most_lines: usize, most_bytes: usize) -> io::Result<Batch> {
        self.keep();
        let (found, oldest) = {
            let index = self.shared.index();
            (index.find(self.at.next), index.oldest())
        };
        let Some((first, extent)) = found else { return Ok(Batch::default()) };
        if self.at.next < oldest {
            // The writer told what went.
            self.at.next = oldest;
        }
        let mut batch = Batch { segment: first, end: self.at, ..Batch::default() };
        if first > self.at.next {
            batch.missing.push(self.at.next..=first - 1);
            batch.end.next = first;
        }
        if let Err(error) = self.open(first) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            // Somebody removed it.
            batch.missing.push(batch.end.next..=extent.next - 1);
            batch.end = Position { next: extent.next, segment: first, offset: extent.bytes };
            return Ok(batch);
        }
        let mut offset = if self.at.segment == first { self.at.offset.min(extent.bytes) } else { 0 };
        loop {
            batch.offset = offset;
            self.fill(&mut batch, extent.bytes, most_bytes)?;
            let before = batch.end.next;
            let read = split(&mut batch, most_lines);
            offset += read;
            batch.end.segment = first;
            batch.end.offset = offset;
            if offset >= extent.bytes || read == 0 {
                if batch.end.next < extent.next && batch.lines.len() < most_lines {
                    batch.missing.push(batch.end.next..=extent.next - 1);
                    batch.end.next = extent.next;
                }
                return Ok(batch);
            }
            if !batch.lines.is_empty() || batch.end.next != before {
                return Ok(batch);
            }
            // Only lines that it has already: on to the next.
        }
    }

    /// The first `lines` of the batch are taken.
    ///
    /// # Errors
    /// It could not be kept: a restart comes back to what was kept before. This reader does not.
    pub fn acknowledge(&mut self, batch: &Batch, lines: usize) -> io::Result<()> {
        self.at = if lines >= batch.lines.len() {
            batch.end
        } else {
            let (next, range) = &batch.lines[lines];
            let offset = batch.offset + range.start as u64;
            Position { next: next.sequence, segment: batch.segment, offset }
        };
        self.shared.index().advance(&self.name, self.at.next);
        self.cursor.save(&*self.files, self.at.next)?;
        self.kept = true;
        Ok(())
    }

    /// Keeps where a new one begins, so that a restart does not skip what comes until it has taken anything. Where that can't
    /// be done yet it is tried again.
    fn keep(&mut self) {
        self.kept = self.kept || self.cursor.save(&*self.files, self.at.next).is_ok();
    }

    fn open(&mut self, first: u64) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != first) {
            self.open = Some((first, self.files.open(&file_name(first), false)?));
        }
        Ok(())
    }

    /// Reads from the batch's offset on: at least one line, where there is one.
    fn fill(&self, batch: &mut Batch, end: u64, most: usize) -> io::Result<()> {
        let Some((_, file)) = &self.open else { return Ok(()) };
        let there = (end - batch.offset) as usize;
        let mut wanted = most.clamp(1, LONGEST).min(there);
        loop {
            batch.bytes.resize(wanted, 0);
            let read = read_all(&**file, &mut batch.bytes, batch.offset)?;
            batch.bytes.truncate(read);
            if batch.bytes.contains(&b'\n') || read < wanted || wanted >= LONGEST.min(there) {
                return Ok(());
            }
            wanted = (wanted * 2).min(LONGEST).min(there);
        }
    }
}

/// Finds the lines in the bytes, from the sequence that is due on: how many bytes that were.
fn split(batch: &mut Batch, most: usize) -> u64 {
    let mut begin = 0;
    while batch.lines.len() < most {
        let Some(length) = batch.bytes[begin..].iter().position(|byte| *byte == b'\n') else {
            // What is longer than any line is none of ours.
            return if begin == 0 && batch.bytes.len() >= LONGEST { batch.bytes.len() } else { begin } as u64;
        };
        let end = begin + length + 1;
        if let Some(stamp) = line::whole(&batch.bytes[begin..end - 1]).filter(|stamp| stamp.sequence >= batch.end.next)
        {
            if stamp.sequence > batch.end.next {
                batch.missing.push(batch.end.next..=stamp.sequence - 1);
            }
            batch.lines.push((stamp, begin..end));
            batch.end.next = stamp.sequence + 1;
        }
        begin = end;
    }
    begin as u64
}
