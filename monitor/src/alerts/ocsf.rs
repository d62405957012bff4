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
