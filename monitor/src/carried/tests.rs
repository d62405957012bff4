use std::path::Path;

use super::*;
use crate::{
    engine::pipeline,
    fake,
    model::now,
    store::{flows::FlowStore, totals::Traffic},
};

/// Traffic with something of everything, and what is there of its flows.
fn traffic(random: &mut fastrand::Rng) -> (Traffic, FlowStore) {
    let (mut traffic, mut store) = (Traffic::default(), FlowStore::new(100));
    for epoch in 0..20 {
        fake::merge(&mut traffic, &mut store, &fake::random_snapshot(random, epoch, 40));
    }
    (traffic, store)
}

/// What a start finds after a life whose last epoch was `saved`.
fn found(state: &Path, boot: &str, succession: &mut Succession) -> Option<Totals> {
    let (_, before) = Carried::open(StateDirectory::open(state), boot, succession);
    before.since.map(|_| before.totals)
}

fn adopting(first_epoch: u32, left: &[u32]) -> Succession {
    let left = left.iter().copied().collect();
    Succession { adopts: true, first_epoch: Some(first_epoch), left, ..Succession::default() }
}

/// A directory with the totals of a life whose last epoch was 19.
fn left() -> (tempfile::TempDir, Traffic) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let (traffic, _) = traffic(&mut fastrand::Rng::with_seed(seed));
    let folder = tempfile::tempdir().unwrap();
    let (mut carried, before) = Carried::open(StateDirectory::open(folder.path()), "boot", &mut Succession::default());
    assert_eq!(before.since, None);
    let state = MonitorState { traffic: traffic.clone(), since: 7, ..MonitorState::default() };
    carried.save(&state, 19);
    assert_eq!((carried.unsaved, &carried.problem), (None, &None));
    (folder, traffic)
}

#[test]
fn totals_go_on_with_every_number_and_add_up_with_the_flows_that_are_only_sums_now() {
    let (folder, traffic) = left();
    let (_, before) = Carried::open(StateDirectory::open(folder.path()), "boot", &mut adopting(21, &[20]));
    assert_eq!(before.since, Some(7));
    let state = crate::store::SharedState::new(MonitorState::default());
    state.go_on(before.identities, before.totals);
    let there = state.read();
    let text = |of: &Traffic| serde_json::to_value(Document::of(of, "boot", 0, 0)).unwrap();
    assert_eq!(text(&there.traffic), text(&traffic));
    assert!(!traffic.totals.inner.is_empty() && !traffic.totals.opaque.is_empty());
    let flows: u64 = there.traffic.kept.evicted.counters.packets;
    assert_eq!(flows, traffic.totals.flows.values().map(|of| of.sums.counters.packets).sum::<u64>());
}

#[test]
fn they_go_on_where_the_life_before_ended_and_nowhere_else() {
    let (folder, traffic) = left();
    let ask = |boot: &str, mut succession: Succession| {
        let found = found(folder.path(), boot, &mut succession);
        (found.map(|totals| totals.epochs), succession.unreadable)
    };
    let all = traffic.totals.epochs;
    // The next one was open, and empty; or two were left.
    assert_eq!(ask("boot", adopting(21, &[])), (Some(all), vec![]));
    assert_eq!(ask("boot", adopting(22, &[20, 21])), (Some(all), vec![]));
    // Killed between taking an epoch and writing it down.
    let lost = "2 epochs between 20 and 22 were taken and not written down before it ended".to_owned();
    assert_eq!(ask("boot", adopting(23, &[])), (Some(all), vec![lost]));
    // Another boot, maps that are older than the file: what is taken over has no totals, and that is told.
    let anew = |(found, told): (Option<u64>, Vec<String>)| {
        assert!(told.len() == 1 && told[0].contains("totals.json is not there, is damaged"), "{told:?}");
        assert_eq!(found, None);
    };
    anew(ask("another", adopting(21, &[20])));
    anew(ask("boot", adopting(5, &[4])));
    // Programs that are new take nothing over.
    assert_eq!(ask("boot", Succession::default()), (None, vec![]));
    assert_eq!(ask("boot", Succession { adopts: false, ..adopting(21, &[]) }), (None, vec![]));
}

#[test]
fn a_file_that_is_damaged_or_does_not_add_up_is_none() {
    let (folder, _) = left();
    let file = folder.path().join(FILE);
    let whole = std::fs::read_to_string(&file).unwrap();
    let ask = |text: &str| {
        std::fs::write(&file, text).unwrap();
        found(folder.path(), "boot", &mut adopting(21, &[])).is_some()
    };
    assert!(ask(&whole));
    let hook = whole.rfind("\"hook\":[[").unwrap();
    let digit = hook + whole[hook..].find(|of: char| of.is_ascii_digit() && of != '0').unwrap();
    let other = if whole.as_bytes()[digit] == b'9' { "8" } else { "9" };
    for broken in [
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        whole.replace("totals 1", "totals 2"),
        whole.replace("\"observed\"", "\"seen\""),
        format!("{}{other}{}", &whole[..digit], &whole[digit + 1..]),
        whole.replace("\"epochs\"", "\"ages\""),
    ] {
        assert_ne!(broken, whole);
        assert!(!ask(&broken), "{broken}");
    }
}

#[test]
fn a_directory_that_cant_be_written_is_told_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    std::fs::write(&path, "").unwrap();
    let (mut carried, _) = Carried::open(StateDirectory::open(&path), "boot", &mut Succession::default());
    let state = MonitorState::default();
    carried.save(&state, 1);
    assert!(carried.problem.as_ref().is_some_and(|why| why.contains("totals.json: ")), "{:?}", carried.problem);
    std::fs::remove_file(&path).unwrap();
    let told = pipeline::told(|state, findings| carried.stopped(now(), state, findings));
    assert!(told.is_empty());
    assert_eq!((carried.unsaved, &carried.problem, path.join(FILE).exists()), (None, &None, true));
}

#[test]
fn a_directory_that_others_can_write_to_says_nothing_and_is_not_written() {
    let (folder, _) = left();
    let before = std::fs::read(folder.path().join(FILE)).unwrap();
    let mut refused = StateDirectory::open(folder.path());
    refused.refuse("others can write to it".to_owned());
    let (mut carried, totals) = Carried::open(refused, "boot", &mut adopting(21, &[20]));
    assert_eq!(totals.since, None);
    carried.save(&MonitorState::default(), 21);
    assert!(
        carried.problem.as_ref().is_some_and(|why| why.contains("others can write to it")),
        "{:?}",
        carried.problem
    );
    assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), before);
}
