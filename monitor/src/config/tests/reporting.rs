//! How problems are reported: all of them, each at its place, harmless to a terminal.

use super::*;

#[test]
fn what_is_not_toml_is_shown_with_its_line() {
    let found = problems("[monitor]\nepoch = 10s\n");
    assert!(found[0].starts_with("config.toml:2: not TOML at 'epoch = 10s': "), "{found:?}");
    let found = problems("[zone]\nname = \"a\"\nname = \"b\"");
    assert_eq!(found, ["config.toml:3: not TOML at 'name = \"b\"': duplicate key"]);
}

#[test]
fn what_is_wrong_has_its_column() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("c.toml");
    let list = directory.path().join("l.txt");
    fs::write(&file, "[policy]\nallowlists = [\"l.txt\"]\n[zone]\n  inside = \"QQ\"").expect("written");
    fs::write(&list, "# é\n  é1.2.3.4 # x").expect("written");
    let error = load(Some(&file)).expect_err("must be refused").to_string();
    let places: Vec<_> = error.lines().map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(places, [format!("{}:4:12", file.display()), format!("{}:2:3", list.display())]);
}

#[test]
fn one_reading_finds_everything_in_the_order_of_the_lines() {
    let found = problems(
        "[monitor]\nmode = \"enforced\"\nepoch = \"1h\"\n[zone]\ninsid = \"EEA\"\non_outside = \"drop\"\n[[site]]\nname = \"a\"\n",
    );
    assert_eq!(
        found,
        [
            "config.toml:2: invalid value 'enforced': write \"observe\" or \"enforce\"",
            "config.toml:3: invalid duration '1h': add a unit, ms, s or min, such as \"10s\"",
            "config.toml:5: unknown key 'insid' in [zone]: did you mean 'inside'?",
            "config.toml:6: invalid value 'drop': write \"allow\" or \"deny\"",
            "config.toml:7: [[site]] has no 'country': add country = \"CODE\", the ISO 3166-1 code of where its networks are",
            "config.toml:7: [[site]] has no 'networks': add networks = [\"NETWORK\"], which are those of the site",
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
         on_private, on_link_local, on_opaque, opaque, on_undecodable, undecodable, nat64",
        ]
    );
    let long = problems(&format!("[monitor]\nepoch = \"{}\"", "9".repeat(10_000)));
    assert!(long[0].len() < 250, "{}", long[0].len());
}
