//! A command on a terminal of eighty columns: what a person sees of it, and what he types.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    os::fd::{FromRawFd as _, OwnedFd},
    process::{Child, Command, ExitStatus},
    ptr,
    sync::mpsc::{self, Receiver},
    thread,
};

use egress_monitor_tests::stage::PATIENCE;

/// It runs, and this is its terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    /// Starts it, without colours.
    pub fn start(mut command: Command) -> Self {
        let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let (mut near, mut far) = (0, 0);
        // SAFETY: two places for descriptors, and a size that outlives the call.
        let opened =
            unsafe { libc::openpty(&raw mut near, &raw mut far, ptr::null_mut(), ptr::null(), &raw const size) };
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: both are new and nobody else's.
        let (near, far) = unsafe { (OwnedFd::from_raw_fd(near), OwnedFd::from_raw_fd(far)) };
        let end = || far.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).env("NO_COLOR", "1").spawn().unwrap();
        // Its copies are in the command, too.
        drop((command, far));
        let mut screen = File::from(near.try_clone().unwrap());
        let (shown, seen) = mpsc::channel();
        thread::spawn(move || {
            let mut piece = [0; 4_096];
            loop {
                match screen.read(&mut piece) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // EIO: nobody writes to it any more.
                    Ok(0) | Err(_) => return,
                    Ok(length) => drop(shown.send(piece[..length].to_vec())),
                }
            }
        });
        Self { child, keyboard: near.into(), screen: seen, seen: Vec::new() }
    }

    /// What there is on it when this is there.
    pub fn until(&mut self, text: &str) -> String {
        while !self.text().contains(text) {
            let more = self.screen.recv_timeout(PATIENCE);
            self.seen.extend(more.unwrap_or_else(|_| panic!("no {text:?} in\n{}", self.text())));
        }
        self.text()
    }

    /// Types.
    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Its process.
    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// All of it, and how it ended.
    pub fn end(mut self) -> (String, ExitStatus) {
        while let Ok(more) = self.screen.recv_timeout(PATIENCE) {
            self.seen.extend(more);
        }
        let status = self.child.wait().unwrap();
        (self.text(), status)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).replace("\r\n", "\n")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
