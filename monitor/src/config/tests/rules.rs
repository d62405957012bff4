//! What a rule may say, and what the management networks must.

use super::*;

fn allow(lines: &str) -> String {
    format!("[[allow]]\nid = \"a\"\nreason = \"r\"\nto = [\"192.0.2.0/24\"]\n{lines}")
}

#[test]
fn a_rule_that_can_never_hold_is_refused() {
    // One that has ended once held: it is warned of and holds no more.
    good(&allow("expires = 2026-05-31T23:59:59Z"));
    refused(
        &allow("not_before = 2027-01-01T00:00:00Z\nexpires = 2027-01-01T00:00:00Z"),
        "config.toml:6: rule 'a' expires at 2027-01-01T00:00:00Z and so never holds: write a time after its 'not_before'",
    );
    refused(
        &allow("expires = 2026-12-31"),
        "config.toml:5: invalid time '2026-12-31' in 'expires': write date, time and offset, such as \
         2026-12-31T00:00:00Z",
    );
    refused(
        &allow("expires = \"2026-12-31T00:00:00Z\""),
        "config.toml:5: 'expires' is the string '2026-12-31T00:00:00Z': write a time without quotes, such as \
         2026-12-31T00:00:00Z",
    );
}

#[test]
fn a_rule_must_say_who_where_and_why() {
    refused(
        "[[allow]]\nid = \"a\"\nreason = \"r\"",
        "config.toml:1: [[allow]] has no 'to': add to = [\"NETWORK\"], what it covers",
    );
    refused(
        "[[allow]]\nid = \"a\"\nreason = \"r\"\nto = []",
        "config.toml:4: 'to' is empty: write what it covers, such as [\"10.64.0.0/10\", \"SG\", \"AS64500\"]",
    );
    refused(
        "[[allow]]\nid = \"a\"\nto = [\"192.0.2.0/24\"]",
        "config.toml:1: [[allow]] has no 'reason': add reason = \"why this transfer is permitted\"",
    );
    refused(
        "[[allow]]\nid = \" \"\nreason = \"r\"\nto = [\"192.0.2.0/24\"]",
        "config.toml:2: ' ' is no name: write 1 to 64 characters without control characters or spaces around them",
    );
}

#[test]
fn a_bad_port_range_never_becomes_all_ports() {
    for (ports, message) in [
        (
            "tpc",
            "'tpc' is no port range: write protocol/port, protocol/first-last or a protocol alone, such as \"tcp/443\", \"udp/4500-4510\" or \"icmp\"",
        ),
        (
            "icmp/8",
            "'icmp/8' has no protocol with ports that is known: write tcp, udp, sctp, dccp or udplite before the '/'",
        ),
        (
            "tcp/65536",
            "'tcp/65536' has no port of 0 to 65535: write protocol/port, protocol/first-last or a protocol alone, such as \"tcp/443\", \"udp/4500-4510\" or \"icmp\"",
        ),
        (
            "tcp/+1",
            "'tcp/+1' has no port of 0 to 65535: write protocol/port, protocol/first-last or a protocol alone, such as \"tcp/443\", \"udp/4500-4510\" or \"icmp\"",
        ),
        (
            "tcp/",
            "'tcp/' has no port of 0 to 65535: write protocol/port, protocol/first-last or a protocol alone, such as \"tcp/443\", \"udp/4500-4510\" or \"icmp\"",
        ),
        ("tcp/2-1", "'tcp/2-1' is reversed: write the lower port first, 1-2"),
    ] {
        refused(&allow(&format!("ports = [\"{ports}\"]")), &format!("config.toml:5: {message}"));
    }
    refused(
        &allow("ports = []"),
        "config.toml:5: 'ports' is empty: write ports such as [\"tcp/443\"], or leave the key out for all traffic",
    );
}

#[test]
fn two_rules_with_one_id_are_refused() {
    let twice = format!("{}\n{}", allow(""), allow(""));
    let found = problems(&twice);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("config.toml:6: rule id 'a' is taken by the rule at "), "{found:?}");
    assert!(found[0].ends_with("config.toml:1: give one of them another id"), "{found:?}");
}

#[test]
fn what_a_rule_covers_is_a_network_a_country_or_an_autonomous_system() {
    let of = |to: &str| format!("[[deny]]\nid = \"a\"\nreason = \"r\"\nto = [\n\"{to}\"]");
    let wrong = |to: &str, mend: &str| {
        refused(&of(to), &format!("config.toml:5: '{to}' is no network, country or autonomous system: {mend}"));
    };
    wrong("Singapur", "did you mean \"Singapore\"?");
    wrong("UK", "write \"GB\"");
    wrong("EEA", "write a network such as 192.0.2.0/24, a country such as \"SG\" or \"Singapore\", or \"AS64500\"");
    for number in ["AS0", "AS4294967296", "AS1.5", "AS064500"] {
        refused(
            &of(number),
            &format!(
                "config.toml:5: '{number}' is no autonomous system: write AS1 to AS4294967295, such as \"AS64500\""
            ),
        );
    }
    refused(
        &of("192.0.2.0/33"),
        "config.toml:5: '192.0.2.0/33' has no prefix length of 0 to 32: write an address and a prefix length, such as \
         192.0.2.0/24 or 2001:db8::/32",
    );
    assert_eq!(good(&of("AS")).spec.rules[0].countries[0].0, Country(*b"AS"));
}

#[test]
fn a_budget_is_an_amount_above_zero_and_only_for_what_is_allowed() {
    let of = |amount: &str| allow(&format!("max_bytes_per_day = {amount}"));
    for (amount, bytes) in [
        ("\"200 GiB\"", 200 << 30),
        ("\"200GB\"", 200_000_000_000),
        ("\"1 TiB\"", 1 << 40),
        ("\"7 B\"", 7),
        ("1000", 1000),
    ] {
        assert_eq!(good(&of(amount)).spec.rules[0].max_bytes_per_day, Some(bytes), "{amount}");
    }
    for amount in ["200", "0 GiB", "-1 GiB", "1.5 GiB", "1 GiBs", "99999999 TiB", ""] {
        refused(
            &of(&format!("\"{amount}\"")),
            &format!(
                "config.toml:5: '{amount}' is no amount: write a whole number above 0 with B, kB, MB, GB, TB, KiB, MiB, \
                 GiB or TiB, such as \"200 GiB\""
            ),
        );
    }
    refused(
        &of("0"),
        "config.toml:5: 'max_bytes_per_day' is the integer '0': write an amount in quotes, such as \"200 GiB\", or a \
         number of bytes, above 0",
    );
    refused(
        "[[deny]]\nid = \"a\"\nto = [\"SG\"]\nreason = \"r\"\nmax_bytes_per_day = 5",
        "config.toml:5: 'max_bytes_per_day' in [[deny]] has no meaning: remove the key, or write [[allow]]",
    );
}

#[test]
fn enforce_insists_on_a_failsafe_and_takes_none_on_purpose() {
    let enforce = "[monitor]\nmode = \"enforce\"\n";
    refused(
        enforce,
        "config.toml:2: enforce needs [management]: add networks = [\"NETWORK\"] with the networks that must never \
         be cut off, or networks = [] if there are none on purpose",
    );
    let none = good(&format!("{enforce}[management]\nnetworks = []")).spec.management.expect("it is there");
    assert_eq!((none.networks.len(), none.ports.len()), (0, 0));
    refused(
        "[management]\nports = [\"tcp/22\"]",
        "config.toml:1: [management] has no 'networks': add networks = [\"NETWORK\"], or [] for none on purpose",
    );
    refused(
        "[[allow]]\nid = \"management\"\nto = [\"192.0.2.0/24\"]\nreason = \"r\"",
        "config.toml:2: rule id 'management' is that of [management]: give the rule another id",
    );
}

#[test]
fn management_has_ports_of_one_side_and_a_volume_that_is_told() {
    let of = |more: &str| format!("[management]\nnetworks = [\"192.0.2.0/24\"]\n{more}");
    let management = good(&of("source_ports = [\"tcp/22\"]\ntell_bytes_per_day = \"10 GiB\"")).spec.management;
    let management = management.expect("it is there");
    assert_eq!(management.source_ports, [PortRange { protocol: 6, low: 22, high: 22 }]);
    assert_eq!((management.ports.len(), management.tell_bytes_per_day), (0, Some(10 << 30)));
    let neither = good(&of("")).spec.management.expect("it is there");
    assert_eq!((neither.source_ports.len(), neither.tell_bytes_per_day), (0, None));
    refused(
        &of("ports = [\"tcp/22\"]\nsource_ports = [\"tcp/22\"]"),
        "config.toml:4: 'source_ports' stands beside 'ports': leave one of them out",
    );
    refused(
        &of("tell_bytes_per_day = \"much\""),
        "config.toml:3: 'much' is no amount: write a whole number above 0 with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, \
         such as \"200 GiB\"",
    );
}

#[test]
fn an_id_means_nothing_to_a_table_and_a_terminal_shows_all_of_it() {
    let rule = |id: &str| format!("[[allow]]\nid = \"{id}\"\nto = [\"192.0.2.0/24\"]\nreason = \"r\"");
    for id in ["-", "(other)", "(zone default)"] {
        refused(
            &rule(id),
            &format!(
                "config.toml:2: rule id '{id}' is what tables write where there is no rule, or more than one: give the \
                 rule another id"
            ),
        );
    }
    // Shown from right to left, without a width, or like a space.
    for (hidden, escaped) in [('\u{202e}', "202e"), ('\u{2066}', "2066"), ('\u{200d}', "200d"), ('\u{feff}', "feff")] {
        refused(
            &rule(&format!("a{hidden}b")),
            &format!(
                "config.toml:2: 'a\\u{{{escaped}}}b' is no name: write 1 to 64 characters without control characters or \
                 spaces around them"
            ),
        );
    }
    let good_ids = ["a-b", "--", "(a", "größe", "北京 7"];
    assert_eq!(good_ids.map(|id| good(&rule(id)).spec.rules[0].id.clone()), good_ids.map(str::to_owned));
}

#[test]
fn ipv4_in_the_notation_of_ipv6_is_ipv4_wherever_a_network_is_written() {
    let text = "[management]\nnetworks = [\"::ffff:198.18.2.0/120\"]\n[[site]]\nname = \"s\"\ncountry = \"IE\"\n\
                networks = [\"::ffff:10.0.0.0/112\"]\n[[allow]]\nid = \"a\"\nreason = \"r\"\nto = [\"::ffff:c612:201\"]\n\
                [[deny]]\nid = \"d\"\nreason = \"r\"\nto = [\"::ffff:198.18.3.0/120\"]\n\
                [policy]\nallowlists = [\"a.txt\"]\n";
    let spec = load_with(text.as_bytes(), &[("a.txt", b"::ffff:198.18.4.0/120\n")]).expect("good").spec;
    let of = |networks: &[(ipnetwork::IpNetwork, monitor_policy::Origin)]| networks[0].0.to_string();
    assert_eq!(of(&spec.management.expect("it is there").networks), "198.18.2.0/24");
    assert_eq!(of(&spec.sites[0].networks), "10.0.0.0/16");
    let rules: Vec<_> = spec.rules.iter().map(|rule| of(&rule.to)).collect();
    assert_eq!(rules, ["198.18.2.1/32", "198.18.3.0/24", "198.18.4.0/24"]);
    refused(
        "[zone]\nnat64 = [\"::ffff:0:0/96\"]",
        "config.toml:2: '::ffff:0:0/96' is IPv4: write the IPv6 prefix that the translator answers for, such as \
         64:ff9b:1::/96",
    );
}

#[test]
fn a_protocol_is_read_in_any_case_and_by_the_names_that_people_use() {
    for (ports, expected) in [
        ("TCP/443", PortRange { protocol: 6, low: 443, high: 443 }),
        ("Udp/53", PortRange { protocol: 17, low: 53, high: 53 }),
        ("icmpv6", PortRange { protocol: 58, low: 0, high: u16::MAX }),
        ("ICMP", PortRange { protocol: 1, low: 0, high: u16::MAX }),
    ] {
        assert_eq!(good(&allow(&format!("ports = [\"{ports}\"]"))).spec.rules[0].ports, [expected], "{ports}");
    }
}
