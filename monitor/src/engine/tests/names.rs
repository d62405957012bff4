//! Rule ids that come and go, as of a generator that puts a serial into each.

use monitor_common::{parse::Reason, wire::FlowKey};

use super::*;
use crate::{
    http::documents,
    model::{InterfaceCounts, identities::Identities},
};
use monitor_policy::RuleInfo;

/// Rules of a policy: the engine may have flows of four policies, beside the next.
const RULES: usize = 60;

/// Ids that are told apart at a time: those, and two of flows of each epoch.
const IDS: usize = 2 + 5 * RULES + 2 * 21;

/// A policy of which every rule has this serial in its id.
fn generated(serial: u32) -> PolicyInForce {
    let rules = (0..RULES).map(|number| RuleInfo { id: format!("rule-{number}-{serial}"), ..RuleInfo::default() });
    let policy = Policy { rules: rules.collect(), digest: format!("{serial:064}"), ..fake::policy() };
    PolicyInForce { policy: policy.into(), ..PolicyInForce::default() }
}

/// So many packets by the first rule of the policy in force, and one by the last.
fn by_rules(epoch: u32, packets: u64) -> Snapshot {
    let mut snapshot = fake::snapshot(epoch);
    for (rule, packets) in [(1, packets), (RULES as u16, 1)] {
        let key = FlowKey { rule, verdict: Verdict::Allowed as u8, ..fake::key(7, fake::OUTSIDE, 443) };
        fake::add(&mut snapshot, key, packets);
    }
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_rule_ids_there_were_each_rule_has_its_own_counts() {
    let rounds = 20;
    let mut state = MonitorState { epoch_length: Duration::from_secs(3_600), ..MonitorState::default() };
    state.traffic.identities = Arc::new(Identities::new(1024, IDS));
    let epochs = (0..rounds).map(|epoch| by_rules(epoch, 10));
    // The last of these policies has decided nothing yet.
    let bench = bench_in(state, generated(0), fake::consumers(Keeper::in_memory()), epochs);
    for serial in 1..=rounds {
        assert_eq!(bench.handle.reload(generated(serial), None).await, Ok(()));
    }
    let documents = || {
        let state = bench.state.read();
        let hits = documents::rules::rules(&state, "", now());
        let packets = hits.rules.iter().chain(&hits.former).map(|row| row.sums.packets).sum::<u64>();
        (hits, packets, state.findings.clone())
    };
    let (rules, packets, findings) = documents();
    assert_eq!((rules.rules.len(), rules.never_hit.len(), packets), (RULES, RULES, u64::from(rounds) * 11));
    assert_eq!(findings, []);
    bench.fake.script().next.push_back(by_rules(rounds, 7));
    assert_eq!(bench.handle.close_epoch().await, Ok(()));
    let (rules, packets, _) = documents();
    assert_eq!((rules.never_hit.len(), packets), (RULES - 2, u64::from(rounds) * 11 + 8));
    let of = |id: &str| rules.rules.iter().find(|row| row.rule == id).map(|row| row.sums.packets);
    let [first, last] = [0, RULES - 1].map(|number| format!("rule-{number}-{rounds}"));
    assert_eq!([of(&first), of(&last), of(&format!("rule-1-{rounds}"))], [Some(7), Some(1), Some(0)]);
    // Flows keep the names that they had.
    let flows = documents::flows::flows(&bench.state, &monitor_api::flows::FlowsQuery::default());
    let named = |id: &str| {
        flows.flows.iter().filter(|row| row.rule.as_deref() == Some(id)).map(|row| row.sums.packets).collect::<Vec<_>>()
    };
    assert_eq!([named(&first), named("rule-0-0"), named("(other)")], [vec![7], vec![10], vec![]]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_whose_id_does_not_fit_has_no_counts_of_others() {
    let mut state = MonitorState { epoch_length: Duration::from_secs(3_600), ..MonitorState::default() };
    state.traffic.identities = Arc::new(Identities::new(1024, 2 + RULES / 2));
    let epochs = [by_rules(0, 10), by_rules(1, 10)];
    let bench = bench_in(state, generated(0), fake::consumers(Keeper::in_memory()), epochs);
    for _ in 0..2 {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
    }
    {
        let state = bench.state.read();
        assert_eq!(state.findings.iter().map(|(kind, _)| kind.name()).collect::<Vec<_>>(), ["names_run_out"]);
        let rules = documents::rules::rules(&state, "", now());
        let of = |rows: &[monitor_api::rules::RuleRow]| {
            let hit = rows.iter().filter(|row| row.sums.packets > 0);
            hit.map(|row| (row.rule.clone(), row.sums.packets)).collect::<Vec<_>>()
        };
        assert_eq!(of(&rules.rules), [("rule-0-0".to_owned(), 20)]);
        assert_eq!(of(&rules.former), [("(other)".to_owned(), 2)]);
        // Of those that fit; nobody knows of the others.
        assert_eq!(rules.never_hit.len(), RULES / 2 - 1);
        assert_eq!(documents::status::status(&state, "host", now()).policy.never_hit, RULES / 2 - 1);
    }
    bench.end().await;
}

/// An epoch of so many interfaces that no other epoch has, each with one packet, of which there is a flow or not.
fn of_new_interfaces(epoch: u32, interfaces: u32, with_flows: bool) -> Snapshot {
    let mut snapshot = Snapshot { interfaces: Vec::new(), ..fake::snapshot(epoch) };
    for number in 1..=interfaces {
        let name = format!("veth{epoch}-{number}");
        let mut interface = InterfaceCounts { name, ifindex: number, ..InterfaceCounts::default() };
        if !with_flows {
            interface.hook = fake::sums(1);
            interface.unparsed.entry(Reason::NotIp).or_default().passed = fake::sums(1);
        }
        snapshot.interfaces.push(interface);
    }
    if with_flows {
        for number in 1..=interfaces {
            fake::add_flow(&mut snapshot, number, fake::INSIDE, 443, 1);
        }
    }
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn interface_names_that_no_flow_has_are_given_back_and_others_are_a_finding_before_they_run_out() {
    let bench = bench((0..9).map(|epoch| of_new_interfaces(epoch, 300, false)));
    let names = || {
        let state = bench.state.read();
        let names = &state.traffic.identities.interfaces;
        let hook = &state.traffic.totals.hook;
        let own = hook.iter().filter(|(name, _)| names.get(**name) != "(other)");
        let own: Vec<_> = own.map(|(_, sums)| sums.packets).collect();
        let findings: Vec<_> = state.findings.iter().map(|(kind, _)| kind.name()).collect();
        (own, hook.values().map(|sums| sums.packets).sum::<u64>(), findings)
    };
    for epochs in 1..=9 {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
        let (own, all, findings) = names();
        // Those of the last epoch are told apart, whatever was given back.
        assert!(own.len() >= 300 && own.iter().all(|packets| *packets == 1), "epoch {epochs}: {own:?}");
        assert_eq!((all, findings), (epochs * 300, vec![]), "epoch {epochs}");
    }
    // Those of flows stay, and are a finding before there is no room.
    bench.fake.script().next.extend([fake::snapshot(9), of_new_interfaces(10, 900, true), fake::snapshot(11)]);
    for _ in 0..3 {
        assert_eq!(bench.handle.close_epoch().await, Ok(()));
    }
    let (own, all, findings) = names();
    let flows = bench.state.read().traffic.kept.flows;
    assert_eq!((own.len() >= 900, flows, all, findings), (true, 900, 3_600, vec!["names_run_out"]));
    bench.end().await;
}
