//! Open incidents over a restart: `incidents.json` in `[paths] state`. What is open in, what was open out; called by the
//! incidents' consumer. After a reboot nothing of them goes on.

use std::{cmp::Reverse, sync::Arc};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

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

/// Bytes of all incidents in the file: less than what is read of one.
const MOST: usize = 12 << 20;

/// What is written, `most` bytes of it: those that sent most. And how many found no room.
fn bounded<'a>(
    boot_id: &str,
    open: impl Iterator<Item = &'a Open>,
    most: usize,
) -> serde_json::Result<(Document<Box<RawValue>>, usize)> {
    let mut open: Vec<&Open> = open.filter(|open| open.announced).collect();
    open.sort_by_key(|open| Reverse(open.incident.totals.wire_bytes));
    let (mut incidents, mut room) = (Vec::new(), most);
    for one in &open {
        let text = to_raw_value(one)?;
        let Some(left) = room.checked_sub(text.get().len()) else { break };
        room = left;
        incidents.push(text);
    }
    let without = open.len() - incidents.len();
    Ok((Document { format: FORMAT, boot_id: boot_id.to_owned(), incidents }, without))
}

/// What is written, and how many found no room in it.
///
/// # Errors
/// Never in practice: they are plain values.
pub fn document<'a>(
    boot_id: &str,
    open: impl Iterator<Item = &'a Open>,
) -> serde_json::Result<(Document<Box<RawValue>>, usize)> {
    bounded(boot_id, open, MOST)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::tests::{Bench, to};

    #[test]
    fn a_file_that_would_be_too_long_to_be_read_has_those_that_sent_most() {
        let mut bench = Bench::new();
        let mut snapshot = crate::fake::snapshot(1);
        for third in 1..=9 {
            crate::fake::add(&mut snapshot, to([198, 51, third, 9], 443), third.into());
        }
        bench.snapshot(&snapshot);
        let open = || bench.incidents.book.iter().map(|(_, open)| open);
        let (whole, without) = document("b0", open()).expect("JSON");
        assert_eq!((whole.incidents.len(), without), (9, 0));
        let room = whole.incidents.iter().take(3).map(|one| one.get().len()).sum();
        let (short, without) = bounded("b0", open(), room).expect("JSON");
        assert_eq!(without, 6);
        let text = serde_json::to_string(&short).expect("JSON");
        let read: Document<Open> = serde_json::from_str(&text).expect("what was written");
        let packets: Vec<u64> = read.incidents.iter().map(|open| open.incident.totals.packets).collect();
        assert_eq!(packets, [9, 8, 7]);
    }

    #[test]
    fn what_is_of_several_interfaces_is_so_after_a_restart() {
        let key_of = |name: &str| super::super::key::interface(name);
        assert_eq!(key_of(super::super::key::SEVERAL), super::super::key::ANY);
        assert_ne!(key_of("eth0"), super::super::key::ANY);
    }
}
