//! Promise: a candidate policy is judged beside the one in force by what really left, packet for packet, and drops
//! nothing; one that is no good stops nothing.

use std::net::SocketAddr;

use egress_monitor_tests::{
    daemon::Daemon,
    monitor::api::{Flows, ShadowPage, Sums},
    stage::{INSIDE, NEIGHBOUR, OUTSIDE, PATIENCE, RULED, RULED_PORT, Stage, accounted, v4, v6},
    traffic::send_udp,
};

fn packets<'a>(sums: impl IntoIterator<Item = &'a Sums>) -> u64 {
    sums.into_iter().map(|sums| sums.packets).sum()
}

#[test]
fn what_the_candidate_would_have_done_is_what_left_by_both_verdicts() {
    let stage = Stage::build(false).unwrap();
    let file = stage.folder().join("candidate.toml");
    // Not the rule that there is, but one for the neighbour.
    let candidate = stage.config("", "");
    let candidate = candidate
        .replace(&format!("[\"{}\", \"{}\"]\nports", v4(RULED), v6(RULED)), &format!("[\"{}\"]\nports", v4(NEIGHBOUR)))
        .replace(&format!("\"udp/{RULED_PORT}\", "), "\"udp/9\", ");
    std::fs::write(&file, &candidate).unwrap();
    let config = stage.config("mode = \"enforce\"\nepoch = \"5min\"", "");
    let config = format!("{config}[policy]\nshadow = \"{}\"\n", file.display());
    let daemon = Daemon::start(&stage.near, &config, &[]).unwrap();
    let before = stage.received().unwrap();
    for (number, port, packets) in [(RULED, RULED_PORT, 5), (NEIGHBOUR, 9, 7), (OUTSIDE, 9, 3), (INSIDE, 9, 2)] {
        let to = SocketAddr::new(v4(number).into(), port);
        stage.near.run(|| send_udp(stage.from(to), to, &vec![100; packets])).unwrap();
    }
    let page: ShadowPage = serde_json::from_value(daemon.json(&["flows", "--shadow"]).unwrap()).unwrap();
    assert_eq!(
        stage.received().unwrap().since(before).packets,
        7,
        "the candidate lets nothing through and drops nothing"
    );
    assert_eq!((page.stricter.packets, page.looser.packets), (5, 7));
    let verdicts: Vec<_> =
        page.verdicts.iter().map(|row| (row.verdict.as_str(), row.shadow.as_str(), row.sums.packets)).collect();
    assert_eq!(
        verdicts,
        [("allowed", "allowed", 2), ("allowed", "denied", 5), ("denied", "allowed", 7), ("denied", "denied", 3)]
    );
    let rows: Vec<_> = page
        .flows
        .iter()
        .map(|row| {
            let (flow, rule) = (&row.flow, row.shadow_rule.as_deref());
            (flow.destination.to_string(), flow.sums.packets, flow.verdict.as_str(), row.shadow_verdict.as_str(), rule)
        })
        .collect();
    assert_eq!(
        rows,
        [
            (v4(NEIGHBOUR).to_string(), 7, "denied", "allowed", Some("ruled")),
            (v4(RULED).to_string(), 5, "allowed", "denied", None),
        ]
    );
    let not = &page.not_evaluated;
    let all = page.verdicts.iter().chain(&page.unparsed).map(|row| &row.sums);
    assert_eq!(packets(all.chain([&not.overflow, &not.unparsed, &not.hops, &not.unanswered])), page.hook.packets);

    // The same traffic, of the last minutes alone.
    let since: Flows = serde_json::from_value(daemon.json(&["flows", "--since", "10min"]).unwrap()).unwrap();
    assert_eq!(accounted(&since), since.hook);
    assert_eq!(packets(since.flows.iter().filter(|row| row.protocol == 17).map(|row| &row.sums)), 17);

    let digest = daemon.json(&["status"]).unwrap()["policy"]["digest"].clone();
    std::fs::write(&file, candidate.replace("[zone]", "[zoen]")).unwrap();
    daemon.signal(libc::SIGHUP).unwrap();
    let status = daemon.json_until(&["status"], |status| status["policy"]["shadow"]["refused"].is_string()).unwrap();
    assert_eq!(status["policy"]["digest"], digest);
    assert!(status["policy"]["shadow"]["refused"].as_str().unwrap().contains("zoen"), "{status:#}");
    daemon.alerts.wait_for(0, PATIENCE, |line| line.contains("\"shadow_refused\"")).unwrap();
    std::fs::remove_file(&file).unwrap();
    daemon.signal(libc::SIGHUP).unwrap();
    daemon
        .json_until(&["status"], |status| {
            status["policy"]["shadow"]["refused"].as_str().is_some_and(|why| why.contains("no such file"))
        })
        .unwrap();
}
