//! Lines of other tools' files that hold networks: `ipset save`, elements of nftables sets and maps, JSON lines. Called by
//! the text reader.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use super::about;

/// What a line is.
pub(super) enum Shape<'a> {
    /// Values, or the registries' statistics.
    Plain,
    /// Says nothing of networks: `create`, `map geoip {`.
    Structure,
    /// Networks, each with the text of its country where the line has it.
    Elements(Vec<(&'a str, Option<Cow<'a, str>>)>),
    /// An object on one line, its values as text.
    Object(BTreeMap<String, String>),
}

pub(super) fn read(line: &str) -> Shape<'_> {
    if line.starts_with('{') {
        return object(line).map_or(Shape::Plain, Shape::Object);
    }
    // Most lines by far.
    let marked = || line.split(',').next().is_some_and(|first| first.contains(" : "));
    if line.starts_with(|first: char| first.is_ascii_digit()) && !marked() {
        return Shape::Plain;
    }
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("create"), Some(_), Some(kind)) if kind.starts_with("hash:") => Shape::Structure,
        (Some("add"), Some(set), Some(network)) => {
            Shape::Elements(vec![(network, about::of_name(Path::new(set)).map(|country| country.to_string().into()))])
        }
        _ => nftables(line),
    }
}

/// `{"network":"192.0.2.0/24","country":"DE"}`; lists and objects in it hold nothing that is looked for.
pub(in super::super) fn object(line: &str) -> Option<BTreeMap<String, String>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text.trim().to_owned()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Null => Some(String::new()),
        _ => None,
    };
    Some(object.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect())
}

/// `elements = { 192.0.2.0/24 : $DE, 198.51.100.0-198.51.100.9 : $FR }`, in whatever pieces, and what stands around it.
fn nftables(line: &str) -> Shape<'_> {
    let opens = line.ends_with('{') || line == "}" || line == "},";
    let words = ["type ", "flags ", "typeof ", "comment \"", "auto-merge", "define ", "include ", "size ", "counter"];
    if opens || words.iter().any(|word| line.starts_with(word)) {
        return Shape::Structure;
    }
    let inner = line.strip_prefix("elements = {").or_else(|| line.strip_prefix("elements={"));
    if inner.is_none() && !line.split(',').next().is_some_and(|first| first.contains(" : ")) {
        return Shape::Plain;
    }
    let inner = inner.unwrap_or(line).trim().trim_end_matches('}');
    let elements = inner.split(',').map(str::trim).filter(|element| !element.is_empty());
    let parts = elements.map(|element| match element.split_once(" : ") {
        Some((network, mark)) => (network.trim(), Some(mark.trim().trim_start_matches('$').into())),
        None => (element, None),
    });
    Shape::Elements(parts.collect())
}
