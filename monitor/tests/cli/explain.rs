//! `explain`, also of what `check` passes.

use std::fs;

use serde_json::Value;

use crate::{command, configured, json, ran, run};

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
fn explain_and_check_name_the_addresses_of_cloud_platforms() {
    const METADATA: &str = "instance metadata of AWS, Azure, Google Cloud, Oracle and OpenStack";
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let addresses = ["169.254.169.254", "168.63.129.16", "fd00:ec2::254", "169.254.169.253", "fe80::1"];
    let ran = run(&[&["explain"][..], &addresses, &["--json", "--config", &config]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let stories = json(&ran);
    let of = |story: &Value| ["class", "enforce", "reason"].map(|key| story[key].as_str().unwrap_or("?").to_owned());
    let stories: Vec<_> = stories.as_array().expect("a list").iter().map(of).collect();
    let link_local =
        "link-local (RFC 3927) should never leave the link, and some gateways forward it; on_link_local = deny";
    let expected = [
        ("link-local", "denied", format!("{link_local}; a platform's address: {METADATA}")),
        (
            "unknown",
            "denied",
            "no source knows it; on_unknown = deny; a platform's address: DNS, DHCP and health probes of Azure"
                .to_owned(),
        ),
        (
            "private",
            "allowed",
            "unique local (RFC 4193): no dataset can place it and no site does; on_private = allow; a platform's \
             address: instance metadata of AWS"
                .to_owned(),
        ),
        ("link-local", "denied", link_local.to_owned()),
        ("link-local", "allowed", "link-local (RFC 4291) never leaves the link or the host".to_owned()),
    ];
    for ((story, (class, enforce, reason)), address) in stories.iter().zip(&expected).zip(addresses) {
        assert_eq!(story, &[(*class).to_owned(), (*enforce).to_owned(), reason.clone()], "{address}");
    }
    assert_eq!(stories.len(), expected.len());

    let checked = json(&run(&["check", "--config", &config, "--json"]));
    let platforms: Vec<_> = checked["platforms"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|of| (of["address"].as_str().expect("an address").to_owned(), of["denied"] == true))
        .collect();
    let named = |address: &str, denied| (address.to_owned(), denied);
    assert_eq!(
        platforms,
        [named("169.254.169.254", true), named("168.63.129.16", true), named("fd00:ec2::254", false)]
    );
    let text = run(&["check", "--config", &config]).out;
    let line = format!("platforms      deny 169.254.169.254 ({METADATA})");
    assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
}

#[test]
fn explain_says_what_becomes_of_content_that_cannot_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let with = fs::read_to_string(&config).expect("read").replace("[zone]\n", "[zone]\nopaque.quic = \"deny\"\n");
    fs::write(&config, with).expect("written");
    let ran = run(&["explain", "5.9.0.1:443/udp", "5.9.0.1:443", "5.9.0.1/esp", "--json", "--config", &config]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let stories = json(&ran);
    let enforced: Vec<_> = (0..3).map(|at| stories[at]["enforce"].as_str().unwrap_or("?").to_owned()).collect();
    assert_eq!(enforced, ["denied", "allowed", "allowed"]);
    let reason = stories[0]["reason"].as_str().unwrap_or("?");
    assert!(reason.ends_with("; its content cannot be read: quic is denied by [zone] on_opaque"), "{reason}");
    let text = run(&["check", "--config", &config]).out;
    let line = "opaque         allow (by destination), but deny quic";
    assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
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
    // As a spreadsheet writes it, with a mark of the byte order and CR alone.
    let (code, out, _) = ask("\u{feff}# a note\r8.8.8.8:53/udp\r5.1.2.3\r", false);
    let asked: Vec<_> = out.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!((code, asked), (Some(0), vec!["8.8.8.8:53/udp", "5.1.2.3"]));
    let (code, out, err) = ask("5.1.2.3\nnonsense\n", false);
    assert_eq!((code, out.lines().count()), (Some(64), 1));
    assert!(err.starts_with("egress-monitor: standard input:2: 'nonsense' is not an IP address; "), "{err}");
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
        "egress-monitor: 'example.org' is not an IP address; names are not resolved: write 192.0.2.1, 192.0.2.1:443, [2001:db8::1]:443, each with \
         /tcp or /udp if you like\n"
    );
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
fn an_address_that_may_be_meant_with_a_port_is_explained_with_a_note() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    let ran = run(&["explain", "2001:db8::1:53", "--config", &config, "--json"]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(
        ran.err,
        "note: '2001:db8::1:53' is taken for an address; port 53 of 2001:db8::1 is written [2001:db8::1]:53\n"
    );
    assert_eq!((&json(&ran)[0]["address"], &json(&ran)[0]["port"]), (&"2001:db8::1:53".into(), &Value::Null));
}
