//! What the command line asked for in; configuration read and policy compiled out, at the start (see `start`) and anew at each
//! reload.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use monitor_policy::{
    ClockMap, Knowledge,
    perimeter::Perimeter,
    spec::{Action, Mode},
};

use super::DaemonError;
use crate::{
    clock::TrustedClock,
    config::{self, Config, Sources, inputs},
    error::CliError,
    model::{
        Hook, HookChoice,
        in_force::{DatasetInfo, PolicyInForce},
        now,
        shadow::{Candidate, Shadow},
    },
    privileges,
    reload::{
        Files, Read, Reader, ReloadError,
        held::{HeldFiles, Purpose, ReadFile},
        stamps::FileStamps,
    },
    sinks::{self, Sink, file::AlertsFile, stream::Stream},
    storage::writable,
};

/// What the daemon is launched with, beside its configuration.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Launch {
    /// The configuration file; `None`: the default one.
    pub config: Option<PathBuf>,
    /// Interfaces, instead of the configured ones; empty: those.
    pub interfaces: Vec<String>,
    /// Enforce, whatever the configuration says.
    pub enforce: bool,
    /// End when this time has passed since attaching.
    pub duration: Option<Duration>,
    /// Each reload, and an enforcing start, is to be confirmed within this time.
    pub confirm: Option<Duration>,
    /// How to attach, instead of the configured way.
    pub hook: Option<HookChoice>,
    /// Whether the kernel part's debug lines are wanted.
    pub kernel_log: bool,
    /// Append alerts to this file, whatever the configuration says.
    pub alerts_file: Option<PathBuf>,
    /// What daemons of other versions have left is taken off.
    pub replace: bool,
    /// Programs and counters go on when the daemon has ended.
    pub outlives: bool,
    /// What rules with times go by.
    pub clock: TrustedClock,
}

impl Launch {
    /// The interfaces to attach to: names, globs, `auto`.
    pub fn interfaces<'a>(&'a self, config: &'a Config) -> &'a [String] {
        if self.interfaces.is_empty() { &config.interfaces } else { &self.interfaces }
    }

    /// The hook to attach by; `None`: whichever the kernel has.
    pub fn hook(&self, config: &Config) -> Option<Hook> {
        self.hook.unwrap_or(config.hook).hook()
    }

    /// Where alerts go.
    pub(super) fn sinks(&self, config: &Config) -> Result<Vec<Box<dyn Sink>>, DaemonError> {
        let mut all: Vec<Box<dyn Sink>> = Vec::new();
        if config.alerts.stdout {
            all.push(Box::new(Stream::stdout().map_err(DaemonError::StdoutClosed)?));
        }
        if let Some(path) = self.alerts_file.as_ref().or(config.alerts.file.as_ref()) {
            all.push(Box::new(AlertsFile::new(path)));
        }
        all.extend(config.alerts.sinks.iter().cloned().map(sinks::of));
        Ok(all)
    }
}

/// Denied packets are dropped where the file says so or `--enforce` does.
pub(super) fn mode(config: &Config, launch: &Launch) -> Mode {
    if launch.enforce { Mode::Enforce } else { config.mode }
}

/// Compiles the policy, with what is to be said of it.
pub(super) fn compile(config: &Config, mode: Mode, clock: ClockMap) -> Result<PolicyInForce, CliError> {
    // Of kept copies the start has looked at the directory.
    let on_disk = if matches!(config.sources, Sources::Disk) { config.inputs() } else { Vec::new() };
    let writable: Vec<String> = writable::by_others(&on_disk)
        .iter()
        .map(|(file, why)| format!("{} can be written by others: {why}", file.display()))
        .collect();
    // `--enforce` on the command line and `mode enforce` get here with a file that says observe.
    let lacks = config.lacks_for_enforce().map(str::to_owned).or_else(|| {
        writable.first().map(|what| format!("{what}; whoever can does what he likes with what is enforced"))
    });
    if let Some(why) = lacks.as_ref().filter(|_| mode.enforces()) {
        return Err(CliError::Usage(why.clone()));
    }
    for what in writable {
        tracing::warn!("{what}; enforce would refuse it");
    }
    let knowledge = inputs::knowledge(config)?;
    let policy = monitor_policy::compile(&config.spec, &knowledge, &clock)?;
    let shadow = shadow(config, &knowledge, clock);
    for overlay in knowledge.overlays.iter().filter(|overlay| overlay.rejected.count > 0) {
        tracing::warn!(
            overlay = overlay.about.name,
            "{}: `egress-monitor check` says what",
            overlay.rejected.summary()
        );
    }
    let datasets = inputs::data(&knowledge)
        .map(|of| DatasetInfo { name: of.name.clone(), version: of.version.clone(), built: of.built })
        .collect();
    let inside = config.spec.zone.inside_text.clone();
    Ok(PolicyInForce {
        policy: policy.into(),
        mode,
        not_enforceable: lacks.map(Into::into),
        inside,
        perimeter: Perimeter::of(&config.spec).into(),
        datasets,
        shadow,
        since: now(),
        ..PolicyInForce::default()
    })
}

/// The policy to be evaluated beside it. One that is no good never stops the daemon: it is reported.
fn shadow(config: &Config, knowledge: &Knowledge, clock: ClockMap) -> Shadow {
    let Some(file) = &config.shadow else { return Shadow::None };
    let compiled = (|| {
        let candidate = inputs::load(Some(file))?;
        let same = candidate.geo.has_data_of(&config.geo);
        let other = if same { None } else { Some(inputs::knowledge(&candidate)?) };
        Ok::<_, CliError>(monitor_policy::compile(&candidate.spec, other.as_ref().unwrap_or(knowledge), &clock)?)
    })();
    match compiled {
        Ok(policy) => Shadow::Candidate(Arc::new(Candidate { file: file.clone(), policy: policy.into(), clock })),
        Err(failure) => {
            let why = failure.to_string().lines().collect::<Vec<_>>().join("; ");
            tracing::warn!(why, "the shadow policy is refused");
            Shadow::Refused(why)
        }
    }
}

/// What is told of lists that have less in them than before; or why the policy is not to be put in force. At the start nobody
/// has said that a policy without a file that is gone is wanted.
pub(super) fn held(config: &Config, at_start: bool) -> Result<Vec<String>, String> {
    let verdict = HeldFiles::new(&config.paths.state, &config.paths.runtime)
        .check(&read_files(config), |file| at_start && config.globs.mean(file));
    if verdict.held.is_empty() { Ok(verdict.shrunk) } else { Err(verdict.held.join("; ")) }
}

/// Keeps what the files are, for the next comparison.
pub(super) fn keep(config: &Config) {
    if let Err(error) = HeldFiles::new(&config.paths.state, &config.paths.runtime).keep(&read_files(config)) {
        let state = config.paths.state.display().to_string();
        tracing::warn!(state, why = error.to_string(), "a file that comes to less will not be noticed");
    }
}

/// The files that may come to less than they were.
fn read_files(config: &Config) -> Vec<ReadFile> {
    let of = |file: &Path, purpose, entries| ReadFile {
        file: std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
        purpose,
        entries,
    };
    let lists = config.lists.iter().map(|list| {
        let purpose = if list.action == Action::Deny { Purpose::Deny } else { Purpose::Allow };
        let entries = list.allow_rules + list.deny_rules + list.networks;
        of(&list.file, purpose, Some(entries as u64))
    });
    lists.chain(config.geo.files().iter().map(|file| of(file, Purpose::Data, None))).collect()
}

/// Reads the same files again. `--enforce` stays; interfaces, port, paths and epoch do not change without a restart.
/// `file`: the configuration file that was read, if there was one. Once there was, it must be: nobody goes from a
/// policy of their own to the built-in one because a file is gone.
pub(super) fn reader(launch: Launch, file: Option<PathBuf>) -> Reader {
    let invalid = |failure: CliError| ReloadError::Invalid(failure.to_string());
    let once_read = OnceLock::new();
    if let Some(file) = file {
        let _ = once_read.set(file);
    }
    Arc::new(move |handed_in| {
        let before = FileStamps::look(&own(&launch));
        let file = once_read.get().or(launch.config.as_ref()).map(PathBuf::as_path);
        let loaded = match &handed_in {
            Some(text) => config::parse(file.unwrap_or(config::DEFAULT_FILE.as_ref()), text),
            None => config::load(file),
        };
        match loaded {
            Ok(config) => {
                if let Some(file) = config.file.clone().filter(|_| handed_in.is_none()) {
                    // Set before: the same.
                    let _ = once_read.set(file);
                }
                let mut files = Files { handed_in: handed_in.is_some(), ..files(&config, &launch, before) };
                let policy = match held(&config, false) {
                    Err(why) => Err(ReloadError::Held(why)),
                    Ok(shrunk) => {
                        files.shrunk = shrunk;
                        compile(&config, mode(&config, &launch), launch.clock.map())
                            .map_err(invalid)
                            .inspect(|_| keep(&config))
                    }
                };
                Read { files, policy }
            }
            Err(error) => {
                // What is wrong may be mended in one that was not there before.
                let inputs = [own(&launch), error.files()].concat();
                let stamps = FileStamps::look(&inputs).after(before);
                let failure = error.into_failure();
                let paths = config::paths(file);
                let cut = HeldFiles::new(&paths.state, &paths.runtime).cut();
                let why = if cut.is_empty() {
                    invalid(failure)
                } else {
                    ReloadError::Held(format!("{}; {failure}", cut.join("; ")))
                };
                Read { files: Files { inputs, stamps, ..Files::default() }, policy: Err(why) }
            }
        }
    })
}

/// The same on a thread that has no capabilities.
pub(super) fn without_privileges(read: Reader) -> Reader {
    Arc::new(move |handed_in| {
        privileges::parse(|| read(handed_in)).unwrap_or_else(|error| Read {
            files: Files::default(),
            policy: Err(ReloadError::Reader(error.to_string())),
        })
    })
}

/// The configuration file itself.
pub(super) fn own(launch: &Launch) -> Vec<PathBuf> {
    vec![launch.config.clone().unwrap_or_else(|| config::DEFAULT_FILE.into())]
}

/// What a configuration depends on, looked at before datasets are read; of the file itself, as it was `before`.
pub(super) fn files(config: &Config, launch: &Launch, before: FileStamps) -> Files {
    let mut inputs = config.inputs();
    inputs.extend(own(launch));
    let stamps = FileStamps::look(&inputs).after(before);
    Files {
        config: config.file.clone(),
        text: config.file.as_ref().map(|_| Arc::clone(&config.text)),
        inputs,
        stamps,
        watch: Some(config.reload == config::Reload::Auto),
        ..Files::default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{daemon::start::read, reload::held::accept};

    #[test]
    fn a_start_by_a_list_that_was_cut_or_is_gone_is_refused_until_it_is_whole_or_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("allow.d")).unwrap();
        let (state, runtime) = (path("state"), path("run"));
        let paths = format!("[paths]\nstate = \"{}\"\nruntime = \"{}\"\n", state.display(), runtime.display());
        let text = format!("[policy]\nallowlists = [\"allow.d/*.txt\"]\n{paths}");
        fs::write(path("config.toml"), text).unwrap();
        let list = path("allow.d/partners.txt");
        let launch = Launch { config: Some(path("config.toml")), ..Launch::default() };
        let start = || {
            read(&launch).map(|start| {
                keep(&start.config);
                (start.in_force.policy.rules.len(), start.files.shrunk.len())
            })
        };
        let refused = || start().unwrap_err().to_string();
        fs::write(&list, "192.0.2.0/24\n198.51.100.0/24\n").unwrap();
        assert_eq!(start().unwrap(), (1, 0));
        fs::write(&list, "192.0.2.0/24\n198.51").unwrap();
        // What can't be read says so first.
        assert!(refused().contains("'198.51' is no network"));
        fs::write(&list, "192.0.2.0/24\n198.51.100.0").unwrap();
        assert!(refused().contains("partners.txt is held: its last line is cut, and it is shorter than it was"));
        fs::write(&list, "").unwrap();
        assert!(refused().contains("partners.txt is held: it is empty"));
        fs::remove_file(&list).unwrap();
        assert!(refused().contains("partners.txt is held: it is gone"));
        fs::write(&list, "192.0.2.0/24\n").unwrap();
        assert_eq!(start().unwrap(), (1, 1));
        assert_eq!(start().unwrap(), (1, 0));
        fs::remove_file(&list).unwrap();
        accept(&state, &list).unwrap();
        assert_eq!(start().unwrap(), (0, 0));
        assert_eq!(start().unwrap(), (0, 0));
    }
}
