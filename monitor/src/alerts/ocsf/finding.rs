//! A finding about the monitor itself as an OCSF Detection Finding (class 2004): Create when it is raised, Close when
//! it is resolved.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{device, metadata, milliseconds};
use crate::model::{Host, finding::FindingReport};
use monitor_policy::text::hex;

pub(super) fn document(host: &Host, finding: &FindingReport) -> Value {
    let FindingReport { kind, subject, detail, since, at, resolved } = finding;
    let severity = finding.severity();
    let activity = if *resolved { (3, "Close") } else { (1, "Create") };
    // Nobody is to be woken by a heartbeat.
    let disposition = if kind.is_heartbeat() { (17, "Logged") } else { (19, "Alert") };
    let identity = |what: &str| {
        let mut text = [&host.boot_id, &host.name, kind.name(), what, &since.to_string()].join("\0");
        if !subject.is_empty() {
            text += "\0";
            text += subject;
        }
        hex(&Sha256::digest(text.as_bytes())[..16])
    };
    let mut line = json!({
        "activity_id": activity.0,
        "activity_name": activity.1,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "type_uid": 200_400 + activity.0,
        "type_name": format!("Detection Finding: {}", activity.1),
        "severity_id": severity as u8,
        "severity": severity.name(),
        "time": milliseconds(*at),
        "message": format!("{}: {}", kind.title(), detail.text),
        "is_alert": !kind.is_heartbeat(),
        "status_id": if *resolved { 4 } else { 1 },
        "status": if *resolved { "Resolved" } else { "New" },
        "action_id": 3,
        "action": "Observed",
        "disposition_id": disposition.0,
        "disposition": disposition.1,
        "finding_info": {
            "uid": identity("finding"),
            "title": kind.title(),
            "desc": detail.text,
            "types": [kind.name()],
            "created_time": milliseconds(*since),
        },
        "unmapped": { "type": kind.name() },
    });
    if !detail.unaccounted.is_empty() {
        line["unmapped"]["unaccounted"] = json!(detail.unaccounted);
    }
    if let Some(heartbeat) = &detail.heartbeat {
        line["unmapped"]["monitor"] = json!(heartbeat);
    }
    line["metadata"] = metadata(host, &identity(activity.1));
    line["device"] = device(host);
    line
}
