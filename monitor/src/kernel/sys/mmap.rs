//! Array maps as memory that is shared with the kernel.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd},
    sync::atomic::AtomicU64,
};

use bytemuck::Pod;
use memmap2::{MmapOptions, MmapRaw};

/// The elements of a `BPF_F_MMAPABLE` array map, or some of them.
#[derive(Debug)]
pub struct MappedArray<T> {
    memory: MmapRaw,
    length: usize,
    _t: PhantomData<T>,
}

impl<T: Pod> MappedArray<T> {
    /// Maps an array of `length` elements. The kernel rounds an element up to 8 bytes: `T` must be such already.
    pub fn new(map: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::window(map, 0, length)
    }

    /// Maps the elements `start..start + count` alone, of which the first begins a page.
    pub fn window(map: BorrowedFd<'_>, start: usize, count: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let bytes = (count * size_of::<T>()).next_multiple_of(rustix::param::page_size());
        let offset = (start * size_of::<T>()) as u64;
        let memory = MmapOptions::new().offset(offset).len(bytes).map_raw(map.as_raw_fd())?;
        Ok(Self { memory, length: count, _t: PhantomData })
    }

    /// Elements `start..start + count`, for a part that no program is using: the other policy slot, the closed
    /// half of an epoch. The caller knows that from the control word and the grace period.
    pub fn part(&mut self, start: usize, count: usize) -> &mut [T] {
        assert!(start + count <= self.length, "a part past the end of a map");
        // SAFETY: within the mapping by the assertion (its length is a multiple of T, page-aligned); `Pod` takes
        // any bytes; nobody else writes to the part, as the contract of this function says.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast::<T>().add(start), count) }
    }

    /// A word of 8 bytes, counted from the beginning, as an atomic: the kernel sees it change at once.
    pub fn atomic(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.length * size_of::<T>() / 8, "a word past the end of a map");
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins a page")]
        let words = self.memory.as_mut_ptr().cast::<u64>();
        // SAFETY: within the mapping and aligned, as above; the kernel reads the word whole.
        unsafe { AtomicU64::from_ptr(words.add(index)) }
    }

    /// All words of 8 bytes, as atomics: for who looks at what others may write to.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: within the mapping and aligned, as above; nobody reads or writes it but atomically while this is borrowed,
        // as the other methods need it mutable or are atomic themselves.
        unsafe { std::slice::from_raw_parts(self.memory.as_mut_ptr().cast(), self.length * size_of::<T>() / 8) }
    }
}
