//! Sockets that are open from before it was enforced, and send past the hook, or may. The kernel part finds them, the daemon
//! keeps those that were there; for status and findings.

use monitor_common::bypass::Bypass;

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSocket {
    /// By what it would. A packet socket may have been made for something else: the kernel does not say.
    pub kind: Bypass,
    /// Its number, which /proc/PID/fd has too.
    pub inode: u32,
    /// Whose it is.
    pub user: u32,
    /// The interface that it is bound to; 0: none.
    pub ifindex: u32,
}

/// Those that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenSockets {
    /// By number.
    pub sockets: Vec<OpenSocket>,
    /// AF_XDP sockets of which the kernel tells nothing but how many there are, those among them that only receive.
    pub unlisted: u32,
}

impl OpenSockets {
    /// Those of them that are still among `there`.
    pub fn retain(&mut self, there: &Self) {
        self.sockets.retain(|socket| there.sockets.contains(socket));
        self.unlisted = self.unlisted.min(there.unlisted);
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.unlisted == 0
    }
}
