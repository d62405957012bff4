//! Who is at the other end of a Unix socket.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// Process and user at the other end, when it was connected to or began to listen (SO_PEERCRED, unix(7)). The process is 0
/// where it is in a process namespace that this one does not see.
///
/// # Errors
/// It is no Unix socket, or nobody is there.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes there.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok((found.pid.unsigned_abs(), found.uid)) } else { Err(io::Error::last_os_error()) }
}
