//! The monitor's state in, the documents of [`monitor_api`] out. Called where they are served, and where `run` ends.

pub mod alerts;
pub mod changes;
pub mod coverage;
pub mod flows;
pub mod incidents;
pub mod rules;
pub mod shadow;
pub mod sinks;
pub mod status;

use monitor_api::head::Head;

use crate::store::MonitorState;

/// Whose counts a document has.
fn head(state: &MonitorState, host: &str) -> Head {
    let in_force = &state.in_force;
    Head {
        host: host.to_owned(),
        version: env!("CARGO_PKG_VERSION").into(),
        boot_id: state.host.boot_id.clone(),
        mode: in_force.mode.name().into(),
        zone: in_force.policy.zone.clone(),
        policy: in_force.policy.digest.clone(),
    }
}
