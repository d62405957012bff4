//! The monitor's state in, the documents of [`monitor_api`] out. Called where they are served, and where `run` ends.

pub mod coverage;
pub mod flows;
pub mod rules;
pub mod shadow;
pub mod status;
