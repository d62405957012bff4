//! What can be asked of the policy: its rules, its shadow, another one in its place.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_changed_over_the_control_socket_alone() {
    let bench = bench();
    for path in ["/api/v1/policy/reload", "/api/v1/policy/reload?confirm=60", "/api/v1/policy/confirm"] {
        let (status, _) =
            bench.by_port(&format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(status, 403, "{path} over TCP");
    }
    assert_eq!(bench.fake.script().staged, []);
    let post = |path: &'static str| {
        let socket = bench.socket.clone();
        tokio::task::spawn_blocking(move || Client::new(socket).post::<Outcome>(path))
    };
    for bad in ["0", "86401", "-1", "x"] {
        let path: &'static str = format!("/api/v1/policy/reload?confirm={bad}").leak();
        assert!(post(path).await.expect("no panic").is_err(), "{bad}");
    }
    let named = |digest: &str| PolicyRef { digest: digest.repeat(64), mode: Mode::Observe };
    let outcome = post("/api/v1/policy/reload?confirm=60").await.expect("no panic").expect("an answer");
    assert_eq!((outcome.policy, outcome.changed), (named("b"), true));
    let pending = outcome.unconfirmed.expect("a trial");
    assert_eq!(pending.back_to.digest, fake::policy().digest);
    assert!((58..=60).contains(&pending.seconds_left), "{pending:?}");
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert_eq!(status.unconfirmed.map(|pending| pending.back_to.digest), Some(fake::policy().digest));
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert!(render::status(&status, 0, render::Width::Wide).contains("UNCONFIRMED, rolls back in"));
    let outcome = post("/api/v1/policy/confirm").await.expect("no panic").expect("an answer");
    assert_eq!((outcome.policy, outcome.unconfirmed, outcome.warning), (named("b"), None, None));
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert_eq!((status.unconfirmed, status.policy.digest), (None, "b".repeat(64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_is_set_over_the_control_socket_alone_and_with_a_reason() {
    let bench = bench();
    let path = "/api/v1/policy/mode?mode=enforce&reason=x";
    let (status, _) =
        bench.by_port(&format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!((status, bench.port("/api/v1/mode").await.0), (403, 403));
    let post = |path: String| {
        let socket = bench.socket.clone();
        tokio::task::spawn_blocking(move || Client::new(socket).post::<ModeStatus>(&path))
    };
    for bad in [
        "",
        "mode=enforce",
        "mode=enforce&reason=+",
        "mode=drop&reason=x",
        "mode=enforce&reason=x&seconds=0",
        "mode=file&reason=x",
    ] {
        assert!(post(format!("/api/v1/policy/mode?{bad}")).await.expect("no panic").is_err(), "{bad}");
    }
    assert_eq!(bench.fake.script().staged, []);
    let reason = Some("50% & \"more\"".to_owned());
    let change = ModeChange { mode: To::Enforce, seconds: Some(60), reason: reason.clone() };
    let set = post(change.path()).await.expect("no panic").expect("an answer");
    let by_hand = set.by_hand.clone().expect("by hand");
    assert_eq!((set.mode, set.configured, Some(by_hand.reason)), (Mode::Enforce, Mode::Observe, reason));
    assert_eq!(bench.fake.script().staged.last().map(|(_, enforces)| *enforces), Some(true));
    let shown: ModeStatus = bench.ask("/api/v1/mode").await.expect("an answer");
    assert_eq!((shown.mode, shown.by_hand.is_some()), (Mode::Enforce, true));
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert_eq!((status.mode.as_str(), status.mode_by_hand.is_some()), ("enforce", true));
    let (_, metrics) = bench.get("/metrics").await;
    for line in [
        "egress_monitor_mode_by_hand{configured=\"observe\",mode=\"enforce\"} 1",
        "egress_monitor_mode_by_hand_ends_timestamp_seconds ",
        "egress_monitor_last_good_policy 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let back = post("/api/v1/policy/mode?mode=file".into()).await.expect("no panic").expect("an answer");
    assert_eq!((back.mode, back.by_hand), (Mode::Observe, None));
    assert!(!bench.get("/metrics").await.1.contains("egress_monitor_mode_by_hand"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_show_what_they_decided_and_which_decided_nothing() {
    let mut policy = fake::policy();
    policy.rules[0].owner = "dpo@example.org".into();
    policy.rules[0].expires = Some(4_102_358_400);
    policy.rules[0].max_bytes_per_day = Some(1_000);
    let past = monitor_policy::RuleInfo {
        id: "never".into(),
        action: monitor_policy::spec::Action::Deny,
        expires: Some(1),
        ..Default::default()
    };
    policy.rules.push(past);
    let bench = bench_of(PolicyInForce { policy: policy.into(), inside: "EEA".into(), ..PolicyInForce::default() });
    let mut snapshot = fake::snapshot(0);
    let key = |port| FlowKey { rule: 1, verdict: Verdict::Allowed as u8, ..fake::key(7, fake::OUTSIDE, port) };
    fake::add(&mut snapshot, key(1), 3);
    fake::add(&mut snapshot, key(2), 2);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 3, 7);
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Allowed, 4);
    bench.fake.script().next.push_back(snapshot);
    let reply: Rules = bench.ask("/api/v1/rules?fresh=1").await.expect("an answer");
    let rows: Vec<_> = reply
        .rules
        .iter()
        .map(|row| (row.rule.as_str(), row.action.as_deref(), row.state.as_str(), row.flows, row.sums.wire_bytes))
        .collect();
    assert_eq!(rows, [("migration-sg", Some("allow"), "holds", 2, 520), ("never", Some("deny"), "expired", 0, 0)]);
    assert_eq!((reply.never_hit.as_slice(), reply.overflow.packets), (&["never".to_owned()][..], 4));
    let first = &reply.rules[0];
    assert_eq!(first.first_hit.as_deref(), Some("2027-01-15T08:00:09.000Z"));
    assert_eq!(first.last_hit.as_deref(), Some("2027-01-15T08:00:09.500Z"));
    assert_eq!((first.owner.as_str(), first.expires.as_deref()), ("dpo@example.org", Some("2099-12-31T00:00:00Z")));
    let budget = first.budget.as_ref().expect("it has one");
    assert_eq!((budget.bytes_per_day, budget.used, budget.beyond), (1_000, 520, 0));
    assert_eq!(budget.suspended_since, None);
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    assert_eq!((status.policy.rules, status.policy.never_hit, status.policy.suspended.len()), (2, 1, 0));
    let page = bench.get("/metrics").await.1;
    for line in [
        r#"egress_monitor_rule_packets_total{rule="migration-sg"} 5"#,
        r#"egress_monitor_rule_wire_bytes_total{rule="migration-sg"} 520"#,
        r#"egress_monitor_rule_flows_total{rule="migration-sg"} 2"#,
        r#"egress_monitor_rule_last_hit_timestamp_seconds{rule="migration-sg"} 1800000009"#,
        r#"egress_monitor_rule_budget_used_bytes{rule="migration-sg"} 520"#,
        r#"egress_monitor_rule_suspended{rule="migration-sg"} 0"#,
        "egress_monitor_rules_suspended 0",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    let at_eight = 1_800_000_010_500_000_000;
    let text = render::rules(&reply, at_eight, render::Width::Wide);
    let shown: Vec<&str> = text.lines().nth(2).expect("a row").split_whitespace().collect();
    assert_eq!(
        shown,
        [
            "migration-sg",
            "allow",
            "holds",
            "2",
            "5",
            "520",
            "B",
            "1s",
            "ago",
            "520",
            "B",
            "1000",
            "B",
            "2099-12-31T00:00:00Z",
            "dpo@example.org",
            "-"
        ]
    );
    assert!(text.contains("which rules decided 4 packets is not known"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shadow_page_says_what_would_have_been_otherwise_and_adds_up() {
    // To the candidate every address is of class 1, and that is denied.
    let mut classes = fake::policy().image.classes;
    classes[1].deny = 1;
    let image = monitor_common::classify::build::Image::build(&[(0, 1)], &[(0, 1)], classes, vec![]).expect("fits");
    let candidate = monitor_policy::Policy { digest: "e".repeat(64), image, ..fake::policy() };
    let candidate = crate::model::shadow::Candidate {
        file: "/etc/candidate.toml".into(),
        policy: candidate.into(),
        clock: monitor_policy::ClockMap::default(),
    };
    let shadow = crate::model::shadow::Shadow::Candidate(candidate.into());
    let bench = bench_of(PolicyInForce { policy: fake::policy().into(), shadow, ..PolicyInForce::default() });
    let mut snapshot = fake::snapshot(0);
    for (port, packets) in [(1, 5), (2, 9), (3, 7)] {
        fake::add_flow(&mut snapshot, 7, fake::INSIDE, port, packets);
    }
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 4, 30);
    fake::add_overflow(&mut snapshot, fake::OUTSIDE, Verdict::Observed, 4);
    fake::add_unparsed(&mut snapshot, Reason::LinkControl, 2, 0);
    bench.fake.script().next.push_back(snapshot);
    let page: ShadowPage = bench.ask("/api/v1/policy/shadow?fresh=1&top=2").await.expect("an answer");
    assert_eq!(page.shadow.as_ref().map(|candidate| candidate.digest.clone()), Some("e".repeat(64)));
    assert_eq!((page.stricter.packets, page.looser.packets, page.hook.packets), (21, 0, 57));
    assert_eq!((page.not_evaluated.overflow.packets, page.not_evaluated.unparsed.packets), (4, 0));
    let mut all = Sums::default();
    for row in page.verdicts.iter().chain(&page.unparsed) {
        plus(&mut all, &row.sums);
    }
    let not = &page.not_evaluated;
    for sums in [not.overflow, not.unparsed, not.hops, not.unanswered] {
        plus(&mut all, &sums);
    }
    assert_eq!(all, page.hook);
    let rows: Vec<_> = page
        .flows
        .iter()
        .map(|row| {
            let flow = &row.flow;
            (flow.destination_port, flow.sums.packets, flow.verdict.as_str(), row.shadow_verdict.as_str())
        })
        .collect();
    assert_eq!(rows, [(2, 9, "allowed", "observed"), (3, 7, "allowed", "observed")]);
    assert_eq!((page.rest.flows, page.rest.sums.packets, page.evicted.flows), (1, 5, 0));
    let text = render::shadow(&page, 0, render::Width::Wide);
    assert!(text.contains("it denies what is allowed now: 21 packets, 2.1 KiB on the wire"), "{text}");
    let status: Status = bench.ask("/api/v1/status").await.expect("an answer");
    let shadow = status.policy.shadow.as_ref().expect("it has one");
    assert_eq!((shadow.stricter.packets, shadow.refused.as_ref()), (21, None));
    assert!(
        render::status(&status, 0, render::Width::Wide)
            .contains("would deny 21 packets (2.1 KiB) more and allow 0 (0 B) more")
    );
    let metrics = bench.get("/metrics").await.1;
    for line in [
        r#"egress_monitor_shadow_bytes_total{shadow="observed",verdict="allowed"} 2100"#,
        r#"egress_monitor_shadow_wire_bytes_total{shadow="allowed",verdict="allowed"} 208"#,
        r#"egress_monitor_shadow_not_evaluated_packets_total{why="overflow"} 4"#,
        "egress_monitor_shadow_refused 0",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(bench.get("/api/v1/policy/shadow?top=0").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_policy_that_is_no_good_is_reported_and_stops_nothing() {
    let shadow = crate::model::shadow::Shadow::Refused("candidate.toml:3: no".into());
    let bench = bench_of(PolicyInForce { policy: fake::policy().into(), shadow, ..PolicyInForce::default() });
    let status: Status = bench.ask("/api/v1/status?fresh=1").await.expect("an answer");
    assert_eq!(status.findings.iter().map(|one| one.kind.as_str()).collect::<Vec<_>>(), ["shadow_refused"]);
    assert!(
        render::status(&status, 0, render::Width::Wide).contains("shadow       REFUSED: candidate.toml:3: no"),
        "{}",
        render::status(&status, 0, render::Width::Wide)
    );
    let page: ShadowPage = bench.ask("/api/v1/policy/shadow").await.expect("an answer");
    assert_eq!(page.refused.as_deref(), Some("candidate.toml:3: no"));
    assert!(bench.get("/metrics").await.1.contains("\negress_monitor_shadow_refused 1\n"));
}
