//! What rules, and a shadow policy, made of it.

use monitor_api::{
    flows::Part,
    rules::{BudgetRow, RuleRow, Rules},
    shadow::{CandidateRow, DifferingRow, ShadowPage, VerdictRow},
};

use super::{digest, flow, head, sums};

pub(super) fn shadow() -> ShadowPage {
    let verdict =
        |verdict: &str, shadow: &str, of| VerdictRow { verdict: verdict.into(), shadow: shadow.into(), sums: of };
    let differing = DifferingRow {
        flow: flow((6, "tcp"), "198.51.100.200:54321", "203.0.113.200:443", "SG", "allowed", 104_857),
        shadow_verdict: "observed".into(),
        shadow_class: "outside".into(),
        shadow_country: "SG".into(),
        shadow_rule: None,
    };
    ShadowPage {
        policy: digest("9"),
        shadow: Some(CandidateRow { file: "/etc/egress-monitor/new.toml".into(), digest: digest("e"), rules: 13 }),
        since: Some("2026-11-30T09:00:00Z".into()),
        until: Some("2026-11-30T11:59:56Z".into()),
        stricter: sums(150, 104_857),
        verdicts: vec![
            verdict("allowed", "allowed", sums(1_208_900, 1_071_000_000)),
            verdict("allowed", "observed", sums(150, 104_857)),
        ],
        unparsed: vec![verdict("passed", "passed", sums(10, 600))],
        hook: sums(1_234_567, 1_073_741_824),
        flows: vec![differing],
        rest: Part { flows: 3, sums: sums(30, 4_000) },
        ..ShadowPage::default()
    }
}

pub(super) fn rules() -> Rules {
    let rule = |rule: &str, action: &str, state: &str, packets: u64| RuleRow {
        rule: rule.into(),
        action: Some(action.into()),
        state: state.into(),
        flows: packets / 10,
        sums: sums(packets, packets * 700),
        last_hit: (packets > 0).then(|| "2026-11-30T11:40:00Z".into()),
        owner: "dpo@example.org".into(),
        ..RuleRow::default()
    };
    let budget = BudgetRow {
        bytes_per_day: 214_748_364_800,
        used: 214_748_364_801,
        beyond: 4_096,
        suspended_since: Some("2026-11-30T10:00:00Z".into()),
        until: "2026-12-01T00:00:00Z".into(),
    };
    let many = (1..=9).map(|number| rule(&format!("partner-{number}"), "allow", "holds", number * 1_000));
    let first = [
        RuleRow { budget: Some(budget), ..rule("backup-ch", "allow", "suspended", 300_000_000) },
        RuleRow {
            expires: Some("2026-12-30T12:00:00Z".into()),
            ticket: "CHG-4711".into(),
            ..rule("migration-sg", "allow", "holds", 150)
        },
        RuleRow { not_before: Some("2026-12-01T00:00:00Z".into()), ..rule("december", "allow", "not_yet", 0) },
        RuleRow { expires: Some("2026-11-30T11:59:54Z".into()), ..rule("ntp", "allow", "expired", 12) },
        rule("no-telnet", "deny", "holds", 0),
    ];
    Rules {
        head: head(),
        since: "2026-11-30T09:00:00Z".into(),
        until: Some("2026-11-30T11:59:56Z".into()),
        rules: first.into_iter().chain(many).collect(),
        former: vec![RuleRow { action: None, owner: String::new(), ..rule("old-partner", "", "former", 77) }],
        overflow: sums(9, 720),
        ..Rules::default()
    }
}
