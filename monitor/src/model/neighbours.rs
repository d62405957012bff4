//! What there is of others where the monitor is: programs that have their say before ours, and who has its port. The helper
//! says what they are; without it they are known by their numbers alone.

use std::collections::BTreeMap;

pub use monitor_api::status::ProgramAhead;

/// What a field reads that the helper fills, and that it has not.
pub const UNKNOWN: &str = "unknown (no helper)";

/// What is known of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Whether the helper has answered the last question, or why not; `None`: it was not asked yet.
    pub helper: Option<Result<(), String>>,
    /// Programs before ours, by id.
    pub programs: BTreeMap<u32, ProgramAhead>,
    /// Who has a socket open that may send past the hook, by its number.
    pub sockets: BTreeMap<u32, Vec<String>>,
    /// Who has the HTTP port, while that is somebody else.
    pub port: Option<String>,
}

impl Neighbours {
    /// A program before ours.
    pub fn program(&self, id: u32) -> ProgramAhead {
        self.programs.get(&id).cloned().unwrap_or_else(|| unknown(id, UNKNOWN))
    }

    /// Who has a socket open.
    pub fn holders(&self, socket: u32) -> Vec<String> {
        self.sockets.get(&socket).cloned().unwrap_or_else(|| vec![UNKNOWN.into()])
    }
}

/// A program of which nothing is known, for this reason.
pub fn unknown(id: u32, why: &str) -> ProgramAhead {
    let why = || why.to_owned();
    ProgramAhead { id, name: why(), tag: why(), loaded_by: why(), held_by: vec![why()] }
}
