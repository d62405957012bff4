//! Promise: a policy and interfaces that have no room get larger maps while packets pass: each packet is judged by one policy
//! and counted once, and nothing leaves in between. `cargo xtask prove kernels` runs this on older kernels than this
//! machine's.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    daemon::Home,
    monitor::{
        Snapshot,
        kernel::{Fell, Hook, Interface, Kernel, Mode, Options, Pins, Prepared, Switch, detach_all},
        policy::Policy,
        policy_of,
    },
    stage::{INTERFACE, PATIENCE, Stage},
};

use crate::support::{
    attached::hook as accounted,
    lives::{attached, outside},
    load::Load,
    policy::networks_apart,
};

/// Bytes that all maps may take.
const ENOUGH: u64 = 1 << 30;

fn policy(stage: &Stage, networks: usize) -> Arc<Policy> {
    let more = networks_apart(stage.folder(), networks);
    Arc::new(policy_of(&(stage.config("", "") + &more)).unwrap())
}

fn enforced(policy: &Arc<Policy>) -> Switch {
    Switch { policy: Arc::clone(policy), mode: Mode::Enforce }
}

fn enforcing(stage: &Stage, pins: Option<Pins>, hook: Option<Hook>) -> Kernel {
    let options = Options { mode: Mode::Enforce, ..Options::default() };
    let mut kernel = Kernel::load_to_outlive(Prepared::new(), options, policy(stage, 1), pins).unwrap();
    stage.near.run(|| kernel.attach(&[Interface::find(INTERFACE).unwrap()], hook).unwrap());
    kernel
}

/// Packets of an epoch, all of which were dropped, under this policy.
fn dropped(closed: &Snapshot, under: &Arc<Policy>) -> u64 {
    let packets = accounted(closed).packets;
    assert_eq!(closed.interfaces.iter().map(|interface| interface.dropped.packets).sum::<u64>(), packets);
    assert!(Arc::ptr_eq(&closed.policy, under));
    packets
}

#[test]
fn larger_maps_take_the_place_of_those_before_and_every_packet_is_counted_once_under_one_policy() {
    // By whichever there is, and by the one that all kernels have.
    for (hook, pinned) in [(None, true), (Some(Hook::Clsact), true), (None, false), (Some(Hook::Clsact), false)] {
        let (stage, home) = (Stage::build(false).unwrap(), Home::outliving().unwrap());
        let pins = pinned.then(|| Pins::open(home.bpffs()).unwrap());
        let mut kernel = enforcing(&stage, pins, hook);
        let before = stage.sent().unwrap();
        let (counted, offered) = thread::scope(|scope| {
            let load = Load::begin(scope, &stage, 2);
            let (mut counted, mut epoch) = (0, 0);
            let mut close = |kernel: &mut Kernel, under: &Arc<Policy>| {
                let closed = kernel.flip().unwrap();
                assert_eq!(closed.epoch, epoch);
                epoch += 1;
                dropped(&closed, under)
            };
            let mut there = Arc::clone(kernel.policy());
            for networks in [15_000, 50_000] {
                let larger = policy(&stage, networks);
                assert!(!kernel.has_room(&larger));
                kernel.stage(enforced(&larger)).unwrap_err();
                stage.near.run(|| kernel.make_room(Some(&larger), 0, ENOUGH)).unwrap();
                kernel.stage(enforced(&larger)).unwrap_err();
                counted += close(&mut kernel, &there);
                kernel.stage(enforced(&larger)).unwrap();
                counted += close(&mut kernel, &there);
                kernel.verify().unwrap();
                there = larger;
                counted += close(&mut kernel, &there);
            }
            let offered = load.end();
            counted += close(&mut kernel, &there);
            (counted, offered)
        });
        assert_eq!((counted, stage.sent().unwrap().since(before).packets), (offered, 0), "{hook:?}, {pinned}");
        assert!(offered > 10_000);
        stage.near.run(|| kernel.detach());
        drop(kernel);
        if pinned {
            assert_eq!(stage.near.run(|| detach_all(home.bpffs()).unwrap()), Vec::<String>::new());
        }
        assert_eq!(attached(&stage), (0, 0));
    }
}

#[test]
fn what_nobody_confirms_goes_by_itself_also_in_larger_maps() {
    let stage = Stage::build(false).unwrap();
    let mut kernel = enforcing(&stage, None, None);
    let strict = Arc::clone(kernel.policy());
    // An emulated machine takes long to load a program.
    let began = Instant::now();
    stage.near.run(|| kernel.make_room(None, 12, ENOUGH)).unwrap();
    kernel.flip().unwrap();
    let within = Duration::from_secs(2) + 3 * began.elapsed();
    let loose = Arc::new(policy_of(&stage.config("", "on_outside = \"allow\"")).unwrap());
    kernel.stage(enforced(&loose)).unwrap();
    kernel.guard(Some((enforced(&strict), within))).unwrap();
    kernel.flip().unwrap();
    kernel.verify().unwrap();
    assert!(stage.leaves(outside(), 1).unwrap());
    stage.near.run(|| kernel.make_room(None, 24, ENOUGH)).unwrap();
    assert!(stage.leaves(outside(), 1).unwrap());
    let closed = kernel.flip().unwrap();
    assert_eq!((accounted(&closed).packets, kernel.fell()), (1, None));
    let deadline = Instant::now() + within + PATIENCE;
    let mut passed = 1;
    while stage.leaves(outside(), 1).unwrap() {
        passed += 1;
        assert!(Instant::now() < deadline, "it never goes");
    }
    let closed = kernel.flip().unwrap();
    assert_eq!((accounted(&closed).packets, kernel.fell()), (passed, Some(Fell::InTime)));
    assert!(Arc::ptr_eq(&closed.policy, &loose));
    assert_eq!(dropped(&kernel.flip().unwrap(), &strict), 1);
    kernel.verify().unwrap();
}

#[test]
fn maps_that_would_take_too_much_memory_are_refused_and_nothing_has_changed() {
    let (stage, home) = (Stage::build(false).unwrap(), Home::outliving().unwrap());
    let mut kernel = enforcing(&stage, Some(Pins::open(home.bpffs()).unwrap()), None);
    let (there, larger) = (Arc::clone(kernel.policy()), policy(&stage, 20_000));
    // By what the policy comes to, and by what all comes to when it is there.
    for most in [1 << 20, 48 << 20] {
        let error = stage.near.run(|| kernel.make_room(Some(&larger), 0, most)).unwrap_err().to_string();
        assert!(error.contains(&format!("[monitor] memory_max is {} MiB: raise it", most >> 20)), "{error}");
        assert!(!kernel.has_room(&larger));
        assert!(!stage.leaves(outside(), 1).unwrap());
        assert_eq!(dropped(&kernel.flip().unwrap(), &there), 1);
        kernel.verify().unwrap();
        assert_eq!(std::fs::read_dir(home.pins().join("maps")).unwrap().count(), 1);
    }
    kernel.detach();
    drop(kernel);
    stage.near.run(|| detach_all(home.bpffs()).unwrap());
}
