//! What somebody changed of what the monitor put into the kernel, as it was found. The kernel part looks, `tamper` decides
//! what becomes of it; findings, metrics and `status` show it.

use std::collections::BTreeMap;

use super::finding::FindingKind;

/// What a look can find, each a finding of its own.
pub const KINDS: [FindingKind; 14] = [
    FindingKind::Detached,
    FindingKind::ProgramReplaced,
    FindingKind::FilterDeleted,
    FindingKind::QdiscDeleted,
    FindingKind::ProgramAhead,
    FindingKind::PinRemoved,
    FindingKind::BpffsUnmounted,
    FindingKind::ControlWordChanged,
    FindingKind::ClassRowChanged,
    FindingKind::RuleRowChanged,
    FindingKind::ImageChanged,
    FindingKind::InterfaceTableChanged,
    FindingKind::BypassTableChanged,
    FindingKind::ChangedOnDisk,
];

/// Something that is not as the monitor made it, at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// One of [`KINDS`].
    pub kind: FindingKind,
    /// Of what: an interface, or nothing where there is one of it.
    pub subject: String,
    /// For people.
    pub what: String,
    /// It may be that the thing itself has just gone, and the news of that are on their way: it counts when it is seen again
    /// with the same number here.
    pub again: Option<i128>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healing {
    /// It is to stay: the configuration says so, or nothing can be done about it.
    NotWanted,
    /// It was put right. How often within the time that counts.
    Done(usize),
    /// It could not be put right; why.
    Failed(String),
    /// It comes back again and again: hands off.
    Contended,
}

/// Something that was found, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tampering {
    /// What was seen last.
    pub sighting: Sighting,
    /// When it was seen first, UTC nanoseconds since 1970.
    pub since: i128,
    /// What became of it.
    pub healing: Healing,
}

impl Tampering {
    /// In one line.
    pub fn text(&self) -> String {
        let what = &self.sighting.what;
        match &self.healing {
            Healing::NotWanted => what.clone(),
            Healing::Done(times) => format!("{what}; put right ({times} times in 10 minutes)"),
            Healing::Failed(why) => format!("{what}; it could not be put right: {why}"),
            Healing::Contended => format!("{what}; left alone, since it was put right too often"),
        }
    }
}

/// How often something was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// It was found.
    pub found: u64,
    /// It was put right.
    pub healed: u64,
}

/// What is known of tampering now, and since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TamperReport {
    /// As the last look found it, what it put right among it.
    pub open: Vec<Tampering>,
    /// What was put right too often: kind and subject.
    pub contended: Vec<(FindingKind, String)>,
    /// Since the start.
    pub times: BTreeMap<FindingKind, Times>,
    /// What was found last, whether it is open or not.
    pub last: Option<Tampering>,
    /// When the last look was, UTC nanoseconds since 1970.
    pub looked: i128,
    /// When every byte had been compared once more.
    pub compared: Option<i128>,
}
