//! Holds one packet on its way: a tracing program at a memory allocation keeps the CPU that sends it until the test
//! lets go. So a test can end an epoch while the monitor's program is in the middle of a packet, which by chance would
//! take years. Called by the tests of the epoch protocol.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};

use crate::bpf::{self, op, pair};

/// Words of the gate's state, shared with the program.
const WORDS: usize = 4;
const ARMED: usize = 0;
const SKIP: usize = 1;
const STATE: usize = 2;
const OPEN: usize = 3;

/// What the program writes to the [`STATE`].
const HOLDING: u64 = 1;

/// The program copies so many bytes so many times while it holds: a tenth of a second or so, and then it lets go by
/// itself.
const COPIED: u32 = 1 << 20;
const TIMES: i32 = 2_000;

/// A tracing program that can hold a thread.
#[derive(Debug)]
pub struct Gate {
    state: *const AtomicU64,
    _fds: [OwnedFd; 5],
}

// SAFETY: the pointer is to shared memory that lives as long as the value and is used by atomics alone.
unsafe impl Send for Gate {}
// SAFETY: as above.
unsafe impl Sync for Gate {}

impl Gate {
    /// Puts it at a raw tracepoint of the kernel's, such as `kmalloc`.
    ///
    /// # Errors
    /// Not root, or there is no such tracepoint.
    pub fn at(tracepoint: &str) -> Result<Self> {
        /// `BPF_F_MMAPABLE`.
        const MAPPED: u32 = 1 << 10;
        let state = bpf::array(8 * WORDS as u32, MAPPED).context("the gate's state")?;
        let (from, to) = (bpf::array(COPIED, 0).context("a map")?, bpf::array(COPIED, 0).context("a map")?);
        let code = code(state.as_raw_fd(), from.as_raw_fd(), to.as_raw_fd());
        let program = bpf::load(bpf::RAW_TRACEPOINT, &code, "gate").context("the gate's program")?;
        let name = CString::new(tracepoint).context("a tracepoint's name")?;
        let mut open = [name.as_ptr() as u64, pair(program.as_raw_fd() as u32, 0)];
        let link =
            bpf::open(bpf::RAW_TRACEPOINT_OPEN, &mut open).with_context(|| format!("the tracepoint {tracepoint}"))?;
        // SAFETY: a new mapping of a map made for it.
        let memory = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), page_size(), protection, libc::MAP_SHARED, state.as_raw_fd(), 0)
        };
        anyhow::ensure!(memory != libc::MAP_FAILED, "mapping the gate: {}", io::Error::last_os_error());
        Ok(Self { state: memory.cast(), _fds: [state, from, to, program, link] })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS);
        // SAFETY: within the mapping, which lives as long as the value; the kernel reads and writes whole words.
        unsafe { &*self.state.add(index) }
    }

    /// The calling thread will be held when it comes here, once, after having come here `skip` times.
    pub fn arm(&self, skip: u64) {
        for (index, value) in [(OPEN, 0), (STATE, 0), (SKIP, skip)] {
            self.word(index).store(value, Ordering::SeqCst);
        }
        // SAFETY: reads a number.
        let thread = unsafe { libc::gettid() };
        self.word(ARMED).store(u64::from(thread.unsigned_abs()), Ordering::SeqCst);
    }

    /// The calling thread will not be held any more. Whether it was.
    #[must_use]
    pub fn disarm(&self) -> bool {
        self.word(ARMED).swap(0, Ordering::SeqCst) == 0
    }

    /// Whether a thread is being held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.word(STATE).load(Ordering::SeqCst) == HOLDING
    }

    /// Lets it go.
    pub fn open(&self) {
        self.word(OPEN).store(1, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        // SAFETY: the mapping made above, which nobody uses any more.
        unsafe { libc::munmap(self.state.cast_mut().cast(), page_size()) };
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf reads a constant.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// The program, in instructions of the kernel's (Documentation/bpf/standardization/instruction-set.rst).
fn code(state: RawFd, from: RawFd, to: RawFd) -> Vec<u64> {
    const LOOKUP: i32 = 1;
    const UPDATE: i32 = 2;
    const CURRENT_PID_TGID: i32 = 14;
    let call = |helper| op(0x85, 0, 0, 0, helper);
    let set = |to, from| op(0xbf, to, from, 0, 0);
    let set_to = |to, value| op(0xb7, to, 0, 0, value);
    let add = |to, value| op(0x07, to, 0, 0, value);
    // 64 bits of a map value: read into a register, write from one, write a number.
    let read = |to, from, word: usize| op(0x79, to, from, 8 * word as i16, 0);
    let write = |to, word: usize, from| op(0x7b, to, from, 8 * word as i16, 0);
    let write_number = |to, word: usize, value| op(0x7a, to, 0, 8 * word as i16, value);
    let map = |to, fd: RawFd| [op(0x18, to, 1, 0, fd), 0];
    // Jumps over so many instructions.
    let if_equal_to = |register, value, over| op(0x15, register, 0, over, value);
    let if_not_equal_to = |register, value, over| op(0x55, register, 0, over, value);
    let if_equal = |one, other, over| op(0x1d, one, other, over, 0);
    let if_less_than = |register, value, over| op(0xa5, register, 0, over, value);
    let end = [set_to(0, 0), op(0x95, 0, 0, 0, 0)];
    // r6: thread, later rounds. r7: state. r8: what is copied. r10 - 4: the key 0.
    let mut code = vec![call(CURRENT_PID_TGID), op(0xbc, 6, 0, 0, 0), op(0x62, 10, 0, -4, 0)];
    code.extend(map(1, state));
    code.extend([set(2, 10), add(2, -4), call(LOOKUP), if_not_equal_to(0, 0, 2)]);
    code.extend(end);
    // Another thread, or not armed.
    code.extend([set(7, 0), read(1, 7, ARMED), if_equal(1, 6, 2)]);
    code.extend(end);
    code.extend([read(1, 7, SKIP), if_equal_to(1, 0, 4), add(1, -1), write(7, SKIP, 1)]);
    code.extend(end);
    code.extend([write_number(7, ARMED, 0)]);
    code.extend(map(1, from));
    code.extend([set(2, 10), add(2, -4), call(LOOKUP), if_not_equal_to(0, 0, 2)]);
    code.extend(end);
    code.extend([set(8, 0), write_number(7, STATE, HOLDING as i32), set_to(6, 0)]);
    // The loop.
    code.extend([read(1, 7, OPEN), if_not_equal_to(1, 0, 9)]);
    code.extend(map(1, to));
    code.extend([
        set(2, 10),
        add(2, -4),
        set(3, 8),
        set_to(4, 0),
        call(UPDATE),
        add(6, 1),
        if_less_than(6, TIMES, -11),
    ]);
    code.extend([write_number(7, STATE, 2)]);
    code.extend(end);
    code
}
