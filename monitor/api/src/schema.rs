//! The JSON schemas of all documents, derived from their types: `docs/schema/`.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};

use crate::{
    alerts::{Acknowledged, Alerts},
    changes::Changes,
    check::Check,
    clock::ClockStatus,
    diff::DiffDocument,
    error::ErrorDocument,
    explain::{Explanation, Line, Network},
    flows::Flows,
    geo::{Imported, Info, Lookup, RolledBack, Staged},
    incidents::{Incidents, OneIncident},
    mode::ModeStatus,
    reload::{Outcome, Trial},
    rules::Rules,
    shadow::ShadowPage,
    sinks::{SinkRow, Sinks},
    started::Started,
    status::Status,
};

/// A document.
#[derive(Clone, Debug)]
pub struct Document {
    /// The name of its schema's file, without the extension.
    pub name: &'static str,
    /// The commands that print it.
    pub printed_by: &'static [&'static str],
    /// What it is like.
    pub schema: Schema,
}

/// All of them, by name.
pub fn documents() -> Vec<Document> {
    vec![
        document::<Alerts>("alerts", &[]),
        document::<Acknowledged>("alerts-ack", &["alerts ack ID --json"]),
        document::<Changes>("changes", &["changes --json"]),
        document::<Check>("check", &["check --json"]),
        document::<ClockStatus>("clock", &["clock --json"]),
        document::<DiffDocument>("diff", &["diff --json"]),
        document::<ErrorDocument>("error", &[]),
        document::<Vec<Explanation>>("explain", &["explain DESTINATION --json"]),
        document::<Line<'_>>("explain-line", &["explain - --json"]),
        document::<Vec<Network>>("explain-network", &["explain --network NETWORK --json"]),
        document::<Flows>("flows", &["flows --json"]),
        document::<Imported>("geo-import", &["geo import --json"]),
        document::<Vec<Info>>("geo-info", &["geo info --json"]),
        document::<Lookup>("geo-lookup", &["geo lookup --json"]),
        document::<RolledBack>("geo-rollback", &["geo rollback --json"]),
        document::<Vec<Staged>>("geo-stage", &["geo stage --json"]),
        document::<OneIncident>("incident", &["alerts show ID --json"]),
        document::<Incidents>("incidents", &[]),
        document::<ModeStatus>("mode", &["mode --json"]),
        document::<Outcome>("reload", &["reload --json", "try --json", "confirm --json"]),
        document::<Trial>("trial", &[]),
        document::<Rules>("rules", &["rules --json"]),
        document::<ShadowPage>("shadow", &["flows --shadow --json"]),
        document::<Sinks>("sinks", &["sinks --json"]),
        document::<SinkRow>("sinks-test", &["sinks test NAME --json"]),
        document::<Started>("started", &["run --json"]),
        document::<Status>("status", &["status --json", "run --json"]),
    ]
}

/// As it is written: a field that may be `null` is there all the same.
fn document<T: JsonSchema>(name: &'static str, printed_by: &'static [&'static str]) -> Document {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    Document { name, printed_by, schema: generator.into_root_schema_for::<T>() }
}
