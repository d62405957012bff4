//! Promise: the first five minutes are as the documentation shows them, to the line, on a terminal of eighty columns.
//! `docs/first-minutes.md` is what is compared; `BLESS=1` writes it.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::Path,
};

use egress_monitor_tests::{
    stage::{INSIDE, NEIGHBOUR, OUTSIDE, RULED, Stage, v4},
    traffic::send_udp,
};

use crate::support::{
    sandbox::{Sandbox, config},
    terminal::Terminal,
};

/// A host in the EEA that speaks with Ireland, Singapore and China.
fn host(stage: &Stage) -> Sandbox<'_> {
    let sites: [(&str, &str, &[u8]); 3] =
        [("dublin", "IE", &[INSIDE]), ("singapore", "SG", &[RULED, NEIGHBOUR]), ("shanghai", "CN", &[OUTSIDE])];
    Sandbox::make(&stage.near, &config("observe", &sites))
}

/// Runs a line as somebody types it, answers what it asks, and gives what was on the terminal.
fn typed(sandbox: &Sandbox<'_>, line: &str, answer: Option<(&str, &str)>) -> String {
    let mut command = sandbox.shell(line);
    command.env("SSH_CONNECTION", format!("{} 40000 198.18.14.1 22", v4(OUTSIDE)));
    let mut terminal = Terminal::start(command);
    if let Some((question, answer)) = answer {
        terminal.until(question);
        terminal.types(answer);
    }
    let (text, status) = terminal.end();
    assert!(status.success(), "{line}: {text}");
    format!("# {line}\n{text}")
}

/// What is another one in each run: digests, times, ages, processes, logins.
fn normalised(text: &str) -> String {
    let mut digests: Vec<String> = Vec::new();
    let mut numbered = |word: &str| {
        let digest = word[..8].to_owned();
        let at = digests.iter().position(|known| *known == digest).unwrap_or_else(|| {
            digests.push(digest);
            digests.len() - 1
        });
        ["a", "b", "c", "d"][at].repeat(word.len())
    };
    let text = by_whom(text).replace("clsact", "tcx");
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let bare = |at: usize| words.get(at).map_or("", |word| word.trim_matches(['(', ')', ':', ';', ',', '.', '…']));
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let is_digest = |word: &str| [8, 16].contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time = |word: &str| word.starts_with("20") && word.contains('T') && word.ends_with('Z');
        let word = |at: usize| {
            let word = bare(at);
            let other = match () {
                () if is_digest(word) && !is_number(word) => numbered(word),
                () if is_time(word) => "2026-11-30T12:00:00Z".to_owned(),
                () if is_number(word) && bare(at + 1) == "min" => "5".to_owned(),
                () if is_number(word) && at > 1 && bare(at - 1) == "min" && bare(at + 1) == "s" => "0".to_owned(),
                () if is_number(word) && bare(at + 1) == "s" => "1".to_owned(),
                () if is_number(word) && at > 0 && bare(at - 1) == "pid" => "4121".to_owned(),
                () => return words[at].to_owned(),
            };
            words[at].replacen(word, &other, 1)
        };
        lines.push(of_one_age(&(0..words.len()).map(word).collect::<Vec<_>>().join(" ")));
    }
    // Of five minutes and thirty days a moment has passed, or not yet.
    lines.join("\n").replace("5 min 1 s", "5 min 0 s").replace("in 30 d 0 h", "in 29 d 23 h") + "\n"
}

/// A line of a table as if what it tells were a second ago.
fn of_one_age(line: &str) -> String {
    let Some((before, after)) = line.split_once(" ago") else { return line.to_owned() };
    let age = before.rsplit(' ').next().unwrap_or_default();
    let number = age.trim_end_matches(['s', 'm']);
    let is_brief = number != age && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match before.strip_suffix(age).filter(|_| is_brief) {
        // Padded, where something follows.
        Some(before) if !after.is_empty() => format!("{before}{:<7}  {}", "1s ago", after.trim_start()),
        Some(before) => format!("{before}1s ago"),
        None => line.to_owned(),
    }
}

/// Who did something, in a line, without how he logged in.
fn by_whom(text: &str) -> String {
    let mut parts = text.split("by uid 0");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (who, rest) = part.split_once('`').unwrap_or((part, ""));
        let (what, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let login = who.contains("log");
        assert!(login || who.trim() == ",", "{who:?}");
        said += &format!("by uid 0, `{}`{rest}", what.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    said
}

#[test]
fn the_first_five_minutes_are_as_they_are_documented() {
    let stage = Stage::build(false).unwrap();
    let sandbox = host(&stage);
    let daemon = sandbox.daemon(&["--ephemeral"]);

    let far = SocketAddr::new(v4(OUTSIDE).into(), 2222);
    let listener = stage.far.run(|| TcpListener::bind(far)).unwrap();
    let session = stage.near.run(|| TcpStream::connect(far)).unwrap();
    for (number, datagrams) in [(INSIDE, 40), (OUTSIDE, 200), (NEIGHBOUR, 20)] {
        let to = SocketAddr::new(IpAddr::V4(v4(number)), 443);
        stage.near.run(|| send_udp(stage.from(to), to, &vec![1_000; datagrams])).unwrap();
    }

    let rule = format!(
        "egress-monitor allow {}/32 udp/443 --id migration-sg --reason \"user migration\" --expires 30d >> new.toml",
        v4(NEIGHBOUR)
    );
    let transcript: String = [
        typed(&sandbox, "egress-monitor status", None),
        typed(&sandbox, "egress-monitor flows --would-drop --by source,peer", None),
        typed(&sandbox, "sed 's/observe/enforce/' config.toml > new.toml", None),
        typed(&sandbox, &rule, None),
        typed(&sandbox, "egress-monitor try new.toml --for 5min", Some(("[y/N] ", "y\n"))),
        typed(&sandbox, "egress-monitor status", None),
        typed(&sandbox, "egress-monitor confirm", None),
        typed(&sandbox, "egress-monitor changes", None),
    ]
    .join("\n");
    let transcript = normalised(&transcript);
    assert!(transcript.lines().all(|line| line.starts_with('#') || line.chars().count() <= 80), "{transcript}");
    assert!(sandbox.read("egress-monitor/config.toml").contains("id = \"migration-sg\""));
    drop((session, listener));
    daemon.end(libc::SIGINT);

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/first-minutes.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once("```\n").expect("it begins a block");
    let (shown, after) = rest.split_once("```\n").expect("and ends it");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, format!("{before}```\n{transcript}```\n{after}")).unwrap();
    } else {
        assert_eq!(shown, transcript, "docs/first-minutes.md is not what happens: BLESS=1 writes it");
    }
}

#[test]
fn alerts_on_a_terminal_are_a_line_each_and_run_says_so() {
    let stage = Stage::build(false).unwrap();
    let sandbox = host(&stage);
    let mut command = sandbox.command("egress-monitor");
    command.arg("run");
    let mut terminal = Terminal::start(command);
    let begun = terminal.until("Ctrl-C detaches everything and prints totals");
    assert!(begun.contains("  alerts       standard output, a line each; JSON where it is no terminal\n"), "{begun}");
    let to = SocketAddr::new(IpAddr::V4(v4(OUTSIDE)), 443);
    let from = stage.near.run(|| send_udp(stage.from(to), to, &[1_000])).unwrap();
    let line = format!(" High   observed udp {from} → {to} CN eth0\n");
    terminal.until(&line);
    // SAFETY: plain system call; the child is ours and not reaped.
    unsafe { libc::kill(terminal.id(), libc::SIGINT) };
    let (text, status) = terminal.end();
    assert!(status.success() && !text.contains("\"class_uid\""), "{text}");
    let totals = text.split("egress-monitor: detached").nth(1).unwrap_or_else(|| panic!("{text}"));
    assert!(totals.lines().all(|line| line.chars().count() <= 80), "{totals}");
}
