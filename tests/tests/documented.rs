//! Promise: the procedures in `docs/operating.md` do what they say. Each line of its blocks for the shell is run as it stands,
//! on a host of its own; what needs systemd is named, and nothing is passed over.

use std::path::Path;

use egress_monitor_tests::{
    stage::{INSIDE, OUTSIDE, Stage, v4},
    traffic::send_udp,
};

use crate::support::sandbox::{Sandbox, config};

/// What only a service manager does.
const SYSTEMD: [&str; 2] = ["systemctl ", "systemd-sysusers"];

/// Lines of the blocks below this heading, without comments.
fn procedure(page: &str, heading: &str) -> Vec<String> {
    let begin = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
    let text = &page[begin + 1..];
    let end = text[1..].find("\n#").map_or(text.len(), |end| end + 1);
    let mut lines = Vec::new();
    for (at, part) in text[..end].split("```\n").enumerate() {
        if at % 2 == 1 {
            let bare = part.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
            lines.extend(bare.filter(|line| !line.is_empty() && !line.starts_with('#')));
        }
    }
    assert!(!lines.is_empty(), "{heading} has no block");
    lines
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs what can be run without a service manager; what the lines said.
fn follow(sandbox: &Sandbox<'_>, heading: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let mut said = String::new();
    for line in procedure(&page, heading) {
        if SYSTEMD.iter().any(|word| line.contains(word)) {
            println!("not run: needs systemd: {line}");
            continue;
        }
        // What is in the repository is named from there.
        let line_there =
            if line.contains("packaging/") { format!("cd {} && {line}", root().display()) } else { line.clone() };
        let mut command = sandbox.command("bash");
        let ran = command.args(["-ec", &line_there]).output().unwrap();
        let text = [&ran.stdout, &ran.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
        assert!(ran.status.success(), "{heading}: {line}: {}\n{text}", ran.status);
        println!("ran: {line}");
        said += &text;
    }
    said
}

#[test]
fn each_line_of_the_procedures_does_what_it_says() {
    let stage = Stage::build(false).unwrap();
    let config = |mode| config(mode, &[("dublin", "IE", &[INSIDE]), ("shanghai", "CN", &[OUTSIDE])]);
    let sandbox = Sandbox::make(&stage.near, &config("observe"));
    sandbox.write("egress-monitor/new.toml", &config("enforce"));
    // The users that sysusers would have made, and one of the host's.
    sandbox.write(
        "passwd",
        "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\negress-monitor:x:990:990::/:/bin/false\n",
    );
    sandbox.write(
        "group",
        "root:x:0:\nalice:x:1000:\negress-monitor:x:990:\negress-security:x:991:\negress-auditors:x:992:\n",
    );
    sandbox.write("shadow", "root:*:1::::::\nalice:*:1::::::\n");
    sandbox.write("gshadow", "egress-security:!::\n");
    let prepared = sandbox.shell(
        "mkdir -p /etc/systemd/system /run/egress-monitor-bpf && mount -t bpf -o mode=0700 bpf /run/egress-monitor-bpf",
    );
    assert!({ prepared }.status().unwrap().success());
    follow(&sandbox, "## As a service");
    follow(&sandbox, "## Fresh geo data");

    let daemon = sandbox.daemon(&[]);
    let to = std::net::SocketAddr::new(v4(OUTSIDE).into(), 443);
    stage.near.run(|| send_udp(stage.from(to), to, &[1_000; 5])).unwrap();

    // The three questions, each by one command.
    let said = follow(&sandbox, "## Plain questions");
    for part in ["would start to be dropped: 5 packets", "CN outside", "Changes since "] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let said = follow(&sandbox, "## The mode by hand");
    assert!(said.contains("CHG-4711") && said.contains("as the configuration says"), "{said}");
    let said = follow(&sandbox, "## HTTP");
    assert!(said.contains("\"country\":\"CN\""), "{said}");
    let said = follow(&sandbox, "## Changing the policy");
    for step in ["new.toml: good", "ENFORCE on trial", "confirmed: policy", "saved to /etc/egress-monitor/config.toml"]
    {
        assert!(said.contains(step), "{step} is not in\n{said}");
    }
    assert_eq!(sandbox.read("egress-monitor/config.toml"), config("enforce"));
    assert!(!stage.leaves(to, 1).unwrap());

    daemon.end(libc::SIGTERM);
    assert!(!stage.leaves(to, 1).unwrap(), "it ended with the daemon");
    let said = follow(&sandbox, "### Removing it");
    assert!(said.contains("removed "), "{said}");
    assert!(stage.leaves(to, 1).unwrap());
}
