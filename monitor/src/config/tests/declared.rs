//! What follows from the declarations of the keys: that the reader reads each of them, the example file, the reference.

use std::path::Path;

use super::{
    super::keys::{self, Absent, Example, FILE, Key, Kind, Section},
    *,
};

/// Writes the example and the reference.
const BLESS: &str = "BLESS=1 cargo test -p egress-monitor --lib config::tests::declared";

/// The longest line of the example.
const WIDTH: usize = 120;

/// A section and those in it, in the order of the file.
fn sections(of: &'static Section) -> Vec<&'static Section> {
    let inner = of.keys.iter().filter_map(|key| match key.kind {
        Kind::Table(section) => Some(section),
        _ => None,
    });
    std::iter::once(of).chain(inner.flat_map(sections)).collect()
}

/// The section's heading as a line of a file; none for the file itself.
fn heading(section: &Section) -> String {
    if section.name.is_empty() { String::new() } else { format!("{}\n", section.heading) }
}

#[test]
fn each_declared_key_is_read() {
    for section in sections(&FILE) {
        for key in section.keys {
            let others = section.keys.iter().filter(|other| other.name != key.name);
            let required: Vec<_> =
                others.filter(|other| matches!(other.absent, Absent::Refused(_))).filter_map(line).collect();
            // No key takes a fraction: whoever reads it reports it.
            let text = format!("{}{} = 1.5\n{}", heading(section), key.name, required.join("\n"));
            let found = problems(&text);
            let at = heading(section).lines().count() + 1;
            let reported = format!("config.toml:{at}: '{}' ", key.name);
            assert!(found.iter().any(|problem| problem.starts_with(&reported)), "{} {found:?}", section.heading);
        }
    }
}

#[test]
fn each_planned_key_is_refused_with_its_hint() {
    for section in sections(&FILE) {
        for (name, hint) in section.planned {
            let found = problems(&format!("{}{name} = 1", heading(section)));
            assert_eq!(found, [format!("config.toml:2: '{name}' is not supported in this version: {hint}")]);
        }
    }
}

#[test]
fn the_declared_defaults_are_those_of_a_file_without_keys() {
    let mut text = String::new();
    for section in sections(&FILE).into_iter().filter(|section| !section.heading.starts_with("[[")) {
        let defaults: Vec<_> = section.keys.iter().filter(|key| matches!(key.absent, Absent::Value(_))).collect();
        if !defaults.is_empty() {
            text += section.heading;
        }
        for key in defaults {
            if let Absent::Value(value) = key.absent {
                text += &format!("\n{} = {value}", key.name);
            }
        }
        text.push('\n');
    }
    let config = good(&text);
    let defaults = Config { file: config.file.clone(), text: config.text.clone(), ..Config::default() };
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"), "{text}");
}

#[test]
fn the_example_is_what_is_declared() {
    bless("packaging/config.example.toml", &example());
}

#[test]
fn the_reference_is_what_is_declared() {
    bless("docs/configuration.md", &reference());
}

/// Holds a file of the repository against what it has to be, or writes it.
fn bless(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).expect("written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{file} is not what the keys declare: `{BLESS}` writes it");
}

/// The example file.
fn example() -> String {
    let mut text = String::from("# egress-monitor: /etc/egress-monitor/config.toml\n#\n");
    text += &comment(&format!("{} What is shown without a comment sign is an example.", FILE.about));
    text += "# `egress-monitor check --config FILE` says what is wrong with a file, or what it comes to.\n";
    text += &format!("#\n# Generated from the declarations of the keys:\n# {BLESS}\n");
    for section in &sections(&FILE)[1..] {
        text += &format!("\n{}{}", comment(section.about), heading(section));
        let lines: Vec<_> = section.keys.iter().filter_map(|key| Some((key, line(key)?))).collect();
        // Where the comments begin; a line that is longer has its comment above.
        let longest =
            |(key, line): &(&Key, String)| (line.len() + 2 + remark(key).len() <= WIDTH).then_some(line.len());
        let column = lines.iter().filter_map(longest).max().unwrap_or(0) + 2;
        for (key, line) in &lines {
            let remark = remark(key);
            if column + remark.len() <= WIDTH {
                text += &format!("{line:column$}{remark}\n");
            } else {
                text += &format!("{}{line}\n", comment(remark.trim_start_matches("# ")));
            }
        }
        text += section.more;
    }
    text
}

/// A key with its value.
fn line(key: &Key) -> Option<String> {
    match key.example {
        Example::Shown(value) => Some(format!("{} = {value}", key.name)),
        Example::Commented(value) => Some(format!("# {} = {value}", key.name)),
        Example::Hidden => None,
    }
}

/// A key's comment.
fn remark(key: &Key) -> String {
    match key.absent {
        Absent::Value(value) => format!("# {}. Default: {value}", key.help),
        Absent::Means(words) => format!("# {}. Default: {words}", key.help),
        Absent::Refused(_) => format!("# required: {}", key.help),
    }
}

/// Text as lines of comment.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            lines += &format!("{line}\n");
            line = String::from("#");
        }
        line += &format!(" {word}");
    }
    lines + &line + "\n"
}

/// `docs/configuration.md`.
fn reference() -> String {
    let mut text = format!(
        "# Configuration\n\n\
         `/etc/egress-monitor/config.toml`, or the file that `--config` names, in [TOML](https://toml.io/). {} A key that \
         is not listed here is refused. [packaging/config.example.toml](../packaging/config.example.toml) shows them all; \
         `egress-monitor check --config FILE` says what is wrong with a file, with line and remedy, or what it comes to. \
         What the keys of the policy mean together: [policy.md](policy.md).\n\n\
         This page and the example are generated from the declarations of the keys (`monitor/src/config/keys/`): \
         `{BLESS}` writes them.\n",
        FILE.about
    );
    for (at, section) in sections(&FILE).into_iter().enumerate().skip(1) {
        text += &format!("\n## `{}`\n\n{}\n", section.heading, code(section.about));
        let names = |of: &Section| of.keys.iter().map(|key| key.name).collect::<Vec<_>>();
        if names(sections(&FILE)[at - 1]) != names(section) {
            text += "\n| key | type | default | is |\n|---|---|---|---|\n";
            for key in section.keys {
                let default = match key.absent {
                    Absent::Value(value) => format!("`{value}`"),
                    Absent::Means(words) => words.to_owned(),
                    Absent::Refused(_) => "required".to_owned(),
                };
                let kind = code(&key.kind.to_string());
                text += &format!("| `{}` | {kind} | {default} | {} |\n", key.name, code(key.help));
            }
        }
        if !section.planned.is_empty() {
            let names: Vec<_> = section.planned.iter().map(|(name, _)| format!("`{name}`")).collect();
            text += &format!("\nPlanned, and refused in this version: {}.\n", names.join(", "));
        }
    }
    text
}

/// Strings, lists and names of tables as code.
fn code(text: &str) -> String {
    let mut marked = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '[', '`']) {
        let (before, from) = rest.split_at(start);
        let length = match from.as_bytes()[0] {
            b'[' => list(from),
            quote => from.bytes().skip(1).position(|byte| byte == quote).map(|end| end + 2),
        };
        let (quoted, after) = from.split_at(length.unwrap_or(from.len()));
        marked += &if quoted.starts_with('`') { format!("{before}{quoted}") } else { format!("{before}`{quoted}`") };
        rest = after;
    }
    marked + rest
}

/// The length of a list or of a table's name, up to the bracket that ends it.
fn list(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let end = text.bytes().position(|byte| {
        depth = match byte {
            b'[' => depth + 1,
            b']' => depth - 1,
            _ => depth,
        };
        depth == 0
    })?;
    Some(end + 1)
}

#[test]
fn allowlists_have_the_rules_of_the_file_itself() {
    let names: Vec<_> = keys::ALLOWLIST.keys.iter().map(|key| key.name).collect();
    assert_eq!(names, [keys::ALLOW.name, keys::DENY.name]);
}
