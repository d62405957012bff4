//! An [`Alert`] in, one OCSF 1.7 object out, when a sink writes it or the API shows it: what is wrong with the traffic in
//! `incident`, what is wrong with the monitor in `finding`. `docs/alert.schema.json`
//! describes the result for receivers.

mod finding;
mod incident;

use monitor_policy::text::escaped_json;
use serde_json::{Value, json};

use crate::{
    model::{Alert, Host},
    storage::segments::line::seal,
};

/// The version of OCSF that the lines keep to: the first with `observation_point_id` in this class.
pub const OCSF_VERSION: &str = "1.7.0";

/// The alert as a JSON object.
pub fn document(host: &Host, alert: &Alert) -> Value {
    match alert {
        Alert::Incident(alert) => incident::document(host, alert),
        Alert::Finding(finding) => finding::document(host, finding),
    }
}

/// The line that is kept, with its end: the alert with its sequence, when it was written down (`logged`, UTC nanoseconds
/// since 1970) and, last in `unmapped`, the checksum.
///
/// # Panics
/// Never: a document is an object with `unmapped`, which is put last.
pub fn kept(host: &Host, alert: &Alert, sequence: u64, logged: i128) -> Vec<u8> {
    let mut document = document(host, alert);
    document["metadata"]["sequence"] = sequence.into();
    document["metadata"]["logged_time"] = milliseconds(logged).into();
    let unmapped = document["unmapped"].take();
    document.as_object_mut().map(|members| members.remove("unmapped"));
    let members = document.to_string();
    let json = format!("{},\"unmapped\":{unmapped}}}", members.strip_suffix('}').unwrap_or(&members));
    seal(&escaped_json(json)).expect("an object ends it")
}

/// `metadata`: what made the line, for whom, and its identity.
pub(super) fn metadata(host: &Host, uid: &str) -> Value {
    let mut metadata = json!({
        "version": OCSF_VERSION,
        "uid": uid,
        "profiles": ["security_control", "host"],
        "log_name": "alerts",
        "product": {
            "name": "egress-monitor",
            "vendor_name": "egress-monitor",
            "version": env!("CARGO_PKG_VERSION"),
        },
    });
    let zone = host.zone.name();
    if !zone.is_empty() {
        metadata["tenant_uid"] = json!(*zone);
    }
    metadata
}

/// `device`: which of ten thousand hosts, and which of its lives.
pub(super) fn device(host: &Host) -> Value {
    let mut device = json!({ "type_id": 1, "type": "Server", "hostname": host.name, "boot_uid": host.boot_id });
    if let Some(uid) = &host.uid {
        device["uid"] = json!(uid);
    }
    device
}

/// OCSF times are milliseconds.
pub(super) fn milliseconds(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)
}
