//! Keys and the values that they take, of any section.

use super::*;

#[test]
fn an_empty_file_is_the_defaults() {
    let config = good("");
    let defaults = Config { file: config.file.clone(), ..Config::default() };
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(config.interfaces, ["auto"]);
    assert_eq!(config.epoch, Duration::from_secs(10));
    assert_eq!((config.flows, config.cache), (16_384, None));
    assert_eq!(config.spec.zone.inside_text, "EEA");
    assert_eq!(config.spec.zone.inside.len(), 37);
    assert_eq!((config.spec.zone.on_outside, config.spec.zone.on_private), (Action::Deny, Action::Allow));
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
        helper = "/e.sock"
        [policy]
        allowlists = []
        "#,
    );
    assert_eq!(
        (config.mode, config.hook, config.flows, config.cache),
        (Mode::Enforce, HookChoice::Clsact, 4096, Some(512))
    );
    assert_eq!(config.interfaces, ["eth0", "wan*"]);
    assert_eq!(config.epoch, Duration::from_millis(500));
    let zone = &config.spec.zone;
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
    assert!(zone.nat64[1].1.to_string().ends_with("config.toml:17"), "{}", zone.nat64[1].1);
    let networks: Vec<_> = config.spec.sites[0].networks.iter().map(|(network, _)| network.to_string()).collect();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"]);
    let rule = &config.spec.rules[0];
    assert!(rule.origin.to_string().ends_with("config.toml:26"), "{}", rule.origin);
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
    let deny = &config.spec.rules[1];
    assert_eq!((deny.action, deny.id.as_str(), deny.to.len()), (Action::Deny, "y", 1));
    assert_eq!(deny.countries.iter().map(|(country, _)| country.to_string()).collect::<Vec<_>>(), ["SG", "VN"]);
    assert_eq!(deny.ases.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [64_500, u32::MAX]);
    assert_eq!(deny.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["icmp", "tcp", "sctp/1-2", "89"]);
    let management = config.spec.management.expect("it is there");
    assert_eq!(
        management.networks.iter().map(|(network, _)| network.to_string()).collect::<Vec<_>>(),
        ["198.51.100.0/24", "2001:db8:9::/48"]
    );
    assert_eq!(management.ports, [PortRange { protocol: 6, low: 22, high: 22 }]);
    assert_eq!(config.listen, None);
    assert_eq!((config.paths.bpffs, config.paths.helper), (PathBuf::from("/d"), PathBuf::from("/e.sock")));
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
    for (text, message) in [
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
        refused(text, message);
    }
}

#[test]
fn numbers_and_addresses_out_of_bounds_are_refused() {
    for (epoch, message) in [
        ("99ms", "epoch '99ms' is out of bounds: write 100ms to 5min"),
        ("301s", "epoch '301s' is out of bounds: write 100ms to 5min"),
        (
            "99999999999999999999min",
            "invalid duration '99999999999999999999min': add a unit, ms, s or min, such as \"10s\"",
        ),
        ("99999999999999999min", "epoch '99999999999999999min' is out of bounds: write 100ms to 5min"),
        ("10", "invalid duration '10': add a unit, ms, s or min, such as \"10s\""),
    ] {
        refused(&format!("[monitor]\nepoch = \"{epoch}\""), &format!("config.toml:2: {message}"));
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
fn the_example_that_is_shipped_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/config.example.toml");
    let config = load(Some(std::path::Path::new(example))).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.spec.sites.len(), 2);
    assert_eq!(config.spec.rules[0].id, "migration-sg");
}
