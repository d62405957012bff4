//! The consumer that holds the verdicts of each closed epoch against what the policy in force can have given: what somebody
//! changed in the kernel and put back before anybody looked shows in what it did.
//!
//! Every flow is held against its class row and the mode; of every so many the destination is looked up anew, by the kernel's
//! own code. Only what is looser than the policy is told: a rule that ended, or whose lease is over, makes it stricter by
//! itself. Where the time of a rule decides nothing is said.

use std::collections::BTreeSet;

use monitor_common::{
    evaluate::Evaluation,
    verdict::Verdict,
    wire::{FlowKey, FullKey},
};
use monitor_policy::{Asked, ImageAt, Policy};

use super::{
    outbox::AlertBatch,
    pipeline::{Consumer, Findings},
};
use crate::{
    model::{ClosedEpoch, FindingKind, Snapshot, in_force::PolicyInForce},
    store::MonitorState,
};

/// Flows of an epoch of which the destination is looked up anew.
const LOOKED_UP: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Epochs of an earlier daemon, of whose policy there are only numbers.
    inherited: BTreeSet<u32>,
    found: Option<String>,
}

impl Verdicts {
    /// One that leaves out these epochs.
    pub fn without(inherited: BTreeSet<u32>) -> Self {
        Self { inherited, found: None }
    }
}

impl Consumer for Verdicts {
    fn epoch(&mut self, epoch: &ClosedEpoch<'_>, _: &PolicyInForce, _: &mut AlertBatch<'_>) {
        let inherited = self.inherited.remove(&epoch.snapshot.epoch);
        self.found = if inherited { None } else { impossible(epoch) };
    }

    fn publish(&mut self, _: &ClosedEpoch<'_>, _: &mut MonitorState, findings: &mut Findings<'_>) {
        findings.report(FindingKind::ImpossibleVerdict, self.found.take());
    }
}

/// What can't be, if there is anything.
fn impossible(epoch: &ClosedEpoch<'_>) -> Option<String> {
    let Snapshot { policy, mode, flows, epoch: number, .. } = epoch.snapshot;
    // Another part of them in each epoch.
    let step = flows.len().div_ceil(LOOKED_UP).max(1);
    let first = *number as usize % step;
    let (mut packets, mut example) = (0, None);
    for (at, flow) in epoch.flows().enumerate() {
        let key = flow.key;
        let why = by_mode(&key.flow, mode.enforces()).or_else(|| by_class(&key.flow, policy)).or_else(|| {
            // Of several inner destinations one is kept; where another decided there is nothing to compare.
            let whole = !key.inner.exists() || flow.resolved.decider.is_some();
            let looked_up = at % step == first && whole;
            if looked_up { by_look_up(key, policy) } else { None }
        });
        if let Some(why) = why {
            packets += flow.value.counters.packets;
            example.get_or_insert_with(|| format!("{} to {}: {why}", name(epoch, &key.flow), destination(&key.flow)));
        }
    }
    if !mode.enforces() {
        let dropped: u64 = epoch.snapshot.interfaces.iter().map(|interface| interface.dropped.packets).sum();
        if dropped > 0 && example.is_none() {
            packets += dropped;
            example = Some("dropped in observe mode".into());
        }
    }
    example.map(|example| format!("epoch {number}: {packets} packets, such as {example}"))
}

fn by_mode(flow: &FlowKey, enforces: bool) -> Option<&'static str> {
    match Verdict::from_wire(flow.verdict) {
        Verdict::Observed if enforces => Some("denied and let through in enforce mode"),
        Verdict::Denied if !enforces => Some("dropped in observe mode"),
        _ => None,
    }
}

fn by_class(flow: &FlowKey, policy: &Policy) -> Option<&'static str> {
    let Some(row) = policy.image.classes.get(usize::from(flow.class_id)) else {
        return Some("of a class that the policy has not");
    };
    let allowed = flow.verdict == Verdict::Allowed as u8 && flow.rule == 0;
    (allowed && row.deny == 1).then_some("allowed by no rule, and its class is denied")
}

fn by_look_up(key: &FullKey, policy: &Policy) -> Option<&'static str> {
    // A rule with a time that covers it may have held when it was let through.
    let image = ImageAt { image: &policy.image, boot_ns: Asked::default() };
    let to = Evaluation::of_flow(&image, key)?;
    let allowed = key.flow.verdict == Verdict::Allowed as u8;
    (allowed && to.deny && !image.boot_ns.was()).then_some("allowed, and the policy denies it")
}

fn name<'a>(epoch: &'a ClosedEpoch<'_>, flow: &FlowKey) -> &'a str {
    epoch.identities.interfaces.get(epoch.interfaces.name(flow.ifindex))
}

fn destination(flow: &FlowKey) -> std::net::IpAddr {
    let address = flow.destination;
    std::net::Ipv6Addr::from(u128::from(address.high) << 64 | u128::from(address.low)).to_canonical()
}

#[cfg(test)]
mod tests {
    use monitor_common::wire::Address;

    use super::*;
    use crate::{config::inputs, fake};

    #[test]
    fn a_rule_with_a_time_says_nothing_of_flows_that_it_does_not_cover() {
        let config = "[zone]\ninside = \"DE\"\n\
                      [[site]]\nname = \"far\"\ncountry = \"SG\"\nnetworks = [\"192.0.2.0/24\"]\n\
                      [[allow]]\nid = \"a\"\nto = [\"192.0.2.64/26\"]\nports = [\"tcp/443\"]\nreason = \"a test\"\n\
                      expires = 2099-01-01T00:00:00Z\n";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, config).unwrap();
        let policy = inputs::read(Some(&file)).unwrap().policy;
        let told = |last: u32, port: u16, verdict: Verdict| {
            let destination = Address::v4(0xc000_0200 | last);
            let flow = FlowKey { destination, verdict: verdict as u8, ..fake::key(7, fake::INSIDE, port) };
            by_look_up(&flow.into(), &policy).is_some()
        };
        assert!(told(9, 443, Verdict::Allowed), "no rule covers it");
        assert!(told(65, 444, Verdict::Allowed), "nor here, by its port");
        assert!(!told(65, 443, Verdict::Allowed), "the rule may have held");
        assert!(!told(9, 443, Verdict::Denied));
    }
}
