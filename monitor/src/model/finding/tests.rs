//! What is written elsewhere has each finding.

use std::{cmp::Reverse, collections::BTreeSet, fmt::Write as _};

use super::*;
use crate::reference::has_table;

/// Writes the table.
const BLESS: &str = "BLESS=1 cargo test -p egress-monitor --lib model::finding";
const BEGIN: &str = "<!-- findings:begin -->\n";
const END: &str = "<!-- findings:end -->";

/// The table in the reference, worst first.
fn table() -> String {
    let mut text = "| finding | severity | title | what to do |\n|---|---|---|---|\n".to_owned();
    let mut kinds = FindingKind::ALL.to_vec();
    kinds.sort_by_key(|kind| Reverse(kind.severity()));
    for kind in kinds {
        let (name, severity) = (kind.name(), kind.severity().name());
        writeln!(text, "| `{name}` | {severity} | {} | {} |", kind.title(), kind.hint()).expect("a string");
    }
    text
}

#[test]
fn the_reference_has_the_table_of_findings() {
    has_table("docs/metrics-and-alerts.md", (BEGIN, END), &table(), BLESS);
}

#[test]
fn each_finding_has_a_name_of_its_own_and_the_alert_schema_knows_it() {
    let schema = include_str!("../../../../docs/alert.schema.json");
    let names: BTreeSet<&str> = FindingKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), FindingKind::ALL.len());
    for name in names {
        assert_eq!(schema.matches(&format!("\"{name}\"")).count(), 2, "{name}: in types and in unmapped.type");
    }
}
