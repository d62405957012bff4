//! What left beside the hook is found, and nothing else is accused.

use super::*;

#[test]
fn a_bypass_is_found_in_its_epoch_to_the_packet_and_byte_and_not_again() {
    for skbs in [false, true] {
        let (mut world, mut desk) = (World::new(skbs), Desk::default());
        world.send(50, Packet::SMALL);
        world.deny(Packet::SMALL);
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.send(3, Packet::SMALL);
        world.bypass(7, 300);
        assert_eq!(desk.read(&world.read()), amount(7, 2_100));
        assert_eq!(desk.read(&world.read()), Amount::default());
        world.bypass(1, 60);
        assert_eq!(desk.read(&world.read()), amount(1, 60));
        let standing = desk.report();
        assert_eq!((standing.unaccounted, standing.lost), (amount(8, 2_160), 0));
        assert_eq!(standing.before_attach, amount(1_000, 100_000));
        assert_eq!((standing.sent, standing.dropped), (amount(61, 53 * 100 + 2_160), amount(1, 100)));
    }
}

#[test]
fn bytes_alone_are_never_a_breach() {
    let (mut world, mut desk) = (World::new(false), Desk::default());
    for _ in 0..10 {
        world.send(10, Packet::SMALL);
        // Padding, a tag, a checksum: hardware adds them.
        world.sent.bytes += 40;
        assert_eq!(desk.read(&world.read()), Amount::default());
    }
    world.bypass(1, 100);
    assert_eq!(desk.read(&world.read()), amount(1, 100));
}

/// Anything at once, thousands of times: never more is found than left beside the hook; and what is lost, delayed or
/// ambiguous does not hide what comes once the line has been quiet. Where nothing is lost or ambiguous, all is found.
#[test]
fn under_any_mix_nothing_is_accused_that_passed_and_nothing_hides_for_ever() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all_found = 0;
    for round in 0..3_000 {
        let skbs = random.bool();
        let partial = Offloads::default().with(SuperKind::Tcp4, Taken::Whole);
        let offloads = [Offloads::EVERYTHING, partial, Offloads::default()][random.usize(0..3)];
        let mut world = World { offloads, hardware: random.u8(0..4) == 0, ..World::new(skbs) };
        world.qdisc = ["fq", "noqueue", "htb"][random.usize(0..3)];
        let (supers, lossy, beside) = (random.bool(), random.bool(), random.bool());
        let act = |world: &mut World, random: &mut fastrand::Rng| match random.u8(0..15) {
            0..=3 => world.pass(if supers && random.bool() { Packet::SUPER } else { Packet::SMALL }),
            14 => world.doom(1, if supers { Packet::SUPER_UDP } else { Packet::SMALL }),
            4 => world.deny(Packet::SUPER),
            5 => world.drop_queued(),
            6 if lossy => drop(world.queue.pop_front()),
            7 if lossy => drop(world.ring.pop_back()),
            8 if beside => world.bypass(random.u64(1..4), 600),
            6..=10 => world.dequeue(),
            _ => world.complete(),
        };
        if world.hardware {
            world.comparison = Comparison::Sent;
        }
        if lossy {
            for _ in 0..random.usize(0..50) {
                act(&mut world, &mut random);
            }
            // What only hardware may still have to report passed no hook of ours.
            if !world.hardware {
                world.ring.clear();
            }
        }
        world.hook = HookSums::default();
        world.beside = 0;
        world.attach();
        let mut desk = Desk::default();
        let (mut found, mut flushed) = (0, world.now);
        for _ in 0..random.usize(1..30) {
            for _ in 0..random.usize(0..60) {
                act(&mut world, &mut random);
            }
            found += desk.read(&world.read_while(|world| act(world, &mut random))).packets;
            assert!(found <= world.beside, "{found} of {}, round {round}", world.beside);
            world.now += random.u64(0..20) * SECOND / 4;
            // A driver may be slow, but not slower than the kernel lets it.
            if world.now - flushed > 5 * SECOND {
                flushed = world.now;
                while !world.ring.is_empty() {
                    world.complete();
                }
            }
        }
        while !(world.queue.is_empty() && world.ring.is_empty()) {
            world.dequeue();
            world.complete();
        }
        for _ in 0..4 {
            found += desk.read(&world.read()).packets;
            world.wait(15);
        }
        assert!(found <= world.beside, "round {round}");
        if !(lossy || supers || world.hardware) {
            assert_eq!((found, desk.report().lost), (world.beside, 0), "round {round}");
            all_found += found;
        }
        world.bypass(3, 600);
        assert_eq!(desk.read(&world.read()).packets, 3, "{:?}, round {round}", desk.report());
    }
    assert!(all_found > 1_000, "the test has tested little: {all_found}");
}
