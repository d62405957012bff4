//! The kernel part in this process, on the interface of a stage's host, so that a test ends epochs itself and sees
//! each.

use std::{collections::BTreeMap, sync::Arc};

use egress_monitor_tests::{
    monitor::{
        Snapshot,
        kernel::{Interface, Kernel, Mode, Options},
        policy::Policy,
    },
    stage::{INTERFACE, Stage},
};
use monitor_common::wire::Counters;

/// Loads and attaches it, with flow caches so small that most flows are in the table.
pub fn attach(stage: &Stage, flows: u32, enforce: bool, policy: Arc<Policy>) -> Kernel {
    let options = Options { flows, cache: Some(8192), mode: Mode::enforcing(enforce), ..Options::default() };
    let mut kernel = Kernel::load(options, policy).expect("the kernel part loads: these tests need root");
    stage.near.run(|| kernel.attach(&[Interface::find(INTERFACE).unwrap()], None).unwrap());
    kernel
}

/// What the hook counted in an epoch, after holding it against its parts.
pub fn hook(drained: &Snapshot) -> Counters {
    let mut parts: BTreeMap<u32, Counters> = BTreeMap::new();
    for (key, value) in &drained.flows {
        parts.entry(key.flow.ifindex).or_default().add(&value.counters);
    }
    let mut hook = Counters::default();
    for interface in &drained.interfaces {
        let part = parts.entry(interface.ifindex).or_default();
        interface.overflow.values().for_each(|sums| part.add(sums));
        interface.unparsed.values().for_each(|reason_sums| {
            part.add(&reason_sums.passed);
            part.add(&reason_sums.dropped);
        });
        assert_eq!(interface.hook, *part, "{} in epoch {}", interface.name, drained.epoch);
        hook.add(&interface.hook);
    }
    assert!(parts.keys().all(|ifindex| drained.interfaces.iter().any(|known| known.ifindex == *ifindex)));
    hook
}
