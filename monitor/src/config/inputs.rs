//! Everything that a configuration names, read and compiled. Called by `check`, `explain` and `run`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    config::{self, Config},
    error::CliError,
    model::now,
};
use monitor_policy::{
    self, ClockMap, Knowledge, Policy, PolicyError,
    geo::{self, About, GeoError, Progress},
    text::plain,
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
    knowledge_of(config, |file| geo::read_bounded(config.sources.at(file)))
}

/// As [`knowledge`], with the contents of the files that it names from wherever `read` has them.
///
/// # Errors
/// As [`knowledge`].
pub fn knowledge_of(config: &Config, read: impl Fn(&Path) -> Result<Vec<u8>, GeoError>) -> Result<Knowledge, CliError> {
    let mut knowledge = Knowledge { special: geo::special::table().to_vec(), ..Knowledge::default() };
    let mut files: Vec<Option<&Path>> = Vec::new();
    for source in &config.geo.sources {
        if source == "embedded" {
            knowledge.datasets.extend(geo::load(source)?);
        } else {
            let file = Path::new(source);
            knowledge.datasets.push(geo::open_bytes(file, &read(file)?)?.dataset);
        }
        files.resize(knowledge.datasets.len(), (source != "embedded").then_some(Path::new(source)));
    }
    for overlay in &config.geo.overlays {
        knowledge.overlays.push(geo::overlay::read_bytes(overlay, &read(overlay)?, &Progress::default())?);
    }
    if let Some(asn) = &config.geo.asn {
        if asn == "embedded" {
            let what = "[geo] asn: no AS numbers are built in: name a file, such as \"asn.mmdb\", or leave it out";
            return Err(CliError::Usage(what.into()));
        }
        let file = Path::new(asn);
        knowledge.asn = Some(geo::asn::open_bytes(file, &read(file)?)?.into());
    }
    files.extend(config.geo.overlays.iter().map(|overlay| Some(overlay.as_path())));
    let datasets = knowledge.datasets.iter_mut().map(|of| &mut of.about);
    tell_apart(datasets.chain(knowledge.overlays.iter_mut().map(|of| &mut of.about)).zip(files).collect());
    Ok(knowledge)
}

/// Names that several have become as much of their file's path as tells them apart: metrics, `explain` and alerts know
/// data by its name.
fn tell_apart(mut named: Vec<(&mut About, Option<&Path>)>) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (about, _) in &named {
        *times.entry(about.name.clone()).or_default() += 1;
    }
    let parts = |path: &Path| path.components().count();
    let end = |path: &Path, length: usize| -> PathBuf { path.components().skip(parts(path) - length).collect() };
    let shared: Vec<&Path> =
        named.iter().filter(|(about, _)| times[&about.name] > 1).filter_map(|(_, file)| *file).collect();
    for (about, file) in &mut named {
        let Some(path) = file.filter(|_| times[&about.name] > 1) else { continue };
        let of_one = |name: &Path| {
            let others = shared.iter().filter(|other| **other != path && other.ends_with(name));
            others.count() == 0 && name.to_str().is_some_and(|name| !times.contains_key(name))
        };
        let shortest = (1..=parts(path)).map(|length| end(path, length)).find(|name| of_one(name));
        about.name = plain(&shortest.as_deref().unwrap_or(path).display().to_string());
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file of two lines that is no registry's, in a folder of this one.
    fn overlay(folder: &Path, path: &str) -> PathBuf {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(&file, "198.51.100.0/24,DE,,,\n").expect("written");
        file
    }

    #[test]
    fn data_from_different_files_has_different_names_the_shortest_that_tell_it_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths =
            ["one/aws.csv", "two/aws.csv", "two/aws.txt", "two/feed.csv", "three/geo/gcp.csv", "four/geo/gcp.csv"];
        let mut config = Config::default();
        config.geo.sources.clear();
        config.geo.overlays = paths.iter().map(|path| overlay(folder.path(), path)).collect();
        let knowledge = knowledge(&config).expect("good");
        let names: Vec<_> = data(&knowledge).map(|about| about.name.as_str()).collect();
        assert_eq!(names, ["one/aws.csv", "two/aws.csv", "aws.txt", "feed", "three/geo/gcp.csv", "four/geo/gcp.csv"]);
    }
}
