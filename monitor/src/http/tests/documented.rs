//! The schemas below `docs/schema/`: that they are those of the types, and that every document of these tests follows
//! its own.

use std::{collections::BTreeMap, path::Path, sync::LazyLock};

use jsonschema::Validator;
use monitor_api::schema::documents;
use serde_json::Value;

use crate::http::{
    roles::Role,
    routes::{Gives, PAGES},
};

/// Writes the schemas and their table.
const BLESS: &str = "BLESS=1 cargo test -p egress-monitor --lib http::tests::documented";

static VALIDATORS: LazyLock<BTreeMap<&'static str, Validator>> = LazyLock::new(|| {
    let validator = |schema: &Value| {
        jsonschema::options().should_validate_formats(true).build(schema).expect("the schema is a schema")
    };
    documents().into_iter().map(|document| (document.name, validator(document.schema.as_value()))).collect()
});

/// Holds a document against its schema.
#[track_caller]
pub(crate) fn follows(name: &str, value: &Value) {
    let validator = VALIDATORS.get(name).expect("it has a schema");
    let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:?}\n{value:#}");
}

/// Holds what a page gives against its schema, where it has one.
#[track_caller]
pub(super) fn check(path: &str, value: &Value) {
    let path = path.split('?').next().unwrap_or(path);
    let page = PAGES.iter().find(|page| page.path == path);
    if let Some(Gives::Document(name)) = page.map(|page| page.gives) {
        follows(name, value);
    }
}

/// The same for a reply by its status.
#[track_caller]
pub(super) fn check_reply(head: &str, status: u16, body: &str) {
    let Ok(value) = serde_json::from_str(body) else { return };
    match status {
        200 => check(head.split(' ').nth(1).expect("a path"), &value),
        _ => follows("error", &value),
    }
}

fn text_of(schema: &Value) -> String {
    serde_json::to_string_pretty(schema).expect("JSON") + "\n"
}

/// `docs/schema/README.md`.
fn table() -> String {
    let mut text = format!(
        "# Documents\n\n\
         What the daemon serves and what commands print with `--json`, with the JSON schema of each. The schemas are \
         derived from the types in `monitor/api`, where Rust programs find them beside a client; alerts have one of \
         their own, `docs/alert.schema.json`. Field names are stable; new fields may come. Everything in this folder \
         is generated: `{BLESS}` writes it.\n\n\
         Each page takes a role, and some parameters a higher one; each role has what those above it have. A request \
         beyond one's role is refused with 403. Whatever is refused comes with [`error`](error.json), which says why, and \
         how to get there.\n\n\
         | Role | May | Is given to |\n| --- | --- | --- |\n"
    );
    for role in Role::ALL {
        text += &format!("| {} | {} | {} |\n", role.name(), role.may(), role.who());
    }
    text += "\n`fresh=1` closes the epoch first.\n\n| Page | Role | Parameters | Gives |\n| --- | --- | --- | --- |\n";
    for page in &PAGES {
        let gives = match page.gives {
            Gives::Document(name) => format!("[`{name}`]({name}.json)"),
            Gives::Other(what) => what.to_owned(),
        };
        let parameter = |(name, role): &(&str, Role)| match role {
            role if *role == page.role => format!("`{name}`"),
            role => format!("`{name}` ({})", role.name()),
        };
        let parameters: Vec<String> = page.parameters.iter().map(parameter).collect();
        let role = page.role.name();
        text += &format!("| `{} {}` | {role} | {} | {gives} |\n", page.method, page.path, parameters.join(" "));
    }
    text += "\nCommands that answer line by line print one document a line; `run --json` prints its two on standard \
             error, when it has started and when it ends.\n\n| Schema | Printed by |\n| --- | --- |\n";
    for document in documents() {
        let commands: Vec<String> =
            document.printed_by.iter().map(|command| format!("`egress-monitor {command}`")).collect();
        text += &format!("| [`{0}`]({0}.json) | {1} |\n", document.name, commands.join(", "));
    }
    text
}

#[test]
fn schemas_and_their_table_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    let mut files: BTreeMap<String, String> = documents()
        .into_iter()
        .map(|document| (format!("{}.json", document.name), text_of(document.schema.as_value())))
        .collect();
    files.insert("README.md".into(), table());
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in &files {
            std::fs::write(folder.join(name), text).expect("written");
        }
    }
    for (name, text) in &files {
        let written = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(written == *text, "docs/schema/{name} is not what the types say: `{BLESS}` writes it");
    }
    let there = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let surplus: Vec<_> = there.filter(|name| !files.contains_key(&*name.to_string_lossy())).collect();
    assert!(surplus.is_empty(), "{surplus:?} in docs/schema belong to nothing");
}

#[test]
fn every_page_with_a_document_names_one_that_has_a_schema() {
    for page in &PAGES {
        if let Gives::Document(name) = page.gives {
            assert!(VALIDATORS.contains_key(name), "{}: {name}", page.path);
        }
    }
}
