//! egress-monitor's userspace: configuration and datasets in, policy compiled, kernel part loaded, epochs
//! drained into snapshots, and everything else a reader of snapshots.

pub mod alerts;
pub mod archive;
pub mod attribution;
pub mod budgets;
pub mod carried;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coverage;
pub mod daemon;
pub mod engine;
pub mod error;
#[cfg(test)]
pub mod fake;
pub mod fault;
pub mod helper;
pub mod http;
pub mod incidents;
pub mod kernel;
pub mod life;
pub mod metrics;
pub mod model;
pub mod needs;
pub mod privileges;
pub mod reconcile;
#[cfg(test)]
pub mod reference;
pub mod refresh;
pub mod reload;
pub mod shadow;
pub mod sinks;
pub mod storage;
pub mod store;
pub mod tamper;
