//! Hash maps by the thousand: batch operations, and what is built from them.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    sync::mpsc,
};

use aya_obj::generated::bpf_cmd;
use bytemuck::Pod;

use super::bpf::{attributes, bpf};

/// Buckets that are looked at to know how full a map is.
const SAMPLE: usize = 512;

/// Entries taken by one system call. A bucket that does not fit gives ENOSPC; no bucket is nearly so long.
const BATCH: usize = 8_192;

/// Where a batch is to begin: at the beginning, or where another has ended.
type Cursor = Option<u32>;

/// What one system call got of a hash map.
struct Batch<K, V> {
    // Fresh pages of the system's: those that nothing is written to cost nothing.
    keys: Vec<K>,
    values: Vec<V>,
    /// Of these, how many are filled.
    count: usize,
}

impl<K: Pod, V: Pod> Batch<K, V> {
    fn new(length: usize) -> Self {
        Self { keys: bytemuck::zeroed_vec(length), values: bytemuck::zeroed_vec(length), count: 0 }
    }

    /// Takes out what comes from the cursor on, and moves it. Gives whether there may be more.
    fn drain(&mut self, map: BorrowedFd<'_>, cursor: &mut Cursor) -> io::Result<bool> {
        self.call(bpf_cmd::BPF_MAP_LOOKUP_AND_DELETE_BATCH, map, cursor)
    }

    fn call(&mut self, command: bpf_cmd, map: BorrowedFd<'_>, cursor: &mut Cursor) -> io::Result<bool> {
        let mut next = 0_u32;
        let mut attr = attributes();
        attr.batch.in_batch = cursor.as_ref().map_or(0, |cursor| std::ptr::from_ref(cursor) as u64);
        attr.batch.out_batch = std::ptr::from_mut(&mut next) as u64;
        attr.batch.keys = self.keys.as_mut_ptr() as u64;
        attr.batch.values = self.values.as_mut_ptr() as u64;
        attr.batch.count = self.keys.len() as u32;
        attr.batch.map_fd = map.as_raw_fd() as u32;
        // SAFETY: cursors are 4 bytes; keys and values have room for `count` of the map's (the callers give K and V
        // that the map was made with).
        let result = unsafe { bpf(command, &mut attr) };
        // SAFETY: the field that the command wrote; a number in any case.
        let count = unsafe { attr.batch.count } as usize;
        self.count = match result.as_ref().map_err(io::Error::raw_os_error) {
            // ENOENT is the end of the map; a bucket that is locked ends a call too, after others were taken and
            // removed (EBUSY, or ETIMEDOUT and EDEADLK since kernel 6.15).
            Ok(_) | Err(Some(libc::ENOENT | libc::EBUSY | libc::ETIMEDOUT | libc::EDEADLK)) => count,
            Err(_) => 0,
        };
        match result {
            Ok(_) => *cursor = Some(next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn entries(&self) -> impl Iterator<Item = (K, V)> {
        self.keys.iter().copied().zip(self.values.iter().copied()).take(self.count)
    }
}

/// About how many entries a hash map with room for so many holds: what its last buckets hold, extrapolated; none where
/// the kernel does not say.
pub fn estimate_entries<K: Pod, V: Pod>(map: BorrowedFd<'_>, capacity: usize) -> usize {
    let buckets = capacity.next_power_of_two();
    let sample = buckets.min(SAMPLE);
    // With every place taken there is one to a bucket.
    let mut batch = Batch::<K, V>::new(2 * sample);
    // It ends with the last bucket, so with an error.
    let _ = batch.call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, map, &mut Some((buckets - sample) as u32));
    batch.count * (buckets / sample)
}

/// Takes every entry out of a hash map that nobody writes to any more and gives it to `entry`: what was taken before
/// an error too, also by the very call that failed.
///
/// The calling thread goes through the whole map. If there is much, another takes from the middle on meanwhile, and what
/// it takes the first finds no more: whatever becomes of the second, every entry comes once.
pub fn drain_hash<K: Pod + Send, V: Pod + Send>(
    map: BorrowedFd<'_>,
    capacity: usize,
    mut entry: impl FnMut(K, V),
) -> io::Result<()> {
    let (mut batch, mut cursor) = (Batch::new(BATCH), None);
    let mut more = batch.drain(map, &mut cursor);
    batch.entries().for_each(|(key, value)| entry(key, value));
    if !more.as_ref().is_ok_and(|more| *more) {
        return more.map(drop);
    }
    std::thread::scope(|scope| {
        let (done, helped) = mpsc::sync_channel(4);
        // For the kernel a cursor is the number of a bucket, and one that there is not the end; if that should change,
        // the second thread takes less.
        let mut middle = Some((capacity.next_power_of_two() / 2) as u32);
        let help = move || {
            let mut more = true;
            while more {
                let mut batch = Batch::<K, V>::new(BATCH);
                more = batch.drain(map, &mut middle).unwrap_or(false);
                if done.send(batch).is_err() {
                    return;
                }
            }
        };
        // Without another thread it takes longer.
        let _ = std::thread::Builder::new().spawn_scoped(scope, help);
        while let Ok(true) = more {
            more = batch.drain(map, &mut cursor);
            batch.entries().for_each(|(key, value)| entry(key, value));
            for batch in helped.try_iter() {
                batch.entries().for_each(|(key, value)| entry(key, value));
            }
        }
        for batch in helped {
            batch.entries().for_each(|(key, value)| entry(key, value));
        }
        more.map(drop)
    })
}
