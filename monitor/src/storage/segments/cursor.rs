//! How far a reader has come, kept in two slots that are written in turn: a write that a power cut tears leaves the other.

use std::io;

use serde::{Deserialize, Serialize};

use super::{
    files::{Bytes, Files, read_all, write_all},
    line::crc32c,
};

/// A slot, padded; and where the second one begins: in another block of the disk.
const SLOT: usize = 128;
const SECOND: u64 = 4096;

/// A reader's file.
pub(super) struct Cursor {
    name: String,
    /// `None` until it could be made.
    file: Option<Box<dyn Bytes>>,
    /// The number of the next write.
    turn: u64,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    /// The sequence that the reader is to have next.
    next: u64,
    turn: u64,
}

/// The file of a reader.
pub(super) fn file_name(reader: &str) -> String {
    format!("{reader}.cursor")
}

impl Cursor {
    /// What was kept of a reader, the sequence that it is to have next; a slot that is torn does not count.
    pub fn open(files: &dyn Files, reader: &str) -> (Self, Option<u64>) {
        let name = file_name(reader);
        let file = files.open(&name, false).ok();
        let slots = file.iter().flat_map(|file| [0, SECOND].map(|offset| read(&**file, offset)));
        let last = slots.flatten().max_by_key(|slot| slot.turn);
        let turn = last.as_ref().map_or(0, |slot| slot.turn + 1);
        (Self { name, file, turn }, last.map(|slot| slot.next))
    }

    /// Keeps a sequence.
    ///
    /// # Errors
    /// It could not be written: what was kept before still is.
    pub fn save(&mut self, files: &dyn Files, next: u64) -> io::Result<()> {
        let file = match &self.file {
            Some(file) if file.is_named()? => file,
            _ => {
                let file = files.open(&self.name, true)?;
                // Later writes find their room taken.
                for offset in [0, SECOND] {
                    if read(&*file, offset).is_none() {
                        write_all(&*file, &[b' '; SLOT], offset)?;
                    }
                }
                file.sync()?;
                files.sync()?;
                self.file.insert(file)
            }
        };
        let offset = if self.turn.is_multiple_of(2) { 0 } else { SECOND };
        write_all(&**file, &encode(&Slot { next, turn: self.turn }), offset)?;
        file.sync()?;
        self.turn += 1;
        Ok(())
    }
}

fn encode(slot: &Slot) -> [u8; SLOT] {
    let json = serde_json::to_string(slot).unwrap_or_default();
    let text = format!("{json} {:08x}", crc32c(json.as_bytes()));
    let mut bytes = [b' '; SLOT];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes[SLOT - 1] = b'\n';
    bytes
}

fn read(file: &dyn Bytes, offset: u64) -> Option<Slot> {
    let mut bytes = [0; SLOT];
    let read = read_all(file, &mut bytes, offset).ok()?;
    let text = std::str::from_utf8(&bytes[..read]).ok()?.trim_end();
    let (json, sum) = text.rsplit_once(' ')?;
    (sum == format!("{:08x}", crc32c(json.as_bytes()))).then(|| serde_json::from_str(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::segments::files::Memory;

    #[test]
    fn of_two_slots_the_later_one_counts_and_a_torn_one_leaves_the_one_before() {
        let files = Memory::default();
        let (mut cursor, none) = Cursor::open(&files, "a");
        assert_eq!(none, None);
        for next in [u64::MAX, 2, 3] {
            cursor.save(&files, next).unwrap();
            assert_eq!(Cursor::open(&files, "a").1, Some(next));
        }
        let file = files.open("a.cursor", false).unwrap();
        // The third write was in the first slot.
        file.write(b"x", 20).unwrap();
        let (mut cursor, before) = Cursor::open(&files, "a");
        assert_eq!(before, Some(2));
        cursor.save(&files, 4).unwrap();
        assert_eq!(Cursor::open(&files, "a").1, Some(4));
        assert_eq!(Cursor::open(&files, "b").1, None);
    }
}
