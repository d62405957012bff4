//! The files that a configuration names, allowlists among them.

use super::*;

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
    let config = load(Some(&here("c.toml"))).expect("good");
    let files = ["c.toml", "allow.d", "allow.d/a.txt", "b.toml", "g.csv", "as.csv", "o.json", "s.toml"];
    assert_eq!(config.inputs(), files.map(here));
    assert_eq!(config.shadow, Some(here("s.toml")));
    fs::remove_file(here("o.json")).expect("removed");
    let refused = load(Some(&here("c.toml"))).expect_err("must be refused").to_string();
    assert!(
        refused.ends_with("c.toml:3:13: overlay 'o.json' is no file: write the name of an existing one"),
        "{refused}"
    );
}

#[test]
fn files_that_are_not_there_or_not_text_are_refused() {
    let missing = load(Some(std::path::Path::new("/nonexistent/config.toml"))).expect_err("must be refused");
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
    let rules: Vec<_> = config.spec.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(rules, ["first", "a.txt", "z.txt", "b"]);
    let networks: Vec<_> = config.spec.rules[1].to.iter().map(|(network, _)| network.to_string()).collect();
    assert_eq!(networks, ["192.0.2.0/24", "2001:db8::1/128"]);
    assert!(config.spec.rules[1].origin.to_string().ends_with("a.txt:3"), "{}", config.spec.rules[1].origin);
    assert_eq!(config.spec.rules[1].ports, []);
    assert_eq!(config.spec.rules[3].ports, [PortRange { protocol: 17, low: 53, high: 53 }]);
}

#[test]
fn what_is_wrong_in_an_allowlist_is_reported_with_its_own_line() {
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
fn a_pattern_walks_one_directory_and_not_the_disk() {
    for pattern in ["/**/*.toml", "**", "*/a.toml", "/et[c]/a.toml"] {
        let found = load_with(format!("[policy]\nallowlists = [\"{pattern}\"]").as_bytes(), &[]).expect_err("refused");
        assert!(matches!(&found[..], [line] if line.contains("has a wildcard in a directory's name")), "{found:?}");
    }
}

#[test]
fn files_that_change_are_read_by_themselves_unless_a_signal_is_wanted() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("config.toml");
    let reload = |text: &str| {
        fs::write(&file, text).expect("written");
        load(Some(&file)).expect("good").reload
    };
    assert_eq!(reload(""), Reload::Auto);
    assert_eq!(reload("[policy]\nreload = \"auto\""), Reload::Auto);
    assert_eq!(reload("[policy]\nreload = \"signal\""), Reload::Signal);
    fs::write(&file, "[policy]\nreload = \"never\"").expect("written");
    let refused = load(Some(&file)).expect_err("must be refused").to_string();
    assert!(refused.contains("config.toml:2:") && refused.contains("never") && refused.contains("signal"), "{refused}");
}

#[test]
fn a_list_has_its_networks_whatever_ends_its_lines() {
    let text = b"[policy]\nallowlists = [\"a.txt\"]";
    let list = "# partners\n192.0.2.0/24 # one\n\n198.51.100.0/24\n";
    for end in ["\n", "\r\n", "\r"] {
        let config = load_with(text, &[("a.txt", list.replace('\n', end).as_bytes())]).expect("good");
        let networks: Vec<_> =
            config.spec.rules[0].to.iter().map(|(network, at)| format!("{network} {}", at.line)).collect();
        assert_eq!(networks, ["192.0.2.0/24 2", "198.51.100.0/24 4"], "{end:?}");
    }
    // TOML has no such line end, and says so.
    let found = load_with(b"# a note\r[monitor]\rmode = \"enforce\"\r", &[]).expect_err("must be refused");
    assert!(found[0].starts_with("config.toml:1: not TOML at "), "{found:?}");
}

#[test]
fn a_list_of_networks_does_what_it_is_named_as_and_comments_of_both_kinds_are_read() {
    let text = b"[policy]\nallowlists = [\"allow.d/*\"]\ndenylists = [\"deny.d/*.txt\", \"d.toml\"]";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, content: &str| {
        let file = directory.path().join(name);
        fs::create_dir_all(file.parent().expect("a directory")).expect("made");
        fs::write(file, content).expect("written");
    };
    write("config.toml", std::str::from_utf8(text).expect("text"));
    write("allow.d/partner.txt", "192.0.2.0/24 ; SBL1\n; a comment\n198.51.100.0/24 # one\n");
    // What editors, file managers and version control leave.
    for name in [".#partner.txt", "._partner.txt", "partner.txt~", "#partner.txt#", ".partner.txt.swp", ".keep"] {
        write(&format!("allow.d/{name}"), "203.0.113.0/24\n");
    }
    write("deny.d/tor-exits.txt", "203.0.113.7\n203.0.113.9\n");
    write("d.toml", "[[deny]]\nid = \"d\"\nto = [\"SG\"]\nreason = \"r\"\n");
    let config = load(Some(&directory.path().join("config.toml"))).expect("good");
    let rules: Vec<_> = config.spec.rules.iter().map(|rule| (rule.id.as_str(), rule.action, rule.to.len())).collect();
    let expected = [("partner.txt", Action::Allow, 2), ("tor-exits.txt", Action::Deny, 2), ("d", Action::Deny, 0)];
    assert_eq!(rules, expected);
    let lists: Vec<_> = config.lists.iter().map(|list| (list.plain, list.action, list.networks)).collect();
    assert_eq!(lists, [(true, Action::Allow, 2), (true, Action::Deny, 2), (false, Action::Deny, 0)]);
    // In both it does neither.
    let twice = "[policy]\nallowlists = [\"allow.d/*\"]\ndenylists = [\"allow.d/partner.txt\"]";
    write("config.toml", twice);
    let refused = load(Some(&directory.path().join("config.toml"))).expect_err("must be refused").to_string();
    assert!(refused.ends_with("partner.txt' is an allowlist and a denylist: leave it in one of them"), "{refused}");
}

#[test]
fn overlays_may_be_globs_which_may_match_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = |name: &str| directory.path().join(name);
    fs::create_dir(here("geo")).expect("made");
    for name in ["geo/b.csv", "geo/a.json", "geo/.a.json.swp", "geo/b.csv~"] {
        fs::write(here(name), "192.0.2.0/24,DE\n").expect("written");
    }
    let overlays = |list: &str| {
        fs::write(here("c.toml"), format!("[geo]\noverlays = {list}")).expect("written");
        load(Some(&here("c.toml"))).map(|config| (config.geo.overlays, config.globs.directories))
    };
    let (found, directories) = overlays("[\"geo/b.csv\", \"geo/*\", \"none/*.csv\"]").expect("good");
    assert_eq!(found, ["geo/b.csv", "geo/a.json"].map(here));
    assert_eq!(directories, ["geo", "none"].map(here));
    let refused = overlays("[\"geo/*\", \"geo/b.csv\"]").expect_err("must be refused").to_string();
    assert!(refused.contains("b.csv' stands here twice: remove one"), "{refused}");
}

#[test]
fn where_fresh_data_comes_from_is_taken_from_the_configurations_directory_on_and_need_not_be_there() {
    let config = good("[geo]\nincoming = \"incoming\"\nkeys = [\"a.pub\", \"/etc/b.pub\"]");
    let folder = config.file.as_ref().and_then(|file| file.parent()).expect("a folder");
    assert_eq!(config.geo.incoming, Some(folder.join("incoming")));
    assert_eq!(config.geo.keys, [folder.join("a.pub"), "/etc/b.pub".into()]);
    let without = good("[geo]\nsources = [\"embedded\"]");
    assert_eq!((without.geo.incoming, without.geo.keys.len()), (None, 0));
    assert!(config.geo.has_data_of(&Config::default().geo), "no other data");
}
