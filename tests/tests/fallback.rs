//! Promise: what userspace promised for a time, the kernel part keeps by itself: a policy that nobody confirms goes when
//! its time is over, a budget holds while somebody watches it, and each packet is in the epoch of what judged it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    monitor::{
        Snapshot,
        kernel::{Fell, Interface, Kernel, Mode, Options, Switch},
        policy::Policy,
        policy_of,
    },
    stage::{INTERFACE, OUTSIDE, PATIENCE, RULED, RULED_PORT, Stage, v4},
};

use crate::support::attached::hook;

/// How long a promise is kept here.
const WHILE: Duration = Duration::from_millis(400);

fn outside() -> SocketAddr {
    SocketAddr::new(v4(OUTSIDE).into(), 9)
}

/// A policy that says this of what is outside.
fn policy(stage: &Stage, on_outside: &str) -> Arc<Policy> {
    Arc::new(policy_of(&stage.config("", &format!("on_outside = \"{on_outside}\""))).unwrap())
}

fn attach(stage: &Stage, options: Options, policy: &Arc<Policy>) -> Kernel {
    let mut kernel = Kernel::load(options, Arc::clone(policy)).unwrap();
    stage.near.run(|| kernel.attach(&[Interface::find(INTERFACE).unwrap()], None).unwrap());
    kernel
}

fn enforcing() -> Options {
    Options { mode: Mode::Enforce, ..Options::default() }
}

/// Sends a datagram, each of a flow of its own; whether it left.
fn leaves(stage: &Stage, to: SocketAddr) -> bool {
    stage.leaves(to, 1).unwrap()
}

/// Sends one after the other until one fares otherwise; how many did not.
fn until(stage: &Stage, to: SocketAddr, left: bool) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let mut others = 0;
    while leaves(stage, to) != left {
        others += 1;
        assert!(Instant::now() < deadline, "{others} packets, and nothing changes");
    }
    others
}

/// Packets of an epoch, what was dropped of them, and under what; all of them accounted for.
fn fared(closed: &Snapshot) -> (u64, u64, Mode) {
    let dropped = closed.interfaces.iter().map(|interface| interface.dropped.packets).sum();
    (hook(closed).packets, dropped, closed.mode)
}

#[test]
fn a_policy_that_nobody_confirms_goes_by_itself_and_each_packet_is_in_the_epoch_of_what_judged_it() {
    let stage = Stage::build(false).unwrap();
    let (strict, loose) = (policy(&stage, "deny"), policy(&stage, "allow"));
    let to = |policy: &Arc<Policy>, mode| Switch { policy: Arc::clone(policy), mode };
    let mut kernel = attach(&stage, enforcing(), &strict);
    assert!(!leaves(&stage, outside()));
    // Looser by its rules, and by its mode alone.
    for trial in [to(&loose, Mode::Enforce), to(&strict, Mode::Observe)] {
        let trial_policy = Arc::clone(&trial.policy);
        let trial_mode = trial.mode;
        kernel.stage(trial).unwrap();
        kernel.guard(Some((to(&strict, Mode::Enforce), WHILE))).unwrap();
        kernel.flip().unwrap();
        kernel.verify().unwrap();
        let passed = until(&stage, outside(), false);
        assert!(!leaves(&stage, outside()));
        let closed = kernel.flip().unwrap();
        assert_eq!(kernel.fell(), Some(Fell::InTime));
        assert!(Arc::ptr_eq(&closed.policy, &trial_policy));
        assert_eq!(fared(&closed), (passed, 0, trial_mode));
        let fallen = kernel.flip().unwrap();
        assert_eq!((fallen.epoch, kernel.fell()), (closed.epoch + 1, None));
        assert!(Arc::ptr_eq(&fallen.policy, &strict));
        assert_eq!(fared(&fallen), (2, 2, Mode::Enforce));
        assert_eq!(kernel.mode(), Mode::Enforce);
        kernel.verify().unwrap();
    }
    // Confirmed in time: it stays, however long it takes.
    kernel.stage(to(&loose, Mode::Enforce)).unwrap();
    kernel.guard(Some((to(&strict, Mode::Enforce), WHILE))).unwrap();
    kernel.flip().unwrap();
    kernel.guard(None).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 2 * WHILE {
        assert!(leaves(&stage, outside()));
    }
    kernel.flip().unwrap();
    assert_eq!(kernel.fell(), None);
}

#[test]
fn a_confirmation_that_comes_after_the_kernel_part_fell_back_changes_nothing() {
    let stage = Stage::build(false).unwrap();
    let (strict, loose) = (policy(&stage, "deny"), policy(&stage, "allow"));
    let to = |policy: &Arc<Policy>| Switch { policy: Arc::clone(policy), mode: Mode::Enforce };
    for late in [None, Some((to(&loose), PATIENCE))] {
        let mut kernel = attach(&stage, enforcing(), &strict);
        kernel.stage(to(&loose)).unwrap();
        kernel.guard(Some((to(&strict), WHILE))).unwrap();
        kernel.flip().unwrap();
        kernel.verify().unwrap();
        let passed = until(&stage, outside(), false);
        kernel.guard(late).unwrap_err();
        let closed = kernel.flip().unwrap();
        assert_eq!((fared(&closed), kernel.fell()), ((passed, 0, Mode::Enforce), Some(Fell::InTime)));
        assert!(Arc::ptr_eq(&closed.policy, &loose));
        let fallen = kernel.flip().unwrap();
        assert!(Arc::ptr_eq(&fallen.policy, &strict));
        assert_eq!(fared(&fallen), (1, 1, Mode::Enforce));
        kernel.verify().unwrap();
        assert!(!leaves(&stage, outside()));
        kernel.detach();
    }
}

#[test]
fn what_comes_back_is_written_anew_where_another_policy_took_its_place() {
    let stage = Stage::build(false).unwrap();
    let (strict, loose) = (policy(&stage, "deny"), policy(&stage, "allow"));
    let to = |policy: &Arc<Policy>| Switch { policy: Arc::clone(policy), mode: Mode::Enforce };
    let mut kernel = attach(&stage, enforcing(), &strict);
    kernel.stage(to(&loose)).unwrap();
    kernel.guard(Some((to(&strict), 3 * WHILE))).unwrap();
    kernel.flip().unwrap();
    kernel.verify().unwrap();
    // As a clock that was set does it: the trial's policy, in the slot of what comes back.
    kernel.stage(to(&loose)).unwrap();
    kernel.flip().unwrap();
    kernel.verify().unwrap();
    until(&stage, outside(), false);
    assert!(Arc::ptr_eq(&kernel.flip().unwrap().policy, &loose));
    assert_eq!(kernel.fell(), Some(Fell::InTime));
    assert!(Arc::ptr_eq(&kernel.flip().unwrap().policy, &strict));
    kernel.verify().unwrap();
}

#[test]
fn a_flow_that_was_judged_before_is_judged_anew_when_the_time_is_over() {
    let stage = Stage::build(false).unwrap();
    let (strict, loose) = (policy(&stage, "deny"), policy(&stage, "allow"));
    let mut kernel = attach(&stage, enforcing(), &loose);
    let back = Switch { policy: Arc::clone(&strict), mode: Mode::Enforce };
    kernel.guard(Some((back, WHILE))).unwrap();
    let socket = stage.near.run(|| std::net::UdpSocket::bind(stage.from(outside()))).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut passed = 0;
    loop {
        let before = stage.sent().unwrap();
        socket.send_to(&[1], outside()).unwrap();
        if stage.sent().unwrap().since(before).packets == 0 {
            break;
        }
        passed += 1;
        assert!(Instant::now() < deadline);
    }
    assert_eq!(fared(&kernel.flip().unwrap()), (passed, 0, Mode::Enforce));
    assert_eq!(fared(&kernel.flip().unwrap()), (1, 1, Mode::Enforce));
}

#[test]
fn a_daily_budget_holds_for_as_long_as_epochs_are_closed_and_a_little_longer() {
    let stage = Stage::build(false).unwrap();
    let to = SocketAddr::new(v4(RULED).into(), RULED_PORT);
    let text = stage.config("mode = \"enforce\"", "") + "max_bytes_per_day = 1000000000\n";
    let budgeted = Arc::new(policy_of(&text).unwrap());
    let mut kernel = attach(&stage, Options { lease: Some(WHILE), ..enforcing() }, &budgeted);
    for _ in 0..3 {
        let passed = until(&stage, to, false);
        assert_eq!(fared(&kernel.flip().unwrap()), (passed + 1, 1, Mode::Enforce));
        kernel.verify().unwrap();
        // From here on somebody is there again.
        assert!(leaves(&stage, to));
        kernel.flip().unwrap();
    }
}

#[test]
fn where_it_is_wanted_the_kernel_part_only_observes_when_it_is_alone() {
    let stage = Stage::build(false).unwrap();
    let strict = policy(&stage, "deny");
    let options = Options { lease: Some(WHILE), observes_alone: true, ..enforcing() };
    let mut kernel = attach(&stage, options, &strict);
    let dropped = until(&stage, outside(), true);
    let closed = kernel.flip().unwrap();
    assert_eq!((fared(&closed), kernel.fell()), ((dropped, dropped, Mode::Enforce), Some(Fell::Alone)));
    assert_eq!(kernel.mode(), Mode::Observe);
    kernel.stage(Switch { policy: Arc::clone(&strict), mode: Mode::Enforce }).unwrap();
    assert_eq!(fared(&kernel.flip().unwrap()), (1, 0, Mode::Observe));
    // On trial, too: then the policy before it observes, whatever its mode.
    let trial = policy(&stage, "allow");
    kernel.stage(Switch { policy: trial, mode: Mode::Enforce }).unwrap();
    kernel.guard(Some((Switch { policy: Arc::clone(&strict), mode: Mode::Enforce }, PATIENCE))).unwrap();
    kernel.flip().unwrap();
    kernel.verify().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 2 * WHILE {
        assert!(leaves(&stage, outside()));
    }
    kernel.flip().unwrap();
    assert_eq!((kernel.fell(), kernel.mode()), (Some(Fell::Alone), Mode::Observe));
    assert!(Arc::ptr_eq(kernel.policy(), &strict));
    kernel.stage(Switch { policy: strict, mode: Mode::Enforce }).unwrap();
    kernel.flip().unwrap();
    kernel.verify().unwrap();
    // For as long as epochs are closed it stays.
    let begun = Instant::now();
    while begun.elapsed() < 2 * WHILE {
        assert!(!leaves(&stage, outside()));
        kernel.flip().unwrap();
        assert_eq!(kernel.fell(), None);
    }
}
