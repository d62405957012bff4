//! A configuration as `explain` reads it and as the loaded program has it, and one held against the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, OnceLock},
};

use egress_monitor_tests::{
    corpus::{build::proto::UDP, policy::NAT64},
    leftovers,
    monitor::{
        config::{self, Spec},
        geo::{self, special},
        kernel::boot_ns,
        now,
        policy::{self, ClockMap, ExplainInputs, Explanation, Knowledge, Policy, Target, explain},
    },
};
use monitor_common::{
    verdict::Verdict,
    wire::{FlowKey, FullKey},
};

use super::{
    known::SITES_AND_RULES,
    packet::{End, Packet},
};
use crate::support::machine::{DROP, Machine, NEXT, run};

/// A configuration, what it was compiled from, and when.
pub(super) struct World {
    pub(super) config: Spec,
    pub(super) policy: Arc<Policy>,
    clock: ClockMap,
}

pub(super) fn knowledge() -> &'static Knowledge {
    static KNOWLEDGE: OnceLock<Knowledge> = OnceLock::new();
    KNOWLEDGE.get_or_init(|| Knowledge::new(&geo::load("embedded").unwrap(), special::table()))
}

impl World {
    /// `zone`: the lines of `[zone]`.
    pub(super) fn new(zone: &str) -> Self {
        let folder = leftovers::folder().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, format!("[zone]\nnat64 = {NAT64:?}\n{zone}\n{SITES_AND_RULES}")).unwrap();
        let config = config::load(Some(&file)).unwrap_or_else(|error| panic!("{error}"));
        let clock = ClockMap { realtime_ns: i64::try_from(now()).unwrap(), boottime_ns: boot_ns() };
        let policy = Arc::new(policy::compile(&config.spec, knowledge(), &clock).unwrap());
        Self { config: config.spec, policy, clock }
    }

    pub(super) fn explain(&self, end: End) -> Explanation {
        let End { to: address, protocol, port } = end;
        let inputs =
            ExplainInputs { spec: &self.config, knowledge: knowledge(), policy: &self.policy, clock: self.clock };
        let target = Target { address, port, protocol: Some(protocol) };
        explain(&target, &inputs).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What the kernel noted of a flow, in words.
    fn noted(&self, key: &FlowKey, alert: bool) -> Answer {
        let info = &self.policy.classes[usize::from(key.class_id)];
        Answer {
            country: info.country.to_string(),
            class: info.class.name(),
            rule: usize::from(key.rule).checked_sub(1).map(|number| self.policy.rules[number].id.clone()),
            verdict: Verdict::from_wire(key.verdict).name(),
            alert,
        }
    }

    /// What the kernel has to make of a packet: of two destinations the stricter decides, of equals the outer.
    fn decisive(&self, packet: &Packet) -> Explanation {
        let outer = self.explain(packet.end);
        match packet.inner.map(|inner| self.explain(inner)) {
            Some(inner) if rank(&inner) > rank(&outer) => inner,
            _ => outer,
        }
    }

    /// Sends packets through the kernel, holds all that it does against `explain`, and gives that.
    pub(super) fn hold(&self, machine: &mut Machine, enforce: bool, packets: &[Packet]) -> BTreeMap<Packet, Answer> {
        let mut explained: BTreeMap<Packet, (Answer, u64)> = BTreeMap::new();
        for packet in packets {
            let story = self.decisive(packet);
            let frame = packet.frame();
            let returned = run(&mut machine.kernel, &frame, frame.len() as u32, 1);
            let answer = Answer {
                verdict: if enforce { story.enforce } else { story.observe },
                country: story.country,
                class: story.class,
                rule: story.rule,
                alert: story.alert,
            };
            let denied = answer.verdict == "denied";
            assert_eq!(returned, if denied { DROP } else { NEXT }, "{packet:?}: {}", story.reason);
            assert!(enforce || !denied, "{packet:?}");
            explained.entry(*packet).or_insert((answer, 0)).1 += 1;
        }
        let drained = machine.kernel.flip().unwrap();
        assert_eq!(drained.events_lost, 0);
        let alerted: BTreeSet<FullKey> = std::iter::from_fn(|| machine.events.ready())
            .filter_map(|event| event.flow().map(|event| event.flow))
            .collect();
        let mut noted = BTreeMap::new();
        for (key, value) in &drained.flows {
            let answer = (self.noted(&key.flow, alerted.contains(key)), value.counters.packets);
            assert_eq!(noted.insert(Packet::from(key), answer), None, "noted twice: {key:x?}");
        }
        for (packet, answer) in &explained {
            assert_eq!(noted.get(packet), Some(answer), "{packet:?}");
        }
        assert_eq!(noted.len(), explained.len());
        assert!(alerted.iter().all(|key| noted.contains_key(&Packet::from(key))));
        explained.into_iter().map(|(packet, (answer, _))| (packet, answer)).collect()
    }

    /// 20 addresses of each class that datasets decide, if there are as many, out of those right behind the datasets'
    /// ranges.
    pub(super) fn examples(&self, v6: bool) -> BTreeMap<&'static str, Vec<Packet>> {
        const ENOUGH: usize = 20;
        let v4 =
            knowledge().datasets.iter().flat_map(|dataset| &dataset.v4).filter_map(|range| range.last.checked_add(1));
        let beyond =
            knowledge().datasets.iter().flat_map(|dataset| &dataset.v6).filter_map(|range| range.last.checked_add(1));
        let all: Box<dyn Iterator<Item = IpAddr>> = if v6 {
            Box::new(beyond.map(|address| Ipv6Addr::from(address).into()))
        } else {
            Box::new(v4.map(|address| Ipv4Addr::from(address).into()))
        };
        let mut examples =
            BTreeMap::from(["inside", "outside", "ambiguous", "unknown"].map(|class| (class, Vec::new())));
        for end in all.map(|to| End { to, protocol: UDP, port: Some(9) }) {
            if let Some(some) = examples.get_mut(self.explain(end).class)
                && some.len() < ENOUGH
            {
                some.push(Packet::from(end));
            }
            if examples.values().all(|some| some.len() == ENOUGH) {
                break;
            }
        }
        examples
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) country: String,
    pub(super) class: &'static str,
    pub(super) rule: Option<String>,
    pub(super) verdict: &'static str,
    pub(super) alert: bool,
}

/// How strict the policy is: denied, alerted of, let through by a rule, allowed.
pub(super) fn rank(story: &Explanation) -> u8 {
    match story {
        _ if story.enforce == "denied" => 3,
        _ if story.alert => 2,
        _ if story.rule.is_some() => 1,
        _ => 0,
    }
}
