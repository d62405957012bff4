//! The corpus as a document.

use std::path::Path;

use egress_monitor_tests::corpus;

/// Writes the document.
const BLESS: &str = "BLESS=1 cargo test -p egress-monitor-tests --test suite corpus::document";

/// What `docs/packets.md` has to be.
fn text() -> String {
    let source = include_str!("../../src/corpus/mod.rs");
    let about = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim_start);
    let policy: Vec<_> = about.filter(|line| line.starts_with('|')).collect();
    format!(
        "# Packets\n\n\
         What egress-monitor makes of packets, case by case: each row is a packet that the tests build, and what must \
         come out of it by the standard named beside it. A packet has a flow, under the destination of its outermost IP \
         header and, where it goes on from there (source routes, tunnels), the further destination; or it has no flow \
         and is counted by reason (`egress_monitor_unparsed_packets_total`). Each case is tried on the host, in the \
         kernel and, where a test machine can send it, over a wire, in observe and in enforce mode; and again cut at \
         every length.\n\n\
         The last words of a flow are what the strictest of its destinations is to the policy below. `to outside` \
         behind a reason: a destination outside was read before the packet could not be followed any more, so enforce \
         drops it even where `[zone.undecodable]` allows the reason. This page is generated: `{BLESS}` writes it.\n\n\
         {}\n\n{}",
        policy.join("\n"),
        corpus::table()
    )
}

#[test]
fn the_document_is_what_the_corpus_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/packets.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, text()).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == text(), "docs/packets.md is not what the corpus says: `{BLESS}` writes it");
}
