//! The kernel part loaded for packets that go nowhere (BPF_PROG_TEST_RUN), with a reader of its events. Shared by the
//! tests that hold the kernel against the host.

use std::sync::Arc;

use aya::programs::{TestRun as _, TestRunOptions};
use egress_monitor_tests::{
    measure::pin,
    monitor::{
        kernel::{EventReader, Interface, Kernel, Mode, Options},
        policy::Policy,
    },
};
use monitor_common::wire::Link;

/// TCX_NEXT as BPF_PROG_TEST_RUN returns it.
pub const NEXT: u32 = u32::MAX;
pub const DROP: u32 = 2;
/// The loopback device: what BPF_PROG_TEST_RUN sends by where nothing else is said.
pub const LOOPBACK: u32 = 1;

pub fn load(policy: Arc<Policy>, enforce: bool) -> Kernel {
    let options = Options { flows: 131_072, cache: Some(1024), mode: Mode::enforcing(enforce), ..Options::default() };
    Kernel::load(options, policy).expect("the kernel part loads: these tests need root")
}

/// The kernel part with a reader of its events, and the runtime that the reader asks for.
pub struct Machine {
    pub kernel: Kernel,
    pub events: EventReader,
    _runtime: tokio::runtime::Runtime,
}

impl Machine {
    /// Stays on the CPU that it is made on: each has its own memory of fragments.
    pub fn new(policy: Arc<Policy>, enforce: bool, link: Link) -> Self {
        stay_on_this_cpu();
        let mut kernel = load(policy, enforce);
        kernel.register(&Interface { name: "lo".into(), index: LOOPBACK, link }).expect("the first interface fits");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let events = {
            let _in_runtime = runtime.enter();
            kernel.events().expect("the ring is there")
        };
        Self { kernel, events, _runtime: runtime }
    }
}

pub fn stay_on_this_cpu() {
    // SAFETY: reads a number.
    let cpu = unsafe { libc::sched_getcpu() };
    pin(usize::try_from(cpu).unwrap_or(0)).expect("the CPU that it runs on");
}

/// `struct __sk_buff` with the fields that BPF_PROG_TEST_RUN takes over: wire_len at 160, gso_segs at 164.
fn context(wire_len: u32, segments: u32) -> [u8; 192] {
    let mut context = [0; 192];
    context[160..164].copy_from_slice(&wire_len.to_ne_bytes());
    context[164..168].copy_from_slice(&segments.to_ne_bytes());
    context
}

/// The longest frame that fits the one page in which BPF_PROG_TEST_RUN makes a packet.
pub const LONGEST: usize = 3_500;

/// Whether BPF_PROG_TEST_RUN takes a frame: it wants an Ethernet header's length, the whole fixed header of what the
/// EtherType says is IP, and no more than a page.
pub fn can_be_run(frame: &[u8]) -> bool {
    (14..=LONGEST).contains(&frame.len())
        && match frame[12..14] {
            [0x08, 0x00] => frame.len() >= 34,
            [0x86, 0xdd] => frame.len() >= 54,
            _ => true,
        }
}

/// What the program returns for a frame.
pub fn run(kernel: &mut Kernel, frame: &[u8], wire_len: u32, segments: u32) -> u32 {
    let context = context(wire_len, segments);
    kernel
        .program("egress")
        .expect("the program is loaded")
        .test_run(TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), ..TestRunOptions::default() })
        .unwrap_or_else(|error| panic!("{} bytes {frame:02x?}: {error}", frame.len()))
        .return_value
}
