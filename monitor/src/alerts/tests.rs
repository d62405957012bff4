//! Alerts as whoever reads the lines gets them. A file a subject; here is what they share.

mod findings;
mod lines;
mod once;

use monitor_common::wire::FullKey;
use serde_json::Value;

use std::sync::Arc;

use super::*;
use crate::{
    fake,
    model::{Host, Snapshot, identities::Interfaces},
    storage::segments::line,
};

fn host() -> Host {
    Host { name: "enclave-1".into(), boot_id: "b0".into() }
}

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../docs/alert.schema.json");
    let schema: Value = serde_json::from_str(text).expect("the schema is JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("the schema is a schema")
}

#[track_caller]
fn valid(line: &str) -> Value {
    assert!(!line.contains('\n'));
    let value: Value = serde_json::from_str(line).expect(line);
    let errors: Vec<String> = schema().iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{line}");
    value
}

/// The alert as it is kept, without the line's end.
fn encoded(alert: &Alert) -> String {
    let line = String::from_utf8(ocsf::kept(&host(), alert, 7)).expect("text");
    let line = line.strip_suffix('\n').expect("a line");
    assert_eq!(line::whole(line.as_bytes()).map(|stamp| stamp.sequence), Some(7), "{line}");
    line.to_owned()
}

/// An alerter with its names and the fake policy.
struct Bench {
    alerter: Alerter,
    identities: Arc<Identities>,
    resolver: Resolver,
    interfaces: Interfaces,
    /// Of events.
    epoch: u32,
}

impl Bench {
    fn new(limit: usize) -> Self {
        Self::with(fake::policy(), limit, PER_EPOCH)
    }

    fn with(policy: Policy, remembered: usize, per_epoch: usize) -> Self {
        let mut identities = Arc::new(Identities::default());
        let (eth0, unregistered) = (identities.interface("eth0"), identities.interface(""));
        Self {
            alerter: Alerter::new(remembered, per_epoch),
            resolver: Resolver::new(&mut identities, &policy.into()),
            interfaces: Interfaces::new([(7, eth0)].into(), unregistered),
            identities,
            epoch: 1,
        }
    }

    fn event(&mut self, flow: impl Into<FullKey>, jiffies: u64, wall: i128) -> Option<Alert> {
        let event = Event { flow: flow.into(), jiffies, epoch: self.epoch, wire_bytes: 104 };
        self.alerter.event(&event, (wall, wall), self.interfaces.name(7), &self.resolver, &self.identities)
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> Vec<Alert> {
        let (alerts, suppressed) = self.counted(snapshot);
        assert_eq!(suppressed, 0);
        alerts
    }

    /// The alerts, and how many flows got none.
    fn counted(&mut self, snapshot: &Snapshot) -> (Vec<Alert>, u64) {
        let mut alerts = Vec::new();
        let push = |alert| alerts.push(alert);
        let epoch = ClosedEpoch::new(snapshot, &self.interfaces, &self.resolver, &self.identities);
        let suppressed = self.alerter.drain(&epoch, push);
        (alerts, suppressed)
    }
}
