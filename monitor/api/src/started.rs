//! What is attached and in force: the line that `egress-monitor run --json` prints on standard error once it works. The
//! line that it prints at its end is a [`Status`](crate::status::Status).

use std::{net::SocketAddr, path::PathBuf};

use monitor_policy::spec::Mode;
use serde::{Deserialize, Serialize};

use crate::{
    mode::{LastGood, ModeByHand},
    needs::CutOff,
    status::DeviceStatus,
};

/// The document. Its fields come in the order of the alphabet, as before there was a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Started {
    /// What is attached.
    pub attached: Vec<Attached>,
    /// Every device that is up or is to be watched, edges first: at most 4,096.
    pub coverage: Vec<DeviceStatus>,
    /// What this host needs, by its own files and connections, and enforce drops; names are not resolved.
    #[serde(default)]
    pub cut_off: Vec<CutOff>,
    /// Geo datasets.
    pub datasets: Vec<Dataset>,
    /// `zone.inside` as written.
    pub inside: String,
    /// Bytes that the kernel part's maps take.
    pub kernel_memory_bytes: u64,
    /// That the policy is the last good one, and why.
    pub last_good: Option<LastGood>,
    /// The HTTP port in use; none: it is off.
    pub listen: Option<SocketAddr>,
    /// `observe` or `enforce`.
    pub mode: Mode,
    /// Who set it, where that is not the configuration.
    pub mode_by_hand: Option<ModeByHand>,
    /// Whether counting and enforcing go on when it has ended.
    pub outlives: bool,
    /// Digest of the policy: SHA-256 in hexadecimal.
    pub policy: String,
    /// The control socket.
    pub socket: PathBuf,
    /// When, RFC 3339.
    pub started: String,
    /// Version of the daemon.
    pub version: String,
    /// `zone.name`.
    pub zone: String,
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attached {
    /// `tcx` or `clsact`.
    pub hook: String,
    /// The interface's index.
    pub ifindex: u32,
    /// Its name.
    pub interface: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// A geo dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Dataset {
    /// How old it is; none where it does not say.
    pub age_seconds: Option<i64>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}
