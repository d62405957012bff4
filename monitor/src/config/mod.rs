//! Configuration: TOML in, checked types out, every complaint with file, line, value and mend. Called by `run`,
//! `check` and `explain`.
//!
//! [`document`] reads one TOML file into tables whose every value still knows its line, [`sections`] turns those into
//! the types below, [`values`] does so for single values, [`allowlist`] for the files of `[policy] allowlists`,
//! [`error`] is what they all report to.

mod allowlist;
mod document;
pub mod error;
mod load;
mod sections;
#[cfg(test)]
mod tests;
mod values;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use ipnetwork::IpNetwork;
use monitor_common::parse::Reason;

use crate::{geo::Country, kernel, policy::region};

pub use error::{ConfigError, Problem};
pub use load::{DEFAULT_FILE, load, load_at, parse_at};

/// What to do with denied packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Count them and let them pass.
    Observe,
    /// Count and drop them.
    Enforce,
}

/// When configuration and policy are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// When told to, and when one of their files changes.
    Auto,
    /// Only when told to.
    Signal,
}

/// How to attach to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// TCX where the kernel has it, else clsact.
    Auto,
    /// TCX or nothing.
    Tcx,
    /// clsact.
    Clsact,
}

/// What the policy says of a kind of destination, and what a rule says of the packets that it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Let through.
    #[default]
    Allow,
    /// Deny: dropped in enforce mode, alerted in both.
    Deny,
}

/// A rule's: `[[allow]]` or `[[deny]]`.
pub type RuleAction = Action;

/// The whole checked configuration; the defaults are those of `run` without a file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from; `None` for the defaults.
    pub file: Option<PathBuf>,
    /// `[monitor] mode`.
    pub mode: Mode,
    /// `[monitor] interfaces`: names, globs, or `auto`.
    pub interfaces: Vec<String>,
    /// `[monitor] epoch`, 100 ms to 5 min.
    pub epoch: Duration,
    /// `[monitor] flows`: places in the flow table.
    pub flows: u32,
    /// `[monitor] cache`: places in each CPU's flow cache; by default as many as its number of CPUs leaves.
    pub cache: Option<u32>,
    /// `[monitor] hook`.
    pub hook: Hook,
    /// `[zone]`.
    pub zone: Zone,
    /// `[geo]`.
    pub geo: Geo,
    /// `[[site]]`.
    pub sites: Vec<Site>,
    /// `[[allow]]` and `[[deny]]` of this file and of `[policy] allowlists`.
    pub rules: Vec<Rule>,
    /// `[management]`.
    pub management: Option<Management>,
    /// `[policy] reload`.
    pub reload: Reload,
    /// `[policy] shadow`: a configuration to be judged beside this one, never enforced.
    pub shadow: Option<PathBuf>,
    /// The files of `[policy] allowlists`, and the directories in which its globs look for more.
    pub allowlists: Vec<PathBuf>,
    /// `[http] listen`; `None` turns it off.
    pub listen: Option<SocketAddr>,
    /// `[paths]`.
    pub paths: Paths,
}

/// `[zone]`: what counts as inside, and what is done with the rest.
#[derive(Clone, Debug)]
pub struct Zone {
    /// `name`.
    pub name: String,
    /// `inside` as written, for people.
    pub inside_text: String,
    /// `inside` worked out: sorted country codes.
    pub inside: Vec<Country>,
    /// Whether `private` is part of `inside`.
    pub inside_private: bool,
    /// `on_outside`.
    pub on_outside: Action,
    /// `on_ambiguous`.
    pub on_ambiguous: Action,
    /// `on_unknown`.
    pub on_unknown: Action,
    /// `on_private`.
    pub on_private: Action,
    /// `on_undecodable`.
    pub on_undecodable: Action,
    /// `[zone.undecodable]`: where a reason has an action of its own.
    pub undecodable: BTreeMap<Reason, Action>,
    /// `nat64`: prefixes of translators, each with the `file:line` where it stands. IPv6 networks of a length that
    /// [`monitor_common::wire::Embedded::nat64`] knows.
    pub nat64: Vec<(IpNetwork, String)>,
}

impl Zone {
    /// What happens to packets that have no flow for this reason.
    #[must_use]
    pub fn on_reason(&self, reason: Reason) -> Action {
        if reason.always_passes() {
            return Action::Allow;
        }
        self.undecodable.get(&reason).copied().unwrap_or(self.on_undecodable)
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
}

/// `[[site]]`: where networks of ours are.
#[derive(Clone, Debug)]
pub struct Site {
    /// `name`.
    pub name: String,
    /// `country`.
    pub country: Country,
    /// `networks`, each with the `file:line` where it stands.
    pub networks: Vec<(IpNetwork, String)>,
}

/// `[[allow]]`, `[[deny]]`, or an allowlist file.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `id`.
    pub id: String,
    /// `file:line`.
    pub origin: String,
    /// Which of the two it is.
    pub action: RuleAction,
    /// The networks of `to`, each with its `file:line`.
    pub to: Vec<(IpNetwork, String)>,
    /// The countries of `to`.
    pub countries: Vec<(Country, String)>,
    /// The autonomous systems of `to`.
    pub ases: Vec<(u32, String)>,
    /// `ports`; empty: every protocol and port.
    pub ports: Vec<PortRange>,
    /// `max_bytes_per_day`, on the wire.
    pub max_bytes_per_day: Option<u64>,
    /// `reason`; for an allowlist file, which file it is.
    pub reason: String,
    /// `legal_basis`; may be empty, as `owner` and `ticket`.
    pub legal_basis: String,
    /// `owner`.
    pub owner: String,
    /// `ticket`.
    pub ticket: String,
    /// `not_before`, seconds since 1970.
    pub not_before: Option<i64>,
    /// `expires`.
    pub expires: Option<i64>,
    /// One network a line, without terms of its own: the id is a file's name and no more than a label.
    pub plain: bool,
}

/// `[management]`: what enforce never drops.
#[derive(Clone, Debug, Default)]
pub struct Management {
    /// `networks`, each with its `file:line`; empty: none, on purpose.
    pub networks: Vec<(IpNetwork, String)>,
    /// `ports`; empty: every protocol and port.
    pub ports: Vec<PortRange>,
    /// `file:line`.
    pub origin: String,
}

impl Management {
    /// The rule that its traffic is attributed to. No other rule has this id.
    pub const RULE: &'static str = "management";
}

impl Config {
    /// What is missing for enforce mode, where something is: nobody is to lock themselves out by accident.
    #[must_use]
    pub const fn lacks_for_enforce(&self) -> Option<&'static str> {
        if self.management.is_none() { Some(sections::NEEDS_MANAGEMENT) } else { None }
    }

    /// Every file that went into it, and every directory in which a file more would: the configuration, allowlists,
    /// datasets, overlays, the AS dataset; and the shadow policy's own.
    #[must_use]
    pub fn inputs(&self) -> Vec<PathBuf> {
        let mut inputs: Vec<PathBuf> = self.file.iter().cloned().collect();
        inputs.extend(self.allowlists.iter().cloned());
        let datasets = self.geo.sources.iter().chain(&self.geo.asn).filter(|source| *source != "embedded");
        inputs.extend(datasets.map(PathBuf::from));
        inputs.extend(self.geo.overlays.iter().cloned());
        inputs.extend(self.shadow.iter().cloned());
        inputs
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            mode: Mode::Observe,
            interfaces: vec!["auto".into()],
            epoch: Duration::from_secs(10),
            flows: kernel::FLOWS,
            cache: None,
            hook: Hook::Auto,
            zone: Zone::default(),
            geo: Geo::default(),
            sites: Vec::new(),
            rules: Vec::new(),
            management: None,
            reload: Reload::Auto,
            shadow: None,
            allowlists: Vec::new(),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9477))),
            paths: Paths::default(),
        }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "eea".into(),
            inside_text: "EEA".into(),
            inside: region::eea(),
            inside_private: false,
            on_outside: Action::Deny,
            on_ambiguous: Action::Deny,
            on_unknown: Action::Deny,
            on_private: Action::Allow,
            on_undecodable: Action::Deny,
            undecodable: BTreeMap::new(),
            nat64: Vec::new(),
        }
    }
}

impl Default for Geo {
    fn default() -> Self {
        Self { sources: vec!["embedded".into()], overlays: Vec::new(), asn: None }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            config_dir: "/etc/egress-monitor".into(),
            state: "/var/lib/egress-monitor".into(),
            runtime: "/run/egress-monitor".into(),
            bpffs: "/sys/fs/bpf/egress-monitor".into(),
        }
    }
}

/// `tcp/443`, `udp/4500-4510`; a protocol alone (`icmp`, `tcp`) is all of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// IANA protocol number.
    pub protocol: u8,
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
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
}

impl PortRange {
    /// Whether it is the protocol as such.
    #[must_use]
    pub const fn whole(&self) -> bool {
        self.low == 0 && self.high == u16::MAX
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", crate::policy::target::protocol_name(self.protocol))?;
        if self.whole() {
            return Ok(());
        }
        write!(f, "/{}", self.low)?;
        if self.low == self.high { Ok(()) } else { write!(f, "-{}", self.high) }
    }
}
