//! The C library's allocator: what it keeps, and giving that back.

/// Has it ask the system for every large block by itself, so that it goes back when it is freed (by default it keeps up
/// to 32 MiB blocks once one was freed), and share two arenas among all threads. At the start.
pub fn tame_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator's; an unknown one would be refused.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives free pages of small blocks back to the system, which the allocator would keep for good.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: changes only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
