//! Everything that a configuration names, read and compiled. Called by `check`, `explain` and `run`.

use std::path::Path;

use crate::{
    config::{self, Config},
    error::CliError,
    model::now,
};
use monitor_policy::{
    self, ClockMap, Knowledge, Policy, PolicyError,
    geo::{self, About},
};

/// A configuration, what it names, and what that compiles to.
pub struct Inputs {
    /// The configuration.
    pub config: Config,
    /// The datasets, overlays and registries that it names.
    pub knowledge: Knowledge,
    /// What they compile to.
    pub policy: Policy,
    /// The clocks when it was compiled.
    pub clock: ClockMap,
}

impl From<PolicyError> for CliError {
    fn from(error: PolicyError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The address knowledge that a configuration names.
///
/// # Errors
/// A file can't be read, or is none of the formats that are known.
pub fn knowledge(config: &Config) -> Result<Knowledge, CliError> {
    let mut knowledge = Knowledge { special: geo::special::table().to_vec(), ..Knowledge::default() };
    for source in &config.geo.sources {
        knowledge.datasets.extend(geo::load(source)?);
    }
    for overlay in &config.geo.overlays {
        knowledge.overlays.push(geo::overlay::open(overlay)?);
    }
    if let Some(asn) = &config.geo.asn {
        if asn == "embedded" {
            let what = "[geo] asn: no AS numbers are built in: name a file, such as \"asn.mmdb\", or leave it out";
            return Err(CliError::Usage(what.into()));
        }
        knowledge.asn = Some(geo::asn::open(Path::new(asn))?.into());
    }
    Ok(knowledge)
}

/// What all data that grows old says of itself: datasets, overlays, AS numbers.
pub fn data(knowledge: &Knowledge) -> impl Iterator<Item = &About> {
    let datasets = knowledge.datasets.iter().map(|of| &of.about);
    let overlays = knowledge.overlays.iter().map(|of| &of.about);
    datasets.chain(overlays).chain(knowledge.asn.iter().map(|of| &of.about))
}

/// Compiles a configuration as it would hold now.
///
/// # Errors
/// As [`knowledge`], or the policy is too large.
pub fn compile(config: Config) -> Result<Inputs, CliError> {
    let clock = ClockMap::wall(i64::try_from(now()).unwrap_or(i64::MAX));
    let knowledge = knowledge(&config)?;
    let policy = monitor_policy::compile(&config.spec, &knowledge, &clock)?;
    Ok(Inputs { config, knowledge, policy, clock })
}

/// Reads the configuration: `file`, or the default one.
///
/// # Errors
/// What is wrong with it; all but the last problem are printed.
pub fn load(file: Option<&Path>) -> Result<Config, CliError> {
    config::load(file).map_err(config::ConfigError::into_failure)
}

/// Reads the configuration and compiles it.
///
/// # Errors
/// As [`load`] and [`compile`].
pub fn read(file: Option<&Path>) -> Result<Inputs, CliError> {
    compile(load(file)?)
}
