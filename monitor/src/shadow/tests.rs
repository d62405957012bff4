use monitor_common::{
    classify::{class_id_v4, classify},
    wire::{Address, Class, Counters, FlowKey, Via},
};

use super::*;
use crate::{
    fake,
    model::{
        InterfaceCounts,
        flow::Resolver,
        identities::{Identities, Interfaces},
        shadow::NotEvaluated,
    },
};
use monitor_policy::{
    ClockMap, Knowledge, Spec, compile,
    geo::{Country, Dataset, Range, special},
    spec::{Action, Rule},
};

/// 198.51/16 in Singapore, 203.0/16 in Ireland; both are documentation ranges, so the registries are left out.
fn compiled(config: &Spec, now: i128) -> Arc<Policy> {
    let range = |first, country| Range { first, last: first | 0xffff, country: Country(country) };
    let dataset = Dataset { v4: vec![range(0xc633_0000, *b"SG"), range(0xcb00_0000, *b"IE")], ..Dataset::default() };
    let six = special::table().iter().filter(|special| special.network.is_ipv6()).copied().collect();
    let knowledge = Knowledge { datasets: vec![dataset], special: six, ..Knowledge::default() };
    compile(config, &knowledge, &clock(now)).expect("compiles").into()
}

fn clock(now: i128) -> ClockMap {
    // Booted an hour before.
    ClockMap { realtime_ns: clamp(now), boottime_ns: 3_600_000_000_000 }
}

fn candidate(config: &Spec) -> Shadow {
    let policy = compiled(config, fake::START);
    Shadow::Candidate(Arc::new(Candidate { file: "candidate.toml".into(), policy, clock: clock(fake::START) }))
}

fn rule(network: &str) -> Rule {
    Rule { id: "r".into(), to: vec![(network.parse().expect("a network"), Default::default())], ..Rule::default() }
}

/// A flow as the kernel would have counted it under `policy` in observe mode.
fn flow(policy: &Policy, destination: u32, port: u16) -> FlowKey {
    let to = classify(&policy.image, 4, Address::v4(destination), 6, Some(port)).expect("whole");
    FlowKey {
        destination: Address::v4(destination),
        destination_port: port,
        class_id: to.class_id,
        rule: to.rule,
        verdict: decide(&to, false) as u8,
        ..fake::key(7, 0, port)
    }
}

fn evaluate(comparison: &mut Comparison, shadow: &Shadow, snapshot: &Snapshot) {
    let mut identities = Arc::new(Identities::default());
    let interfaces = Interfaces::new([(7, identities.interface("eth0"))].into(), identities.interface(""));
    let resolver = Resolver::new(&mut identities, &snapshot.policy);
    comparison.evaluate(shadow, &ClosedEpoch::new(snapshot, &interfaces, &resolver, &identities));
}

fn sum<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Counters {
    counters.into_iter().fold(Counters::default(), |mut sum, next| {
        sum.add(next);
        sum
    })
}

/// Evaluated + not evaluated = hook; differing flows are those off the diagonal.
fn assert_adds_up(report: &ShadowReport) {
    let NotEvaluated { overflow, unparsed, hops, unanswered } = &report.not_evaluated;
    let judged = report.verdicts.values().chain(report.unparsed.values());
    assert_eq!(sum(judged.chain([overflow, unparsed, hops, unanswered])), report.hook);
    let off = report.verdicts.iter().filter(|((live, instead), _)| live != instead);
    let kept = report.differing.iter().map(|(.., sums)| &sums.counters);
    assert_eq!(sum(kept.chain([&report.rest.counters])), sum(off.map(|(_, counters)| counters)));
}

const SINGAPORE: u32 = 0xc633_6409;
const IRELAND: u32 = 0xcb00_7109;

#[test]
fn what_a_stricter_candidate_would_have_stopped_is_reported_flow_by_flow() {
    let live = compiled(&Spec { rules: vec![rule("198.51.100.0/24")], ..Spec::default() }, fake::START);
    let mut snapshot = Snapshot { policy: Arc::clone(&live), ..fake::snapshot(0) };
    fake::add(&mut snapshot, flow(&live, SINGAPORE, 443), 30);
    fake::add(&mut snapshot, flow(&live, SINGAPORE, 80), 50);
    fake::add(&mut snapshot, flow(&live, IRELAND, 443), 9);
    fake::add(&mut snapshot, flow(&live, SINGAPORE + 0x100, 443), 4);
    fake::add_overflow(&mut snapshot, 0, Verdict::Allowed, 3);
    fake::add_unparsed(&mut snapshot, Reason::LinkControl, 2, 0);
    fake::add_unparsed(&mut snapshot, Reason::NotIp, 1, 0);
    let mut comparison = Comparison::default();
    evaluate(&mut comparison, &candidate(&Spec::default()), &snapshot);
    let report = comparison.report();
    assert_adds_up(report);
    use Verdict::{Allowed, Observed};
    let packets: Vec<_> = report.verdicts.iter().map(|(key, counters)| (*key, counters.packets)).collect();
    assert_eq!(packets, [((Allowed, Allowed), 9), ((Allowed, Observed), 80), ((Observed, Observed), 4)]);
    let packets: Vec<_> = report.unparsed.iter().map(|(key, counters)| (*key, counters.packets)).collect();
    assert_eq!(packets, [((Allowed, Allowed), 2), ((Observed, Observed), 1)]);
    assert_eq!(report.not_evaluated.overflow.packets, 3);
    let rows = report.differing.iter().map(|(id, instead, sums)| {
        (id.destination_port, sums.counters.packets, instead.verdict, instead.class, instead.country.to_string())
    });
    let outside = |port, packets| (port, packets, Observed, Class::Outside, "SG".to_owned());
    assert_eq!(rows.collect::<Vec<_>>(), [outside(80, 50), outside(443, 30)]);
    // A second epoch adds; another candidate begins anew.
    evaluate(&mut comparison, &candidate(&Spec::default()), &snapshot);
    assert_eq!(comparison.report().hook.packets, 2 * snapshot.interfaces[0].hook.packets);
    assert_eq!(comparison.report().differing[0].2.counters.packets, 100);
    let other = Spec { rules: vec![rule("198.51.100.9/32")], ..Spec::default() };
    evaluate(&mut comparison, &candidate(&other), &snapshot);
    assert_eq!((comparison.report().hook, comparison.report().differing.len()), (snapshot.interfaces[0].hook, 0));
    evaluate(&mut comparison, &Shadow::Refused("candidate.toml:3: no".into()), &snapshot);
    assert_eq!(comparison.report().refused.as_deref(), Some("candidate.toml:3: no"));
    assert!(comparison.report().candidate.is_none() && comparison.report().verdicts.is_empty());
}

#[test]
fn a_candidates_rule_is_judged_by_the_time_of_the_flow_and_not_by_that_of_the_question() {
    let live = compiled(&Spec::default(), fake::START);
    let mut snapshot = Snapshot { policy: Arc::clone(&live), ..fake::snapshot(0) };
    fake::add(&mut snapshot, flow(&live, SINGAPORE, 443), 3);
    let last = snapshot.wall_time(snapshot.flows[0].1.last);
    let seconds = i64::try_from(last.div_euclid(1_000_000_000)).expect("a time");
    for (not_before, expires, instead) in [
        (Some(seconds), None, Verdict::Allowed),
        (Some(seconds + 1), None, Verdict::Observed),
        (None, Some(seconds), Verdict::Observed),
        (None, Some(seconds + 1), Verdict::Allowed),
    ] {
        let config = Spec { rules: vec![Rule { not_before, expires, ..rule("198.51.100.0/24") }], ..Spec::default() };
        let mut comparison = Comparison::default();
        evaluate(&mut comparison, &candidate(&config), &snapshot);
        assert_eq!(
            comparison.report().verdicts.keys().copied().collect::<Vec<_>>(),
            [(Verdict::Observed, instead)],
            "{not_before:?} {expires:?}"
        );
    }
}

#[test]
fn the_further_destination_counts_and_a_hop_that_is_not_kept_is_not_guessed() {
    let live = compiled(&Spec::default(), fake::START);
    let mut snapshot = Snapshot { policy: Arc::clone(&live), ..fake::snapshot(0) };
    // To Ireland and on to Ireland; the candidate forbids where it ends up.
    fake::add(&mut snapshot, fake::with_inner(flow(&live, IRELAND, 4789), Via::Vxlan), 5);
    // The same by way of something that is outside and not in the key.
    let outside = class_id_v4(&live.image, SINGAPORE).and_then(|class| u16::try_from(class).ok()).expect("a class");
    let hidden = FlowKey { class_id: outside, verdict: 1, ..flow(&live, IRELAND, 4790) };
    fake::add(&mut snapshot, fake::with_inner(hidden, Via::SourceRoute), 7);
    let config = Spec { rules: vec![Rule { action: Action::Deny, ..rule("203.0.113.5/32") }], ..Spec::default() };
    let mut comparison = Comparison::default();
    evaluate(&mut comparison, &candidate(&config), &snapshot);
    let report = comparison.report();
    assert_adds_up(report);
    assert_eq!(report.verdicts, [((Verdict::Allowed, Verdict::Observed), fake::sums(5))].into());
    assert_eq!(report.not_evaluated.hops, fake::sums(7));
    assert_eq!(report.differing[0].1.rule, 1);
}

#[test]
fn whatever_was_counted_evaluated_and_not_evaluated_add_up_and_memory_is_bounded() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut comparison = Comparison::keeping(20);
    let shadow = candidate(&Spec { rules: vec![rule("198.51.100.9/32")], ..Spec::default() });
    for epoch in 0..20 {
        let mut snapshot = fake::random_snapshot(&mut random, epoch, 200);
        snapshot.mode = Mode::enforcing(random.bool());
        evaluate(&mut comparison, &shadow, &snapshot);
        assert!(comparison.differing.len() <= 20);
        assert_adds_up(comparison.report());
    }
    assert!(comparison.report().rest.flows > 0, "the test must sum up to mean something");
    assert_ne!(comparison.report().hook, InterfaceCounts::default().hook);
}

#[test]
fn a_reason_is_judged_only_where_nothing_that_was_read_before_could_decide() {
    let bit = Reason::Mpls.bit();
    assert_eq!(reasoned(Reason::LinkControl, u64::MAX, true, Mode::Enforce), Some(Verdict::Allowed));
    assert_eq!(reasoned(Reason::Mpls, bit, false, Mode::Enforce), Some(Verdict::Denied));
    assert_eq!(reasoned(Reason::Mpls, bit, false, Mode::Observe), Some(Verdict::Observed));
    assert_eq!(reasoned(Reason::Mpls, bit, true, Mode::Enforce), None, "a management network passes");
    assert_eq!(reasoned(Reason::Mpls, 0, false, Mode::Enforce), None, "a destination before it may be denied");
}

#[test]
fn a_candidates_rule_without_a_greater_budget_is_as_used_up_as_the_live_one() {
    let with = |id: &str, most| {
        let rule = Rule { id: id.into(), max_bytes_per_day: most, ..rule("198.51.100.0/24") };
        Spec { rules: vec![rule], ..Spec::default() }
    };
    let live = compiled(&with("r", Some(1_000)), fake::START).suspending(&[1].into());
    let mut snapshot = Snapshot { policy: Arc::clone(&live), ..fake::snapshot(0) };
    fake::add(&mut snapshot, flow(&live, SINGAPORE, 443), 3);
    let open = Snapshot { policy: compiled(&with("r", Some(1_000)), fake::START), ..snapshot.clone() };
    for (id, most, instead) in [
        ("r", Some(1_000), Verdict::Observed),
        ("r", Some(999), Verdict::Observed),
        ("r", Some(1_001), Verdict::Allowed),
        ("r", None, Verdict::Allowed),
        ("other", Some(1_000), Verdict::Allowed),
    ] {
        let shadow = candidate(&with(id, most));
        let mut comparison = Comparison::default();
        evaluate(&mut comparison, &shadow, &snapshot);
        let verdicts: Vec<_> = comparison.report().verdicts.keys().copied().collect();
        assert_eq!(verdicts, [(Verdict::Observed, instead)], "{id} {most:?}");
        // After midnight it holds again.
        evaluate(&mut comparison, &shadow, &open);
        let instead = comparison.report().verdicts.get(&(Verdict::Observed, Verdict::Allowed));
        assert!(instead.is_some_and(|sums| sums.packets >= 3), "{id} {most:?}");
    }
}
