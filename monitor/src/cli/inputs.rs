//! Everything that a configuration names, read and compiled. Called by `check`, `explain` and `run`.

use std::path::Path;

use crate::{
    config::{self, Config},
    epochs::now,
    failure::Failure,
    geo::{self, About},
    policy::{self, ClockMap, Knowledge, Policy, PolicyError},
};

/// A configuration, what it names, and what that compiles to.
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) knowledge: Knowledge,
    pub(super) policy: Policy,
    pub(super) clock: ClockMap,
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The address knowledge that a configuration names.
pub(super) fn knowledge(config: &Config) -> Result<Knowledge, Failure> {
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
            return Err(Failure::Usage(what.into()));
        }
        knowledge.asn = Some(geo::asn::open(Path::new(asn))?.into());
    }
    Ok(knowledge)
}

/// What all data that grows old says of itself: datasets, overlays, AS numbers.
pub(super) fn data(knowledge: &Knowledge) -> impl Iterator<Item = &About> {
    let datasets = knowledge.datasets.iter().map(|of| &of.about);
    let overlays = knowledge.overlays.iter().map(|of| &of.about);
    datasets.chain(overlays).chain(knowledge.asn.iter().map(|of| &of.about))
}

/// Compiles a configuration as it would hold now.
pub(super) fn compile(config: Config) -> Result<Inputs, Failure> {
    let clock = ClockMap::wall(i64::try_from(now()).unwrap_or(i64::MAX));
    let knowledge = knowledge(&config)?;
    let policy = policy::compile(&config, &knowledge, &clock)?;
    Ok(Inputs { config, knowledge, policy, clock })
}

/// Reads the configuration and compiles it.
pub(super) fn read(file: Option<&Path>) -> Result<Inputs, Failure> {
    compile(config::load(file).map_err(config::ConfigError::into_failure)?)
}
