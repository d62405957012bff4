//! The incidents that are open. Sightings and sums in, and which alerts there are to make; called by the incidents' consumer
//! alone. Knows neither clock nor disk: time is the kernel's jiffies, so that nobody who sets the clock ends an incident.

use std::collections::{HashMap, hash_map::Entry};

use monitor_common::wire::Counters;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    key::Key,
    places::{Limits, Places},
};
use crate::model::{
    attribution::Attribution,
    incident::{EXAMPLES, Example, Incident, IncidentAlert, IncidentId, IncidentKind, Stage},
    sighting::FlowSighting,
};

/// Seconds of silence after which an incident is over.
pub const IDLE: u64 = 600;

/// Seconds between two alerts on the same incident.
const PAUSE: u64 = 60;

/// Bytes on the wire of which there is more to tell: 1 MiB, and then twice what was told.
const TOLD_FROM: u64 = 1 << 20;

/// An incident that is open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Open {
    /// As it stands.
    pub incident: Incident,
    /// First packet, in jiffies.
    pub began: u64,
    /// Last packet.
    pub last: u64,
    /// Its first alert was made.
    pub announced: bool,
    /// Bytes on the wire that were told.
    told: u64,
    /// Flows that were told.
    told_flows: u64,
    /// When, in jiffies.
    told_at: u64,
    /// All of the flow that was seen first, until it is told.
    #[serde(skip)]
    pub sighting: Option<Box<FlowSighting>>,
    /// Changed since it was shown.
    #[serde(skip)]
    changed: bool,
}

impl Open {
    /// One that is seen now, with its first packet at `began` jiffies.
    pub const fn new(incident: Incident, began: u64) -> Self {
        Self {
            incident,
            began,
            last: began,
            announced: false,
            told: 0,
            told_flows: 0,
            told_at: began,
            sighting: None,
            changed: true,
        }
    }

    /// Takes in packets from `first` to `last`, UTC nanoseconds since 1970, the last at `jiffies`.
    pub fn add(&mut self, counters: &Counters, (first, last): (i64, i64), jiffies: u64) {
        let incident = &mut self.incident;
        incident.totals.add(counters);
        (incident.first, incident.last) = (incident.first.min(first), incident.last.max(last));
        self.last = self.last.max(jiffies);
        self.changed = true;
    }

    /// Takes in a flow that it did not have.
    pub fn flow(&mut self, example: impl FnOnce() -> Example) {
        self.incident.flows += 1;
        if self.incident.kind == IncidentKind::Others && self.incident.examples.len() < EXAMPLES {
            self.incident.examples.push(example());
        }
        self.changed = true;
    }

    /// Who it is: the same however the same first sighting came to be known. `boot`: of the host.
    fn identify(&mut self, boot: &str) {
        let incident = &mut self.incident;
        let mut hash = Sha256::new();
        let text = |part: Option<String>| part.unwrap_or_default();
        for part in [
            boot.to_owned(),
            incident.kind.name().to_owned(),
            text(incident.class.map(|class| class.name().to_owned())),
            incident.verdict.name().to_owned(),
            text(incident.country.map(|country| country.to_string())),
            text(incident.rule.clone()),
            text(incident.network.map(|network| network.to_string())),
            text(incident.source.map(|source| source.to_string())),
            text(incident.unparsed.as_ref().map(|(reason, interface)| format!("{reason} {interface}"))),
        ] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.update(incident.epoch.to_be_bytes());
        hash.update(self.began.to_be_bytes());
        let digest = hash.finalize();
        incident.id = IncidentId(std::array::from_fn(|at| digest[at]));
    }

    /// Its first alert.
    pub fn first(&mut self, boot: &str) -> IncidentAlert {
        self.identify(boot);
        self.announced = true;
        self.tell(Stage::First, self.began, self.incident.first.into())
    }

    fn tell(&mut self, stage: Stage, jiffies: u64, time: i128) -> IncidentAlert {
        (self.told, self.told_flows, self.told_at) = (self.incident.totals.wire_bytes, self.incident.flows, jiffies);
        self.changed = true;
        IncidentAlert { stage, time, incident: self.incident.clone(), sighting: self.sighting.take() }
    }

    /// Whether there is more to tell at `jiffies`, of which a second has `hz`.
    fn has_more(&self, jiffies: u64, hz: u64) -> bool {
        let more_bytes = self.incident.totals.wire_bytes >= TOLD_FROM.max(self.told.saturating_mul(2));
        // Of others there are examples to tell.
        let more_flows = self.incident.kind == IncidentKind::Others
            && self.incident.flows >= (EXAMPLES as u64).max(self.told_flows.saturating_mul(2));
        (more_bytes || more_flows) && jiffies.saturating_sub(self.told_at) >= PAUSE * hz
    }

    /// The last alert of one that ended while nobody looked.
    pub fn ended(mut self, time: i128) -> IncidentAlert {
        self.tell(Stage::End, self.last, time)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Book {
    open: HashMap<Key, Open>,
    places: Places,
    limits: Limits,
    /// Ended since they were shown.
    ended: Vec<IncidentId>,
}

impl Book {
    /// One without any.
    pub fn new(limits: Limits) -> Self {
        Self { open: HashMap::new(), places: Places::default(), limits, ended: Vec::new() }
    }

    /// The incident that flows of this key are part of; where it is not open, `new` makes it, of the key that there is a
    /// place for.
    pub fn of(&mut self, key: Key, new: impl FnOnce(Key) -> Open) -> &mut Open {
        let key = if self.open.contains_key(&key) { key } else { self.places.place(key, &self.limits) };
        match self.open.entry(key) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                self.places.take(&key);
                place.insert(new(key))
            }
        }
    }

    /// One of an earlier daemon goes on.
    pub fn restore(&mut self, key: Key, open: Open) {
        if let Entry::Vacant(place) = self.open.entry(key) {
            self.places.take(&key);
            place.insert(Open { changed: true, ..open });
        }
    }

    /// The alerts that there are to make at the end of an epoch, at `jiffies` of which a second has `hz`, and at the time
    /// `now`: first ones, then more, then ends, each by time.
    pub fn settle(&mut self, boot: &str, jiffies: u64, hz: u32, now: i128) -> Vec<IncidentAlert> {
        let hz = u64::from(hz.max(1));
        let (mut made, mut over) = (Vec::new(), Vec::new());
        for (key, open) in &mut self.open {
            if !open.announced {
                made.push(open.first(boot));
            } else if jiffies.saturating_sub(open.last) > IDLE * hz {
                made.push(open.tell(Stage::End, jiffies, now));
                over.push(*key);
            } else if open.has_more(jiffies, hz) {
                made.push(open.tell(Stage::More, jiffies, now));
            }
        }
        for key in over {
            self.places.give_back(&key);
            self.ended.extend(self.open.remove(&key).map(|open| open.incident.id));
        }
        made.sort_by_key(|alert| (alert.stage as u8, alert.incident.first, alert.incident.id));
        made
    }

    /// Whether anything changed since it was shown.
    pub fn is_changed(&self) -> bool {
        !self.ended.is_empty() || self.open.values().any(|open| open.changed)
    }

    /// What changed since it was asked last: incidents that are open, and who is over.
    pub fn changes(&mut self) -> (impl Iterator<Item = &Incident>, Vec<IncidentId>) {
        let ended = std::mem::take(&mut self.ended);
        let changed = self.open.values_mut().filter(|open| open.announced && open.changed).map(|open| {
            open.changed = false;
            &open.incident
        });
        (changed, ended)
    }

    /// Takes in who they come from.
    pub fn attribute(&mut self, mut found: HashMap<IncidentId, Attribution>) {
        for open in self.open.values_mut() {
            if found.is_empty() {
                return;
            }
            if let Some(attribution) = found.remove(&open.incident.id) {
                open.incident.attribution = Some(Box::new(attribution));
                open.changed = true;
            }
        }
    }

    /// The ones that are open.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Open)> {
        self.open.iter()
    }
}
