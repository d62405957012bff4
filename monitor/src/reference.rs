//! Tables in the documentation that are written from the code, for the tests that hold both against each other.

use std::path::Path;

/// Holds what a document has between two marks against the table that the code makes; with BLESS set it is written.
#[track_caller]
pub fn has_table(document: &str, (begin, end): (&str, &str), table: &str, bless: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let text = std::fs::read_to_string(&file).expect("the document");
    let (before, rest) = text.split_once(begin).expect("where the table begins");
    let (written, after) = rest.split_once(end).expect("where it ends");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, [before, begin, table, end, after].concat()).expect("written");
        return;
    }
    assert!(written == table, "{document} has another table behind {begin}: `{bless}` writes it");
}
