//! `check`, `explain` and `diff`.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{command, json, ran, run};

/// A configuration with its own geo data, so that nothing depends on what is built in.
fn configured(directory: &Path) -> String {
    fs::write(
        directory.join("geo.csv"),
        "5.0.0.0,5.255.255.255,DE\n8.0.0.0,8.255.255.255,US\n2a00::,2a00:ffff:ffff:ffff:ffff:ffff:ffff:ffff,IE\n",
    )
    .expect("written");
    let file = directory.join("config.toml");
    fs::write(
        &file,
        "[zone]\nname = \"test\"\n[geo]\nsources = [\"geo.csv\"]\n[[allow]]\nid = \"dns\"\nto = [\"8.8.8.8/32\"]\n\
         ports = [\"udp/53\"]\nreason = \"names\"\nexpires = 2099-01-01T00:00:00Z\n",
    )
    .expect("written");
    file.display().to_string()
}

#[test]
fn explain_gives_country_class_and_reason_with_the_data_that_is_built_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("empty.toml");
    fs::write(&file, "").expect("written");
    let file = file.display().to_string();
    let ran =
        run(&["explain", "8.8.8.8", "2a00:1450:4001::1", "10.1.2.3", "64:ff9b::808:808", "--json", "--config", &file]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let stories = json(&ran);
    let reported: Vec<_> = stories
        .as_array()
        .expect("a list")
        .iter()
        .map(|story| {
            ["address", "country", "class", "observe", "enforce"].map(|key| story[key].as_str().unwrap_or("?"))
        })
        .collect();
    assert_eq!(
        reported,
        [
            ["8.8.8.8", "US", "outside", "observed", "denied"],
            ["2a00:1450:4001::1", "DE", "inside", "allowed", "allowed"],
            ["10.1.2.3", "--", "private", "allowed", "allowed"],
            ["64:ff9b::808:808", "US", "outside", "observed", "denied"],
        ]
    );
    assert_eq!(
        stories[3]["reason"],
        "IPv4/IPv6 translation (RFC 6052) carries 8.8.8.8: dbip-country says US, geo-whois-asn-country says US: outside \
         EEA; on_outside = deny"
    );
    assert_eq!(stories[3]["embedded"]["address"], "8.8.8.8");
    assert_eq!(stories[2]["special"]["standard"], "RFC 1918");
}

#[test]
fn explain_names_the_rule_and_where_it_stands() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let ran = run(&["explain", "8.8.8.8:53/udp", "--config", &config]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], "8.8.8.8 udp port 53");
    assert_eq!(lines[1], "  country  US");
    assert_eq!(lines[2], "  class    outside (by sources)");
    assert!(lines[3].ends_with(&format!("outside EEA; rule 'dns' ({config}:5) lets it through")), "{}", lines[3]);
    assert_eq!(
        lines[5],
        format!("  rule     'dns' applies: udp/53, until 2099-01-01T00:00:00Z; covers 8.8.8.8/32 ({config}:7)")
    );
    assert_eq!(&lines[6..8], ["  observe  allowed", "  enforce  allowed"]);
}

#[test]
fn explain_answers_a_list_line_by_line_and_names_the_line_that_is_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let ask = |list: &str, json: bool| {
        let file = directory.path().join("list.txt");
        fs::write(&file, list).expect("written");
        let mut command = command();
        command.args(["explain", "-", "--config", &config]).stdin(fs::File::open(&file).expect("there"));
        let ran = ran(if json { command.arg("--json") } else { &mut command });
        (ran.code, ran.out, ran.err)
    };
    let list = "8.8.8.8:53/udp\n\n# a comment\n 8.8.8.8:53 # TCP\n5.1.2.3\n[2a00::1]:443\n64:ff9b::808:808";
    assert_eq!(
        ask(list, false),
        (
            Some(0),
            format!(
                "8.8.8.8:53/udp\tUS\toutside\tallowed\tallowed\tdns\t{config}:5\n\
                 8.8.8.8:53\tUS\toutside\tobserved\tdenied\t-\t-\n\
                 5.1.2.3\tDE\tinside\tallowed\tallowed\t-\t-\n\
                 [2a00::1]:443\tIE\tinside\tallowed\tallowed\t-\t-\n\
                 64:ff9b::808:808\tUS\toutside\tobserved\tdenied\t-\t-\n"
            ),
            String::new()
        )
    );
    let (code, out, _) = ask(list, true);
    let first: Value = serde_json::from_str(out.lines().next().expect("a line")).expect("JSON");
    assert_eq!((code, &first["rule"], &first["alert"]), (Some(0), &"dns".into(), &false.into()));
    assert_eq!(out.lines().count(), 5);
    let (code, out, err) = ask("5.1.2.3\nnonsense\n", false);
    assert_eq!((code, out.lines().count()), (Some(64), 1));
    assert!(err.starts_with("egress-monitor: standard input:2: 'nonsense' is no destination: "), "{err}");
    let (code, _, err) = ask(&"1".repeat(1000), false);
    assert_eq!(
        (code, err.as_str()),
        (Some(64), "egress-monitor: standard input:1: the line is too long: write one destination on each\n")
    );
}

#[test]
fn explain_shows_what_a_network_is_made_of_to_the_last_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let ran = run(&["explain", "--json", "--config", &config, "--network", "8.8.8.0/24", "--network", "::/0"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let reported = json(&ran);
    let parts: Vec<_> = reported[0][1]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| {
            let text = |key: &str| part[key].as_str().expect("text").to_owned();
            (text("country"), text("class"), text("addresses"), text("first"), text("enforce"), part["rules"].clone())
        })
        .collect();
    let part = |addresses: &str, first: &str, rules: Value| {
        ("US".into(), "outside".into(), addresses.into(), first.into(), "denied".into(), rules)
    };
    assert_eq!(
        parts,
        [part("255", "8.8.8.0", serde_json::json!([])), part("1", "8.8.8.8", serde_json::json!(["dns udp/53"]))]
    );
    let sum = |part: &Value| part["addresses"].as_str().expect("text").parse::<u128>().expect("a number");
    let all = reported[1][1].as_array().expect("parts").iter().fold(0_u128, |all, part| all.wrapping_add(sum(part)));
    assert_eq!(all, 0, "2^128, modulo 2^128");
}

#[test]
fn explain_refuses_what_is_no_destination() {
    let ran = run(&["explain", "8.8.8.8", "example.org"]);
    assert_eq!(ran.code, Some(64));
    assert_eq!(ran.out, "");
    assert_eq!(
        ran.err,
        "egress-monitor: 'example.org' is no destination: write 192.0.2.1, 192.0.2.1:443, [2001:db8::1]:443, each with \
         /tcp or /udp if you like\n"
    );
}

#[test]
fn check_shows_what_a_good_configuration_comes_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let ran = run(&["check", "--config", &config, "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let checked = json(&ran);
    assert_eq!(checked["ok"], true);
    assert_eq!(checked["zone"], "test");
    assert_eq!(checked["policy"].as_str().map(str::len), Some(64));
    assert_eq!(checked["classes"]["inside"]["ipv4_addresses"], 1 << 24);
    assert_eq!(checked["classes"]["outside"]["ipv4_addresses"], 1 << 24);
    assert_eq!(checked["classes"]["inside"]["ipv6_addresses"], (1_u128 << 112).to_string());
    assert_eq!(checked["rules"][0]["id"], "dns");
    assert_eq!(checked["rules"][0]["ports"][0], "udp/53");
    assert_eq!(checked["next_expiry"], "2099-01-01T00:00:00Z");
    assert_eq!(checked["sources"][0]["ipv4_ranges"], 2);
    let total: u64 = checked["classes"]
        .as_object()
        .expect("an object")
        .values()
        .filter_map(|class| class["ipv4_addresses"].as_u64())
        .sum();
    assert_eq!(total, 1 << 32, "every address is in one class");

    let text = run(&["check", "--config", &config]);
    assert_eq!(text.code, Some(0));
    assert!(text.out.starts_with(&format!("configuration  {config}: good\n")), "{}", text.out);
    let rule = text.out.lines().find(|line| line.starts_with("dns")).expect("the rule is listed");
    assert!(
        rule.split_whitespace().eq([
            "dns",
            "allow",
            "8.8.8.8/32",
            "udp/53",
            "2099-01-01T00:00:00Z",
            &format!("{config}:5")
        ]),
        "{rule}"
    );
    let again = run(&["check", "--config", &config, "--json"]);
    assert_eq!(json(&again)["policy"], checked["policy"], "the digest is stable");
}

#[test]
fn check_shows_the_exceptions_for_packets_that_can_not_be_read_and_the_translators() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let text = fs::read_to_string(&config).expect("read");
    let more = "[zone]\nnat64 = [\"2001:db8:64::/96\"]\nundecodable.mpls = \"allow\"\nundecodable.not_ip = \"deny\"\n";
    fs::write(&config, text.replace("[zone]\n", more)).expect("written");
    let ran = run(&["check", "--config", &config, "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let checked = json(&ran);
    assert_eq!(checked["on_undecodable"], "deny");
    assert_eq!(checked["undecodable"], serde_json::json!({"mpls": "allow", "not_ip": "deny"}));
    assert_eq!(checked["nat64"], serde_json::json!(["2001:db8:64::/96"]));
    let text = run(&["check", "--config", &config]).out;
    for line in ["not parsed     deny, but allow mpls", "nat64          2001:db8:64::/96"] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    let ran = run(&["explain", "2001:db8:64::808:808", "2a00::5efe:808:808", "--config", &config]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for line in [
        format!("  nat64    2001:db8:64::/96 ({config}:2)"),
        "  carries  8.8.8.8".to_owned(),
        "  carries  8.8.8.8 (ISATAP)".to_owned(),
    ] {
        assert!(ran.out.lines().any(|other| other == line), "{line} is not in\n{}", ran.out);
    }
}

#[test]
fn check_names_each_rule_that_decides_nothing_ties_or_makes_an_exception_with_both_places() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let rule = |action: &str, id: &str, to: &str, more: &str| {
        format!("[[{action}]]\nid = \"{id}\"\nto = [\"{to}\"]\nreason = \"r\"\n{more}\n")
    };
    let rules = [
        "[management]\nnetworks = [\"8.0.0.0/16\"]\n".to_owned(),
        rule("allow", "covered", "8.8.8.0/30", "ports = [\"tcp/80-90\"]"),
        rule("deny", "low", "8.8.8.0/31", ""),
        rule("deny", "high-a", "8.8.8.2/31", "ports = [\"tcp/1-85\"]"),
        rule("deny", "high-b", "8.8.8.2/31", "ports = [\"tcp/86-99\"]"),
        rule("allow", "twin-1", "5.5.5.0/24", "ports = [\"tcp/1\", \"udp/1\"]"),
        rule("allow", "twin-2", "5.5.5.0/24", "ports = [\"udp/1\", \"tcp/1\"]"),
        rule("allow", "tie", "5.5.6.0/24", "ports = [\"tcp/1-10\"]"),
        rule("deny", "tied", "5.5.6.0/24", "ports = [\"tcp/10-19\"]"),
        rule("deny", "states", "US", ""),
        rule("deny", "empty", "Tuvalu", ""),
        rule("allow", "later", "5.5.7.0/24", "not_before = 2098-01-01T00:00:00Z"),
    ];
    fs::write(&config, fs::read_to_string(&config).expect("read") + &rules.concat()).expect("written");
    let ran = run(&["check", "--config", &config, "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let checked = json(&ran);
    let notes: Vec<(String, String, String)> = checked["notes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|note| {
            let text = |key: &str| note[key].as_str().expect("text").to_owned();
            let others = note["others"].as_array().expect("a list").iter();
            let others: Vec<_> = others.map(|other| other["id"].as_str().expect("an id").to_owned()).collect();
            (text("why"), text("id"), others.join(" "))
        })
        .collect();
    let expected = [
        ("shadowed", "covered", "high-a high-b low"),
        ("empty", "empty", ""),
        ("not_yet", "later", ""),
        ("exception", "states", "covered dns management"),
        ("tie", "tie", "tied"),
        ("identical", "twin-2", "twin-1"),
    ];
    // The rule 'covered' is wholly covered, so it makes no exception either.
    let expected = expected.map(|(why, id, others)| (why.into(), id.into(), others.replace("covered ", "")));
    assert_eq!(notes, expected);
    let text = run(&["check", "--config", &config]).out;
    let line = |id: &str| {
        1 + fs::read_to_string(&config).expect("read").lines().position(|l| l.contains(id)).expect("there") - 1
    };
    for note in [
        format!(
            "note: rule 'tie' ({config}:{}) is as specific as 'tied' ({config}:{}) where both cover a packet: that one \
             denies, or has the smaller id, and decides",
            line("\"tie\""),
            line("\"tied\"")
        ),
        format!(
            "note: rule 'empty' ({config}:{}) covers no address: nothing is known to be in what it names",
            line("\"empty\"")
        ),
        "management     8.0.0.0/16, ports: all".to_owned(),
    ] {
        assert!(text.lines().any(|other| other == note), "{note} is not in\n{text}");
    }
}

#[test]
fn ten_thousand_rules_are_compared_in_good_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let mut text = fs::read_to_string(&config).expect("read");
    // Ten thousand for the same network, of which one decides, and as many networks as there can be classes for.
    for number in 0..10_000 {
        let to =
            if number % 4 == 0 { format!("8.{}.{}.0/24", number / 1000, number / 4 % 250) } else { "8.0.0.0/8".into() };
        text += &format!("[[deny]]\nid = \"r{number:05}\"\nto = [\"{to}\"]\nreason = \"r\"\n");
    }
    fs::write(&config, text).expect("written");
    let began = std::time::Instant::now();
    let ran = run(&["check", "--config", &config, "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let checked = json(&ran);
    let notes = checked["notes"].as_array().expect("a list");
    let same = |note: &&Value| note["why"] == "identical" && note["others"][0]["id"] == "r00001";
    assert_eq!(notes.iter().filter(same).count(), 7_499, "all but the first of those for one network");
    assert!(began.elapsed() < std::time::Duration::from_mins(2), "{:?}", began.elapsed());
}

#[test]
fn check_prints_each_problem_on_a_line_and_exits_64() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    fs::write(
        &file,
        "[monitor]\nepcoh = \"10s\"\n[[site]]\nname = \"a\"\ncountry = \"IE\"\nnetworks = [\"10.0.0.1/8\"]\n",
    )
    .expect("written");
    let file = file.display().to_string();
    let ran = run(&["check", "--config", &file]);
    assert_eq!(ran.code, Some(64));
    assert_eq!(ran.out, "");
    assert_eq!(
        ran.err,
        format!(
            "egress-monitor: {file}:2:1: unknown key 'epcoh' in [monitor]: did you mean 'epoch'?\n\
             egress-monitor: {file}:6:13: '10.0.0.1/8' has host bits set: write 10.0.0.0/8, or 10.0.0.1/32 for the one \
             address\n"
        )
    );
    let ran = run(&["check", "--config", &file, "--json"]);
    assert_eq!(ran.code, Some(64));
    let reported = json(&ran);
    assert_eq!(reported["ok"], false);
    assert_eq!((&reported["problems"][1]["line"], &reported["problems"][1]["column"]), (&6.into(), &13.into()));

    let ran = run(&["check", "--config", "/nonexistent.toml"]);
    assert_eq!(ran.code, Some(64));
    assert_eq!(ran.err, "egress-monitor: /nonexistent.toml: no such file: create it or name another\n");
}

#[test]
fn the_example_that_is_shipped_passes_check() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/config.example.toml");
    let ran = run(&["check", "--config", example, "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(json(&ran)["sites"], 2);
}

#[test]
fn a_ring_around_the_us_lets_the_us_in_and_the_eea_out() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/us-enclave.example.toml");
    let ran = run(&["check", "--config", example, "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(json(&ran)["countries"], serde_json::json!(["AS", "GU", "MP", "PR", "UM", "US", "VI"]));
    let addresses = ["8.8.8.8", "193.0.6.139", "10.80.9.9", "10.80.4.4:443", "10.1.1.1", "127.0.0.1", "240.0.0.1"];
    let ran = run(&[&["explain"], &addresses[..], &["--json", "--config", example]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let reported: Vec<String> = json(&ran)
        .as_array()
        .expect("a list")
        .iter()
        .map(|story| ["address", "country", "class", "enforce"].map(|key| story[key].as_str().unwrap_or("?")).join(" "))
        .collect();
    assert_eq!(
        reported,
        [
            "8.8.8.8 US inside allowed",
            "193.0.6.139 NL outside denied",
            "10.80.9.9 DE outside denied",
            "10.80.4.4 DE outside allowed",
            "10.1.1.1 -- private allowed",
            "127.0.0.1 -- local allowed",
            "240.0.0.1 -- unknown denied",
        ]
    );
}

#[test]
fn overlays_and_as_numbers_are_read_warned_of_and_explained() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
    write(
        "feed.csv",
        "# built: 2026-01-01\n5.0.0.0/24,SG,,,\n5.0.0.128/25,,,,\n5.0.0.0/25,DE,,,\n5.0.0.0/25,US,,,\nx,DE\n",
    );
    write("asn.csv", "5.0.0.0/16,64500,\"Example, Inc.\"\n");
    let text = fs::read_to_string(&config).expect("read");
    let more = "[geo]\noverlays = [\"feed.csv\"]\nasn = \"asn.csv\"\n";
    fs::write(&config, text.replace("[geo]\n", more)).expect("written");

    let ran = run(&["check", "--config", &config, "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let checked = json(&ran);
    let feed = &checked["overlays"][0];
    assert_eq!((&feed["name"], &feed["kind"], &feed["ipv4_ranges"]), (&"feed".into(), &"geofeed".into(), &1.into()));
    assert_eq!((&feed["contradictions"], &feed["rejected"]["count"]), (&1.into(), &1.into()));
    assert_eq!(checked["as_numbers"]["numbers"], 1);
    let warnings = checked["warnings"].to_string();
    for warning in [
        "overlay 'feed' is ",
        "overlay 'feed': 1 left out: 1 no address; the first: line 6: \\\"x\\\" is no IP address",
        "overlay 'feed': 1 networks have two countries in it: taken as undetermined",
    ] {
        assert!(warnings.contains(warning), "{warning} is not in {warnings}");
    }
    let text = run(&["check", "--config", &config]);
    assert_eq!(text.code, Some(0));
    assert!(text.out.lines().any(|line| line.starts_with("feed ") && line.contains("geofeed")), "{}", text.out);

    let ran = run(&["explain", "5.0.0.200", "5.0.1.1", "--config", &config]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for line in [
        "  class    unknown (by overlays)",
        "  reason   location undetermined (feed); on_unknown = deny",
        "  overlay  feed (2026-01-01): location undetermined for 5.0.0.0 - 5.0.0.255",
        "  as       AS64500 Example, Inc.",
        "  class    inside (by sources)",
    ] {
        assert!(ran.out.lines().any(|other| other == line), "{line} is not in\n{}", ran.out);
    }

    // The policy is another when the overlay says something else of the same networks.
    write("feed.csv", "5.0.0.0/24,SG,,,\n");
    let again = run(&["check", "--config", &config, "--json"]);
    assert_ne!(json(&again)["policy"], checked["policy"]);
}

#[test]
fn help_has_an_example() {
    for command in ["check", "explain"] {
        let ran = run(&[command, "--help"]);
        assert_eq!(ran.code, Some(0));
        assert!(ran.out.contains(&format!("Examples:\n  egress-monitor {command}")), "{}", ran.out);
    }
}

#[test]
fn diff_shows_whose_verdict_changes_for_which_ports_and_refuses_what_it_cannot_compare() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = configured(directory.path());
    let new = directory.path().join("new.toml");
    let text = fs::read_to_string(&old).expect("read").replace("udp/53", "tcp/853");
    fs::write(
        &new,
        text.replace("inside", "# inside")
            + "[[site]]\nname = \"own\"\ncountry = \"DE\"\nnetworks = [\"8.9.0.0/16\"]\n",
    )
    .expect("written");
    let new = new.display().to_string();
    let ran = run(&["diff", &old, &new]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let lines: Vec<String> =
        ran.out.lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "where was becomes for IPv4 addresses IPv6 /64s",
            "US outside → DE inside denied allowed all traffic 65,536 0",
            "8.9.0.0/16",
            "US outside allowed by dns denied udp/53 only 1 0",
            "8.8.8.8/32",
            "US outside denied allowed by dns tcp/853 only 1 0",
            "8.8.8.8/32",
        ]
    );
    let document = json(&run(&["diff", &old, &new, "--json", "--networks", "1"]));
    assert_eq!(document["changes"].as_array().map(Vec::len), Some(3));
    assert_eq!(document["traffic"], Value::Null);
    assert_eq!(run(&["diff", &old, &old]).out.lines().last(), Some("no network's verdict changes"));
    let bad = directory.path().join("bad.toml");
    fs::write(&bad, "[zone]\nname = 1\n").expect("written");
    for (arguments, complaint) in [
        (&["diff", &old][..], "one file: name the old and the new one, or add --running"),
        (&["diff", &old, &new, "--running"], "two files and --running: name the new one alone"),
        (&["diff", &old, &bad.display().to_string()], "bad.toml:2:"),
    ] {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(ran.err.contains(complaint), "{}", ran.err);
    }
    let ran = run(&["diff", "--running", &new, "--socket", &directory.path().join("none").display().to_string()]);
    assert_eq!(ran.code, Some(69));
    assert!(ran.err.contains("no daemon answers"), "{}", ran.err);
}

#[test]
fn check_warns_of_a_shadow_policy_that_is_no_good_and_accepts_the_rest() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = configured(directory.path());
    let mut text = fs::read_to_string(&file).expect("there");
    text += "[policy]\nshadow = \"candidate.toml\"\n";
    fs::write(&file, text).expect("written");
    let shadow = |candidate: &str| {
        fs::write(directory.path().join("candidate.toml"), candidate).expect("written");
        let ran = run(&["check", "--json", "--config", &file]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let warnings = json(&ran)["warnings"].as_array().expect("a list").clone();
        warnings.iter().filter_map(Value::as_str).filter(|text| text.contains("shadow")).map(str::to_owned).collect()
    };
    let warned: Vec<String> = shadow("[zoen]\n");
    assert_eq!(warned.len(), 1);
    assert!(warned[0].starts_with("no shadow policy: ") && warned[0].contains("candidate.toml:1"), "{}", warned[0]);
    assert_eq!(shadow("[geo]\nsources = [\"geo.csv\"]\n"), Vec::<String>::new());
}
