//! The map in `docs/README.md` is true: each place that answers a newcomer's question is there, and so is each file that
//! a page links to.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether Rust source declares an item of this name, at any depth.
fn declares(source: &str, name: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod", "macro_rules!"];
    source.lines().any(|line| {
        let words: Vec<&str> = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '!')).collect();
        words.windows(2).any(|pair| kinds.contains(&pair[0]) && pair[1] == name)
    })
}

#[test]
fn each_of_twenty_questions_is_answered_by_places_that_exist() {
    let map = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let (_, table) = map.split_once("| question | place |\n").expect("the table of questions");
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 20, "{} questions", rows.len());
    for row in rows {
        let (question, places) = row.rsplit_once("? |").unwrap_or_else(|| panic!("no question: {row}"));
        let places: Vec<&str> = quoted(places).collect();
        assert!(!places.is_empty(), "{question}? has no answer");
        for place in places {
            let (file, item) = place.split_once("::").map_or((place, None), |(file, item)| (file, Some(item)));
            let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert!(item.is_none_or(|item| declares(&source, item)), "{place} declares no such item");
        }
    }
}

#[test]
fn what_a_page_links_to_is_there() {
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|page| root().join(page)).into();
    for folder in ["docs", "docs/adr", "docs/proofs"] {
        let found = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(found.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(pages.len() > 15, "{} pages", pages.len());
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('#') {
                continue;
            }
            let file = page.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(file.exists(), "{} links to {link}, which is not there", page.display());
        }
    }
}
