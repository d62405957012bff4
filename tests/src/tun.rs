//! A device without a link header whose other end is a file: each packet that leaves by it can be read there, whole and
//! without anything before it.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _},
};

use anyhow::{Result, ensure};

/// Its name.
pub const NAME: &str = "tun0";

/// Makes [`NAME`] in the calling thread's network namespace. Reading the file never waits.
///
/// # Errors
/// Not root, or the kernel has no tun.
pub fn tun0() -> Result<File> {
    // SAFETY: plain open(2) of a constant path.
    let fd = unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK) };
    ensure!(fd >= 0, "/dev/net/tun: {}", io::Error::last_os_error());
    // SAFETY: the descriptor was just made for us.
    let file = unsafe { File::from_raw_fd(fd) };
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    ensure!(made == 0, "making {NAME}: {}", io::Error::last_os_error());
    Ok(file)
}
