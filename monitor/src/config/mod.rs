//! Configuration: TOML in, checked types out, every problem with file, line, value and hint. Called by `run`, `check`
//! and `explain`.
//!
//! [`keys`] declares every key. `document` reads one TOML file into tables whose every value still knows its line,
//! `sections` turns those into the types below, `values` does so for single values, `allowlist` for the files of
//! `[policy] allowlists` and `denylists`; [`sources`] says where they are. [`error`] is what is reported, [`inputs`] reads and compiles what a configuration names.

mod allowlist;
mod document;
pub mod error;
mod globs;
pub mod inputs;
pub mod keys;
mod load;
mod receivers;
mod sections;
pub mod sources;
#[cfg(test)]
mod tests;
mod text;
mod values;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use monitor_policy::{
    Spec,
    spec::{Action, Mode},
};

use crate::model::{DEFAULT_FLOWS, HookChoice, receiver::SinkSpec};

pub use error::{ConfigError, Problem};
pub use globs::Globs;
pub use load::{DEFAULT_FILE, load, load_kept, parse, paths};
pub use sources::Sources;

/// When configuration and policy are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// When told to, and when one of their files changes.
    Auto,
    /// Only when told to.
    Signal,
}

/// The whole checked configuration; the defaults are those of `run` without a file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from; `None` for the defaults.
    pub file: Option<PathBuf>,
    /// What that held.
    pub text: Arc<str>,
    /// Where that and the files that it names were read.
    pub sources: Sources,
    /// `[monitor] mode`.
    pub mode: Mode,
    /// `[monitor] interfaces`: names, globs, or `auto`; with `!`, what is left out.
    pub interfaces: Vec<String>,
    /// `[monitor] guests`: names and globs of what leads to guests and is watched besides.
    pub guests: Vec<String>,
    /// `[monitor] epoch`, 100 ms to 5 min.
    pub epoch: Duration,
    /// `[monitor] flows`: places in the flow table.
    pub flows: u32,
    /// `[monitor] cache`: places that a CPU's flow cache has at most, of each IP version; by default all that is there.
    pub cache: Option<u32>,
    /// `[monitor] bypass`: control groups that may send past the hook.
    pub bypass: Vec<String>,
    /// `[monitor] memory_max`: bytes that the kernel part's maps may take while some are replaced.
    pub memory_max: u64,
    /// `[monitor] hook`.
    pub hook: HookChoice,
    /// `[monitor] on_daemon_loss`.
    pub on_daemon_loss: OnDaemonLoss,
    /// `[monitor] heal`.
    pub heal: Heal,
    /// `[monitor] heal_order`: whether programs ahead are overtaken.
    pub heal_order: bool,
    /// `[zone]`, `[[site]]`, `[management]`, and the rules of this file and of `[policy] allowlists`.
    pub spec: Spec,
    /// `[geo]`.
    pub geo: Geo,
    /// `[policy] reload`.
    pub reload: Reload,
    /// `[policy] shadow`: a configuration to be evaluated beside this one, never enforced.
    pub shadow: Option<PathBuf>,
    /// The files of `[policy] allowlists` and `denylists`.
    pub lists: Vec<List>,
    /// The globs that name files, and where they look for more.
    pub globs: Globs,
    /// `[http] listen`; `None` turns it off.
    pub listen: Option<SocketAddr>,
    /// `[alerts]`.
    pub alerts: Alerts,
    /// `[attribution]`.
    pub attribution: Attribution,
    /// `[paths]`.
    pub paths: Paths,
}

/// `[monitor] on_daemon_loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDaemonLoss {
    /// It goes on as before.
    Keep,
    /// It only observes.
    Observe,
    /// The same, and it ends with the daemon.
    Open,
}

/// `[monitor] heal`: in which mode what somebody changed in the kernel is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heal {
    /// In enforce mode.
    Enforce,
    /// In both.
    Always,
    /// In none.
    Never,
}

/// A file of `[policy] allowlists` or `denylists`, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Which.
    pub file: PathBuf,
    /// What it is named as: what a plain list does.
    pub action: Action,
    /// One network a line.
    pub plain: bool,
    /// `[[allow]]` in it; a plain list is one rule.
    pub allow_rules: usize,
    /// `[[deny]]` in it.
    pub deny_rules: usize,
    /// Networks that its rules name.
    pub networks: usize,
}

/// `[alerts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// `keep`: bytes of alerts that are kept.
    pub keep: u64,
    /// `stdout`: whether they go to standard output.
    pub stdout: bool,
    /// `file`: that they are appended to.
    pub file: Option<PathBuf>,
    /// The receivers.
    pub sinks: Vec<SinkSpec>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { keep: 512 << 20, stdout: true, file: None, sinks: Vec::new() }
    }
}

/// `[attribution]`: whether alerts say who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// `enabled`.
    pub enabled: bool,
    /// `command_line`.
    pub command_lines: bool,
}

impl Default for Attribution {
    fn default() -> Self {
        Self { enabled: true, command_lines: true }
    }
}

/// `[geo]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geo {
    /// `sources`: `embedded` or files.
    pub sources: Vec<String>,
    /// `overlays`: files that know better than the sources.
    pub overlays: Vec<PathBuf>,
    /// `asn`: the dataset that says which autonomous system a network belongs to.
    pub asn: Option<String>,
    /// `incoming`: where fresh files are dropped.
    pub incoming: Option<PathBuf>,
    /// `keys`: who signs them.
    pub keys: Vec<PathBuf>,
}

impl Geo {
    /// Whether another one names the same data.
    pub fn has_data_of(&self, other: &Self) -> bool {
        (&self.sources, &self.overlays, &self.asn) == (&other.sources, &other.overlays, &other.asn)
    }

    /// The files that it names, each once.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = self.sources.iter().chain(&self.asn).filter(|source| *source != "embedded");
        let mut files: Vec<PathBuf> = Vec::new();
        for file in named.map(PathBuf::from).chain(self.overlays.iter().cloned()) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }
}

impl Config {
    /// For how long the kernel part counts on the daemon when no epoch is closed.
    pub fn lease(&self) -> Duration {
        (3 * self.epoch).max(Duration::from_secs(10))
    }

    /// What is missing for enforce mode, where something is: nobody is to lock themselves out by accident.
    pub const fn lacks_for_enforce(&self) -> Option<&'static str> {
        if self.spec.management.is_none() { Some(sections::NEEDS_MANAGEMENT) } else { None }
    }

    /// Every file that went into it, and every directory in which a file more would: the configuration, allowlists,
    /// datasets, overlays, the AS dataset; and the shadow policy's own.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let mut inputs: Vec<PathBuf> = self.file.iter().cloned().collect();
        inputs.extend(self.globs.directories.iter().cloned());
        inputs.extend(self.lists.iter().map(|list| list.file.clone()));
        inputs.extend(self.geo.files());
        inputs.extend(self.shadow.iter().cloned());
        inputs
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            text: Arc::default(),
            sources: Sources::Disk,
            mode: Mode::Observe,
            interfaces: vec!["auto".into()],
            guests: Vec::new(),
            epoch: Duration::from_secs(10),
            flows: DEFAULT_FLOWS,
            bypass: Vec::new(),
            memory_max: 1 << 30,
            cache: None,
            hook: HookChoice::Auto,
            on_daemon_loss: OnDaemonLoss::Keep,
            heal: Heal::Enforce,
            heal_order: false,
            spec: Spec::default(),
            geo: Geo::default(),
            reload: Reload::Auto,
            shadow: None,
            lists: Vec::new(),
            globs: Globs::default(),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9477))),
            alerts: Alerts::default(),
            attribution: Attribution::default(),
            paths: Paths::default(),
        }
    }
}

impl Default for Geo {
    fn default() -> Self {
        Self { sources: vec!["embedded".into()], overlays: Vec::new(), asn: None, incoming: None, keys: Vec::new() }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            config_dir: "/etc/egress-monitor".into(),
            state: "/var/lib/egress-monitor".into(),
            runtime: "/run/egress-monitor".into(),
            bpffs: "/run/egress-monitor-bpf".into(),
            helper: "/run/egress-monitor-helper.sock".into(),
            groups: Groups::default(),
        }
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self { auditors: "egress-auditors".into(), security: "egress-security".into() }
    }
}

/// `[paths]`.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `config_dir`.
    pub config_dir: PathBuf,
    /// `state`.
    pub state: PathBuf,
    /// `runtime`: the control socket is `control.sock` in it.
    pub runtime: PathBuf,
    /// `bpffs`.
    pub bpffs: PathBuf,
    /// `helper`.
    pub helper: PathBuf,
    /// Whom the control socket serves beside root.
    pub groups: Groups,
}

/// Groups of the host's whose members may read; empty: nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// `auditors`.
    pub auditors: String,
    /// `security`.
    pub security: String,
}
