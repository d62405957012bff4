//! An incident as OCSF Network Activity (class 4001): Open when it is seen first, Traffic when there is more of it, Close
//! when it is over.

use std::net::IpAddr;

use monitor_api::attribution as document;
use monitor_common::{verdict::Verdict, wire::Class};
use monitor_policy::{
    geo::Country,
    protocol::{self, endpoint, has_ports},
    text::{count, hex, size},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{device, metadata, milliseconds};
use crate::model::{
    Host,
    attribution::Attribution,
    flow::FlowId,
    incident::{Example, Few, Incident, IncidentAlert, IncidentKind, Stage},
    rfc3339,
    severity::Severity,
    sighting::{FlowSighting, Origin},
};

/// Peers, ports and examples that are named in a line.
const NAMED: usize = 20;

pub(super) fn document(host: &Host, alert: &IncidentAlert) -> Value {
    let IncidentAlert { stage, time, incident, sighting } = alert;
    let (activity_id, activity) = match stage {
        Stage::First => (1, "Open"),
        Stage::More => (6, "Traffic"),
        Stage::End => (2, "Close"),
    };
    let (action_id, action, disposition_id, disposition) = match incident.verdict {
        Verdict::Allowed => (1, "Allowed", 1, "Allowed"),
        // 2 is "denied access or blocked"; 6, "dropped", is for what was found to be a threat.
        Verdict::Denied => (2, "Denied", 2, "Blocked"),
        // 19: "resulted in a notification but request was not blocked".
        Verdict::Observed => (3, "Observed", 19, "Alert"),
    };
    let severity = alert.severity();
    let attribution = incident.attribution.as_deref();
    let attributed_to = attribution.map(document::Attribution::from);
    let counted = incident.counted();
    let mut line = json!({
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": 4,
        "category_name": "Network Activity",
        "class_uid": 4001,
        "class_name": "Network Activity",
        "type_uid": 400_100 + activity_id,
        "type_name": format!("Network Activity: {activity}"),
        "severity_id": severity as u8,
        "severity": severity.name(),
        "time": milliseconds(*time),
        "start_time": milliseconds(incident.first.into()),
        "end_time": milliseconds(incident.last.into()),
        "count": incident.flows.max(1),
        "message": message(alert, attributed_to.as_ref()),
        "is_alert": severity > Severity::Informational,
        "action_id": action_id,
        "action": action,
        "disposition_id": disposition_id,
        "disposition": disposition,
        "observation_point_id": 1,
        "observation_point": "Source",
        "connection_info": { "direction_id": 2, "direction": "Outbound" },
        "src_endpoint": { "interface_name": interface(incident) },
        "traffic": {
            "packets": counted.packets,
            "packets_out": counted.packets,
            "bytes": counted.wire_bytes,
            "bytes_out": counted.wire_bytes,
        },
        "unmapped": unmapped(incident),
    });
    if let Some(example) = &incident.example {
        endpoints(&mut line, incident, example);
    }
    if let Some(sighting) = sighting {
        sighted(&mut line, sighting);
    }
    if let (Some(of), Some(attributed_to)) = (attribution, attributed_to) {
        if let Some(actor) = actor(of) {
            line["actor"] = actor;
        }
        line["unmapped"]["attribution"] = json!(attributed_to);
    }
    line["metadata"] = metadata(host, &uid(alert));
    line["metadata"]["correlation_uid"] = incident.id.to_string().into();
    line["metadata"]["tenant_uid"] = incident.zone.as_str().into();
    line["device"] = device(host);
    line
}

/// The same for the same alert, however often it is sent and by whichever way its first sighting came.
fn uid(alert: &IncidentAlert) -> String {
    let mut hash = Sha256::new();
    hash.update(alert.incident.id.0);
    hash.update([alert.stage as u8]);
    if alert.stage != Stage::First {
        hash.update(alert.incident.totals.packets.to_be_bytes());
        hash.update(alert.incident.totals.wire_bytes.to_be_bytes());
        hash.update(alert.incident.flows.to_be_bytes());
    }
    hex(&hash.finalize()[..16])
}

fn interface(incident: &Incident) -> &str {
    let of_flow = incident.example.as_ref().map(|example| example.interface.as_str());
    let of_packet = incident.unparsed.as_ref().map(|(_, interface)| interface.as_str());
    of_flow.or(of_packet).unwrap_or_default()
}

/// What all its lines have that OCSF has no place for.
fn unmapped(incident: &Incident) -> Value {
    let mut unmapped = json!({
        "type": incident.kind.name(),
        "rule": incident.rule,
        "class": incident.class.map(Class::name),
        "country": incident.country.map(|country| country.to_string()),
        "confidence": incident.class.map(confidence),
        "verdict": incident.verdict.name(),
        "policy": incident.policy,
        "epoch": incident.epoch,
        "interface": interface(incident),
    });
    if incident.kind == IncidentKind::Egress {
        unmapped["network"] = incident.network.map(|network| network.to_string()).into();
        unmapped["source"] = incident.source.map_or_else(|| "local".to_owned(), |source| source.to_string()).into();
    }
    if incident.flows > 0 {
        unmapped["flows"] = incident.flows.into();
        unmapped["peers"] = few(&incident.peers, IpAddr::to_string);
        unmapped["ports"] = few(&incident.ports, port);
    }
    if incident.kind == IncidentKind::Others {
        unmapped["examples"] = incident.examples.iter().map(|example| json!(way(example))).collect();
    }
    if let Some(reason) = incident.reason() {
        unmapped["reason"] = reason.name().into();
        unmapped["meaning"] = reason.meaning().into();
    }
    if let Some(packet) = &incident.packet {
        unmapped["head"] = hex(&packet.head).into();
    }
    unmapped
}

fn few<T: Ord>(few: &Few<T>, text: impl Fn(&T) -> String) -> Value {
    let first: Vec<String> = few.seen.iter().take(NAMED).map(text).collect();
    json!({ "count": few.seen.len(), "more": few.more, "first": first })
}

/// `tcp/443`; of ICMP its type and code.
fn port((number, port): &(u8, u16)) -> String {
    let name = protocol::name(*number).map_or_else(|| number.to_string(), str::to_owned);
    match number {
        1 | 58 => format!("{name}/{}.{}", port >> 8, port & 0xff),
        _ if has_ports(*number) => format!("{name}/{port}"),
        _ => name,
    }
}

/// Its first flow.
fn endpoints(line: &mut Value, incident: &Incident, example: &Example) {
    line["src_endpoint"]["ip"] = example.source.to_string().into();
    line["dst_endpoint"] = json!({ "ip": example.destination });
    if has_ports(example.protocol) {
        line["src_endpoint"]["port"] = example.source_port.into();
        line["dst_endpoint"]["port"] = example.destination_port.into();
    }
    // The country is that of the destination with the strictest classification, which may be an inner one.
    if let Some(country) = incident.country.filter(|country| example.decides && placed(*country)) {
        line["dst_endpoint"]["location"] = json!({ "country": country.to_string() });
    }
    let connection = &mut line["connection_info"];
    connection["protocol_num"] = example.protocol.into();
    let four = example.destination.is_ipv4();
    connection["protocol_ver_id"] = if four { 4 } else { 6 }.into();
    connection["protocol_ver"] = if four { "IPv4" } else { "IPv6" }.into();
    if let Some(name) = protocol::name(example.protocol) {
        connection["protocol_name"] = name.into();
    }
    if matches!(example.protocol, 1 | 58) {
        line["unmapped"]["icmp_type"] = (example.destination_port >> 8).into();
        line["unmapped"]["icmp_code"] = (example.destination_port & 0xff).into();
    }
}

/// All that is known of its first flow.
fn sighted(line: &mut Value, sighting: &FlowSighting) {
    let FlowSighting { flow, seen, autonomous_system, .. } = sighting;
    if let Some((number, name)) = autonomous_system {
        let mut system = json!({ "number": number });
        if !name.is_empty() {
            system["name"] = name.as_str().into();
        }
        line["dst_endpoint"]["autonomous_system"] = system;
    }
    let unmapped = &mut line["unmapped"];
    unmapped["origin"] = match seen.origin {
        Origin::Event => "event",
        Origin::Drain => "drain",
    }
    .into();
    unmapped["inner"] = json!(flow.inner_document());
    unmapped["embedded"] = json!(flow.embedded());
    unmapped["opaque"] = flow.opaque.name().into();
    unmapped["decided_by"] = json!(flow.decided_by());
}

/// Who sends. OCSF has a place for one process: the first that has the socket; all are in `unmapped`.
fn actor(attribution: &Attribution) -> Option<Value> {
    if let Some(sender) = attribution.senders.first() {
        let mut process = json!({
            "pid": sender.pid,
            "name": sender.name,
            "created_time": milliseconds(sender.started.into()),
            "user": { "uid": sender.user.to_string() },
            "parent_process": { "pid": sender.parent },
        });
        // A thread of the kernel runs no file.
        if let Some((_, name)) = sender.executable.rsplit_once('/').filter(|_| sender.executable.starts_with('/')) {
            process["file"] = json!({ "name": name, "path": sender.executable, "type_id": 1, "type": "Regular File" });
        }
        if let Some(command) = &sender.command {
            process["cmd_line"] = command.as_str().into();
        }
        return Some(json!({ "process": process }));
    }
    attribution.user.map(|user| json!({ "user": { "uid": user.to_string() } }))
}

/// How sure the place is: what the sources said of each other.
const fn confidence(class: Class) -> &'static str {
    match class {
        Class::Ambiguous => "disputed",
        Class::Unknown => "none",
        Class::Inside | Class::Outside | Class::Private | Class::Local | Class::LinkLocal => "agreed",
    }
}

fn placed(country: Country) -> bool {
    country != Country::UNKNOWN && country != Country::NONE
}

/// One line for a person.
fn message(alert: &IncidentAlert, attributed_to: Option<&document::Attribution>) -> String {
    let IncidentAlert { stage, incident, sighting, .. } = alert;
    let what = match incident.verdict {
        Verdict::Allowed => "Allowed by the policy",
        Verdict::Observed => "Would be dropped (observe)",
        Verdict::Denied => "Dropped",
    };
    let sums = sums(incident);
    let by = attributed_to.and_then(document::Attribution::sentence);
    let by = by.map(|by| format!(", by {by}")).unwrap_or_default();
    match stage {
        Stage::First => match sighting {
            Some(sighting) if incident.kind == IncidentKind::Egress => format!("{what}: {}{by}", of_flow(sighting)),
            _ => format!("{what}: {}{by}", first_of_many(incident)),
        },
        Stage::More => format!("{what}, goes on: {}{by}, {sums}", whole(incident)),
        Stage::End => format!("Over: {}{by}, {sums}", whole(incident)),
    }
}

/// What it has come to: `4.6 MiB in 312 packets and 3 flows since 2026-…`.
fn sums(incident: &Incident) -> String {
    let counted = incident.counted();
    let flows = match incident.flows {
        0 => String::new(),
        1 => " of one flow".to_owned(),
        flows => format!(" of {} flows to {} addresses", count(flows), incident.peers.text()),
    };
    format!(
        "{} in {} packets{flows}, {} to {}",
        size(counted.wire_bytes),
        count(counted.packets),
        rfc3339(incident.first.into()),
        rfc3339(incident.last.into())
    )
}

/// What it is made of, for one that begins.
fn first_of_many(incident: &Incident) -> String {
    let whole = whole(incident);
    match incident.kind {
        IncidentKind::Egress => whole,
        IncidentKind::Others => {
            let way = incident.example.as_ref().map(way).unwrap_or_default();
            format!("{whole}: {way} and others; see `egress-monitor flows --by peer`")
        }
        IncidentKind::Answers => {
            let way = incident.example.as_ref().map(way).unwrap_or_default();
            format!("{whole}: {way}; nothing but headers")
        }
        IncidentKind::Overflow => format!(
            "{whole}: {} in {} packets; raise [monitor] flows",
            size(incident.counted().wire_bytes),
            count(incident.counted().packets)
        ),
        IncidentKind::Unparsed => {
            let meaning = incident.reason().map_or("", |reason| reason.meaning().trim_end_matches('.'));
            let head = incident.packet.as_ref().map(|packet| format!("; begins with {}", hex(&packet.head)));
            format!("{whole}: {meaning}{}", head.unwrap_or_default())
        }
    }
}

/// What it is made of.
fn whole(incident: &Incident) -> String {
    let place = incident.class.map(|class| place(class, incident.country)).unwrap_or_default();
    match incident.kind {
        IncidentKind::Egress => {
            let network = incident.network.map(|network| network.to_string()).unwrap_or_default();
            let from = incident.source.map(|source| format!(" from {source}")).unwrap_or_default();
            let rule = incident.rule.as_ref().map(|rule| format!(" by rule '{rule}'")).unwrap_or_default();
            format!("to {network}, {place}{from}{rule}")
        }
        IncidentKind::Others if incident.country.is_none() => format!("too many networks and countries, all {place}"),
        IncidentKind::Others => format!("too many networks, all {place}"),
        IncidentKind::Answers => format!("TCP resets, answers to what nobody here asked for, {place}"),
        IncidentKind::Overflow => format!("packets that the flow table has no room for, {place}"),
        IncidentKind::Unparsed => {
            let (reason, interface) =
                incident.unparsed.as_ref().map_or(("", ""), |(reason, interface)| (reason, interface));
            format!("packets that can't be read ({reason}) on {interface}")
        }
    }
}

fn place(class: Class, country: Option<Country>) -> String {
    match (class, country) {
        (Class::Outside, Some(country)) => format!("outside the region ({country})"),
        (Class::Outside, None) => "outside the region".to_owned(),
        (Class::Ambiguous, Some(country)) => format!("of disputed place ({country} by the first source)"),
        (Class::Ambiguous, None) => "of disputed place".to_owned(),
        (Class::Unknown, _) => "of unknown place".to_owned(),
        (class, _) => format!("of class {}", class.name()),
    }
}

/// `tcp 192.0.2.1:40000 → 198.51.100.9:443`.
fn way(example: &Example) -> String {
    let Example { source, source_port, destination, destination_port, protocol, .. } = example;
    let name = protocol::name(*protocol).map_or_else(|| format!("protocol {protocol}"), str::to_owned);
    let (from, to) = (endpoint(*source, *source_port, *protocol), endpoint(*destination, *destination_port, *protocol));
    format!("{name} {from} → {to}")
}

/// One flow: how it goes, on to where, and where that is.
fn of_flow(sighting: &FlowSighting) -> String {
    let FlowSighting { flow, interface, .. } = sighting;
    let place = place(flow.class, Some(flow.country));
    let protocol = protocol::name(flow.protocol).map_or_else(|| format!("protocol {}", flow.protocol), str::to_owned);
    let source = endpoint(flow.ip(flow.source), flow.source_port, flow.protocol);
    let destination = endpoint(flow.ip(flow.destination), flow.destination_port, flow.protocol);
    let way = ways(flow);
    let content = flow.opaque.name().map_or_else(String::new, |form| format!(", content not readable ({form})"));
    // With one destination there is no question which.
    let place = match (way.is_empty(), flow.decided_by()) {
        (true, _) => place,
        (false, Some(address)) => format!("{address} is {place}"),
        (false, None) => format!("a hop on the way is {place}"),
    };
    format!("{protocol} {source} → {destination}{way}{content}, {place}, on {interface}")
}

/// Where the flow goes on to: ` → 203.0.113.9:443 (vxlan)`.
fn ways(flow: &FlowId) -> String {
    let mut text = String::new();
    let mut on = |to: String, via: &str| text += &format!(" → {to} ({via})");
    if let Some(carried) = flow.embedded() {
        on(carried.destination.to_string(), &carried.via);
    }
    if let Some(further) = flow.inner_document() {
        on(endpoint(further.destination, further.destination_port, further.protocol), &further.via);
        if let Some(carried) = further.embedded {
            on(carried.destination.to_string(), &carried.via);
        }
    }
    text
}
