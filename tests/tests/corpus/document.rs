//! The corpus as a document.

use std::path::Path;

use egress_monitor_tests::corpus;

/// What `docs/packets.md` has to be.
fn text() -> String {
    let source = include_str!("../../src/corpus/mod.rs");
    let about = source.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.trim_start());
    let policy: Vec<_> = about.filter(|line| line.starts_with('|')).collect();
    format!(
        "# Packets\n\n\
         What egress-monitor makes of packets, case by case: each row is a packet that the tests build, and what must \
         come out of it, written from the standard named beside it. A packet has a flow, under the destination of its \
         outermost IP header and, where it ends up elsewhere (source routes, tunnels), the further destination; or it \
         has no flow and is counted by the reason given (`egress_monitor_unparsed_packets_total`). Nothing is skipped. Each case is \
         held on the host, in the kernel and over a wire, in observe and in enforce mode, and again cut at every \
         length.\n\n\
         The last words of a flow are what the strictest of its destinations is to the policy below; `to outside` \
         behind a reason says that a destination was read before the packet could not be followed, so that enforce drops \
         it whatever `[zone.undecodable]` allows. This page is generated: `BLESS=1 cargo test -p egress-monitor-tests \
         --test corpus document` writes it.\n\n{}\n\n{}",
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
    assert!(
        written == text(),
        "docs/packets.md is not what the corpus says: `BLESS=1 cargo test -p egress-monitor-tests --test corpus \
         document` writes it"
    );
}
