//! Groups from sums are those of a walk through the flows, and every document adds up, whatever was evicted.

use super::*;
use crate::{fake, model::clock::clamp, store::flows::FLOW_LIMIT};
use monitor_api::status::Sums;
use monitor_common::wire::Counters;

const BY_SUMS: [By; 4] = [By::Country, By::Class, By::Rule, By::Interface];

/// Forty epochs in a store of so many flows, and in the last hour.
fn traffic(limit: usize, recent: usize) -> SharedState {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let shared = SharedState::default();
    *shared.flows_mut() = FlowStore::new(limit);
    *shared.recent_mut() = crate::store::last_hour::Recent::new(recent);
    for epoch in 0..40 {
        let snapshot = fake::random_snapshot(&mut random, epoch, 60);
        let mut flows = shared.flows_mut();
        let mut state = shared.write();
        fake::merge(&mut state.traffic, &mut flows, &snapshot);
        fake::remember(&mut shared.recent_mut(), &mut state.traffic, &snapshot);
    }
    shared
}

fn asked(by: Option<By>, since: Option<u32>) -> FlowsQuery {
    FlowsQuery { by, since, top: Some(3), ..FlowsQuery::default() }
}

/// The same by a walk through the flows.
fn walked(shared: &SharedState, by: By) -> Flows {
    let (store, state) = (shared.flows(), shared.read());
    let query = FlowsQuery { by: Some(by), ..FlowsQuery::default() };
    let chosen = Chosen::of(query.filter().unwrap(), &state);
    let frame = frame(&state, "", &state.traffic.totals, &chosen);
    Head { frame, labels: Labels::of(&state), chosen }.filled(&store, &query).document()
}

#[test]
fn groups_from_sums_are_those_of_a_walk_through_a_store_that_has_evicted_nothing() {
    let shared = traffic(FLOW_LIMIT, FLOW_LIMIT);
    assert!(shared.flows().evicted().is_empty());
    for by in BY_SUMS {
        let of = |since| flows(&shared, &FlowsQuery { by: Some(by), since, ..FlowsQuery::default() });
        let expected = walked(&shared, by);
        assert!(!expected.groups.is_empty());
        assert_eq!(of(None), expected, "{by:?}");
        // Everything was in the last hour.
        assert_eq!(of(Some(3_600)).groups, expected.groups, "{by:?}");
    }
    let verdict = Some("denied".to_owned());
    let denied = flows(&shared, &FlowsQuery { by: Some(By::Class), verdict, ..FlowsQuery::default() });
    let expected: Vec<_> =
        walked(&shared, By::Class).groups.into_iter().filter(|row| row.verdict == "denied").collect();
    assert_eq!(denied.groups, expected);
}

#[test]
fn every_document_adds_up_and_what_was_evicted_is_within_the_groups_from_sums() {
    let shared = traffic(150, 100);
    let evicted = shared.read().traffic.kept.evicted;
    assert!(evicted.flows > 0, "the test must evict to mean something");
    for since in [None, Some(60), Some(3_600)] {
        for by in [None, Some(By::Network), Some(By::Peer), Some(By::SourcePeer), Some(By::Port)]
            .into_iter()
            .chain(BY_SUMS.map(Some))
        {
            let reply = flows(&shared, &asked(by, since));
            let mut sum = Sums::default();
            let rows = reply.flows.iter().map(|row| row.sums).chain(reply.groups.iter().map(|row| row.sums));
            let parts = [reply.rest.sums, reply.other.sums, reply.evicted.sums, reply.overflow, reply.unparsed];
            for part in rows.chain(parts) {
                sum.add(&Counters {
                    packets: part.packets,
                    segments: part.segments,
                    bytes: part.bytes,
                    wire_bytes: part.wire_bytes,
                });
            }
            assert_eq!(sum, reply.hook, "{by:?} {since:?}");
            let from_sums = by.is_some_and(|by| BY_SUMS.contains(&by));
            assert_eq!(reply.evicted == Part::default(), from_sums, "{by:?} {since:?}");
        }
    }
}

#[test]
fn flows_of_a_group_are_those_that_are_kept_and_those_that_were_evicted() {
    let shared = traffic(150, 100);
    let (store, state) = (shared.flows(), shared.read());
    let mut expected: BTreeMap<FlowGroup, u64> = BTreeMap::new();
    for (id, _) in store.iter() {
        *expected.entry(id.traits().flow_group()).or_default() += 1;
    }
    for (of, evicted) in store.evicted() {
        *expected.entry(*of).or_default() += evicted.flows;
    }
    let found = state.traffic.totals.flows.iter().map(|(of, sums)| (*of, sums.flows));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
    let last = state.traffic.totals.flows.values().map(|of| of.sums.last).max();
    assert!(last <= Some(clamp(fake::snapshot(39).ended)));
}

/// Whether a row is asked for.
type Fits = Box<dyn Fn(&FlowRow) -> bool>;

#[test]
fn a_filter_chooses_what_a_look_at_each_row_would_and_the_rest_is_counted() {
    let shared = traffic(FLOW_LIMIT, FLOW_LIMIT);
    let all = FlowsQuery { top: Some(100_000), ..FlowsQuery::default() };
    let rows = flows(&shared, &all).flows;
    let some = |text: &str| Some(text.to_owned());
    let first = rows[0].clone();
    let asked: Vec<(FlowsQuery, Fits)> = vec![
        (FlowsQuery { country: some("SG, ie"), ..all.clone() }, Box::new(|row| ["SG", "IE"].contains(&&*row.country))),
        (FlowsQuery { class: some("outside"), ..all.clone() }, Box::new(|row| row.class == "outside")),
        (FlowsQuery { rule: some("-"), ..all.clone() }, Box::new(|row| row.rule.is_none())),
        (FlowsQuery { rule: some("nobody has this"), ..all.clone() }, Box::new(|_| false)),
        (FlowsQuery { verdict: some("allowed,denied"), ..all.clone() }, Box::new(|row| row.verdict != "observed")),
        (FlowsQuery { would_drop: Some(1), ..all.clone() }, Box::new(|row| row.verdict != "allowed")),
        (FlowsQuery { active: Some(1), ..all.clone() }, Box::new(|row| row.active)),
        (FlowsQuery { port: some(&first.destination_port.to_string()), ..all.clone() }, {
            let port = first.destination_port;
            Box::new(move |row| row.destination_port == port)
        }),
        (FlowsQuery { source: some(&format!("{}", first.source)), ..all.clone() }, {
            let source = first.source;
            Box::new(move |row| row.source == source)
        }),
        (FlowsQuery { peer: some("198.51.100.0/24,2001:db8::/32"), ..all.clone() }, {
            let networks =
                ["198.51.100.0/24", "2001:db8::/32"].map(|text| text.parse::<ipnetwork::IpNetwork>().unwrap());
            Box::new(move |row| networks.iter().any(|network| network.contains(row.destination)))
        }),
        (FlowsQuery { interface: some(&first.interface), ..all.clone() }, {
            let interface = first.interface.clone();
            Box::new(move |row| row.interface == interface)
        }),
    ];
    for (query, fits) in asked {
        let expected: Vec<_> = rows.iter().filter(|row| fits(row)).cloned().collect();
        let reply = flows(&shared, &query);
        assert_eq!(reply.flows, expected, "{query:?}");
        assert_eq!(reply.other.flows as usize, rows.len() - expected.len(), "{query:?}");
        let mut sum = Sums::default();
        reply.flows.iter().for_each(|row| sum += &row.sums);
        [&reply.other.sums, &reply.overflow, &reply.unparsed].into_iter().for_each(|part| sum += part);
        assert_eq!(sum, reply.hook, "{query:?}");
        // Grouped, the same flows, and the same by sums as by a walk where sums know.
        for by in [By::Country, By::Peer, By::SourcePeer, By::Port] {
            let groups = flows(&shared, &FlowsQuery { by: Some(by), ..query.clone() });
            let of_groups: u64 = groups.groups.iter().map(|row| row.sums.packets).sum();
            assert_eq!(of_groups, expected.iter().map(|row| row.sums.packets).sum::<u64>(), "{query:?} {by:?}");
        }
    }
}

#[tokio::test]
async fn what_is_sent_piece_by_piece_is_the_document() {
    use http_body_util::BodyExt as _;
    let shared = traffic(FLOW_LIMIT, FLOW_LIMIT);
    for by in [None, Some(By::Peer), Some(By::Country)] {
        for top in [1, 2, 100_000] {
            let query = FlowsQuery { by, top: Some(top), ..FlowsQuery::default() };
            let page = Page::of(&shared, "h", &query).unwrap();
            let expected = Page::of(&shared, "h", &query).unwrap().document();
            assert_eq!(expected.truncated, expected.rest.flows > 0, "{by:?} {top}");
            assert!(expected.truncated == (top < 100_000) || by.is_some(), "{by:?} {top}");
            assert_eq!(page.rows.len(), expected.flows.len() + expected.groups.len());
            let mut body = page.body().expect("JSON");
            let mut text = Vec::new();
            while let Some(piece) = body.frame().await {
                let piece = piece.expect("JSON").into_data().expect("data");
                assert!(piece.len() < 2 * body::PIECE, "{}", piece.len());
                text.extend(piece);
            }
            assert_eq!(serde_json::from_slice::<Flows>(&text).expect("JSON"), expected, "{by:?} {top}");
        }
    }
    let nothing =
        Page::of(&SharedState::default(), "h", &FlowsQuery { since: Some(60), ..FlowsQuery::default() }).unwrap();
    let expected = nothing.frame.clone();
    let text = nothing.body().expect("JSON").collect().await.expect("JSON").to_bytes();
    assert_eq!(serde_json::from_slice::<Flows>(&text).expect("JSON"), expected);
}
