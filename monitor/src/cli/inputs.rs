//! Everything that a configuration names, read and compiled. Called by `check`, `explain` and `run`.

use std::path::Path;

use crate::{
    config::{self, Config},
    epochs::now,
    failure::Failure,
    geo::{self, Dataset},
    policy::{self, ClockMap, Policy, PolicyError},
};

/// A configuration, what it names, and what that compiles to.
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) datasets: Vec<Dataset>,
    pub(super) policy: Policy,
    pub(super) clock: ClockMap,
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The geo data that a configuration names.
pub(super) fn datasets(config: &Config) -> Result<Vec<Dataset>, Failure> {
    let mut datasets = Vec::new();
    for source in &config.geo.sources {
        datasets.extend(geo::load(source)?);
    }
    Ok(datasets)
}

/// Compiles a configuration as it would hold now.
pub(super) fn compile(config: Config) -> Result<Inputs, Failure> {
    let clock = ClockMap::wall(i64::try_from(now()).unwrap_or(i64::MAX));
    let datasets = datasets(&config)?;
    let policy = policy::compile(&config, &datasets, geo::special::table(), &clock)?;
    Ok(Inputs { config, datasets, policy, clock })
}

/// Reads the configuration and compiles it.
pub(super) fn read(file: Option<&Path>) -> Result<Inputs, Failure> {
    compile(config::load(file).map_err(config::ConfigError::into_failure)?)
}
