//! Sockets: who is at the other end, and those that the service manager has opened.

use std::{
    io,
    net::UdpSocket,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// include/uapi/asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Groups that room is made for at first.
const GROUPS: usize = 64;

/// The groups of the process at the other end of a Unix socket, when it connected, but for its own one (SO_PEERGROUPS,
/// socket(7)).
///
/// # Errors
/// It is no Unix socket, or the kernel is out of memory.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS];
    loop {
        let room = size_of_val(groups.as_slice());
        let mut length = room as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes there, and how many it has to `length`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let error = io::Error::last_os_error();
        let wanted = length as usize / size_of::<u32>();
        match result {
            0 => {
                groups.truncate(wanted);
                return Ok(groups);
            }
            _ if error.raw_os_error() == Some(libc::ERANGE) && wanted > groups.len() => groups.resize(wanted, 0),
            _ => return Err(error),
        }
    }
}

/// The number that the calling thread's network namespace has until the next boot (SO_NETNS_COOKIE, socket(7); Linux 5.14).
///
/// # Errors
/// The kernel knows none.
pub fn namespace_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0"))?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes there.
    let result = unsafe {
        let value = (&raw mut cookie).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut length)
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// The sockets that the service manager has opened for this process (sd_listen_fds(3)). Gives them once.
pub fn inherited_sockets() -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let Ok(numbers) = sd_notify::listen_fds() else { return Vec::new() };
    let sockets = numbers.filter_map(|number| {
        // SAFETY: a number to look at; nothing is closed by it.
        let open = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
        // SAFETY: it was open when the process began, for it alone, so nobody here has it; and it is given once.
        open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
    });
    sockets.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peers_groups_are_those_of_the_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let expected: Vec<u32> = line.split_whitespace().map(|group| group.parse().unwrap()).collect();
        assert_eq!(peer_groups(&one).unwrap(), expected);
    }
}
