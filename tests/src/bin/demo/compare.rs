//! The proof: what the monitor counted, flow by flow, beside what the programs sent, what the interfaces counted
//! and what the peers received. Any difference at all is a failure.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result};
use egress_monitor_tests::{
    capture::FlowId,
    netns::{Count, Statistics},
};
use ipnetwork::IpNetwork;
use serde_json::Value;

/// What the monitor says of one flow, in packets and bytes on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Let through: allowed, or denied in observe mode.
    pub passed: Count,
    /// Dropped.
    pub dropped: Count,
    /// Country and class.
    pub place: String,
    /// Interface.
    pub interface: String,
}

/// The document of `egress-monitor flows --json`, by flow.
pub fn counted(document: &Value) -> Result<BTreeMap<FlowId, Counted>> {
    let mut flows: BTreeMap<FlowId, Counted> = BTreeMap::new();
    for row in document["flows"].as_array().context("`flows --json` has no list `flows`")? {
        let flow = read(row).with_context(|| format!("a row of `flows --json` has another form: {row}"))?;
        let entry = flows.entry(flow.0).or_default();
        entry.place = format!("{} {}", row["country"].as_str().unwrap_or("?"), row["class"].as_str().unwrap_or("?"));
        row["interface"].as_str().unwrap_or("?").clone_into(&mut entry.interface);
        let sum = if row["verdict"] == "denied" { &mut entry.dropped } else { &mut entry.passed };
        *sum = sum.plus(flow.1);
    }
    Ok(flows)
}

fn read(row: &Value) -> Option<(FlowId, Count)> {
    let port = |name: &str| row[name].as_u64().and_then(|port| u16::try_from(port).ok());
    let address = |name: &str| row[name].as_str().and_then(|text| text.parse::<IpAddr>().ok());
    let id = FlowId {
        source: address("source")?,
        destination: address("destination")?,
        protocol: u8::try_from(row["protocol"].as_u64()?).ok()?,
        source_port: port("source_port")?,
        destination_port: port("destination_port")?,
    };
    Some((id, Count { packets: row["segments"].as_u64()?, bytes: row["wire_bytes"].as_u64()? }))
}

/// Everything that is compared.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The document of `egress-monitor flows --json`.
    pub document: &'a Value,
    /// What the programs sent, where known.
    pub sent: &'a BTreeMap<FlowId, Count>,
    /// What the peers received.
    pub received: &'a BTreeMap<FlowId, Count>,
    /// What each interface of the host sent since the monitor is there.
    pub interfaces: &'a [(&'static str, Count)],
    /// TCP segments that the host's TCP handed down since then.
    pub tcp_segments: u64,
}

/// Every difference, as a sentence; none is what should come out.
pub fn differences(evidence: &Evidence<'_>) -> Result<Vec<String>> {
    let counted = counted(evidence.document)?;
    let mut found = Vec::new();
    let mut check = |what: String, ours: Count, theirs: Count| {
        if ours != theirs {
            found.push(format!("{what}: {} and {}", amount(ours), amount(theirs)));
        }
    };
    let nothing = Counted::default();
    let mut all: Vec<&FlowId> = counted.keys().chain(evidence.received.keys()).chain(evidence.sent.keys()).collect();
    all.sort_unstable();
    all.dedup();
    for id in all {
        let ours = counted.get(id).unwrap_or(&nothing);
        let received = evidence.received.get(id).copied().unwrap_or_default();
        check(format!("{id}: let through and received differ"), ours.passed, received);
        if let Some(sent) = evidence.sent.get(id) {
            check(format!("{id}: counted and sent differ"), ours.passed.plus(ours.dropped), *sent);
        }
    }
    for (interface, sent) in evidence.interfaces {
        let passed = counted.values().filter(|flow| flow.interface == *interface);
        let passed = passed.fold(Count::default(), |sum, flow| sum.plus(flow.passed));
        check(format!("{interface}: let through and the interface's own counters differ"), passed, *sent);
    }
    let of_tcp = counted.iter().filter(|(id, _)| id.protocol == 6);
    let segments: u64 = of_tcp.map(|(_, flow)| flow.passed.packets + flow.dropped.packets).sum();
    if segments != evidence.tcp_segments {
        found.push(format!("TCP segments counted and handed down differ: {segments} and {}", evidence.tcp_segments));
    }
    let whole = counted.values().fold(Count::default(), |sum, flow| sum.plus(flow.passed).plus(flow.dropped));
    let hook = &evidence.document["hook"];
    let hook = Count {
        packets: hook["segments"].as_u64().context("`flows --json` has no hook.segments")?,
        bytes: hook["wire_bytes"].as_u64().context("`flows --json` has no hook.wire_bytes")?,
    };
    if whole != hook {
        found.push(format!("all flows and all that passed the hooks differ: {} and {}", amount(whole), amount(hook)));
    }
    Ok(found)
}

/// The flows to places outside, that left or were dropped, and that no incident among `lines` has: none is what should
/// come out. Gives the number of flows looked at, and the missing ones.
pub fn without_alert(document: &Value, lines: &[String]) -> Result<(usize, Vec<String>)> {
    let alerts: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let rows = document["flows"].as_array().context("`flows --json` has no list `flows`")?;
    let alertable = |row: &&Value| row["class"] == "outside" && row["verdict"] != "allowed";
    let mut missing = Vec::new();
    for row in rows.iter().filter(alertable) {
        let decides: Option<IpAddr> = row["decided_by"].as_str().and_then(|address| address.parse().ok());
        let found = alerts.iter().any(|alert| {
            let network: Option<IpNetwork> = alert["unmapped"]["network"].as_str().and_then(|of| of.parse().ok());
            alert["unmapped"]["verdict"] == row["verdict"]
                && network.zip(decides).is_some_and(|(network, address)| network.contains(address))
        });
        if !found {
            let (id, _) = read(row).with_context(|| format!("a row of `flows --json` has another form: {row}"))?;
            missing.push(format!("{id}, {}", row["verdict"].as_str().unwrap_or("?")));
        }
    }
    Ok((rows.iter().filter(alertable).count(), missing))
}

/// The table: a row a flow, then the sums.
pub fn table(evidence: &Evidence<'_>) -> Result<String> {
    let mut text = format!(
        "  {:<58} {:<11} {:>16}   {:>16} {:>14}   {:>16}\n",
        "", "where", "counted =", "let through +", "dropped", "peer received"
    );
    let mut sums = [Count::default(); 4];
    for (id, flow) in counted(evidence.document)? {
        let received = evidence.received.get(&id).copied().unwrap_or_default();
        let counts = [flow.passed.plus(flow.dropped), flow.passed, flow.dropped, received];
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum = sum.plus(count);
        }
        text += &line(&name(&id), &flow.place, counts);
    }
    text += &line("all flows, packets / bytes on the wire", "", sums);
    Ok(text)
}

fn line(name: &str, place: &str, [all, passed, dropped, received]: [Count; 4]) -> String {
    let equal = if passed == received { "=" } else { "≠" };
    format!(
        "  {name:<58} {place:<11} {:>16}   {:>16} {:>14} {equal} {:>16}\n",
        short(all),
        short(passed),
        short(dropped),
        short(received)
    )
}

/// `tcp [2001:db8:49::1]:40000 → …2:443`, without what is the same in every row: the host's own address.
fn name(id: &FlowId) -> String {
    match id.protocol {
        6 | 17 => {
            let protocol = if id.protocol == 6 { "tcp" } else { "udp" };
            let to = std::net::SocketAddr::new(id.destination, id.destination_port);
            format!("{protocol:<5} from port {:<5} to {to}", id.source_port)
        }
        1 | 58 => {
            let (kind, code) = (id.destination_port >> 8, id.destination_port & 0xff);
            let what = if matches!((kind, code), (8 | 128, 0)) { "ping" } else { "icmp" };
            format!(
                "{what:<5} {:<15} to {}",
                if what == "ping" { String::new() } else { format!("{kind}/{code}") },
                id.destination
            )
        }
        _ => id.to_string(),
    }
}

fn short(count: Count) -> String {
    format!("{} / {}", count.packets, count.bytes)
}

fn amount(count: Count) -> String {
    format!("{} packets, {} bytes", count.packets, count.bytes)
}

/// What an interface sent between two readings.
pub fn sent_since(
    before: &[(&'static str, Statistics)],
    after: &[(&'static str, Statistics)],
) -> Vec<(&'static str, Count)> {
    before.iter().zip(after).map(|((name, old), (_, new))| (*name, new.sent.since(old.sent))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        let row = |verdict: &str, packets: u64| {
            serde_json::json!({
                "interface": "sg0", "source": "198.18.65.1", "source_port": 40000, "destination": "198.18.65.2",
                "destination_port": 4500, "protocol": 17, "country": "SG", "class": "outside", "verdict": verdict,
                "decided_by": "198.18.65.2",
                "packets": packets, "segments": packets, "bytes": packets * 100, "wire_bytes": packets * 100,
            })
        };
        serde_json::json!({
            "flows": [row("observed", 3), row("denied", 2)],
            "hook": { "packets": 5, "segments": 5, "bytes": 500, "wire_bytes": 500 },
        })
    }

    fn flow() -> FlowId {
        FlowId {
            source: IpAddr::from([198, 18, 65, 1]),
            destination: IpAddr::from([198, 18, 65, 2]),
            protocol: 17,
            source_port: 40_000,
            destination_port: 4500,
        }
    }

    fn count(packets: u64) -> Count {
        Count { packets, bytes: packets * 100 }
    }

    fn compare(sent: u64, received: u64, interface: u64, tcp_segments: u64) -> Vec<String> {
        let evidence = Evidence {
            document: &document(),
            sent: &BTreeMap::from([(flow(), count(sent))]),
            received: &BTreeMap::from([(flow(), count(received))]),
            interfaces: &[("sg0", count(interface))],
            tcp_segments,
        };
        differences(&evidence).unwrap()
    }

    #[test]
    fn nothing_is_reported_when_counted_equals_received_plus_dropped() {
        assert_eq!(compare(5, 3, 3, 0), Vec::<String>::new());
    }

    #[test]
    fn one_packet_of_difference_anywhere_is_reported() {
        for (evidence, word) in
            [((6, 3, 3, 0), "sent"), ((5, 2, 3, 0), "received"), ((5, 3, 4, 0), "sg0"), ((5, 3, 3, 1), "TCP")]
        {
            let found = compare(evidence.0, evidence.1, evidence.2, evidence.3);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(word), "{found:?}");
        }
    }

    #[test]
    fn a_flow_is_reported_until_an_incident_of_its_own_verdict_has_it() {
        let alert = serde_json::json!({ "unmapped": { "verdict": "denied", "network": "198.18.65.0/24" } });
        let (flows, missing) = without_alert(&document(), &[alert.to_string()]).unwrap();
        assert_eq!(flows, 2);
        assert_eq!(missing, [format!("{}, observed", flow())]);
    }

    #[test]
    fn a_flow_that_only_the_peer_knows_is_reported() {
        let other = FlowId { destination_port: 9, ..flow() };
        let evidence = Evidence {
            document: &document(),
            sent: &BTreeMap::new(),
            received: &BTreeMap::from([(flow(), count(3)), (other, count(1))]),
            interfaces: &[],
            tcp_segments: 0,
        };
        let found = differences(&evidence).unwrap();
        assert_eq!(
            found,
            [format!("{other}: let through and received differ: 0 packets, 0 bytes and 1 packets, 100 bytes")]
        );
    }
}
