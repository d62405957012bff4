//! Open incidents over a restart: `incidents.json` in `[paths] state`. What is open in, what was open out; called by the
//! incidents' consumer. After a reboot nothing of them goes on.

use std::sync::Arc;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{
    book::Open,
    key::{Group, Key, Network, Source},
};
use crate::model::{
    identities::{Identities, RuleName},
    incident::{Incident, IncidentKind},
};

/// The file's name.
pub const FILE: &str = "incidents.json";

/// What this build writes and reads; there was none before.
const FORMAT: u32 = 1;

/// The file, as it is written or read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Document<T> {
    format: u32,
    /// Of the host.
    boot_id: String,
    /// In no order.
    incidents: Vec<T>,
}

/// What is written.
pub fn document<'a>(boot_id: &str, open: impl Iterator<Item = &'a Open>) -> Document<&'a Open> {
    Document { format: FORMAT, boot_id: boot_id.to_owned(), incidents: open.filter(|open| open.announced).collect() }
}

impl Document<Open> {
    /// Those that go on in this boot, and those that ended with another one.
    pub fn split(self, boot_id: &str) -> (Vec<Open>, Vec<Open>) {
        let incidents = if self.format == FORMAT { self.incidents } else { Vec::new() };
        if self.boot_id == boot_id { (incidents, Vec::new()) } else { (Vec::new(), incidents) }
    }
}

/// The key of an incident; `None` of one that no build writes.
pub fn key(incident: &Incident, identities: &mut Arc<Identities>) -> Option<Key> {
    let Incident { kind, class, verdict, country, rule, network, source, unparsed, .. } = incident;
    let group = || Some(Group { class: (*class)?, verdict: *verdict, country: (*country)? });
    Some(match kind {
        IncidentKind::Egress => Key::Egress {
            group: group()?,
            rule: rule.as_ref().map_or(RuleName::NONE, |rule| identities.rule(rule)),
            network: Network::of(network.as_ref().map(IpNetwork::network)?),
            source: source.map_or(Source::Local, Source::Forwarded),
        },
        IncidentKind::Others => Key::Others { class: (*class)?, verdict: *verdict, country: *country },
        IncidentKind::Answers => Key::Answers(group()?),
        IncidentKind::Overflow => Key::Overflow(group()?),
        IncidentKind::Unparsed => Key::Unparsed {
            reason: incident.reason()?,
            interface: super::key::interface(&unparsed.as_ref()?.1),
            dropped: *verdict == monitor_common::verdict::Verdict::Denied,
        },
    })
}
