//! An [`Alert`] in, one OCSF 1.7 object out, when a sink writes it or the API shows it. A flow is Network Activity
//! (class 4001) with the profiles Security Control and Host; a finding is in `finding`. `docs/alert.schema.json`
//! describes the result for receivers.

mod finding;

use monitor_common::{verdict::Verdict, wire::Class};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    model::{
        Alert, Host,
        alert::{FlowSighting, Origin},
        flow::FlowId,
        inner::Decider,
    },
    storage::segments::line::seal,
};
use monitor_policy::{
    geo::Country,
    protocol::{self, endpoint, has_ports},
    text::{escaped_json, hex},
};

/// The version of OCSF that the lines keep to: the first with `observation_point_id` in this class.
pub const OCSF_VERSION: &str = "1.7.0";

/// The alert as a JSON object.
pub fn document(host: &Host, alert: &Alert) -> Value {
    match alert {
        Alert::Flow(sighting) => flow(host, sighting),
        Alert::Finding(finding) => finding::document(host, finding),
    }
}

/// The line that is kept, with its end: the alert with its sequence and, last in `unmapped`, the checksum.
///
/// # Panics
/// Never: a document is an object with `unmapped`, which is put last.
pub fn kept(host: &Host, alert: &Alert, sequence: u64) -> Vec<u8> {
    let mut document = document(host, alert);
    document["metadata"]["sequence"] = sequence.into();
    let unmapped = document["unmapped"].take();
    document.as_object_mut().map(|members| members.remove("unmapped"));
    let members = document.to_string();
    let json = format!("{},\"unmapped\":{unmapped}}}", members.strip_suffix('}').unwrap_or(&members));
    seal(&escaped_json(json)).expect("an object ends it")
}

fn flow(host: &Host, sighting: &FlowSighting) -> Value {
    let FlowSighting { flow, seen, .. } = sighting;
    let severity = sighting.severity();
    let (action_id, action, disposition_id, disposition) = match flow.verdict {
        Verdict::Allowed => (1, "Allowed", 1, "Allowed"),
        // 2 is "denied access or blocked"; 6, "dropped", is for what was found to be a threat.
        Verdict::Denied => (2, "Denied", 2, "Blocked"),
        // 19: "resulted in a notification but request was not blocked".
        Verdict::Observed => (3, "Observed", 19, "Alert"),
    };
    let interface = &*sighting.interface;
    let (source, destination) = (flow.ip(flow.source), flow.ip(flow.destination));
    let mut source_endpoint = json!({ "ip": source, "interface_name": interface });
    let mut destination_endpoint = json!({ "ip": destination });
    if has_ports(flow.protocol) {
        source_endpoint["port"] = flow.source_port.into();
        destination_endpoint["port"] = flow.destination_port.into();
    }
    // The country is that of the destination with the strictest classification, which may be an inner one.
    if flow.decider == Some(Decider::Destination) && placed(flow.country) {
        destination_endpoint["location"] = json!({ "country": flow.country.to_string() });
    }
    if let Some((number, name)) = &sighting.autonomous_system {
        let mut system = json!({ "number": number });
        if !name.is_empty() {
            system["name"] = name.as_str().into();
        }
        destination_endpoint["autonomous_system"] = system;
    }
    let mut unmapped = json!({
        "rule": sighting.rule(),
        "class": flow.class.name(),
        "country": flow.country.to_string(),
        "confidence": confidence(flow.class),
        "verdict": flow.verdict.name(),
        "policy": &*sighting.policy,
        "epoch": seen.epoch,
        "interface": interface,
        "origin": match seen.origin { Origin::Event => "event", Origin::Drain => "drain" },
        "inner": flow.inner_document(),
        "embedded": flow.embedded(),
        "opaque": flow.opaque.name(),
        "decided_by": flow.decided_by(),
    });
    if matches!(flow.protocol, 1 | 58) {
        unmapped["icmp_type"] = (flow.destination_port >> 8).into();
        unmapped["icmp_code"] = (flow.destination_port & 0xff).into();
    }
    let mut connection = json!({
        "direction_id": 2,
        "direction": "Outbound",
        "protocol_num": flow.protocol,
        "protocol_ver_id": flow.ip_version,
        "protocol_ver": if flow.ip_version == 4 { "IPv4" } else { "IPv6" },
    });
    if let Some(name) = protocol::name(flow.protocol) {
        connection["protocol_name"] = name.into();
    }
    let mut line = json!({
        "activity_id": 6,
        "activity_name": "Traffic",
        "category_uid": 4,
        "category_name": "Network Activity",
        "class_uid": 4001,
        "class_name": "Network Activity",
        "type_uid": 400_106,
        "type_name": "Network Activity: Traffic",
        "severity_id": severity as u8,
        "severity": severity.name(),
        "time": milliseconds(seen.time),
        "message": message(sighting),
        "is_alert": true,
        "action_id": action_id,
        "action": action,
        "disposition_id": disposition_id,
        "disposition": disposition,
        "observation_point_id": 1,
        "observation_point": "Source",
        "connection_info": connection,
        "src_endpoint": source_endpoint,
        "dst_endpoint": destination_endpoint,
        "traffic": {
            "packets": seen.counters.packets,
            "packets_out": seen.counters.packets,
            "bytes": seen.counters.wire_bytes,
            "bytes_out": seen.counters.wire_bytes,
        },
        "unmapped": unmapped,
    });
    line["metadata"] = metadata(&uid(host, sighting));
    line["device"] = device(host);
    line
}

/// `metadata`: what made the line, and its identity.
pub(super) fn metadata(uid: &str) -> Value {
    json!({
        "version": OCSF_VERSION,
        "uid": uid,
        "profiles": ["security_control", "host"],
        "log_name": "alerts",
        "product": {
            "name": "egress-monitor",
            "vendor_name": "egress-monitor",
            "version": env!("CARGO_PKG_VERSION"),
        },
    })
}

/// `device`: which of ten thousand hosts.
pub(super) fn device(host: &Host) -> Value {
    json!({ "type_id": 1, "type": "Server", "hostname": host.name })
}

/// OCSF times are milliseconds.
pub(super) fn milliseconds(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)
}

/// The same for the same first packet, whether it came as an event or was rebuilt, now or sent again later:
/// 128 bits of SHA-256 over boot, flow and the jiffies of the first packet.
fn uid(host: &Host, sighting: &FlowSighting) -> String {
    let FlowSighting { flow, interface, rule, seen, .. } = sighting;
    let mut hash = Sha256::new();
    for text in [host.boot_id.as_str(), host.name.as_str(), interface, rule] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    for word in [flow.source.high, flow.source.low, flow.destination.high, flow.destination.low, seen.first_jiffies] {
        hash.update(word.to_be_bytes());
    }
    hash.update(flow.source_port.to_be_bytes());
    hash.update(flow.destination_port.to_be_bytes());
    hash.update(flow.country.0);
    hash.update([flow.protocol, flow.ip_version, flow.opaque as u8, flow.class as u8, flow.verdict as u8]);
    if let Some(inner) = &flow.inner {
        for word in [inner.address.high, inner.address.low] {
            hash.update(word.to_be_bytes());
        }
        hash.update(inner.port.to_be_bytes());
        hash.update([inner.protocol, inner.ip_version, inner.via as u8]);
    }
    hex(&hash.finalize()[..16])
}

/// How sure the place is: what the sources said of each other.
fn confidence(class: Class) -> &'static str {
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
fn message(sighting: &FlowSighting) -> String {
    let FlowSighting { flow, interface, .. } = sighting;
    let what = match flow.verdict {
        Verdict::Allowed => "Allowed by the policy",
        Verdict::Observed => "Would be dropped (observe)",
        Verdict::Denied => "Dropped",
    };
    let place = match flow.class {
        Class::Outside => format!("outside the region ({})", flow.country),
        Class::Ambiguous => format!("of disputed place ({} by the first source)", flow.country),
        Class::Unknown => "of unknown place".to_owned(),
        class => format!("of class {}", class.name()),
    };
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
    format!("{what}: {protocol} {source} → {destination}{way}{content}, {place}, on {interface}")
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
