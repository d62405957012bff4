//! Rules with times under another clock.

use monitor_policy::{ClockMap, Knowledge};

#[test]
fn a_policy_timed_anew_is_the_one_compiled_by_the_new_clock() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let rule = |id: &str, more: &str| {
        format!("[[allow]]\nid = \"{id}\"\nto = [\"192.0.2.0/24\"]\nports = [\"tcp/1\"]\nreason = \"a test\"\n{more}\n")
    };
    let text = [
        rule("always", ""),
        rule("later", "not_before = 2040-01-01T00:00:00Z"),
        rule("until", "expires = 2050-01-01T00:00:00Z"),
        rule("both", "not_before = 2041-01-01T00:00:00Z\nexpires = 2042-01-01T00:00:00Z"),
    ];
    std::fs::write(&file, text.concat()).unwrap();
    let config = super::load(Some(&file)).unwrap();
    let at = |realtime_ns, boottime_ns| {
        let clock = ClockMap { realtime_ns, boottime_ns };
        (monitor_policy::compile(&config.spec, &Knowledge::default(), &clock).unwrap(), clock)
    };
    let (first, _) = at(2_000_000_000_000_000_000, 5_000_000_000);
    // Set to 2041, between begin and end of rules.
    let (second, clock) = at(2_240_600_000_000_000_000, 9_000_000_000);
    assert_ne!(first.image, second.image);
    let retimed = first.retimed(&clock);
    assert_eq!(retimed.image, second.image);
    assert_eq!(retimed.digest, second.digest);
}
