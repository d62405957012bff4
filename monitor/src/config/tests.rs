//! Each way in which a configuration can be wrong, with the exact line that is said of it.

use std::fs;

use super::*;

/// 2026-06-01T00:00:00Z.
const NOW: i64 = 1_780_272_000;

/// Loads `text` as the file `config.toml` of a directory of its own, with others beside it. Complaints are given with
/// that directory and the column left out; the columns have a test of their own.
fn load_with(text: &[u8], others: &[(&str, &[u8])]) -> Result<Config, Vec<String>> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("config.toml");
    fs::write(&file, text).expect("written");
    for (name, content) in others {
        fs::write(directory.path().join(name), content).expect("written");
    }
    let prefix = format!("{}/", directory.path().display());
    load_at(Some(&file), NOW).map_err(|error| {
        let without_column = |problem: Problem| Problem { column: None, ..problem }.to_string().replace(&prefix, "");
        error.problems.into_iter().map(without_column).collect()
    })
}

fn good(text: &str) -> Config {
    load_with(text.as_bytes(), &[]).unwrap_or_else(|problems| panic!("refused: {problems:#?}"))
}

fn problems(text: &str) -> Vec<String> {
    load_with(text.as_bytes(), &[]).expect_err("must be refused")
}

#[track_caller]
fn refused(text: &str, complaint: &str) {
    assert_eq!(problems(text), [complaint]);
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = good("");
    let defaults = Config { file: config.file.clone(), ..Config::default() };
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(config.interfaces, ["auto"]);
    assert_eq!(config.epoch, Duration::from_secs(10));
    assert_eq!((config.flows, config.cache), (49_152, None));
    assert_eq!(config.zone.inside_text, "EEA");
    assert_eq!(config.zone.inside.len(), 37);
    assert_eq!((config.zone.on_outside, config.zone.on_private), (Action::Deny, Action::Allow));
    assert_eq!(config.geo.sources, ["embedded"]);
    assert_eq!(config.listen, Some("127.0.0.1:9477".parse().expect("an address")));
}

#[test]
fn every_key_is_read() {
    let config = good(
        r#"
        [monitor]
        mode = "enforce"
        interfaces = ["eth0", "wan*"]
        epoch = "500ms"
        flows = 4096
        cache = 512
        hook = "clsact"
        [zone]
        name = "in"
        inside = "IN + private"
        on_outside = "allow"
        on_ambiguous = "allow"
        on_unknown = "allow"
        on_private = "deny"
        on_undecodable = "allow"
        nat64 = ["64:ff9b:1::/48", "2001:db8:64::/96"]
        [zone.undecodable]
        not_ip = "deny"
        mpls = "allow"
        link_control = "allow"
        [[site]]
        name = "pune"
        country = "IN"
        networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]
        [[allow]]
        id = "x"
        to = ["0.0.0.0/0"]
        ports = ["tcp/443", "udp/4500-4510"]
        reason = "r"
        legal_basis = "l"
        owner = "o"
        ticket = "t"
        not_before = 2026-01-01T00:00:00Z
        expires = 2026-12-31T02:00:00+02:00
        max_bytes_per_day = "200 GiB"
        [[deny]]
        id = "y"
        to = ["SG", "as64500", "192.0.2.0/24", "Viet Nam", "AS4294967295"]
        ports = ["icmp", "tcp", "sctp/1-2", "89"]
        reason = "never"
        [management]
        networks = ["198.51.100.0/24", "2001:db8:9::/48"]
        ports = ["tcp/22"]
        [http]
        listen = ""
        [paths]
        config_dir = "/a"
        state = "/b"
        runtime = "/c"
        bpffs = "/d"
        [policy]
        allowlists = []
        "#,
    );
    assert_eq!((config.mode, config.hook, config.flows, config.cache), (Mode::Enforce, Hook::Clsact, 4096, Some(512)));
    assert_eq!(config.interfaces, ["eth0", "wan*"]);
    assert_eq!(config.epoch, Duration::from_millis(500));
    let zone = &config.zone;
    assert_eq!((zone.name.as_str(), zone.inside.as_slice(), zone.inside_private), ("in", &[Country(*b"IN")][..], true));
    assert_eq!(
        [zone.on_outside, zone.on_ambiguous, zone.on_unknown, zone.on_private, zone.on_undecodable],
        [Action::Allow, Action::Allow, Action::Allow, Action::Deny, Action::Allow]
    );
    assert_eq!(
        zone.undecodable.iter().map(|(reason, action)| (reason.name(), *action)).collect::<Vec<_>>(),
        [("link_control", Action::Allow), ("not_ip", Action::Deny), ("mpls", Action::Allow)]
    );
    let prefixes: Vec<_> = zone.nat64.iter().map(|(prefix, _)| prefix.to_string()).collect();
    assert_eq!(prefixes, ["64:ff9b:1::/48", "2001:db8:64::/96"]);
    assert!(zone.nat64[1].1.ends_with("config.toml:17"), "{}", zone.nat64[1].1);
    let networks: Vec<_> = config.sites[0].networks.iter().map(|(network, _)| network.to_string()).collect();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"]);
    let rule = &config.rules[0];
    assert!(rule.origin.ends_with("config.toml:26"), "{}", rule.origin);
    assert_eq!(
        rule.ports,
        [PortRange { protocol: 6, low: 443, high: 443 }, PortRange { protocol: 17, low: 4500, high: 4510 }]
    );
    assert_eq!(
        [&rule.id, &rule.reason, &rule.legal_basis, &rule.owner, &rule.ticket].map(String::as_str),
        ["x", "r", "l", "o", "t"]
    );
    assert_eq!((rule.not_before, rule.expires), (Some(1_767_225_600), Some(1_798_675_200)));
    assert_eq!((rule.action, rule.max_bytes_per_day), (Action::Allow, Some(200 << 30)));
    let deny = &config.rules[1];
    assert_eq!((deny.action, deny.id.as_str(), deny.to.len()), (Action::Deny, "y", 1));
    assert_eq!(deny.countries.iter().map(|(country, _)| country.to_string()).collect::<Vec<_>>(), ["SG", "VN"]);
    assert_eq!(deny.ases.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [64_500, u32::MAX]);
    assert_eq!(deny.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["icmp", "tcp", "sctp/1-2", "89"]);
    let management = config.management.expect("it is there");
    assert_eq!(
        management.networks.iter().map(|(network, _)| network.to_string()).collect::<Vec<_>>(),
        ["198.51.100.0/24", "2001:db8:9::/48"]
    );
    assert_eq!(management.ports, [PortRange { protocol: 6, low: 22, high: 22 }]);
    assert_eq!(config.listen, None);
    assert_eq!(config.paths.bpffs, PathBuf::from("/d"));
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    refused("[monitor]\nepcoh = \"10s\"", "config.toml:2: unknown key 'epcoh' in [monitor]: did you mean 'epoch'?");
    refused("[zones]", "config.toml:1: unknown key 'zones' in the file: did you mean 'zone'?");
    refused("[http]\nxyzzy = 1", "config.toml:2: unknown key 'xyzzy' in [http]: known are listen");
    refused(
        "[[site]]\nname = \"a\"\ncountry = \"IE\"\nnetwork = \"x\"\nnetworks = [\"10.0.0.0/8\"]",
        "config.toml:4: unknown key 'network' in [[site]]: did you mean 'networks'?",
    );
}

#[test]
fn each_reason_takes_its_own_action_and_the_others_the_default() {
    for default in ["allow", "deny"] {
        let other = if default == "allow" { "deny" } else { "allow" };
        for reason in Reason::ALL.into_iter().filter(|reason| !reason.always_passes()) {
            let text = format!("[zone]\non_undecodable = \"{default}\"\nundecodable.{} = \"{other}\"", reason.name());
            let zone = good(&text).zone;
            for of in Reason::ALL {
                let denied = !of.always_passes() && (default == "deny") != (of == reason);
                assert_eq!(zone.on_reason(of) == Action::Deny, denied, "{} in {text}", of.name());
            }
        }
    }
}

#[test]
fn a_reason_that_is_unknown_or_can_not_be_denied_is_refused() {
    refused(
        "[zone.undecodable]\nnot_pi = \"allow\"",
        "config.toml:2: unknown key 'not_pi' in [zone.undecodable]: did you mean 'not_ip'?",
    );
    refused(
        "[zone.undecodable]\nmpls = \"drop\"",
        "config.toml:2: 'drop' is not known here: write \"allow\" or \"deny\"",
    );
    refused(
        "[zone]\nundecodable = \"allow\"",
        "config.toml:2: 'undecodable' is the string 'allow': write a table headed [zone.undecodable]",
    );
    refused(
        "[zone.undecodable]\nlink_control = \"deny\"",
        "config.toml:2: 'link_control' can't be denied: without ARP and its like the host has no neighbours: remove the key",
    );
    assert_eq!(good("[zone.undecodable]\nlink_control = \"allow\"").zone.on_reason(Reason::LinkControl), Action::Allow);
}

#[test]
fn a_nat64_prefix_is_ipv6_and_of_a_length_that_the_standard_knows() {
    let of = |prefix: &str| format!("[zone]\nnat64 = [\n\"{prefix}\"]");
    for length in 0..=128_u8 {
        let text = format!("::/{length}");
        if [32, 40, 48, 56, 64, 96].contains(&length) {
            assert_eq!(good(&of(&text)).zone.nat64[0].0.to_string(), text);
        } else {
            refused(
                &of(&text),
                &format!(
                    "config.toml:3: '::/{length}' has a length that no translator uses: write the prefix with 32, 40, 48, \
                     56, 64 or 96 bits (RFC 6052)"
                ),
            );
        }
    }
    refused(
        &of("192.0.2.0/24"),
        "config.toml:3: '192.0.2.0/24' is IPv4: write the IPv6 prefix that the translator answers for, such as \
         64:ff9b:1::/96",
    );
    refused(
        &of("64:ff9b::1/96"),
        "config.toml:3: '64:ff9b::1/96' has host bits set: write 64:ff9b::/96, or 64:ff9b::1/128 for the one address",
    );
    refused(
        "[zone]\nnat64 = []",
        "config.toml:2: 'nat64' is empty: write prefixes such as [\"64:ff9b:1::/96\"], or leave the key out",
    );
}

#[test]
fn the_documented_reasons_are_those_that_there_are() {
    let document = include_str!("../../../docs/policy.md");
    let mut table = String::from("| reason | is | by default, when enforcing |\n|---|---|---|\n");
    for reason in Reason::ALL {
        let action = match Zone::default().on_reason(reason) {
            Action::Deny => "deny",
            Action::Allow if reason.always_passes() => "always passes",
            Action::Allow => "allow",
        };
        table += &format!("| `{}` | {} | {action} |\n", reason.name(), reason.meaning());
    }
    let (_, rest) = document.split_once("| reason |").expect("the table is there");
    let (found, _) = rest.split_once("\n\n").expect("it ends");
    assert_eq!(format!("| reason |{found}\n"), table);
}

#[test]
fn keys_of_later_versions_are_refused_and_not_ignored() {
    for (text, key) in [
        ("[http]\ntls_cert = \"x\"", "tls_cert"),
        ("[http]\ntls_key = \"x\"", "tls_key"),
        ("[http]\ntoken_file = \"x\"", "token_file"),
        ("[http]\nclient_ca = \"x\"", "client_ca"),
    ] {
        refused(text, &format!("config.toml:2: '{key}' is not supported in this version: remove the key"));
    }
}

#[test]
fn a_wrong_type_is_named_with_an_example_of_the_right_one() {
    for (text, complaint) in [
        ("monitor = 1", "config.toml:1: 'monitor' is the integer '1': write a table headed [monitor]"),
        ("site = \"x\"", "config.toml:1: 'site' is the string 'x': write a table headed [[site]]"),
        ("site = [1]", "config.toml:1: 'site' is the integer '1': write a table headed [[site]]"),
        (
            "[monitor]\nepoch = 10",
            "config.toml:2: 'epoch' is the integer '10': write a duration in quotes, such as \"10s\"",
        ),
        ("[monitor]\nflows = \"9\"", "config.toml:2: 'flows' is the string '9': write a number of 1024 to 4194304"),
        ("[monitor]\nmode = true", "config.toml:2: 'mode' is 'true': write \"observe\" or \"enforce\""),
        ("[geo]\nsources = 1.5", "config.toml:2: 'sources' is the number '1.5': write a list such as [\"embedded\"]"),
        ("[zone]\nname = [1]", "config.toml:2: 'name' is a list: write a name in quotes"),
        ("[zone]\nname = {}", "config.toml:2: 'name' is a table: write a name in quotes"),
    ] {
        refused(text, complaint);
    }
}

#[test]
fn what_is_not_toml_is_shown_with_its_line() {
    let found = problems("[monitor]\nepoch = 10s\n");
    assert!(found[0].starts_with("config.toml:2: not TOML at 'epoch = 10s': "), "{found:?}");
    let found = problems("[zone]\nname = \"a\"\nname = \"b\"");
    assert_eq!(found, ["config.toml:3: not TOML at 'name = \"b\"': duplicate key"]);
}

#[test]
fn networks_with_something_wrong_say_what_to_write() {
    let site = |network: &str| format!("[[site]]\nname = \"a\"\ncountry = \"IE\"\nnetworks = [\n  \"{network}\",\n]");
    let example = "write an address and a prefix length, such as 192.0.2.0/24 or 2001:db8::/32";
    for network in ["10.0.0/8", "localhost/8", "", "10.0.0.0.0/8", "fe80::1%eth0/64", "1:2/3"] {
        refused(&site(network), &format!("config.toml:5: '{network}' is no network: {example}"));
    }
    for network in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/255.0.0.0", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8/8"] {
        refused(&site(network), &format!("config.toml:5: '{network}' has no prefix length of 0 to 32: {example}"));
    }
    refused(
        &site("2001:db8::/129"),
        &format!("config.toml:5: '2001:db8::/129' has no prefix length of 0 to 128: {example}"),
    );
    refused(
        &site("10.0.0.1/8"),
        "config.toml:5: '10.0.0.1/8' has host bits set: write 10.0.0.0/8, or 10.0.0.1/32 for the one address",
    );
    refused(
        &site("2001:db8::1/32"),
        "config.toml:5: '2001:db8::1/32' has host bits set: write 2001:db8::/32, or 2001:db8::1/128 for the one address",
    );
}

#[test]
fn sites_that_claim_the_same_network_are_refused_with_both_lines() {
    let text = "[[site]]\nname = \"a\"\ncountry = \"IE\"\nnetworks = [\"10.64.0.0/10\", \"10.64.0.0/12\"]\n\
                [[site]]\nname = \"b\"\ncountry = \"IE\"\nnetworks = [\n\"10.80.0.0/16\",\n\"11.0.0.0/8\"]";
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:?}");
    // The origins hold the whole path.
    assert!(
        found[0]
            .starts_with("config.toml:9: network '10.80.0.0/16' of site 'b' overlaps '10.64.0.0/10' of site 'a' at ")
    );
    assert!(found[0].ends_with("config.toml:4: leave it in one of them"), "{found:?}");
    good(
        "[[site]]\nname = \"a\"\ncountry = \"IE\"\nnetworks = [\"10.64.0.0/10\"]\n[[site]]\nname = \"b\"\ncountry = \"IE\"\nnetworks = [\"10.128.0.0/10\", \"::/0\"]",
    );
}

fn allow(lines: &str) -> String {
    format!("[[allow]]\nid = \"a\"\nreason = \"r\"\nto = [\"192.0.2.0/24\"]\n{lines}")
}

#[test]
fn a_rule_that_can_never_hold_is_refused() {
    refused(
        &allow("expires = 2026-05-31T23:59:59Z"),
        "config.toml:5: rule 'a' expired at 2026-05-31T23:59:59Z: renew 'expires' or remove the rule",
    );
    refused(
        &allow("expires = 2026-06-01T00:00:00Z"),
        "config.toml:5: rule 'a' expired at 2026-06-01T00:00:00Z: renew 'expires' or remove the rule",
    );
    good(&allow("expires = 2026-06-01T00:00:01Z"));
    refused(
        &allow("not_before = 2027-01-01T00:00:00Z\nexpires = 2027-01-01T00:00:00Z"),
        "config.toml:6: rule 'a' expires at 2027-01-01T00:00:00Z and so never holds: write a time after its 'not_before'",
    );
    refused(
        &allow("expires = 2026-12-31"),
        "config.toml:5: 'expires' is '2026-12-31', which is no moment: write date, time and offset, such as \
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
        "config.toml:1: [[allow]] has no 'to': add to = [\"192.0.2.0/24\"]",
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
    for (ports, complaint) in [
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
        refused(&allow(&format!("ports = [\"{ports}\"]")), &format!("config.toml:5: {complaint}"));
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
fn a_region_that_is_none_is_refused_with_its_line() {
    refused(
        "[zone]\ninside = \"EEA + US\"",
        "config.toml:2: 'US' can't be inside beside EEA by address: the US adequacy decision covers certified companies, not \
         networks: remove it and name each permitted transfer in an [[allow]] rule",
    );
    refused(
        "[zone]\ninside = \"EEA + QQ\"",
        "config.toml:2: 'QQ' is no country or region: write an ISO 3166-1 code such as 'DE', a country's name, EU, EEA, EFTA, \
         ADEQUATE, or 'private'",
    );
    refused(
        "[[site]]\nname = \"a\"\ncountry = \"UK\"\nnetworks = [\"10.0.0.0/8\"]",
        "config.toml:3: 'UK' is not the ISO 3166-1 code: write 'GB'",
    );
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
    assert_eq!(good(&of("AS")).rules[0].countries[0].0, Country(*b"AS"));
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
        assert_eq!(good(&of(amount)).rules[0].max_bytes_per_day, Some(bytes), "{amount}");
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
        "config.toml:2: enforce needs [management]: add networks = [\"192.0.2.0/24\"] with the networks that must never \
         be cut off, or networks = [] if there are none on purpose",
    );
    let none = good(&format!("{enforce}[management]\nnetworks = []")).management.expect("it is there");
    assert_eq!((none.networks.len(), none.ports.len()), (0, 0));
    refused(
        "[management]\nports = [\"tcp/22\"]",
        "config.toml:1: [management] has no 'networks': add networks = [\"192.0.2.0/24\"], or [] for none on purpose",
    );
    refused(
        "[[allow]]\nid = \"management\"\nto = [\"192.0.2.0/24\"]\nreason = \"r\"",
        "config.toml:2: rule id 'management' is that of [management]: give the rule another id",
    );
}

#[test]
fn what_is_wrong_has_its_column() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("c.toml");
    let list = directory.path().join("l.txt");
    fs::write(&file, "[policy]\nallowlists = [\"l.txt\"]\n[zone]\n  inside = \"QQ\"").expect("written");
    fs::write(&list, "# é\n  é1.2.3.4 # x").expect("written");
    let error = load_at(Some(&file), NOW).expect_err("must be refused").to_string();
    let places: Vec<_> = error.lines().map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(places, [format!("{}:4:12", file.display()), format!("{}:2:3", list.display())]);
}

#[test]
fn every_file_that_went_in_is_known_and_where_more_would_be_looked_for() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = |name: &str| directory.path().join(name);
    fs::create_dir(here("allow.d")).expect("made");
    for name in ["allow.d/a.txt", "b.toml", "o.json", "g.csv", "as.csv", "s.toml"] {
        fs::write(here(name), "").expect("written");
    }
    fs::write(
        here("c.toml"),
        "[geo]\nsources = [\"embedded\", \"g.csv\"]\noverlays = [\"o.json\"]\nasn = \"as.csv\"\n[policy]\n\
         allowlists = [\"allow.d/*.txt\", \"b.toml\"]\nshadow = \"s.toml\"",
    )
    .expect("written");
    let config = load_at(Some(&here("c.toml")), NOW).expect("good");
    let files = ["c.toml", "allow.d", "allow.d/a.txt", "b.toml", "g.csv", "as.csv", "o.json", "s.toml"];
    assert_eq!(config.inputs(), files.map(here));
    assert_eq!(config.shadow, Some(here("s.toml")));
    fs::remove_file(here("o.json")).expect("removed");
    let refused = load_at(Some(&here("c.toml")), NOW).expect_err("must be refused").to_string();
    assert!(
        refused.ends_with("c.toml:3:13: overlay 'o.json' is no file: write the name of an existing one"),
        "{refused}"
    );
}

#[test]
fn numbers_and_addresses_out_of_bounds_are_refused() {
    for (epoch, complaint) in [
        ("99ms", "epoch '99ms' is out of bounds: write 100ms to 5min"),
        ("301s", "epoch '301s' is out of bounds: write 100ms to 5min"),
        (
            "99999999999999999999min",
            "'99999999999999999999min' is no duration: write a number with ms, s or min, such as \"10s\"",
        ),
        ("99999999999999999min", "epoch '99999999999999999min' is out of bounds: write 100ms to 5min"),
        ("10", "'10' is no duration: write a number with ms, s or min, such as \"10s\""),
    ] {
        refused(&format!("[monitor]\nepoch = \"{epoch}\""), &format!("config.toml:2: {complaint}"));
    }
    for (key, number, wanted) in [
        ("flows", "1023", "1024 to 4194304"),
        ("flows", "4194305", "1024 to 4194304"),
        ("flows", "-1", "1024 to 4194304"),
        ("cache", "127", "128 to 1048576"),
        ("cache", "1048577", "128 to 1048576"),
        ("cache", "-1", "128 to 1048576"),
    ] {
        refused(
            &format!("[monitor]\n{key} = {number}"),
            &format!("config.toml:2: {key} '{number}' is out of bounds: write a number of {wanted}"),
        );
    }
    refused(
        "[http]\nlisten = \"0.0.0.0:9477\"",
        "config.toml:2: '0.0.0.0:9477' is not loopback, and this version has neither TLS nor tokens to protect it: write \
         \"127.0.0.1:9477\" or \"[::1]:9477\"",
    );
    refused(
        "[http]\nlisten = \"localhost:9477\"",
        "config.toml:2: 'localhost:9477' is no address and port: write \"127.0.0.1:9477\" or \"[::1]:9477\", or \"\" to \
         turn HTTP off",
    );
    refused("[paths]\nstate = \"var\"", "config.toml:2: path 'var' is not absolute: write it from '/' on");
    refused(
        "[monitor]\ninterfaces = [\"a-name-that-is-too-long\"]",
        "config.toml:2: 'a-name-that-is-too-long' is no interface name: write 1 to 15 characters without '/' and spaces, \
         a glob such as \"eth*\", or \"auto\"",
    );
}

#[test]
fn files_that_are_not_there_or_not_text_are_refused() {
    let missing = load_at(Some(std::path::Path::new("/nonexistent/config.toml")), NOW).expect_err("must be refused");
    assert_eq!(missing.to_string(), "/nonexistent/config.toml: no such file: create it or name another");
    assert_eq!(
        load_with(b"[monitor]\n# caf\xe9\n", &[]).expect_err("must be refused"),
        ["config.toml:2: not UTF-8 at byte '0xe9': save the file as UTF-8"]
    );
    let found = problems("[geo]\nsources = [\"embedded\", \"none.mmdb\", \"embedded\"]");
    assert_eq!(
        found,
        [
            "config.toml:2: geo source 'none.mmdb' is no file: write \"embedded\" or an existing file",
            "config.toml:2: geo source 'embedded' stands here twice: remove one",
        ]
    );
}

#[test]
fn allowlists_of_both_kinds_are_read_in_the_order_of_their_names() {
    let text = b"[policy]\nallowlists = [\"*.txt\", \"b.toml\", \"none-*.toml\"]\n[[allow]]\nid = \"first\"\nto = [\"::/0\"]\nreason = \"r\"";
    let plain = b"\xef\xbb\xbf# partners\n\n192.0.2.0/24   # one\n2001:db8::1\r\n";
    let config = load_with(
        text,
        &[
            ("z.txt", b"198.51.100.0/24"),
            ("a.txt", plain),
            ("empty.txt", b"# nothing yet\n"),
            ("b.toml", b"[[allow]]\nid = \"b\"\nto = [\"203.0.113.0/24\"]\nreason = \"r\"\nports = [\"udp/53\"]"),
        ],
    )
    .unwrap_or_else(|problems| panic!("refused: {problems:#?}"));
    let rules: Vec<_> = config.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(rules, ["first", "a.txt", "z.txt", "b"]);
    let networks: Vec<_> = config.rules[1].to.iter().map(|(network, _)| network.to_string()).collect();
    assert_eq!(networks, ["192.0.2.0/24", "2001:db8::1/128"]);
    assert!(config.rules[1].origin.ends_with("a.txt:3"), "{}", config.rules[1].origin);
    assert_eq!(config.rules[1].ports, []);
    assert_eq!(config.rules[3].ports, [PortRange { protocol: 17, low: 53, high: 53 }]);
}

#[test]
fn what_is_wrong_in_an_allowlist_is_told_with_its_own_line() {
    let text = b"[policy]\nallowlists = [\"*.txt\", \"b.toml\", \"missing.toml\", \"c.json\"]";
    let found = load_with(
        text,
        &[
            ("a.txt", b"192.0.2.0/24\n192.0.2.1/24\nnonsense\n"),
            ("b.toml", b"\n[zone]\nname = \"x\""),
            ("c.json", b"{}"),
        ],
    )
    .expect_err("must be refused");
    assert_eq!(
        found,
        [
            "config.toml:2: allowlist 'missing.toml' does not exist: create it or remove it here",
            "config.toml:2: allowlist 'c.json' is neither .toml nor .txt: rename it or narrow the pattern",
            "a.txt:2: '192.0.2.1/24' has host bits set: write 192.0.2.0/24, or 192.0.2.1/32 for the one address",
            "a.txt:3: 'nonsense' is no network: write an address and a prefix length, such as 192.0.2.0/24 or 2001:db8::/32",
            "b.toml:2: unknown key 'zone' in the file: known are allow, deny",
        ]
    );
}

#[test]
fn one_reading_finds_everything_in_the_order_of_the_lines() {
    let found = problems(
        "[monitor]\nmode = \"enforced\"\nepoch = \"1h\"\n[zone]\ninsid = \"EEA\"\non_outside = \"drop\"\n[[site]]\nname = \"a\"\n",
    );
    assert_eq!(
        found,
        [
            "config.toml:2: 'enforced' is not known here: write \"observe\" or \"enforce\"",
            "config.toml:3: '1h' is no duration: write a number with ms, s or min, such as \"10s\"",
            "config.toml:5: unknown key 'insid' in [zone]: did you mean 'inside'?",
            "config.toml:6: 'drop' is not known here: write \"allow\" or \"deny\"",
            "config.toml:7: [[site]] has no 'country': add country = \"IE\"",
            "config.toml:7: [[site]] has no 'networks': add networks = [\"10.64.0.0/10\"]",
        ]
    );
}

#[test]
fn a_hostile_value_can_not_break_the_line_or_the_terminal() {
    let found = problems("[zone]\nname = \"\\u001b[2J\\n\"\n\"x\\ny\" = 1");
    assert_eq!(
        found,
        [
            "config.toml:2: '\\u{1b}[2J\\n' is no name: write 1 to 64 characters without control characters or spaces around \
         them",
            "config.toml:3: unknown key 'x\\ny' in [zone]: known are name, inside, on_outside, on_ambiguous, on_unknown, \
         on_private, on_undecodable, undecodable, nat64",
        ]
    );
    let long = problems(&format!("[monitor]\nepoch = \"{}\"", "9".repeat(10_000)));
    assert!(long[0].len() < 250, "{}", long[0].len());
}

#[test]
fn the_example_that_is_shipped_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/config.example.toml");
    let config = load_at(Some(std::path::Path::new(example)), NOW).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.sites.len(), 2);
    assert_eq!(config.rules[0].id, "migration-sg");
}

#[test]
fn files_that_change_are_read_by_themselves_unless_a_signal_is_wanted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("config.toml");
    let reload = |text: &str| {
        fs::write(&file, text).expect("written");
        load_at(Some(&file), NOW).expect("good").reload
    };
    assert_eq!(reload(""), Reload::Auto);
    assert_eq!(reload("[policy]\nreload = \"auto\""), Reload::Auto);
    assert_eq!(reload("[policy]\nreload = \"signal\""), Reload::Signal);
    fs::write(&file, "[policy]\nreload = \"never\"").expect("written");
    let refused = load_at(Some(&file), NOW).expect_err("must be refused").to_string();
    assert!(refused.contains("config.toml:2:") && refused.contains("never") && refused.contains("signal"), "{refused}");
}
