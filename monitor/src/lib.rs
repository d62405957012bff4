//! egress-monitor's userspace: configuration and datasets in, policy compiled, kernel part loaded, epochs
//! drained into snapshots, and everything else a reader of snapshots.

pub mod alerts;
pub mod api;
pub mod budgets;
pub mod change;
pub mod cli;
pub mod config;
pub mod epochs;
pub mod failure;
pub mod geo;
pub mod kernel;
pub mod metrics;
pub mod policy;
pub mod reconcile;
pub mod regular;
pub mod shadow;
pub mod supervisor;
pub mod text;
