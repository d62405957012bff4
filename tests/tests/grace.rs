//! Promise: each packet is counted in exactly one epoch, whole, whatever it is doing when the epoch ends: also in the
//! middle of the program. `cargo xtask kernels` runs this on older kernels than this machine's.

#[path = "common/attached.rs"]
mod attached;

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use attached::{attach, hook};
use egress_monitor_tests::{
    corpus::{
        build::{eth, ip, payload, udp},
        policy::{self, OUT},
    },
    gate::Gate,
    stage::{INTERFACE, Stage, on_cpu},
    traffic::send_each,
};

#[test]
fn an_epoch_is_drained_only_when_no_program_is_in_the_middle_of_one_of_its_packets() {
    /// More allocations than a packet meets on its way.
    const ENOUGH: u64 = 40;
    /// A drain that waits for nobody takes a fraction of this.
    const LONG: Duration = Duration::from_millis(25);
    let stage = Stage::build(false).unwrap();
    for namespace in [&stage.near, &stage.far] {
        namespace.ip(&["link", "set", INTERFACE, "mtu", "9000"]).unwrap();
    }
    let mut kernel = attach(&stage, 1024, false, Arc::new(policy::compile("").unwrap()));
    // Of its headers only Ethernet's are in the linear part, so that the program must have the kernel allocate memory
    // between the hook total and the flow.
    let frame = (eth() / ip(OUT) / udp(9) / payload(6_000)).bytes();
    let length = frame.len() as u64;
    let (mut held_in_section, mut steps) = (0, 0);
    for tracepoint in ["kmalloc", "kmem_cache_alloc"] {
        let gate = Arc::new(Gate::at(tracepoint).unwrap());
        for skip in 0..ENOUGH {
            let (frame, at) = (frame.clone(), Arc::clone(&gate));
            let work = move || {
                at.arm(skip);
                let left = send_each(INTERFACE, [(frame.as_slice(), Some(14))]).unwrap();
                (left, at.disarm())
            };
            let sender = on_cpu(&stage.near, 1, work).unwrap();
            while !gate.holds() && !sender.is_finished() {
                std::hint::spin_loop();
            }
            let (done, flipped) = mpsc::channel();
            let (first, waited) = std::thread::scope(|scope| {
                let flip = scope.spawn(|| {
                    let drained = kernel.flip().unwrap();
                    done.send(()).unwrap();
                    drained
                });
                let waited = gate.holds() && flipped.recv_timeout(LONG).is_err();
                gate.open();
                (flip.join().unwrap(), waited)
            });
            let (left, was_held) = sender.join().unwrap();
            assert_eq!(left, [true]);
            let second = kernel.flip().unwrap();
            let counted = [hook(&first), hook(&second)];
            let packets = counted.map(|sums| (sums.packets, sums.bytes));
            // Wherever it was held.
            assert!(matches!(packets, [(1, bytes), (0, 0)] | [(0, 0), (1, bytes)] if bytes == length), "{packets:?}");
            held_in_section += u32::from(waited && packets[0].0 == 1);
            steps += 1;
            if !was_held {
                break;
            }
        }
    }
    println!("{steps} places tried, at {held_in_section} of them the epoch waited for its packet");
    assert!(held_in_section > 0, "it was never held where the end of the epoch has to wait");
}
