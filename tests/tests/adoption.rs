//! Promise: a start takes the place of what an earlier one has left without a packet between the two, and knows what that
//! has counted; by whichever hook the kernel has. `cargo xtask prove kernels` runs this on older kernels than this
//! machine's.

use std::{net::SocketAddr, sync::Arc};

use egress_monitor_tests::{
    daemon::Home,
    monitor::{
        Snapshot,
        kernel::{Hook, Interface, Kernel, Left, Mode, Options, Pins, Prepared, detach_all},
        policy_of,
    },
    stage::{INTERFACE, OUTSIDE, Stage, v4},
    traffic::send_udp,
};

use crate::support::attached::hook;

/// Packets of an epoch, all of which were dropped and are accounted for.
fn dropped(closed: &Snapshot) -> u64 {
    let packets = hook(closed).packets;
    assert_eq!(closed.interfaces.iter().map(|interface| interface.dropped.packets).sum::<u64>(), packets);
    packets
}

#[test]
fn each_start_takes_over_what_the_one_before_left_and_nothing_leaves_between() {
    // By whichever there is, and by the one that all kernels have.
    for ask in [None, Some(Hook::Clsact)] {
        let stage = Stage::build(false).unwrap();
        let home = Home::outliving().unwrap();
        let strict = Arc::new(policy_of(&stage.config("", "")).unwrap());
        let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
        let send = |packets: usize| stage.near.run(|| send_udp(stage.from(to), to, &vec![1; packets])).unwrap();
        let before = stage.sent().unwrap();
        for life in 0..4 {
            let pins = Pins::open(home.bpffs()).unwrap();
            let options = Options { mode: Mode::Enforce, ..Options::default() };
            let mut kernel =
                Kernel::load_to_outlive(Prepared::new(), options, Arc::clone(&strict), Some(pins)).unwrap();
            send(2);
            stage.near.run(|| kernel.attach(&[Interface::find(INTERFACE).unwrap()], ask).unwrap());
            assert_eq!(kernel.adopts(), life > 0);
            let left = stage.near.run(|| kernel.take_left().unwrap());
            if life > 0 {
                let [Left::Epoch(epoch)] = &left[..] else { panic!("{left:?}") };
                // Two before it ended, three while nobody was there, two while the next one was loaded.
                assert_eq!(dropped(epoch), 2 + 3 + 2);
            } else {
                assert!(left.is_empty());
            }
            send(4);
            assert_eq!(dropped(&kernel.flip().unwrap()), 4);
            send(2);
            drop(kernel);
            send(3);
        }
        let removed = stage.near.run(|| detach_all(home.bpffs()).unwrap());
        assert_eq!(removed.len(), 2, "the program, and what it has counted: {removed:?}");
        // Before the first was there.
        assert_eq!(stage.sent().unwrap().since(before).packets, 2);
    }
}
