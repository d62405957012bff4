//! A small policy with one of everything, put together by hand and not by the compiler. Used by the tests that run
//! packets through the kernel without a wire. And lists that are too large for small maps.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{Arc, OnceLock},
};

use egress_monitor_tests::monitor::policy::Policy;
use monitor_common::{
    classify::build::Image,
    wire::{Class, ClassRow, Embedded, RuleRow, RuleRowAction},
};

const RULE: RuleRow =
    RuleRow { not_before_ns: 0, expires_ns: u64::MAX, port_low: 0, port_high: 0, rule: 0, protocol: 0, action: 1 };

/// A policy with every kind of class, rules with and without ports and times, embedded addresses and structure
/// below /64.
pub fn by_hand() -> &'static Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    POLICY.get_or_init(|| Arc::new(Policy { image: image(), ..Policy::default() }))
}

/// The same, shared.
pub fn policy() -> Arc<Policy> {
    Arc::clone(by_hand())
}

fn image() -> Image {
    let class = |class: Class, deny: bool, embedded: Embedded, rules: std::ops::Range<u32>| ClassRow {
        rules_start: rules.start,
        rules_len: rules.len() as u32,
        country: *b"ZZ",
        class: class as u8,
        deny: deny.into(),
        alert: deny.into(),
        embedded: embedded as u8,
        _reserved: [0; 2],
    };
    let rules = vec![
        RuleRow { rule: 1, protocol: 6, port_low: 443, port_high: 443, ..RULE },
        RuleRow { rule: 2, protocol: 17, port_low: 4500, port_high: 4510, ..RULE },
        RuleRow { rule: 3, action: RuleRowAction::Deny as u8, ..RULE },
        RuleRow { rule: 4, protocol: 17, port_low: 1, port_high: 1, expires_ns: 1, ..RULE },
        RuleRow { rule: 5, protocol: 17, port_low: 2, port_high: 2, not_before_ns: u64::MAX - 1, ..RULE },
        RuleRow {
            rule: 6,
            protocol: 17,
            port_low: 3,
            port_high: 3,
            not_before_ns: 1,
            expires_ns: u64::MAX - 1,
            action: RuleRowAction::Keep as u8,
        },
    ];
    let classes = vec![
        class(Class::Unknown, true, Embedded::None, 0..0),
        class(Class::Inside, false, Embedded::None, 0..0),
        class(Class::Outside, true, Embedded::None, 0..0),
        class(Class::Ambiguous, true, Embedded::None, 0..0),
        class(Class::Private, false, Embedded::None, 0..0),
        class(Class::Outside, true, Embedded::None, 0..2),
        class(Class::Outside, true, Embedded::None, 2..3),
        class(Class::Unknown, true, Embedded::Low32, 0..0),
        class(Class::Unknown, true, Embedded::SixToFour, 2..3),
        class(Class::Unknown, true, Embedded::Teredo, 0..0),
        class(Class::Outside, true, Embedded::None, 3..6),
        class(Class::Local, false, Embedded::None, 0..0),
    ];
    let v4 = |a: u32, b: u32, c: u32, d: u32| a << 24 | b << 16 | c << 8 | d;
    let mut v4_starts = vec![(0, 0), (v4(10, 0, 0, 0), 4), (v4(11, 0, 0, 0), 0)];
    // A long run within one /16, so that the search has steps to take.
    v4_starts.extend((0..256).map(|i| (v4(100, 64, i, 0), 1 + i % 3)));
    v4_starts.extend([
        (v4(100, 65, 0, 0), 0),
        (v4(192, 0, 2, 0), 3),
        (v4(192, 0, 3, 0), 0),
        (v4(198, 51, 100, 0), 1),
        (v4(198, 51, 101, 0), 0),
        (v4(203, 0, 113, 0), 2),
        (v4(203, 0, 113, 128), 5),
        (v4(203, 0, 113, 200), 6),
        (v4(203, 0, 114, 0), 0),
        (v4(255, 255, 255, 255), 11),
    ]);
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").to_bits();
    let mut v6_starts = vec![
        (0, 0),
        (v6("::ffff:0:0"), 7),
        (v6("::1:0:0:0"), 0),
        (v6("64:ff9b::"), 7),
        (v6("64:ff9b::1:0:0"), 0),
        (v6("2001::"), 9),
        (v6("2001:1::"), 0),
        (v6("2001:db8::"), 1),
        (v6("2001:db8:1::"), 2),
        (v6("2001:db8:2::"), 1),
        // Below /64, on both sides of a half's end.
        (v6("2001:db8:2:3:4::"), 5),
        (v6("2001:db8:2:3:5::"), 6),
        (v6("2001:db8:2:4::"), 1),
        (v6("2001:db8:2:5:ffff::"), 3),
        (v6("2001:db8:2:6:8000::"), 2),
        (v6("2001:db8:3::"), 1),
        (v6("2001:db8:7::"), 10),
        (v6("2001:db8:8::"), 1),
    ];
    v6_starts.extend((0x100..0x900_u128).map(|i| (v6("2001:db8::") | i << 80, 1 + (i % 4) as u32)));
    v6_starts.extend([
        (v6("2001:db9::"), 0),
        (v6("2002::"), 8),
        (v6("2003::"), 0),
        (v6("fe80::"), 11),
        (v6("fec0::"), 0),
    ]);
    let mut image = Image::build(&v4_starts, &v6_starts, classes, rules).expect("the test policy is well formed");
    // Any time at which the rules above stand as their comments say, as they do on every running machine.
    image.host_boot_ns = 1_000;
    image.drop_reasons = u64::MAX;
    image
}

/// A list of networks that are apart from each other, and what names it in a configuration.
pub fn networks_apart(folder: &Path, networks: usize) -> String {
    let (file, mut random, mut text) = (folder.join("partners.txt"), super::random(), String::new());
    for _ in 0..networks {
        // Of 1.0.0.0/8, to which nothing is sent.
        let _ = writeln!(text, "1.{}.{}.{}/32", random.u8(..), random.u8(..), random.u8(..));
    }
    std::fs::write(&file, text).unwrap();
    format!("\n[policy]\nallowlists = [\"{}\"]\n", file.display())
}
