//! RLIMIT_FSIZE.

/// Has a write beyond the limit fail (EFBIG) and not end the process (SIGXFSZ, signal(7)).
pub fn survive_file_size_limit() {
    // SAFETY: no handler, and nobody else sets one for this signal.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
