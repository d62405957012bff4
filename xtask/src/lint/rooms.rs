//! Which room uses which, held against `docs/rooms.toml`. A room is a crate, and in a crate of [`WITH_ROOMS`] each module
//! at its top. An edge that the table does not have fails the lint, and so does one that the sources do not have any
//! more, and a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::paths::{self, Named};
use crate::process::{self, root};

const TABLE: &str = "docs/rooms.toml";

/// The crates that have rooms of their own.
const WITH_ROOMS: [&str; 2] = ["egress-monitor", "monitor-policy"];

const HEAD: &str = "\
# Which room may use which, foundations first. A room is a crate, and in the crates that have a table of their own each
# module at the top (`lib`, `main`: what stands in the root file itself). `cargo xtask lint` fails on an edge that is
# not here, on one that is here and nowhere in the sources, and on a circle. After a change of the borders that was
# meant: `cargo xtask lint --bless-rooms`, and read what it changed.
";

/// Each room with those that it uses.
type Rooms = BTreeMap<String, BTreeSet<String>>;

/// The crates by the name `crates`, and of each crate with rooms these.
type Tables = BTreeMap<String, Rooms>;

/// One use: the table and the two rooms, and where it was seen first.
type Uses = BTreeMap<(String, String, String), String>;

/// Compares the sources with the table; with `bless` writes the table.
///
/// # Errors
/// They differ, the table has a circle, or a file can't be read.
pub fn check(bless: bool) -> Result<()> {
    let crates = crates()?;
    let (mut found, mut uses) = (Tables::new(), Uses::new());
    for one in &crates {
        one.look(&crates, &mut found, &mut uses)?;
    }
    let path = root().join(TABLE);
    if bless {
        std::fs::write(&path, text(&found)).with_context(|| format!("writing {TABLE}"))?;
    }
    let committed = std::fs::read_to_string(&path)
        .with_context(|| format!("reading {TABLE}; `cargo xtask lint --bless-rooms` writes it"))?;
    let committed: Tables = toml::from_str(&committed).with_context(|| format!("reading {TABLE}"))?;
    let wrong = compare(&found, &uses, &committed);
    if !wrong.is_empty() {
        bail!("the rooms are not as {TABLE} has them:\n  {}", wrong.join("\n  "));
    }
    let edges = |tables: &Tables| tables.values().flat_map(Rooms::values).map(BTreeSet::len).sum::<usize>();
    let rooms: usize = found.values().map(Rooms::len).sum();
    eprintln!("xtask: rooms: {rooms}, with {} edges, each in {TABLE}", edges(&found));
    Ok(())
}

/// A crate of the workspace.
struct Crate {
    package: String,
    /// By which its items are named.
    identifier: String,
    /// The root files of its library and its programs.
    roots: Vec<PathBuf>,
    /// The modules at the top of its library.
    modules: BTreeSet<String>,
}

/// The workspace's crates, by cargo.
fn crates() -> Result<Vec<Crate>> {
    let output = process::cargo(&["metadata", "--no-deps", "--format-version=1"]).output().context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("reading cargo's metadata")?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut crates = Vec::new();
    for package in list(&metadata["packages"]) {
        let name = package["name"].as_str().context("a package without a name")?;
        let mut one = Crate {
            package: name.to_owned(),
            identifier: name.replace('-', "_"),
            roots: Vec::new(),
            modules: BTreeSet::new(),
        };
        for target in list(&package["targets"]) {
            let file = target["src_path"].as_str().context("a target without a file")?;
            match target["kind"][0].as_str() {
                Some("lib") => {
                    one.identifier = target["name"].as_str().context("a target without a name")?.replace('-', "_");
                    let named = paths::top_modules(Path::new(file))?;
                    one.modules = named.into_iter().collect();
                    one.roots.push(file.into());
                }
                Some("bin") => one.roots.push(file.into()),
                _ => {}
            }
        }
        crates.push(one);
    }
    Ok(crates)
}

impl Crate {
    fn has_rooms(&self) -> bool {
        WITH_ROOMS.contains(&self.package.as_str())
    }

    /// Adds what this crate's sources use.
    fn look(&self, crates: &[Self], found: &mut Tables, uses: &mut Uses) -> Result<()> {
        found.entry("crates".to_owned()).or_default().entry(self.package.clone()).or_default();
        for root in &self.roots {
            let stem = root.file_stem().unwrap_or_default().to_string_lossy();
            let is_library = stem == "lib";
            if self.has_rooms() {
                let table = found.entry(self.package.clone()).or_default();
                let rooms = self.modules.iter().filter(|_| is_library).map(String::as_str).chain([&*stem]);
                table.extend(rooms.map(|room| (room.to_owned(), BTreeSet::new())));
            }
            for named in paths::of_crate(root)? {
                let at = named.file.strip_prefix(process::root()).unwrap_or(&named.file);
                let at = format!("{}:{}", at.display(), named.line);
                let from = named.module.first().filter(|_| is_library).map_or(&*stem, String::as_str);
                let mut add = |table: &str, from: &str, to: &str| {
                    if from != to {
                        let rooms = found.entry(table.to_owned()).or_default();
                        rooms.entry(from.to_owned()).or_default().insert(to.to_owned());
                        uses.entry((table.to_owned(), from.to_owned(), to.to_owned())).or_insert_with(|| at.clone());
                    }
                };
                match self.target(crates, &named, is_library) {
                    Some(Target::Crate(other)) => {
                        add("crates", &self.package, other);
                        if self.has_rooms() {
                            add(&self.package, from, other);
                        }
                    }
                    Some(Target::Room(room)) if self.has_rooms() => add(&self.package, from, room),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What a path leads to.
    fn target<'a>(&'a self, crates: &'a [Self], named: &'a Named, is_library: bool) -> Option<Target<'a>> {
        let room = |rest: &'a [String]| match rest.first() {
            Some(first) if self.modules.contains(first) => Target::Room(first),
            _ => Target::Room("lib"),
        };
        let (first, rest) = named.path.split_first()?;
        match first.as_str() {
            // All of a program is one room.
            "crate" | "self" | "super" if !is_library => None,
            "crate" => Some(room(rest)),
            "self" | "super" => {
                let up = named.path.iter().take_while(|part| *part == "super").count();
                let above = &named.module[..named.module.len().checked_sub(up)?];
                let rest = &named.path[up.max(usize::from(first == "self"))..];
                Some(if above.is_empty() { room(rest) } else { room(above) })
            }
            other => {
                if let Some(other) = crates.iter().find(|it| it.identifier == other) {
                    let own = other.package == self.package;
                    return Some(if own { room(rest) } else { Target::Crate(&other.package) });
                }
                // In the root file a module's name is enough.
                (is_library && named.module.is_empty() && self.modules.contains(other)).then(|| room(&named.path))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Crate(&'a str),
    Room(&'a str),
}

/// What is wrong, a line each.
fn compare(found: &Tables, uses: &Uses, committed: &Tables) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((table, from, to), at) in uses {
        if !committed.get(table).and_then(|rooms| rooms.get(from)).is_some_and(|allowed| allowed.contains(to)) {
            wrong.push(format!("{at}: {} uses `{to}`, which the table does not allow", show(table, from)));
        }
    }
    for (table, rooms) in found {
        for room in rooms.keys().filter(|room| !committed.get(table).is_some_and(|rooms| rooms.contains_key(*room))) {
            wrong.push(format!("{} has no row in the table", show(table, room)));
        }
    }
    for (table, rooms) in committed {
        for (room, allowed) in rooms {
            let Some(used) = found.get(table).and_then(|rooms| rooms.get(room)) else {
                wrong.push(format!("{} is in the table, and is no room", show(table, room)));
                continue;
            };
            for to in allowed.difference(used) {
                wrong.push(format!("{} does not use `{to}` any more: take it out of the table", show(table, room)));
            }
        }
        if let (_, Some(circle)) = ordered(rooms) {
            wrong.push(format!("the table has a circle in [{table}]: {}", circle.join(" → ")));
        }
    }
    wrong
}

fn show(table: &str, room: &str) -> String {
    if table == "crates" { format!("`{room}`") } else { format!("`{room}` of {table}") }
}

/// The rooms, each after those that it uses, and a circle if there is one: its rooms are in no such order.
fn ordered(rooms: &Rooms) -> (Vec<&str>, Option<Vec<&str>>) {
    let mut order: Vec<&str> = Vec::new();
    loop {
        let ready = |(_, used): &(&String, &BTreeSet<String>)| {
            used.iter().all(|used| order.contains(&used.as_str()) || !rooms.contains_key(used))
        };
        match rooms.iter().filter(|(room, _)| !order.contains(&room.as_str())).find(ready) {
            Some((room, _)) => order.push(room),
            None => break,
        }
    }
    let Some(mut room) = rooms.keys().map(String::as_str).find(|room| !order.contains(room)) else {
        return (order, None);
    };
    // Each of the rest uses another of the rest: following these comes round.
    let mut way = Vec::new();
    while !way.contains(&room) {
        way.push(room);
        let on = rooms[room].iter().find(|used| rooms.contains_key(*used) && !order.contains(&used.as_str()));
        room = on.map_or(room, String::as_str);
    }
    let mut circle: Vec<&str> = way.iter().copied().skip_while(|it| *it != room).collect();
    circle.push(room);
    order.extend(rooms.keys().map(String::as_str).filter(|room| !order.contains(room)).collect::<Vec<_>>());
    (order, Some(circle))
}

/// The file's text.
fn text(tables: &Tables) -> String {
    let mut text = HEAD.to_owned();
    // Writing to a String does not fail.
    for (table, rooms) in tables {
        let _ = writeln!(text, "\n[{table}]");
        for room in ordered(rooms).0 {
            let used: Vec<String> = rooms[room].iter().map(|used| format!("\"{used}\"")).collect();
            let line = format!("{room} = [{}]", used.join(", "));
            if line.len() <= 120 {
                let _ = writeln!(text, "{line}");
            } else {
                let _ = writeln!(text, "{room} = [");
                let mut row = String::new();
                for one in used {
                    if row.len() + one.len() > 110 {
                        let _ = writeln!(text, "    {}", row.trim_end());
                        row.clear();
                    }
                    let _ = write!(row, "{one}, ");
                }
                let _ = writeln!(text, "    {}\n]", row.trim_end());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{Crate, Named, Rooms, Tables, Target, Uses, compare, ordered, text};

    fn named(module: &str, path: &str) -> Named {
        let split = |text: &str| text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Named { module: split(module), path: split(path), file: "x.rs".into(), line: 1 }
    }

    fn one(package: &str, modules: &[&str]) -> Crate {
        Crate {
            package: package.to_owned(),
            identifier: package.replace('-', "_"),
            roots: Vec::new(),
            modules: modules.iter().map(|&module| module.to_owned()).collect(),
        }
    }

    fn rooms(rows: &[(&str, &[&str])]) -> Rooms {
        let set = |used: &[&str]| used.iter().map(|&used| used.to_owned()).collect::<BTreeSet<_>>();
        rows.iter().map(|&(room, used)| (room.to_owned(), set(used))).collect()
    }

    #[test]
    fn a_path_leads_to_a_room_or_to_another_crate() {
        let crates = [one("the-daemon", &["engine", "store", "text"]), one("the-policy", &["spec"])];
        let target = |module: &str, path: &str| {
            crates[0].target(&crates, &named(module, path), true).map(|target| match target {
                Target::Crate(name) => format!("crate {name}"),
                Target::Room(name) => name.to_owned(),
            })
        };
        let leads = |module, path, to: &str| assert_eq!(target(module, path).as_deref(), Some(to), "{path}");
        leads("engine::handle", "crate::store::Flows", "store");
        leads("engine::handle", "super::super::text", "text");
        leads("engine::handle", "super::Engine", "engine");
        leads("engine", "self::handle::Handle", "engine");
        leads("engine", "super::*", "lib");
        leads("engine", "crate::VERSION", "lib");
        leads("engine", "the_policy::spec::Mode", "crate the-policy");
        leads("engine", "the_daemon::store::Flows", "store");
        leads("", "store::Flows", "store");
        assert_eq!(target("engine", "store::Flows"), None, "whatever it is, its `use` has been seen");
        assert_eq!(target("engine", "std::io::Read"), None);
        let program = |path| {
            let named = named("inner", path);
            crates[0].target(&crates, &named, false).is_none()
        };
        assert!(program("crate::inner::f") && program("super::f"), "a program is one room");
        assert!(!program("the_daemon::store::Flows"));
    }

    #[test]
    fn an_edge_too_many_or_too_few_is_named() {
        let table = |rows: &[(&str, &[&str])]| Tables::from([("d".to_owned(), rooms(rows))]);
        let edge = |from: &str, to: &str| ("d".to_owned(), from.to_owned(), to.to_owned());
        let uses = Uses::from([(edge("engine", "store"), "e.rs:7".to_owned())]);
        let found = table(&[("engine", &["store"]), ("store", &[])]);
        assert!(compare(&found, &uses, &found).is_empty());
        assert_eq!(
            compare(&found, &uses, &table(&[("engine", &[]), ("store", &[])])),
            ["e.rs:7: `engine` of d uses `store`, which the table does not allow"]
        );
        assert_eq!(
            compare(&found, &uses, &table(&[("engine", &["store"]), ("store", &["text"])])),
            ["`store` of d does not use `text` any more: take it out of the table"]
        );
        assert_eq!(compare(&found, &uses, &table(&[("engine", &["store"])])), ["`store` of d has no row in the table"]);
        let more = table(&[("engine", &["store"]), ("store", &[]), ("text", &[])]);
        assert_eq!(compare(&found, &uses, &more), ["`text` of d is in the table, and is no room"]);
    }

    #[test]
    fn a_circle_is_found_and_named() {
        let circle = rooms(&[("a", &["b", "x-crate"]), ("b", &["c"]), ("c", &["d", "b"]), ("d", &[])]);
        let (order, found) = ordered(&circle);
        assert_eq!(found, Some(vec!["b", "c", "b"]));
        assert_eq!(order, ["d", "a", "b", "c"], "all are there, those in a circle last");
        let tables = BTreeMap::from([("d".to_owned(), circle)]);
        assert_eq!(compare(&tables, &Uses::new(), &tables), ["the table has a circle in [d]: b → c → b"]);
    }

    #[test]
    fn foundations_come_first_and_the_text_reads_back() {
        let long: Vec<String> = (0..40).map(|number| format!("room_{number}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let mut rows: Vec<(&str, &[&str])> = long.iter().map(|&room| (room, [].as_slice())).collect();
        rows.extend([("daemon", long.as_slice()), ("engine", &["store", "other-crate"]), ("store", &[])]);
        let tables = Tables::from([("d".to_owned(), rooms(&rows))]);
        let text = text(&tables);
        assert!(text.find("\nstore = []") < text.find("\nengine = [\"other-crate\", \"store\"]"));
        assert!(text.lines().all(|line| line.len() <= 120));
        assert_eq!(toml::from_str::<Tables>(&text).unwrap(), tables);
    }
}
