//! `diff`.

use std::fs;

use serde_json::Value;

use crate::{configured, json, run};

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
            "place was becomes for IPv4 addresses IPv6 /64s",
            "US outside → DE inside denied allowed all traffic 65,536 0",
            "8.9.0.0/16",
            "US outside allowed by dns denied udp/53 only 1 0",
            "8.8.8.8/32",
            "US outside denied allowed by dns tcp/853 only 1 0",
            "8.8.8.8/32",
            "",
            "rule dns other networks or ports",
        ]
    );
    let document = json(&run(&["diff", &old, &new, "--json", "--networks", "1"]));
    assert_eq!(document["changes"].as_array().map(Vec::len), Some(3));
    assert_eq!(document["traffic"], Value::Null);
    assert_eq!(run(&["diff", &old, &old]).out.lines().last(), Some("no network's verdict changes"));
    // The record of a rule.
    let text = fs::read_to_string(&old).expect("read");
    let other = directory.path().join("other.toml");
    let rule = "[[allow]]\nid = \"sg\"\nto = [\"198.18.0.0/24\"]\n";
    let [first, second] = [
        "reason = \"one\"\nlegal_basis = \"SCC\"\nmax_bytes_per_day = \"1 GiB\"\n",
        "reason = \"two\"\nlegal_basis = \"SCC\"\n",
    ]
    .map(|record| format!("{text}{rule}{record}"));
    fs::write(&old, first).expect("written");
    fs::write(&other, second).expect("written");
    let ran = run(&["diff", &old, &other.display().to_string()]);
    let last = ran.out.lines().last().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let change = "rule sg allow, 1.0 GiB a day → allow; reason \"one\" → \"two\"";
    assert_eq!((last.as_deref(), ran.code), (Some(change), Some(0)), "{}", ran.out);
    let document = json(&run(&["diff", &old, &other.display().to_string(), "--json"]));
    let [before, after] = ["old", "new"].map(|side| document["rules"][0][side]["max_bytes_per_day"].clone());
    assert_eq!((before, after), (Value::from(1 << 30), Value::Null));
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
fn diff_exit_code_says_whether_anything_would_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = configured(directory.path());
    let new = directory.path().join("new.toml").display().to_string();
    let text = std::fs::read_to_string(&old).expect("read");
    let code = |text: &str| {
        std::fs::write(&new, text).expect("written");
        run(&["diff", "--exit-code", &old, &new]).code
    };
    assert_eq!(code(&text), Some(0));
    assert_eq!(code(&text.replace("8.8.8.8/32", "8.8.8.9/32")), Some(1));
    assert_eq!(code(&format!("[monitor]\nmode = \"enforce\"\n[management]\nnetworks = []\n{text}")), Some(1));
}
