//! What the [status document](crate::status::Status) says of somebody who changes what the monitor put into the kernel, or
//! sends past it.

use serde::{Deserialize, Serialize};

/// A program of somebody else's that has its say before ours. What the helper fills and has not reads
/// `unknown (no helper)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProgramAhead {
    /// Its number in the kernel.
    pub id: u32,
    /// Its name; may be empty.
    pub name: String,
    /// What the kernel makes of its instructions, hexadecimal: the same program has the same.
    pub tag: String,
    /// The number of the user who loaded it.
    pub loaded_by: String,
    /// Processes that have it, or a link of it, open: at most 8. None where it is only pinned, or attached by a filter.
    pub held_by: Vec<String>,
}

/// Sockets refused, by the way past the hook that they asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BypassRefused {
    /// Packet sockets with PACKET_QDISC_BYPASS.
    pub packet: u64,
    /// AF_XDP sockets with a ring to send by.
    pub xdp: u64,
}

/// Sockets that are open from before it was enforced, and send past the hook, or may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BypassOpen {
    /// At most 64; the role 'metrics' has none.
    pub sockets: Vec<OpenSocketStatus>,
    /// How many more there are.
    pub left_out: usize,
    /// AF_XDP sockets of which the kernel tells nothing but their number, those among them that only receive.
    pub unlisted_xdp: u32,
}

/// A socket that is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenSocketStatus {
    /// `packet`: the kernel does not say whether it has PACKET_QDISC_BYPASS. `xdp`: it has a ring to send by.
    pub kind: String,
    /// Its number, as in /proc/PID/fd.
    pub inode: u32,
    /// Number of the user whose it is.
    pub user: u32,
    /// The interface that it is bound to.
    pub interface: String,
    /// Processes that have it open: at most 8. `unknown (no helper)` where the helper has not told.
    pub held_by: Vec<String>,
}

/// Whether somebody changed what the monitor put into the kernel, or its own files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TamperStatus {
    /// When it looked last, RFC 3339; none: it has not yet.
    pub looked: Option<String>,
    /// When every byte of the policy in the kernel had been compared once more with what was compiled, RFC 3339.
    pub compared: Option<String>,
    /// How often something was found since the start.
    pub found: u64,
    /// How often it was put right.
    pub healed: u64,
    /// What the last look found, what it put right among it.
    pub open: Vec<TamperedStatus>,
    /// What was put right too often and is left alone.
    pub contended: Vec<String>,
    /// What was found last, whether it is open or not.
    pub last: Option<TamperedStatus>,
}

/// Something that was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TamperedStatus {
    /// The finding.
    pub kind: String,
    /// What was changed, and what became of it.
    pub what: String,
    /// Found when, RFC 3339.
    pub since: String,
}
