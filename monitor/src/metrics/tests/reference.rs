//! One table of metrics: a scrape has nothing else, the reference has all of it, and documents name nothing that is not
//! in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::*;
use crate::{
    metrics::families::ALL,
    model::{
        Attachment,
        budget::BudgetUse,
        clock::ClockStanding,
        coverage::Covered,
        delivery::{Promise, SinkState},
        in_force::{DatasetInfo, ModeByHand, PolicyInForce},
        refresh::{RefreshNote, RefreshNotes, Taken},
        shadow::Candidate,
    },
    reference::has_table,
};
use monitor_policy::{ClockMap, spec::Mode};

const BLESS: &str = "BLESS=1 cargo test -p egress-monitor --lib metrics::tests::reference";
const REFERENCE: &str = "docs/metrics-and-alerts.md";
const BEGIN: &str = "<!-- metrics:begin -->\n";
const END: &str = "<!-- metrics:end -->";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The table in the reference.
fn table() -> String {
    let mut text = "| name | kind | labels | |\n|---|---|---|---|\n".to_owned();
    for (kind, Family { name, labels, help }) in ALL {
        let help = help.replace('|', "\\|");
        writeln!(text, "| `{name}` | {} | {} | {help} |", kind.to_lowercase(), labels.join(", ")).expect("a string");
    }
    text
}

#[test]
fn the_reference_has_the_table_of_metrics() {
    has_table(REFERENCE, (BEGIN, END), &table(), BLESS);
}

fn attached() -> Vec<Attachment> {
    vec![Attachment { interface: "eth0".into(), hook: "tcx".into(), ..Attachment::default() }]
}

/// One of which every metric has a series.
fn full() -> MonitorState {
    let (mut state, mut store) = (MonitorState::default(), FlowStore::default());
    let policy = Arc::new(fake::policy());
    let mut snapshot = fake::snapshot(3);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    let esp = FlowKey { flags: Opaque::Esp as u8, ..fake::key(7, fake::INSIDE, 0) };
    fake::add(&mut snapshot, fake::with_inner(esp, Via::GtpU), 5);
    let ruled = FlowKey { rule: 1, ..fake::key(7, fake::OUTSIDE, 1) };
    fake::add(&mut snapshot, ruled, 5);
    fake::add_overflow(&mut snapshot, fake::UNKNOWN, Verdict::Observed, 4);
    fake::add_unparsed(&mut snapshot, Reason::ALL[0], 1, 0);
    fake::merge(&mut state.traffic, &mut store, &snapshot);
    let by_hand = ModeByHand {
        mode: Mode::Enforce,
        configured: Mode::Observe,
        reason: "drill".into(),
        since: 0,
        until: Some(fake::START),
    };
    state.in_force = PolicyInForce {
        policy: Arc::clone(&policy),
        by_hand: Some(by_hand.into()),
        datasets: vec![DatasetInfo { name: "dbip-country".into(), built: Some(0), ..DatasetInfo::default() }],
        ..PolicyInForce::default()
    };
    let ruled = policy.rules.first().expect("a rule").id.clone();
    state.budgets.rules.insert(ruled, BudgetUse { most: 10, used: 5, suspended: None });
    state.clock = ClockStanding { synchronised: Some(true), ..ClockStanding::default() };
    state.attachments = attached();
    state.accounts = vec![InterfaceAccount { interface: "eth0".into(), here: true, ..InterfaceAccount::default() }];
    state.coverage.devices = vec![Covered { name: "eth0".into(), up: true, ..Covered::default() }];
    let taken = RefreshNote { taken: Some(Taken { sha256: String::new(), at: 1_700 }), ..RefreshNote::default() };
    state.refresh = RefreshNotes { looked: Some(1_800), files: [("/geo/a".into(), taken)].into() };
    state.shadow.candidate = Some(Arc::new(Candidate { file: "x".into(), policy, clock: ClockMap::wall(0) }));
    state.delivery.set_sinks(vec![Arc::new(SinkState::new("siem", "webhook", Promise::AtLeastOnce))]);
    state
}

/// Of each metric of a page its kind, its help, and the labels of each of its series.
type Metrics<'a> = BTreeMap<&'a str, (&'a str, &'a str, BTreeSet<Vec<&'a str>>)>;

fn metrics(page: &str) -> Metrics<'_> {
    let mut found = Metrics::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name).or_default().1 = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name).or_default().0 = kind;
        } else {
            let series = line.rsplit_once(' ').expect("a value").0;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect("closed").split(',').filter(|label| !label.is_empty());
            let names = labels.map(|label| label.split_once('=').expect("a label").0).collect();
            found.get_mut(name).expect("described before").2.insert(names);
        }
    }
    found
}

#[test]
fn a_scrape_has_every_metric_of_the_table_as_it_is_declared_and_no_other() {
    let page = render(&full(), fake::START).expect("renders");
    let mut found = metrics(&page);
    for (kind, Family { name, labels, help }) in ALL {
        let metric = found.remove(format!("{PREFIX}{name}").as_str()).unwrap_or_else(|| panic!("{name} is not there"));
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        assert_eq!(metric, (kind.to_lowercase().as_str(), *help, [labels].into()), "{name}");
        assert_eq!(*kind == "Counter", name.ends_with("_total"), "{name}: a counter and nothing else ends in _total");
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn what_alerts_are_built_on_is_there_at_0_before_anything_has_happened() {
    let state = MonitorState { attachments: attached(), ..MonitorState::default() };
    state.delivery.set_sinks(vec![Arc::new(SinkState::new("siem", "webhook", Promise::AtLeastOnce))]);
    let page = render(&state, fake::START).expect("renders");
    let mut expected = [
        r#"events_lost_total{stage="ring"}"#,
        r#"events_lost_total{stage="queue"}"#,
        r#"events_lost_total{stage="sink"}"#,
        r#"nic_unaccounted_packets_total{interface="eth0"}"#,
        r#"nic_unaccounted_bytes_total{interface="eth0"}"#,
        r#"nic_lost_packets_total{interface="eth0"}"#,
        r#"conservation_residual_packets_total{interface="eth0"}"#,
        r#"hook_packets_total{interface="eth0"}"#,
        r#"alert_sink_delivered_total{sink="siem"}"#,
        r#"alert_sink_retried_total{sink="siem"}"#,
        r#"alert_sink_rejected_total{sink="siem"}"#,
        "policy_reload_failures_total",
        "policy_rollbacks_total",
        "policy_reverts_total",
        "epoch_failures_total",
        r#"alerts_total{severity="Low",type="egress"}"#,
        r#"alerts_total{severity="Medium",type="egress"}"#,
        r#"alerts_total{severity="High",type="egress"}"#,
        r#"alerts_total{severity="High",type="policy_changed"}"#,
        r#"alerts_total{severity="Medium",type="policy_changed"}"#,
        r#"alerts_total{severity="High",type="mode_changed"}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    for class in ["unknown", "inside", "outside", "ambiguous", "private", "local", "link-local"] {
        for verdict in ["allowed", "observed", "denied"] {
            expected.push(format!(r#"left_packets_total{{class="{class}",verdict="{verdict}"}}"#));
        }
    }
    for kind in FindingKind::ALL {
        let (name, severity) = (kind.name(), kind.severity().name());
        expected.push(format!(r#"alerts_total{{severity="{severity}",type="{name}"}}"#));
        expected.push(format!(r#"alerts_total{{severity="Informational",type="{name}"}}"#));
    }
    for series in expected {
        assert!(page.contains(&format!("\n{PREFIX}{series} 0\n")), "{series} is not in\n{page}");
    }
}

#[test]
fn what_left_is_the_sum_over_interfaces_and_countries() {
    let (mut state, mut store) = (MonitorState::default(), FlowStore::default());
    let mut snapshot = fake::snapshot(3);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 443, 3);
    fake::add_flow(&mut snapshot, 7, fake::OUTSIDE, 53, 4);
    fake::add_overflow(&mut snapshot, fake::UNKNOWN, Verdict::Observed, 4);
    fake::merge(&mut state.traffic, &mut store, &snapshot);
    let page = render(&state, fake::START).expect("renders");
    for line in [
        r#"left_packets_total{class="outside",verdict="observed"} 7"#,
        r#"left_packets_total{class="unknown",verdict="observed"} 4"#,
        r#"left_packets_total{class="outside",verdict="denied"} 0"#,
    ] {
        assert!(page.contains(&format!("\n{PREFIX}{line}\n")), "{line} is not in\n{page}");
    }
    assert_eq!(sum(&page, "left_packets_total"), sum(&page, "packets_total"));
}

/// Names in documents: whole ones, and beginnings as in `egress_monitor_alert_sink_`.
#[test]
fn documents_name_no_metric_that_is_not_there() {
    let known: Vec<&str> = ALL.iter().map(|(_, family)| family.name).collect();
    let mut files = vec![repository().join("README.md")];
    let listed = std::fs::read_dir(repository().join("docs")).expect("docs").map(|entry| entry.expect("a file").path());
    files.extend(listed.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a document");
        for rest in text.split(PREFIX).skip(1) {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            let is_known = |of: &&str| *of == name || name.ends_with('_') && of.starts_with(name);
            if !name.is_empty() && !known.iter().any(is_known) {
                wrong.push(format!("{}: {PREFIX}{name}", file.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
