//! Promise: each packet is counted in exactly one epoch, whole, whatever it is doing when the epoch ends: also in the
//! middle of the program. `cargo xtask prove kernels` runs this on older kernels than this machine's.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use egress_monitor_tests::{
    corpus::{
        build::{eth, ip, payload, udp},
        policy::{self, OUT},
    },
    gate::Gate,
    measure::pin,
    monitor::kernel::Kernel,
    stage::{INTERFACE, Stage, on_cpu},
    traffic::send_scattered,
};

use crate::support::attached::{attach, hook};

/// Where one packet was held.
struct Place {
    /// It was held at all: it comes to as many allocations.
    held: bool,
    /// The end of the epoch waited for it, and its packet is in that epoch.
    waited: bool,
}

/// Sends a frame, holds it at its allocation number `skip`, and ends the epoch meanwhile. It must be counted once,
/// wherever it was held.
fn hold(stage: &Stage, kernel: &mut Kernel, gate: &Arc<Gate>, skip: u64, frame: &[u8]) -> Place {
    /// A drain that waits for nobody takes a fraction of this.
    const LONG: Duration = Duration::from_millis(25);
    let (sent, at) = (frame.to_vec(), Arc::clone(gate));
    let work = move || {
        at.arm(skip);
        let left = send_scattered(INTERFACE, [(sent.as_slice(), 14)]).unwrap();
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
    let (left, held) = sender.join().unwrap();
    assert_eq!(left, [true]);
    let second = kernel.flip().unwrap();
    let counted = [hook(&first), hook(&second)];
    let packets = counted.map(|sums| (sums.packets, sums.bytes));
    let once = (1, frame.len() as u64);
    assert!(packets == [once, (0, 0)] || packets == [(0, 0), once], "{packets:?}");
    Place { held, waited: waited && packets[0] == once }
}

#[test]
fn an_epoch_is_drained_only_when_no_program_is_in_the_middle_of_one_of_its_packets() {
    /// More allocations than a packet meets on its way.
    const ENOUGH: u64 = 40;
    /// The gate lets go by itself after a while, and a busy machine may not have ended the epoch by then.
    const ROUNDS: u32 = 10;
    // On the sender's CPU it could not run before the packet is let go.
    pin(0).unwrap();
    let stage = Stage::build(false).unwrap();
    for namespace in [&stage.near, &stage.far] {
        namespace.ip(&["link", "set", INTERFACE, "mtu", "9000"]).unwrap();
    }
    let mut kernel = attach(&stage, 1024, false, Arc::new(policy::compile("").unwrap()));
    // Of its headers only Ethernet's are in the linear part, so that the program must have the kernel allocate memory
    // between the hook total and the flow.
    let frame = (eth() / ip(OUT) / udp(9) / payload(6_000)).bytes();
    let gates = ["kmalloc", "kmem_cache_alloc"].map(|tracepoint| Arc::new(Gate::at(tracepoint).unwrap()));
    let (mut rounds, mut waited, mut places) = (0, 0, 0);
    while waited == 0 && rounds < ROUNDS {
        rounds += 1;
        for gate in &gates {
            for skip in 0..ENOUGH {
                let place = hold(&stage, &mut kernel, gate, skip, &frame);
                waited += u32::from(place.waited);
                places += 1;
                if !place.held {
                    break;
                }
            }
        }
    }
    println!("{places} places tried in {rounds} rounds, at {waited} of them the epoch waited for its packet");
    assert!(waited > 0, "it was never held where the end of the epoch has to wait");
}
