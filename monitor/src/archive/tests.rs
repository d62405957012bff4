//! Pages and names over a directory as the outbox leaves it.

use std::fs;

use super::*;
use crate::storage::segments::line::seal;

/// Of number 1 to 30, one a second: every third to SG, every tenth a finding.
fn archive() -> (tempfile::TempDir, Archive) {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::of(&StateDirectory::open(folder.path()));
    fs::create_dir(archive.directory()).unwrap();
    let line = |number: u64| {
        let (level, severity) = if number.is_multiple_of(2) { (4, "High") } else { (3, "Medium") };
        let of = match number {
            _ if number.is_multiple_of(10) => r#""type":"gap""#.to_owned(),
            _ => format!(r#""country":"{}""#, if number.is_multiple_of(3) { "SG" } else { "US" }),
        };
        let json = format!(
            r#"{{"time":{number}000,"severity_id":{level},"severity":"{severity}","message":"m","metadata":{{{}}},{}}}"#,
            format_args!(r#""sequence":{number},"uid":"{number:032x}","correlation_uid":"c{}""#, number / 10),
            format_args!(r#""unmapped":{{{of}}}"#)
        );
        seal(&json).unwrap()
    };
    for first in [1_u64, 11, 21] {
        let text: Vec<u8> = (first..first + 10).flat_map(line).collect();
        fs::write(archive.directory().join(format!("{first:012}.jsonl")), text).unwrap();
    }
    (folder, archive)
}

fn page(archive: &Archive, query: &AlertsQuery) -> (Vec<u64>, Alerts) {
    let filter = query.filter(31_000).unwrap();
    let page = archive.page(query, query.limit().unwrap(), &filter, Some(31)).unwrap();
    let told = |line: &RawValue| Told::of(line.get().as_bytes()).unwrap().sequence;
    (page.alerts.iter().map(|line| told(line)).collect(), page)
}

#[test]
fn without_a_beginning_it_is_the_latest_and_with_one_page_after_page() {
    let (_folder, archive) = archive();
    let (numbers, latest) = page(&archive, &AlertsQuery { limit: Some(4), ..AlertsQuery::default() });
    assert_eq!((numbers, latest.next, latest.truncated, latest.latest), (vec![27, 28, 29, 30], 30, false, 30));
    let (numbers, next) = page(&archive, &AlertsQuery { after: Some(8), limit: Some(4), ..AlertsQuery::default() });
    assert_eq!((numbers, next.next, next.truncated), (vec![9, 10, 11, 12], 12, true));
    let of = AlertsQuery { since: Some(12), country: Some("SG".into()), limit: Some(2), ..AlertsQuery::default() };
    let (numbers, first) = page(&archive, &of);
    assert_eq!((numbers, first.truncated), (vec![21, 24], true));
    let (numbers, last) = page(&archive, &AlertsQuery { after: Some(first.next), ..of });
    assert_eq!((numbers, last.truncated, last.next), (vec![27], false, 30));
}

#[test]
fn lines_are_handed_on_as_they_are() {
    let (_folder, archive) = archive();
    let (_, page) = page(&archive, &AlertsQuery { after: Some(10), limit: Some(1), ..AlertsQuery::default() });
    let file = fs::read_to_string(archive.directory().join("000000000011.jsonl")).unwrap();
    assert_eq!(Some(page.alerts[0].get()), file.lines().next());
    let again: Alerts = serde_json::from_str(&serde_json::to_string(&page).unwrap()).unwrap();
    assert_eq!(again.alerts[0].get(), page.alerts[0].get());
}

#[test]
fn what_went_is_named_to_who_had_come_so_far_and_nobody_else() {
    let (_folder, archive) = archive();
    fs::remove_file(archive.directory().join("000000000001.jsonl")).unwrap();
    let (numbers, of) = page(&archive, &AlertsQuery { after: Some(4), limit: Some(1), ..AlertsQuery::default() });
    assert_eq!((numbers, of.missing), (vec![11], vec![Missing { first: 5, last: 10 }]));
    let (numbers, of) = page(&archive, &AlertsQuery::default());
    assert_eq!((numbers.len(), of.missing), (20, vec![]));
}

#[test]
fn an_alert_is_found_by_each_of_its_names_the_latest_of_those_that_belong_together() {
    let (_folder, archive) = archive();
    let found = |id: &str| archive.find(id).unwrap().map(|told| told.sequence);
    assert_eq!((found("17"), found(&format!("{:032x}", 17)), found("c1")), (Some(17), Some(17), Some(19)));
    for none in ["31", "0", "", "c", "gap", "18446744073709551615"] {
        assert_eq!(found(none), None, "{none}");
    }
}

#[test]
fn what_is_acknowledged_stands_on_each_page_that_has_it() {
    let (_folder, archive) = archive();
    let of = |id: &str| Acknowledged { id: id.into(), by: "uid 0".into(), ..Acknowledged::default() };
    archive.acknowledge(of("c1")).unwrap();
    archive.acknowledge(of(&format!("{:032x}", 3))).unwrap();
    let acknowledged = |after| {
        let query = AlertsQuery { after: Some(after), limit: Some(10), ..AlertsQuery::default() };
        page(&archive, &query).1.acknowledged.len()
    };
    assert_eq!([0, 3, 9, 20].map(acknowledged), [2, 1, 1, 0]);
    let without = AlertsQuery { after: Some(0), limit: Some(2), ..AlertsQuery::default() };
    assert_eq!(page(&archive, &without).1.acknowledged, []);
}
