//! A file system that counts what is done to it: it ends at a byte, forgets what was not synced, and may be full.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, MutexGuard},
};

use super::super::files::{Bytes, Files};

/// What of that which was not synced is left after a power cut.
#[derive(Clone, Copy, Debug)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// All names and lengths, but no bytes.
    Zeros,
    /// Names and the first half of what bytes are new.
    Half,
}

impl Left {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::All, Self::Zeros, Self::Half];
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    named: bool,
    /// Room that it has taken.
    allocated: usize,
}

type Node = Arc<Mutex<Content>>;

#[derive(Default)]
struct State {
    names: BTreeMap<String, Node>,
    synced: BTreeMap<String, Node>,
    /// Bytes written, and one for each other change.
    spent: usize,
    /// When the power goes.
    end: Option<usize>,
    /// Bytes that there is room for yet.
    room: Option<usize>,
}

impl State {
    /// How much of a change is done.
    fn spend(&mut self, cost: usize) -> io::Result<usize> {
        let done = self.end.map_or(cost, |end| cost.min(end - self.spent));
        self.spent += done;
        if done < cost && self.end == Some(self.spent) && done == 0 {
            return Err(io::Error::other("no power"));
        }
        Ok(done)
    }

    fn change(&mut self) -> io::Result<()> {
        self.spend(1).map(|_| ())
    }
}

#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// One whose power goes when so much is done.
    pub fn ending_at(end: usize) -> Self {
        Self(Arc::new(Mutex::new(State { end: Some(end), ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn spent(&self) -> usize {
        self.state().spent
    }

    pub fn make_room(&self, room: Option<usize>) {
        self.state().room = room;
    }

    /// What is there when the power is back.
    pub fn after_the_cut(&self, left: Left) -> Self {
        let state = self.state();
        let names = if matches!(left, Left::Nothing) { &state.synced } else { &state.names };
        let of = |(name, node): (&String, &Node)| {
            let content = node.lock().unwrap();
            let (now, synced) = (&content.now, &content.synced);
            let bytes = match left {
                Left::Nothing => synced.clone(),
                Left::All => now.clone(),
                Left::Zeros => {
                    let mut bytes = synced.clone();
                    bytes.resize(now.len(), 0);
                    bytes
                }
                Left::Half => {
                    let mut bytes = synced.clone();
                    bytes.resize(synced.len() + now.len().saturating_sub(synced.len()) / 2, 0);
                    let changed = now.iter().zip(&bytes).filter(|(now, then)| now != then).count() / 2;
                    let mut left = changed;
                    for (then, now) in bytes.iter_mut().zip(now) {
                        if then != now && left > 0 {
                            (*then, left) = (*now, left - 1);
                        }
                    }
                    bytes
                }
            };
            let content = Content { now: bytes.clone(), synced: bytes, named: true, allocated: 0 };
            (name.clone(), Arc::new(Mutex::new(content)))
        };
        let names: BTreeMap<String, Node> = names.iter().map(of).collect();
        Self(Arc::new(Mutex::new(State { synced: names.clone(), names, ..State::default() })))
    }
}

impl Files for Fake {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str, make: bool) -> io::Result<Box<dyn Bytes>> {
        let mut state = self.state();
        let node = match state.names.get(name) {
            Some(node) => Arc::clone(node),
            None if make => {
                state.change()?;
                let node = Node::default();
                node.lock().unwrap().named = true;
                state.names.insert(name.to_owned(), Arc::clone(&node));
                node
            }
            None => return Err(ErrorKind::NotFound.into()),
        };
        Ok(Box::new(FakeFile { node, files: self.clone() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        state.change()?;
        let node = state.names.remove(name).unwrap();
        let mut content = node.lock().unwrap();
        content.named = false;
        if let Some(room) = &mut state.room {
            *room += content.now.len().max(content.allocated);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.synced = state.names.clone();
        Ok(())
    }
}

struct FakeFile {
    node: Node,
    files: Fake,
}

impl FakeFile {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.node.lock().unwrap()
    }
}

impl Bytes for FakeFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.content().now.len() as u64)
    }

    fn is_named(&self) -> io::Result<bool> {
        Ok(self.content().named)
    }

    fn read(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content();
        let rest = content.now.get(offset as usize..).unwrap_or_default();
        // A part at a time, as a system may.
        let read = rest.len().min(into.len()).min(50);
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (mut state, mut content) = (self.files.state(), self.content());
        let (at, length) = (offset as usize, content.now.len());
        // A hole takes no room.
        let had = length.max(at).max(content.allocated);
        let taken = |end: usize| end.saturating_sub(had);
        let more = taken(at + bytes.len());
        let short = state.room.map_or(0, |room| more.saturating_sub(room));
        if short > 0 && short == bytes.len() {
            return Err(ErrorKind::StorageFull.into());
        }
        let done = state.spend(bytes.len() - short)?;
        if let Some(room) = &mut state.room {
            *room -= taken(at + done);
        }
        if length < at + done {
            content.now.resize(at + done, 0);
        }
        content.now[at..at + done].copy_from_slice(&bytes[..done]);
        Ok(done)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let (mut state, mut content) = (self.files.state(), self.content());
        let more = (length as usize).saturating_sub(content.allocated.max(content.now.len()));
        if state.room.is_some_and(|room| room < more) {
            return Err(ErrorKind::StorageFull.into());
        }
        state.change()?;
        if let Some(room) = &mut state.room {
            *room -= more;
        }
        content.allocated = content.allocated.max(length as usize);
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut state = self.files.state();
        state.change()?;
        let mut content = self.content();
        let had = content.now.len().max(content.allocated);
        content.now.truncate(length as usize);
        content.allocated = 0;
        if let Some(room) = &mut state.room {
            *room += had - content.now.len();
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.files.state().change()?;
        let mut content = self.content();
        content.synced = content.now.clone();
        Ok(())
    }
}
