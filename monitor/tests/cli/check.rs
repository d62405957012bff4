//! `check`.

use std::fs;

use serde_json::Value;

use crate::{configured, json, run};

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
    for line in ["unparsed       deny, but allow mpls link_control_odd", "nat64          2001:db8:64::/96"] {
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

#[test]
fn check_says_what_each_list_does_and_what_a_region_names_and_warns_of_what_people_mix_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
    write("tor-exits.txt", "203.0.113.7\n");
    write("block.txt", "203.0.113.8\n203.0.113.9\n");
    write("wide.csv", "0.0.0.0/0,DE\n");
    write(
        "moon.json",
        r#"{"regions": [{"region": "eu-frankfurt-1", "cidrs": [{"cidr": "5.0.0.0/24"}, {"cidr": "5.0.3.0/24"}]},
        {"region": "eu-moon-1", "cidrs": [{"cidr": "5.0.1.0/24"}, {"cidr": "5.0.2.0/24"}]}]}"#,
    );
    let text = fs::read_to_string(&config).expect("read");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("inside")).collect();
    let text = lines.join("\n").replace("[zone]", "[zone]\ninside = \"IR + NO\"").replace(
        "[geo]",
        "[geo]\noverlays = \
        [\"wide.csv\", \"moon.json\"]",
    );
    let lists = "[policy]\nallowlists = [\"tor-*.txt\"]\ndenylists = [\"block.txt\"]\n";
    fs::write(&config, format!("{text}\n{lists}")).expect("written");
    let ran = run(&["check", "--config", &config, "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let checked = json(&ran);
    assert_eq!(checked["named"], serde_json::json!({"IR": "Iran", "NO": "Norway"}));
    let lists: Vec<_> = checked["lists"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|list| (list["action"].as_str().expect("text"), list["networks"].as_u64().expect("a number")))
        .collect();
    assert_eq!(lists, [("allow", 1), ("deny", 2)]);
    let warnings: Vec<&str> =
        checked["warnings"].as_array().expect("a list").iter().filter_map(|warning| warning.as_str()).collect();
    let place = directory.path().display();
    for expected in [
        "[zone] inside: IR is Iran, and the rest of the region is elsewhere: for Ireland write IE; for Iran write its name"
            .to_owned(),
        format!(
            "{place}/tor-exits.txt is an allowlist: everything may go to its networks. If it is a list of what to block, \
             name it in [policy] denylists instead"
        ),
        "overlay 'wide' puts all from 0.0.0.0 to 255.255.255.255 into DE: no source is asked there".to_owned(),
        "overlay 'moon': where these regions are is not known (regions as of 2026-11), and so undetermined: eu-moon-1 (2)"
            .to_owned(),
    ] {
        assert!(warnings.contains(&expected.as_str()), "{expected} is not in {warnings:#?}");
    }
    let text = run(&["check", "--config", &config]).out;
    assert!(text.contains("IR is Iran, NO is Norway\n"), "{text}");
    for line in
        [format!("{place}/tor-exits.txt  allows its networks  1"), format!("{place}/block.txt  denies its networks  2")]
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(
            text.lines().any(|other| other.split_whitespace().eq(words.iter().copied())),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn check_strict_ends_with_1_where_there_is_something_to_warn_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let text = fs::read_to_string(&config).expect("read");
    fs::write(&config, format!("[management]\nnetworks = [\"0.0.0.0/0\"]\n{text}")).expect("written");
    let codes = [&["check", "--config", &config][..], &["check", "--strict", "--config", &config]].map(|arguments| {
        let ran = run(arguments);
        assert!(ran.out.contains("warning: [management] 0.0.0.0/0"), "{}", ran.out);
        ran.code
    });
    assert_eq!(codes, [Some(0), Some(1)]);
}
