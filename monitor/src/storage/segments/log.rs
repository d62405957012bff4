//! The writing end of segments, and what a start makes of what it finds.

use std::{collections::BTreeSet, io, ops::RangeInclusive, sync::Arc};

use super::{
    Shared,
    cursor::{self, Cursor},
    file_name,
    files::{Bytes, Files, read_all, write_all},
    first_of,
    index::{Extent, Loss},
    line,
    reader::Reader,
};

/// What is looked at of the last segment for its last whole line.
const TORN: u64 = 16 << 20;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes after which a segment is closed.
    pub segment: u64,
    /// Bytes of all segments.
    pub keep: u64,
    /// Bytes that are taken ahead of what is written: what is committed when the disk is full.
    pub reserve: u64,
}

impl Settings {
    /// For this many bytes in all: segments of 16 MiB, or an eighth.
    pub const fn keep(keep: u64) -> Self {
        const fn at_most(bytes: u64, most: u64) -> u64 {
            if bytes < most { bytes } else { most }
        }
        Self { segment: at_most(keep / 8, 16 << 20), keep, reserve: at_most(keep / 4, 256 << 10) }
    }
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes cut off the end, since they were no whole line, and how many ends of line were among them.
    pub cut: Option<(u64, u64)>,
    /// What was there before it, by what readers had taken, and is gone.
    pub gone: Option<RangeInclusive<u64>>,
}

/// The segment that is written to.
struct Open {
    first: u64,
    file: Box<dyn Bytes>,
    /// Where the next line begins.
    end: u64,
    /// What room it has taken.
    allocated: u64,
}

impl Open {
    /// Takes room for so many bytes more and the reserve behind them.
    fn allocate(&mut self, more: u64, reserve: u64) -> io::Result<()> {
        let least = self.end + more + reserve;
        if self.allocated < least {
            // In steps, where there is room for that.
            let ample = least + 3 * reserve;
            self.allocated = match self.file.allocate(ample) {
                Ok(()) => ample,
                Err(_) => self.file.allocate(least).map(|()| least)?,
            };
        }
        Ok(())
    }
}

/// The writing end. There is one.
pub struct Log {
    pub(super) files: Arc<dyn Files>,
    pub(super) shared: Arc<Shared>,
    settings: Settings,
    open: Option<Open>,
    /// Lines that are not durable yet, and the sequence after the last of them.
    pending: Vec<u8>,
    next: u64,
    losses: Vec<Loss>,
}

impl Log {
    /// Opens what is there: cuts the end to the last whole line.
    ///
    /// # Errors
    /// What is there can't be read or cut.
    pub fn open(files: Arc<dyn Files>, settings: Settings) -> io::Result<(Self, Recovered)> {
        let names = files.names()?;
        let firsts: BTreeSet<u64> = names.iter().filter_map(|name| first_of(name)).collect();
        let shared = Arc::new(Shared::default());
        let mut recovered = Recovered::default();
        let mut open = None;
        {
            let mut index = shared.index();
            for (first, following) in firsts.iter().zip(firsts.iter().skip(1)) {
                let bytes = files.open(&file_name(*first), false)?.length()?;
                index.grow(*first, Extent { bytes, next: *following });
            }
            if let Some(first) = firsts.last() {
                let file = files.open(&file_name(*first), false)?;
                let (end, next, cut) = mend(&*file, *first)?;
                recovered.cut = cut;
                index.grow(*first, Extent { bytes: end, next });
                open = Some(Open { first: *first, file, end, allocated: 0 });
            }
        }
        let ours = shared.index().next();
        let readers = names.iter().filter_map(|name| name.strip_suffix(".cursor"));
        let taken = readers.filter_map(|reader| Cursor::open(&*files, reader).1).max().unwrap_or(1);
        let next = ours.max(taken);
        if taken > ours {
            // No sequence is given twice: the next segment begins behind what was taken.
            recovered.gone = Some(ours..=taken - 1);
            open = None;
        }
        let mut log = Self { files, shared, settings, open, pending: Vec::new(), next, losses: Vec::new() };
        log.reserve();
        Ok((log, recovered))
    }

    /// A reader, which goes on where it was. A new one begins with what comes.
    pub fn reader(&self, name: &str) -> Reader {
        Reader::new(name, Arc::clone(&self.files), Arc::clone(&self.shared), self.next)
    }

    /// Forgets how far all but these readers had come.
    pub fn forget_others(&self, readers: &[&str]) {
        let kept: Vec<String> = readers.iter().map(|reader| cursor::file_name(reader)).collect();
        for name in self.files.names().unwrap_or_default() {
            if name.ends_with(".cursor") && !kept.contains(&name) {
                // One that stays costs a sink that comes back what it says that it had taken.
                let _ = self.files.remove(&name);
            }
        }
    }

    /// Adds a line, which `make` makes with its end for the sequence that it gets.
    pub fn push(&mut self, make: impl FnOnce(u64) -> Vec<u8>) {
        self.pending.extend_from_slice(&make(self.next));
        self.next += 1;
    }

    /// Bytes that are not durable yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The sequence that the next line gets.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Writes what was pushed, and waits for the disk. Where that fails it is still to be committed: writing it again writes
    /// the same bytes in the same place.
    ///
    /// # Errors
    /// What the system said.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Some(open) = &self.open {
            if !open.file.is_named()? {
                self.open = None;
            } else if open.end >= self.settings.segment {
                self.roll();
            }
        }
        let more = self.pending.len() as u64;
        loop {
            let surplus = self.shared.index().surplus(self.settings.keep, more);
            let Some(first) = surplus else { break };
            self.remove(first)?;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let open = self.open.insert(open);
        write_all(&*open.file, &self.pending, open.end)?;
        open.file.sync()?;
        open.end += more;
        self.pending.clear();
        self.shared.index().grow(open.first, Extent { bytes: open.end, next: self.next });
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Makes room on a full disk, by the oldest segment that every reader has taken. Whether there was one.
    pub fn give_way(&mut self) -> bool {
        let spare = self.shared.index().spare();
        spare.is_some_and(|first| self.remove(first).is_ok())
    }

    /// Takes the room behind what is written that is there for a full disk. Whether all of it is there.
    pub fn reserve(&mut self) -> bool {
        if self.open.is_none() {
            self.open = self.begin().ok();
        }
        let reserve = self.settings.reserve;
        self.open.as_mut().is_some_and(|open| open.allocate(0, reserve).is_ok())
    }

    /// What readers lost at the bound since the last call.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    /// A segment for what comes next.
    fn begin(&self) -> io::Result<Open> {
        let first = self.next - self.pending_lines();
        let file = self.files.open(&file_name(first), true)?;
        self.files.sync()?;
        self.shared.index().grow(first, Extent { bytes: 0, next: first });
        Ok(Open { first, file, end: 0, allocated: 0 })
    }

    /// Goes on in another segment, if there is room for one: else in the same.
    fn roll(&mut self) {
        let Ok(mut next) = self.begin() else { return };
        if next.allocate(0, self.settings.reserve).is_err() {
            let _ = self.remove(next.first);
            return;
        }
        if let Some(full) = self.open.replace(next) {
            // What it has taken ahead.
            let _ = full.file.cut(full.end);
        }
    }

    fn remove(&mut self, first: u64) -> io::Result<()> {
        match self.files.remove(&file_name(first)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.files.sync()?,
        }
        self.losses.extend(self.shared.index().remove(first));
        Ok(())
    }

    fn pending_lines(&self) -> u64 {
        self.pending.iter().filter(|byte| **byte == b'\n').count() as u64
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A segment's length, the sequence after it, and what was cut: bytes, and ends of line among them.
type Mended = (u64, u64, Option<(u64, u64)>);

/// Cuts the last segment to its last whole line.
fn mend(file: &dyn Bytes, first: u64) -> io::Result<Mended> {
    let length = file.length()?;
    // No commit is longer by far; whatever else is there, a start takes no more memory.
    let from = length.saturating_sub(TORN);
    let mut bytes = vec![0; (length - from) as usize];
    let read = read_all(file, &mut bytes, from)?;
    bytes.truncate(read);
    let mut whole = bytes.len();
    let (end, next) = loop {
        // What is behind the last end of line, and then line by line from the end.
        let Some(line_end) = bytes[..whole].iter().rposition(|byte| *byte == b'\n') else {
            if from > 0 {
                return Err(io::Error::other(format!("no alert at the end of {}: move it away", file_name(first))));
            }
            break (0, first);
        };
        let begin = bytes[..line_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if let Some(stamp) = line::whole(&bytes[begin..line_end]) {
            break (line_end + 1, (stamp.sequence + 1).max(first));
        }
        whole = line_end;
    };
    let rest = &bytes[end..];
    let cut =
        (!rest.is_empty()).then(|| (rest.len() as u64, rest.iter().filter(|byte| **byte == b'\n').count() as u64));
    let end = from + end as u64;
    if cut.is_some() {
        file.cut(end)?;
    }
    // What a daemon that was killed had written is not durable for that.
    file.sync()?;
    Ok((end, next, cut))
}
