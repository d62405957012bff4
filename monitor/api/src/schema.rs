//! The JSON schemas of all documents, derived from their types: `docs/schema/`.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};

use crate::{
    alerts::Alerts,
    check::Check,
    diff::DiffDocument,
    error::ErrorDocument,
    explain::{Explanation, Line, Network},
    flows::Flows,
    geo::{Imported, Info, Lookup},
    reload::Outcome,
    rules::Rules,
    shadow::ShadowPage,
    started::Started,
    status::Status,
};

/// A document.
#[derive(Clone, Debug)]
pub struct Document {
    /// The name of its schema's file, without the extension.
    pub name: &'static str,
    /// The command that prints it, if one does.
    pub command: Option<&'static str>,
    /// What it is like.
    pub schema: Schema,
}

/// All of them, by name.
#[must_use]
pub fn documents() -> Vec<Document> {
    vec![
        document::<Alerts>("alerts", None),
        document::<Check>("check", Some("check --json")),
        document::<DiffDocument>("diff", Some("diff --json")),
        document::<ErrorDocument>("error", None),
        document::<Vec<Explanation>>("explain", Some("explain DESTINATION --json")),
        document::<Line<'_>>("explain-line", Some("explain - --json (one a line)")),
        document::<Vec<Network>>("explain-network", Some("explain --network NETWORK --json")),
        document::<Flows>("flows", Some("flows --json")),
        document::<Imported>("geo-import", Some("geo import --json")),
        document::<Vec<Info>>("geo-info", Some("geo info --json")),
        document::<Lookup>("geo-lookup", Some("geo lookup --json")),
        document::<Outcome>("reload", Some("reload --json, confirm --json")),
        document::<Rules>("rules", Some("rules --json")),
        document::<ShadowPage>("shadow", Some("flows --shadow --json")),
        document::<Started>("started", Some("run --json (first line on standard error)")),
        document::<Status>("status", Some("status --json, run --json (last line on standard error)")),
    ]
}

/// As it is written: a field that may be `null` is there all the same.
fn document<T: JsonSchema>(name: &'static str, command: Option<&'static str>) -> Document {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    Document { name, command, schema: generator.into_root_schema_for::<T>() }
}
