//! The totals as they are written down: names where the running daemon has numbers.

use std::{collections::BTreeMap, sync::Arc};

use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Class, Counters, Opaque, ReasonSums},
};
use monitor_policy::geo::Country;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        flow::{FlowGroup, FlowSums, Group, GroupSums},
        identities::{Identities, Name, RuleName},
        inner::via_of,
    },
    store::totals::{Totals, Traffic},
};

/// What such a file says it is.
const FORMAT: &str = "egress-monitor totals 1";

/// Packets, segments, bytes, bytes on the wire.
type Sums = [u64; 4];
/// Interface, country, class, verdict.
type Place = (String, String, String, String);
/// A rule's id; `None`: no rule.
type Rule = Option<String>;
/// Flows, their sums, first and last packet.
type Flows = (u64, Sums, i64, i64);

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    format: String,
    /// The boot of the host that it is of.
    pub boot_id: String,
    /// Since when it counts, UTC nanoseconds since 1970.
    pub since: i64,
    /// The number of the last epoch that is in it.
    pub epoch: u32,
    epochs: u64,
    events_lost: u64,
    groups: Vec<(Place, Sums)>,
    overflow: Vec<(Place, Sums)>,
    opaque: Vec<(String, Option<String>, String, Sums)>,
    inner: Vec<(String, String, String, Sums)>,
    flows: Vec<(Place, Rule, Flows)>,
    rules: Vec<(Rule, Flows)>,
    unparsed: Vec<(String, String, Sums, Sums)>,
    hook: Vec<(String, Sums)>,
    dropped: Vec<(String, Sums)>,
    residual: Vec<(String, Sums)>,
}

impl Document {
    pub fn of(traffic: &Traffic, boot_id: &str, since: i128, epoch: u32) -> Self {
        let Traffic { identities, totals, .. } = traffic;
        let interface = |name: &Name| identities.interfaces.get(*name).to_owned();
        let place = |of: &Group| {
            let Group { interface: name, country, class, verdict } = of;
            (interface(name), country.to_string(), class.name().to_owned(), verdict.name().to_owned())
        };
        let rule = |name: &RuleName| (*name != RuleName::NONE).then(|| identities.rules.get(*name).to_owned());
        let flows = |of: &GroupSums| (of.flows, plain(&of.sums.counters), of.sums.first, of.sums.last);
        let groups = |of: &BTreeMap<Group, Counters>| of.iter().map(|(of, sums)| (place(of), plain(sums))).collect();
        let names = |of: &BTreeMap<Name, Counters>| of.iter().map(|(of, sums)| (interface(of), plain(sums))).collect();
        Self {
            format: FORMAT.into(),
            boot_id: boot_id.into(),
            since: i64::try_from(since).unwrap_or(0),
            epoch,
            epochs: totals.epochs,
            events_lost: totals.events_lost,
            groups: groups(&totals.groups),
            overflow: groups(&totals.overflow),
            opaque: totals
                .opaque
                .iter()
                .map(|((name, form, verdict), sums)| {
                    (interface(name), form.name().map(str::to_owned), verdict.name().to_owned(), plain(sums))
                })
                .collect(),
            inner: totals
                .inner
                .iter()
                .map(|((name, via, verdict), sums)| {
                    (interface(name), (*via).to_owned(), verdict.name().to_owned(), plain(sums))
                })
                .collect(),
            flows: totals.flows.iter().map(|(of, sums)| (place(&of.group), rule(&of.rule), flows(sums))).collect(),
            rules: totals.rules.iter().map(|(of, sums)| (rule(of), flows(sums))).collect(),
            unparsed: totals
                .unparsed
                .iter()
                .map(|((name, reason), sums)| {
                    (interface(name), reason.name().to_owned(), plain(&sums.passed), plain(&sums.dropped))
                })
                .collect(),
            hook: names(&totals.hook),
            dropped: names(&totals.dropped),
            residual: names(&totals.residual),
        }
    }

    /// What it says, under names of these. `None`: another version's, or it does not add up.
    pub fn totals(self, identities: &mut Arc<Identities>) -> Option<Totals> {
        if self.format != FORMAT {
            return None;
        }
        let mut names = Names(identities);
        let mut totals = Totals { events_lost: self.events_lost, epochs: self.epochs, ..Totals::default() };
        for (into, rows) in [(&mut totals.groups, self.groups), (&mut totals.overflow, self.overflow)] {
            for (place, sums) in rows {
                into.insert(names.group(place)?, counters(sums));
            }
        }
        for (name, form, verdict, sums) in self.opaque {
            let form = Opaque::ALL.into_iter().find(|of| of.name() == form.as_deref())?;
            totals.opaque.insert((names.interface(&name), form, verdict_of(&verdict)?), counters(sums));
        }
        for (name, via, verdict, sums) in self.inner {
            totals.inner.insert((names.interface(&name), via_of(&via)?, verdict_of(&verdict)?), counters(sums));
        }
        for (place, rule, sums) in self.flows {
            totals.flows.insert(FlowGroup { group: names.group(place)?, rule: names.rule(rule) }, flows_of(sums));
        }
        for (rule, sums) in self.rules {
            totals.rules.insert(names.rule(rule), flows_of(sums));
        }
        for (name, reason, passed, dropped) in self.unparsed {
            let reason = Reason::ALL.into_iter().find(|of| of.name() == reason)?;
            let sums = ReasonSums { passed: counters(passed), dropped: counters(dropped) };
            totals.unparsed.insert((names.interface(&name), reason), sums);
        }
        for (into, rows) in
            [(&mut totals.hook, self.hook), (&mut totals.dropped, self.dropped), (&mut totals.residual, self.residual)]
        {
            for (name, sums) in rows {
                into.insert(names.interface(&name), counters(sums));
            }
        }
        adds_up(&totals).then_some(totals)
    }
}

/// Whether flows, overflow and what was not parsed come to what passed the hooks.
fn adds_up(totals: &Totals) -> bool {
    // A damaged file may have any numbers: more bits than they can overflow.
    let sum = |all: &mut dyn Iterator<Item = &Counters>| -> [u128; 4] {
        all.fold([0; 4], |sum, one| std::array::from_fn(|at| sum[at] + u128::from(plain(one)[at])))
    };
    let flows = totals.flows.values().map(|of| &of.sums.counters);
    let unparsed = || totals.unparsed.values().flat_map(|of| [&of.passed, &of.dropped]);
    let hook = sum(&mut totals.hook.values());
    sum(&mut totals.groups.values().chain(unparsed())) == hook
        && sum(&mut flows.chain(totals.overflow.values()).chain(unparsed())) == hook
}

struct Names<'a>(&'a mut Arc<Identities>);

impl Names<'_> {
    fn interface(&mut self, name: &str) -> Name {
        self.0.interface(name)
    }

    fn rule(&mut self, id: Option<String>) -> RuleName {
        id.map_or(RuleName::NONE, |id| self.0.rule(&id))
    }

    fn group(&mut self, (name, country, class, verdict): Place) -> Option<Group> {
        Some(Group {
            interface: self.interface(&name),
            country: Country(country.as_bytes().try_into().ok()?),
            class: Class::ALL.into_iter().find(|of| of.name() == class)?,
            verdict: verdict_of(&verdict)?,
        })
    }
}

fn verdict_of(name: &str) -> Option<Verdict> {
    Verdict::ALL.into_iter().find(|of| of.name() == name)
}

const fn plain(of: &Counters) -> Sums {
    [of.packets, of.segments, of.bytes, of.wire_bytes]
}

const fn counters([packets, segments, bytes, wire_bytes]: Sums) -> Counters {
    Counters { packets, segments, bytes, wire_bytes }
}

const fn flows_of((flows, sums, first, last): Flows) -> GroupSums {
    GroupSums { flows, sums: FlowSums { counters: counters(sums), first, last } }
}
