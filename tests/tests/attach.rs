//! Promise: by whichever hook the kernel has, every packet of a real interface is counted, and asking for a hook
//! that it has not is refused by name with nothing left behind. `cargo xtask prove kernels` runs this on older kernels
//! than this machine's.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use egress_monitor_tests::{
    monitor::kernel::{Guess, Hook, Interface, Kernel, Mode, Options, Prepared},
    netns::Namespace,
    traffic,
    wire::{Networks, Wire},
};
use monitor_common::wire::FullKey;

use crate::{
    bypass_sockets::{long_option, packet_socket},
    support::policy::policy,
};

/// The first kernel with TCX.
const TCX: (u32, u32) = (6, 6);
const INTERFACE: &str = "eth0";
const PORT: u16 = 9;
/// Payloads, so that packets and bytes are different numbers.
const SIZES: [usize; 5] = [1, 20, 300, 7, 1000];

fn load() -> Kernel {
    let options = Options::default();
    Kernel::load(options, policy()).expect("the kernel part loads: these tests need root")
}

fn kernel_release() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    let mut numbers = text.split(['.', '-']).map(|number| number.parse().expect("a release like 6.1.0-56"));
    (numbers.next().expect("a major number"), numbers.next().expect("a minor number"))
}

fn has_tcx() -> bool {
    kernel_release() >= TCX
}

fn wire() -> (Namespace, Namespace, Wire) {
    let (near, far) = (Namespace::new("near").unwrap(), Namespace::new("far").unwrap());
    let wire = Wire::lay(&near, INTERFACE, &far, INTERFACE, Networks::number(7)).unwrap();
    (near, far, wire)
}

/// Whether the interface has a clsact qdisc.
fn has_clsact(namespace: &Namespace) -> bool {
    namespace.tc(&["qdisc", "show", "dev", INTERFACE]).unwrap().contains("clsact")
}

#[test]
fn sockets_that_would_send_past_the_hook_are_refused_in_enforce_mode_and_other_options_are_what_they_were() {
    let (near, far, _wire) = wire();
    let tried = || near.run(|| [long_option(INTERFACE), long_option("nowhere")]);
    let before = tried();
    assert_eq!(before, [None, Some(libc::ENODEV)]);
    for mode in [Mode::Observe, Mode::Enforce] {
        let mut kernel = Kernel::load(Options { mode, ..Options::default() }, policy()).unwrap();
        near.run(|| kernel.refuse_bypass(&[])).unwrap();
        assert_eq!((packet_socket(&near), packet_socket(&far)), (mode == Mode::Observe, true));
        assert_eq!(tried(), before);
        assert_eq!(kernel.refused_bypass().unwrap(), Some([u64::from(mode == Mode::Enforce), 0]));
        drop(kernel);
        assert!(packet_socket(&near));
    }
}

/// Attaches as asked, sends, and compares with what the interface counted; gives the hook that was taken.
fn counts_exactly(ask: Option<Hook>) -> Hook {
    counts_exactly_with(load(), ask)
}

fn counts_exactly_with(mut kernel: Kernel, ask: Option<Hook>) -> Hook {
    let (near, _far, wire) = wire();
    near.run(|| {
        kernel.attach(&[Interface::find(INTERFACE).unwrap()], ask).unwrap();
        let hook = kernel.attachments()[0].hook;
        assert_eq!(has_clsact(&near), hook == Hook::Clsact);
        let before = near.statistics(INTERFACE).unwrap().sent;
        let to = SocketAddr::new(IpAddr::V4(wire.far.v4), PORT);
        let from = traffic::send_udp(SocketAddr::new(IpAddr::V4(wire.near.v4), 0), to, &SIZES).unwrap();
        let sent = near.statistics(INTERFACE).unwrap().sent.since(before);
        let drained = kernel.flip().unwrap();
        kernel.detach();
        assert!(!has_clsact(&near), "detaching leaves the interface as it was");

        let counted = &drained.interfaces[0];
        assert_eq!((counted.name.as_str(), drained.interfaces.len()), (INTERFACE, 1));
        assert_eq!((counted.hook.packets, counted.hook.bytes), (sent.packets, sent.bytes), "hook and interface");
        let is_ours = |key: &FullKey| (key.flow.source_port, key.flow.destination_port) == (from.port(), PORT);
        let ours: Vec<_> = drained.flows.iter().filter(|(key, _)| is_ours(key)).collect();
        assert_eq!(ours.len(), 1);
        let bytes = SIZES.iter().map(|size| traffic::udp_frame(to.ip(), *size)).sum();
        assert_eq!((ours[0].1.counters.packets, ours[0].1.counters.bytes), (SIZES.len() as u64, bytes));
        hook
    })
}

#[test]
fn what_was_loaded_on_a_guess_counts_as_exactly_and_a_wrong_one_makes_way() {
    let policy = policy();
    let options = Options { interfaces: 2, ..Options::default() };
    let guess = Guess::of(&options, &policy.image);
    for (needed, serves) in [
        (options, true),
        (Options { interfaces: 1, ..options }, true),
        (Options { interfaces: 200, ..options }, false),
        (Options { flows: 4096, ..options }, false),
        (Options { cache: Some(512), ..options }, false),
    ] {
        let prepared = Prepared::on(Some(guess.clone()));
        assert_eq!(prepared.serves(&needed, &policy.image), serves, "{needed:?}");
        counts_exactly_with(Kernel::load_to_outlive(prepared, needed, Arc::clone(&policy), None).unwrap(), None);
    }
}

#[test]
fn the_verifier_walks_the_program_within_its_limit() {
    /// What the verifier gives up at (BPF_COMPLEXITY_LIMIT_INSNS, kernel 5.2), and the share of it that we allow
    /// ourselves: newer kernels need less than half of what 6.1 does.
    const LIMIT: u32 = 1_000_000;
    let verified = load().program("egress").unwrap().info().unwrap().verified_instruction_count();
    let verified = verified.expect("reported since kernel 5.16");
    // Read by `cargo xtask prove kernels`.
    println!("verified instructions: {verified}");
    assert!(verified < LIMIT / 4 * 3, "{verified} of {LIMIT}");
}

#[test]
fn the_hook_is_tcx_where_the_kernel_has_it_and_clsact_elsewhere() {
    assert_eq!(counts_exactly(None), if has_tcx() { Hook::Tcx } else { Hook::Clsact });
}

#[test]
fn clsact_counts_on_every_kernel() {
    assert_eq!(counts_exactly(Some(Hook::Clsact)), Hook::Clsact);
}

#[test]
fn tcx_counts_or_is_refused_by_name_and_leaves_nothing() {
    if has_tcx() {
        assert_eq!(counts_exactly(Some(Hook::Tcx)), Hook::Tcx);
        return;
    }
    let (near, _far, _wire) = wire();
    near.run(|| {
        let mut kernel = load();
        let error = kernel.attach(&[Interface::find(INTERFACE).unwrap()], Some(Hook::Tcx)).unwrap_err().to_string();
        println!("without TCX: {error}");
        assert!(error.starts_with("can't attach to eth0 by tcx: "), "{error}");
        assert!(kernel.attachments().is_empty());
        assert!(!has_clsact(&near));
    });
}
