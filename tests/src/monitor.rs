//! What tests, demonstration and benchmark call of the monitor's own code, and the only place that says where it is.

/// Documents that the monitor serves.
pub mod api {
    pub use monitor_api::{
        flows::{FlowRow, Flows},
        incidents::{IncidentRow, Incidents, OneIncident},
        rules::{RuleRow, Rules},
        shadow::ShadowPage,
        status::{InterfaceStatus, Status, Sums},
    };
}

/// What an operator writes.
pub mod config {
    pub use egress_monitor::config::{Config, load};
    pub use monitor_policy::{
        Origin,
        spec::{Rule, Site, Spec},
    };
}

/// What is said on the helper's socket.
pub mod helper {
    pub use egress_monitor::helper::{Answer, Helper, NoAnswer, Process, Question, Why, started};
}

/// Where networks are.
pub mod geo {
    pub use monitor_policy::geo::{About, Country, Dataset, Range, Space, load, special};
}

/// The part in the kernel.
pub mod kernel {
    pub use egress_monitor::kernel::{
        EventReader, Guess, Interface, Kernel, KernelError, Left, Options, Pins, Prepared, Switch, boot_ns, detach_all,
        in_initial_namespace, own_ways,
    };
    pub use egress_monitor::model::{Hook, in_force::Fell};
    pub use monitor_policy::spec::Mode;
}

/// What a configuration means.
pub mod policy {
    pub use monitor_policy::{
        ClockMap, ExplainInputs, Explanation, Knowledge, Policy, Target, compile, explain, protocol::has_ports,
    };
}

pub use egress_monitor::{
    fault::Fault,
    model::{Snapshot, now},
};
pub use monitor_policy::text::time;

use anyhow::{Context as _, Result};

use crate::leftovers;

/// The policy of a configuration, without any dataset: addresses are placed by its sites and the registries of
/// special-purpose addresses alone.
///
/// # Errors
/// A mistake in it, or no room for a temporary file.
pub fn policy_of(configuration: &str) -> Result<policy::Policy> {
    let folder = leftovers::folder()?;
    let file = folder.path().join("config.toml");
    std::fs::write(&file, configuration).context("the configuration")?;
    let config = config::load(Some(&file)).map_err(|error| anyhow::anyhow!("{error}"))?;
    let knowledge = policy::Knowledge::new(&[], geo::special::table());
    policy::compile(&config.spec, &knowledge, &policy::ClockMap::wall(0)).context("compiling")
}
