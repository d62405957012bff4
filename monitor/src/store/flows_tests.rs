//! What the flow store promises: nothing gets lost, what is evicted is summed up, and which flows that is.

use std::sync::Arc;

use monitor_common::wire::{FlowKey, FullKey, Via};

use super::*;
use crate::{
    fake,
    model::{flow::Resolver, identities::Identities, inner::Embedding},
    store::Traffic,
};
use monitor_policy::RuleInfo;

/// Gives the number of its traits, where they are kept by number, and whether it was not there.
fn add(store: &mut FlowStore, id: FlowId, sums: FlowSums) -> (Option<u16>, bool) {
    let mut reported = Vec::new();
    store.add(std::iter::once((id, sums)), |coming, new| reported.push((coming.number, new)));
    assert_eq!(reported.len(), 1);
    reported[0]
}

/// Its flows and what was evicted.
fn held(store: &FlowStore) -> (BTreeMap<FlowId, FlowSums>, BTreeMap<FlowGroup, SummedFlows>) {
    (store.iter().map(|(id, sums)| (id, *sums)).collect(), store.evicted.clone())
}

#[test]
fn merging_the_largest_is_merging_all_and_keeping_the_largest_of_what_came() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for most in [0, 1, 7, 40, 1_000] {
        let (mut traffic, mut store, mut expected) = (Traffic::default(), FlowStore::default(), FlowStore::default());
        for epoch in 0..6 {
            let mut snapshot = fake::snapshot(epoch);
            // No two are of one worth: which of equals stay is not promised.
            let mut packets: Vec<u64> = (1..=60).collect();
            random.shuffle(&mut packets);
            for (port, packets) in (0..).zip(&packets) {
                let rest = fake::key([7, 0][random.usize(0..2)], random.u16(0..6), port);
                let mut key = FlowKey { verdict: random.u8(0..3), rule: random.u16(0..2), ..rest };
                if random.bool() {
                    key = FlowKey { ip_version: 6, ..key };
                }
                let inner = random.u8(0..4) == 0;
                let key = if inner { fake::with_inner(key, Via::Gre) } else { key.into() };
                fake::add(&mut snapshot, key, *packets);
            }
            let interfaces = traffic.names(&snapshot);
            let resolver = Resolver::new(&mut traffic.identities, &snapshot.policy);
            let identities = Arc::clone(&traffic.identities);
            let closed = ClosedEpoch::new(&snapshot, &interfaces, &resolver, &identities);
            store.merge_largest(&closed, most);
            let mut came = FlowStore::default();
            came.merge(&closed);
            came.keep_largest(most);
            assert_eq!(came.len(), most.min(60), "seed {seed}");
            expected.absorb(&came);
            assert_eq!(held(&store), held(&expected), "seed {seed}, most {most}, epoch {epoch}");
        }
    }
}

#[test]
fn of_flows_of_one_worth_just_so_many_stay_and_the_others_are_summed() {
    let (mut traffic, mut store) = (Traffic::default(), FlowStore::default());
    let mut snapshot = fake::snapshot(0);
    for (port, packets) in [(1, 5), (2, 5), (3, 9), (4, 5), (5, 1)] {
        fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, port, packets);
    }
    let interfaces = traffic.names(&snapshot);
    let resolver = Resolver::new(&mut traffic.identities, &snapshot.policy);
    store.merge_largest(&ClosedEpoch::new(&snapshot, &interfaces, &resolver, &traffic.identities), 2);
    let ports = |store: &FlowStore| store.iter().map(|(id, _)| id.destination_port).collect::<Vec<_>>();
    // The smallest goes, and of the three equals the first two.
    assert_eq!(ports(&store), [3, 4]);
    let evicted = |store: &FlowStore| store.evicted.values().copied().collect::<Vec<_>>();
    assert_eq!(evicted(&store), [SummedFlows { flows: 3, counters: fake::sums(11) }]);
    store.keep_largest(2);
    assert_eq!(ports(&store), [3, 4], "as many as are to stay are there");
    store.keep_largest(1);
    assert_eq!((ports(&store), evicted(&store)), (vec![3], vec![SummedFlows { flows: 4, counters: fake::sums(16) }]));
    store.keep_largest(0);
    assert_eq!((ports(&store), evicted(&store)), (vec![], vec![SummedFlows { flows: 5, counters: fake::sums(25) }]));
}

#[test]
fn over_its_limit_a_store_sums_up_the_flows_that_were_silent_longest_and_an_eighth_more() {
    let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(16));
    for epoch in 0..17_u16 {
        let mut snapshot = fake::snapshot(u32::from(epoch));
        if epoch == 16 {
            // The one that began first sends again.
            fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 0, 1);
        }
        // The one that sends most is silent longest.
        fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, epoch, u64::from(17 - epoch));
        fake::merge(&mut traffic, &mut store, &snapshot);
        if epoch == 15 {
            assert_eq!((store.len(), store.evicted.len()), (16, 0), "as many as fit stay");
        }
    }
    let ports: Vec<u16> = store.iter().map(|(id, _)| id.destination_port).collect();
    assert_eq!(ports, [0].into_iter().chain(4..17).collect::<Vec<_>>());
    let evicted: Vec<SummedFlows> = store.evicted.values().copied().collect();
    assert_eq!(evicted, [SummedFlows { flows: 3, counters: fake::sums(16 + 15 + 14) }]);
}

#[test]
fn a_store_for_no_flow_keeps_one() {
    let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(0));
    let mut snapshot = fake::snapshot(0);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 1, 1);
    fake::merge(&mut traffic, &mut store, &snapshot);
    assert_eq!((store.len(), store.evicted.len()), (1, 0));
}

#[test]
fn the_largest_are_those_with_most_bytes_on_the_wire() {
    let (mut traffic, mut store) = (Traffic::default(), FlowStore::default());
    let mut snapshot = fake::snapshot(0);
    for (port, wire_bytes) in [(1, 300), (2, 500), (3, 400)] {
        fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, port, 1);
        let counters = Counters { packets: 600 - wire_bytes, segments: 1, bytes: 600 - wire_bytes, wire_bytes };
        snapshot.flows[usize::from(port) - 1].1.counters = counters;
    }
    let interfaces = traffic.names(&snapshot);
    let resolver = Resolver::new(&mut traffic.identities, &snapshot.policy);
    store.merge_largest(&ClosedEpoch::new(&snapshot, &interfaces, &resolver, &traffic.identities), 2);
    let ports = |store: &FlowStore| store.iter().map(|(id, _)| id.destination_port).collect::<Vec<_>>();
    assert_eq!(ports(&store), [2, 3]);
    store.keep_largest(1);
    assert_eq!(ports(&store), [2]);
}

#[test]
fn each_flow_has_its_own_interface_and_the_times_of_its_first_and_last_packet() {
    let (mut traffic, mut store) = (Traffic::default(), FlowStore::default());
    let mut snapshot = fake::snapshot(0);
    for (port, ifindex) in (0..).zip([0, 7, 7, 0, 99, 7]) {
        fake::add_flow(&mut snapshot, ifindex, fake::OUTSIDE, port, 1);
    }
    fake::merge(&mut traffic, &mut store, &snapshot);
    let found: Vec<_> = store
        .iter()
        .map(|(id, sums)| (traffic.identities.interfaces.get(id.interface).to_owned(), sums.first, sums.last))
        .collect();
    let end = i64::try_from(snapshot.ended).unwrap();
    let of = |name: &str| (name.to_owned(), end - 1_000_000_000, end - 500_000_000);
    let [eth0, other] = ["eth0", "(unregistered)"];
    assert_eq!(found, [other, eth0, eth0, other, other, eth0].map(of));
}

#[test]
fn an_epoch_comes_to_the_sums_of_its_flows_by_place_mark_way_on_and_rule() {
    let (mut traffic, mut store) = (Traffic::default(), FlowStore::default());
    let merge = |traffic: &mut Traffic, store: &mut FlowStore, snapshot: &Snapshot| {
        let interfaces = traffic.names(snapshot);
        let resolver = Resolver::new(&mut traffic.identities, &snapshot.policy);
        store.merge(&ClosedEpoch::new(snapshot, &interfaces, &resolver, &traffic.identities))
    };
    let mut policy = fake::policy();
    policy.rules.push(RuleInfo { id: "second".into(), ..policy.rules[0].clone() });
    let policy = Arc::new(policy);
    let mut snapshot = Snapshot { policy: Arc::clone(&policy), ..fake::snapshot(0) };
    fake::add(&mut snapshot, FlowKey { flags: Opaque::Esp as u8, ..fake::key(7, fake::OUTSIDE, 3) }, 4);
    let isatap = Address { high: 0x2001_0db8 << 32, low: 0x5efe << 32 | 0x0808_0808 };
    let six = FlowKey { ip_version: 6, destination: isatap, ..fake::key(7, fake::OUTSIDE, 6) };
    fake::add(&mut snapshot, six, 16);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 1, 1);
    fake::add(&mut snapshot, FlowKey { rule: 1, ..fake::key(7, fake::OUTSIDE, 2) }, 2);
    fake::add(&mut snapshot, FlowKey { rule: 2, ..fake::key(7, fake::OUTSIDE, 7) }, 32);
    fake::add(&mut snapshot, fake::with_inner(fake::key(7, fake::OUTSIDE, 4), Via::Gre), 8);
    let sums = merge(&mut traffic, &mut store, &snapshot);
    assert_eq!(sums.groups.values().copied().collect::<Vec<_>>(), [fake::sums(63)]);
    let opaque: Vec<_> = sums.opaque.iter().map(|((_, opaque, _), sums)| (*opaque, *sums)).collect();
    assert_eq!(opaque, [(Opaque::Esp, fake::sums(4))]);
    let inner: Vec<_> = sums.inner.iter().map(|((_, via, _), sums)| (*via, *sums)).collect();
    assert_eq!(inner, [("gre", fake::sums(8)), (Embedding::Isatap.name(), fake::sums(16))]);
    let rules = |sums: &EpochSums| sums.rules.values().map(|sums| (sums.flows, sums.sums.counters)).collect::<Vec<_>>();
    assert_eq!(rules(&sums), [(1, fake::sums(2)), (1, fake::sums(32))]);
    // The same flow again is none more, and what the store had is in no later epoch's sums.
    let mut snapshot = Snapshot { policy, ..fake::snapshot(1) };
    fake::add(&mut snapshot, FlowKey { rule: 1, ..fake::key(7, fake::OUTSIDE, 2) }, 3);
    fake::add(&mut snapshot, FlowKey { rule: 1, ..fake::key(7, fake::OUTSIDE, 5) }, 4);
    let sums = merge(&mut traffic, &mut store, &snapshot);
    assert_eq!(rules(&sums), [(1, fake::sums(7))]);
    assert_eq!((sums.groups.len(), sums.opaque.len(), sums.inner.len()), (1, 0, 0));
}

#[test]
fn every_flow_comes_out_as_it_went_in_whatever_its_form() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let policy = std::sync::Arc::new(fake::policy());
    let mut identities = std::sync::Arc::new(Identities::default());
    let names = [Identities::interface(&mut identities, "eth0"), Identities::interface(&mut identities, "eth1")];
    let resolver = Resolver::new(&mut identities, &policy);
    let (mut store, mut expected) = (FlowStore::default(), BTreeMap::<FlowId, FlowSums>::new());
    for _ in 0..20_000 {
        let few = |random: &mut fastrand::Rng| random.u16(0..4);
        let mut flow = FlowKey {
            source_port: few(&mut random),
            protocol: [6, 17, 1][random.usize(0..3)],
            verdict: random.u8(0..3),
            flags: random.u8(0..6),
            rule: random.u16(0..2),
            ..fake::key(7, random.u16(0..6), few(&mut random))
        };
        if random.bool() {
            flow.ip_version = 6;
            // Now and then an address that is an IPv4 one in disguise: only the version shows it.
            flow.destination.high = [0, 0x2001_0db8 << 32][random.usize(0..2)];
        }
        let key: FullKey = if random.u8(0..8) == 0 { fake::with_inner(flow, Via::Gre) } else { flow.into() };
        let id = resolver.resolve(&key, names[random.usize(0..2)]);
        let time = random.i64(0..1_000);
        let sums = FlowSums { counters: fake::sums(random.u64(1..9)), first: time, last: time + 5 };
        add(&mut store, id, sums);
        expected.entry(id).and_modify(|there| there.add(&sums)).or_insert(sums);
    }
    assert!(!store.v4.is_empty() && !store.v6.is_empty() && !store.other.is_empty());
    assert_eq!(store.len(), expected.len());
    assert_eq!(store.iter().map(|(id, sums)| (id, *sums)).collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn a_flow_begins_with_its_earliest_packet_and_ends_with_its_latest_whatever_the_order() {
    let sums = |packets, first, last| FlowSums { counters: fake::sums(packets), first, last };
    for (one, other) in [((5, 8), (3, 6)), ((3, 6), (5, 8)), ((3, 8), (5, 6)), ((5, 6), (3, 8))] {
        let mut sum = sums(1, one.0, one.1);
        sum.add(&sums(2, other.0, other.1));
        assert_eq!(sum, sums(3, 3, 8), "{one:?} {other:?}");
    }
    let mut rule = GroupSums { flows: 1, sums: sums(1, 3, 6) };
    rule.add(&GroupSums { flows: 2, sums: sums(2, 5, 8) });
    assert_eq!(rule, GroupSums { flows: 3, sums: sums(3, 3, 8) });
}

#[test]
fn flows_whose_traits_have_no_number_any_more_are_kept_whole() {
    let mut store = FlowStore::default();
    let mut identities = std::sync::Arc::new(Identities::default());
    let resolver = Resolver::new(&mut identities, &std::sync::Arc::new(fake::policy()));
    let id = resolver.resolve(&fake::key(7, fake::INSIDE, 1).into(), Name::default());
    assert_eq!(add(&mut store, id, FlowSums::default()), (Some(0), true));
    store.traits.resize(TRAITS_LIMIT, id.traits());
    let other = FlowId { verdict: Verdict::Denied, ..id };
    for new in [true, false] {
        let sums = FlowSums { counters: fake::sums(2), first: 0, last: 0 };
        assert_eq!(add(&mut store, other, sums), (None, new));
    }
    assert_eq!(add(&mut store, id, FlowSums::default()), (Some(0), false));
    assert_eq!((store.v4.len(), store.other.len()), (1, 1));
    let flows: Vec<_> = store.iter().map(|(id, sums)| (id, sums.counters)).collect();
    assert_eq!(flows, [(id, Counters::default()), (other, fake::sums(4))]);
}

#[test]
fn a_flow_costs_what_is_documented() {
    // A row and, with the index at its emptiest, two places of four bytes and a tag of one.
    let bytes = |row: usize| row + 10;
    assert_eq!(bytes(size_of::<(Plain4, FlowSums)>()), 74);
    assert_eq!(bytes(size_of::<(Plain6, FlowSums)>()), 98);
    assert_eq!(bytes(size_of::<(FlowId, FlowSums)>()), 138);
}
