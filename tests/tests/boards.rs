//! Promise: every expression of `packaging/prometheus` and `packaging/grafana` runs in a real Prometheus over a scrape
//! of a real monitor, names only metrics that are there, and the first transfer to a country pages. Needs Debian's
//! prometheus, which `cargo xtask prove boards` unpacks.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use egress_monitor_tests::{
    daemon::{Daemon, Home, binary},
    stage::{INSIDE, INTERFACE, OUTSIDE, RULED, RULED_PORT, Stage, v4},
    traffic::{send_frames, send_udp},
};
use serde_json::Value;

/// For whatever takes several scrapes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions to Prometheus.
const AGAIN: Duration = Duration::from_millis(200);

/// In a namespace of the test's own every port is free.
const MONITOR: &str = "127.0.0.1:9477";
const PROMETHEUS: &str = "127.0.0.1:9090";

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(file)
}

/// A running Prometheus, ended when it is dropped.
struct Prometheus<'a> {
    stage: &'a Stage,
    child: Child,
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> Prometheus<'a> {
    /// With the rules as they are shipped and the example's way to scrape, each second.
    fn start(stage: &'a Stage) -> Self {
        let program = std::env::var_os("PROMETHEUS").expect("PROMETHEUS names the program: `cargo xtask prove boards`");
        let scrape = fs::read_to_string(packaging("prometheus/scrape.example.yml")).unwrap();
        assert!(scrape.contains("scrape_interval: 15s") && scrape.contains(MONITOR), "{scrape}");
        let rules = packaging("prometheus/egress-monitor.rules.yml");
        let config = format!(
            "global:\n  evaluation_interval: 1s\nrule_files: [{:?}]\n{}",
            rules.display().to_string(),
            scrape.replace("scrape_interval: 15s", "scrape_interval: 1s")
        );
        let file = stage.folder().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let mut command = stage.near.command(program).unwrap();
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", stage.folder().join("tsdb").display()));
        command.arg(format!("--web.listen-address={PROMETHEUS}"));
        let log = fs::File::create(stage.folder().join("prometheus.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { stage, child: command.spawn().unwrap() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.stage.folder().join("prometheus.log")).unwrap_or_default()
    }

    /// What a page of its API gives.
    fn ask(&self, path: &str) -> Result<Value, String> {
        let (status, body) = get(self.stage, PROMETHEUS, path)?;
        let value: Value = serde_json::from_str(&body).map_err(|error| format!("{path}: {status} {error}: {body}"))?;
        if status == 200 && value["status"] == "success" { Ok(value["data"].clone()) } else { Err(body) }
    }

    /// What an expression comes to now.
    fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(expression)))?;
        // A scalar is one, too.
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// Asks until the answer is good.
    fn until(&mut self, expression: &str, good: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.query(expression);
            if let Ok(values) = &answer
                && good(values)
            {
                return values.clone();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(Instant::now() < deadline && ended.is_none(), "{expression}: {answer:?}\n{}", self.log());
            std::thread::sleep(AGAIN);
        }
    }
}

/// Status and body.
fn get(stage: &Stage, address: &str, path: &str) -> Result<(u16, String), String> {
    let reply = stage.near.run(|| {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    });
    let reply = reply.map_err(|error: std::io::Error| error.to_string())?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
    Ok((status, body.to_owned()))
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => all + &char::from(byte).to_string(),
        _ => all + &format!("%{byte:02X}"),
    })
}

/// Everything that is called `expr` in the dashboard, with its variables as a person has them at first.
fn expressions(of: &Value) -> Vec<String> {
    let each = |values: &mut dyn Iterator<Item = &Value>| values.flat_map(expressions).collect();
    match of {
        Value::Array(all) => each(&mut all.iter()),
        Value::Object(members) => {
            let mut found: Vec<String> = each(&mut members.values());
            let own = members.get("expr").and_then(Value::as_str);
            found.extend(own.map(|text| text.replace("$__rate_interval", "1m").replace("$instance", ".*")));
            found
        }
        _ => Vec::new(),
    }
}

/// The metrics that an expression names: ours, and what rules record.
fn named(expression: &str) -> Vec<&str> {
    let parts = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':');
    parts.filter(|part| part.contains("egress_monitor_")).collect()
}

/// A header of IPv4 with what follows.
fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend_from_slice(payload);
    packet
}

/// Frames to inside with an inner destination, with content that can't be read, and one that can't be parsed.
fn hidden(stage: &Stage) -> Vec<Vec<u8>> {
    let (from, to) = (stage.wire.near.v4, v4(INSIDE));
    let inner = ipv4(17, from, to, &[0x30, 0x39, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    let frame = |kind: [u8; 2], packet: Vec<u8>| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind, &packet].concat();
    let esp = ipv4(50, from, to, &[0, 0, 1, 0, 0, 0, 0, 1, 9, 9, 9, 9]);
    // An EtherType for experiments (IEEE 802, 9.2.4).
    let foreign = frame([0x88, 0xb5], vec![0; 46]);
    vec![frame([8, 0], ipv4(4, from, to, &inner)), frame([8, 0], esp), foreign]
}

/// A monitor of which every metric has a series.
fn monitor(stage: &Stage) -> Daemon {
    for name in ["one", "two"] {
        let file = stage.folder().join(format!("{name}.csv"));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("# built: 2026-06-01\n{text}")).unwrap();
    }
    // Nothing vouches for it, so it is not taken.
    let incoming = stage.folder().join("incoming");
    fs::create_dir(&incoming).unwrap();
    fs::copy(stage.folder().join("two.csv"), incoming.join("one.csv")).unwrap();
    let candidate = stage.folder().join("candidate.toml");
    fs::write(&candidate, stage.config("", "")).unwrap();
    let config = stage
        .config("epoch = \"200ms\"", "")
        .replace("listen = \"\"", &format!("listen = {MONITOR:?}"))
        .replace("[geo]\n", &format!("[geo]\nincoming = {:?}\n", incoming.display().to_string()));
    let shadow = candidate.display().to_string();
    let config = format!("{config}max_bytes_per_day = 10000000\n[policy]\nshadow = {shadow:?}\n");
    let home = Home::new().unwrap();
    home.configure(&config).unwrap();
    let mut daemon = Daemon::spawn(&stage.near, home, &[]).unwrap();
    daemon.wait_until_ready().unwrap();
    let mut command = Command::new(binary().unwrap());
    let staged = command.args(["geo", "stage", "--config"]).arg(daemon.home().config()).output().unwrap();
    assert_eq!(staged.status.code(), Some(65), "{staged:?}");
    let held = |status: &Value| {
        let findings = status["findings"].as_array().unwrap();
        findings.iter().any(|finding| finding["type"] == "geo_data_held")
    };
    daemon.json_until(&["status"], held).unwrap();
    let ruled = SocketAddr::new(v4(RULED).into(), RULED_PORT);
    stage.near.run(|| send_udp(stage.from(ruled), ruled, &[10; 3])).unwrap();
    let frames = hidden(stage);
    stage.near.run(|| send_frames(INTERFACE, frames.iter().map(Vec::as_slice))).unwrap();
    daemon
}

#[test]
#[ignore = "takes Debian's prometheus: `cargo xtask prove boards`"]
fn each_expression_runs_over_a_real_scrape_and_the_first_transfer_to_a_country_pages() {
    let stage = Stage::build(false).unwrap();
    let _monitor = monitor(&stage);
    let mut prometheus = Prometheus::start(&stage);
    let outside = r#"egress_monitor_left_packets_total{class="outside",verdict="observed"}"#;
    let samples = |values: &[Value]| values.first().is_some_and(|value| value["value"][1].as_str() >= Some("2"));
    prometheus.until(&format!("count_over_time({outside}[1m])"), samples);
    let firing = r#"ALERTS{severity="page",alertstate="firing"}"#;
    assert_eq!(prometheus.query(firing).unwrap(), Vec::<Value>::new(), "before anything happens");

    let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
    let sent = Instant::now();
    stage.near.run(|| send_udp(stage.from(to), to, &[10; 1])).unwrap();
    let pages = prometheus.until(firing, |values| values.len() >= 2);
    let took = sent.elapsed();
    let mut names: Vec<_> = pages.iter().map(|page| page["metric"]["alertname"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["EgressLeftRegion", "EgressNewCountry"]);
    println!("proven: the first packet to a country, paged after: {} ms, at a scrape each second", took.as_millis());

    let (status, scrape) = get(&stage, MONITOR, "/metrics").unwrap();
    assert_eq!(status, 200);
    let there: Vec<&str> = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let rules = prometheus.ask("/api/v1/rules").unwrap();
    let rules: Vec<&Value> =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let recorded: Vec<&str> =
        rules.iter().filter(|rule| rule["type"] == "recording").map(|rule| rule["name"].as_str().unwrap()).collect();
    let ill: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(ill.is_empty(), "{ill:#?}");
    let board: Value =
        serde_json::from_str(&fs::read_to_string(packaging("grafana/egress-monitor.json")).unwrap()).unwrap();
    let board = expressions(&board);
    let rules: Vec<String> = rules.iter().map(|rule| rule["query"].as_str().unwrap().to_owned()).collect();
    let mut metrics = std::collections::BTreeSet::new();
    for (of, all) in [("rules", &rules), ("the dashboard", &board)] {
        for expression in all {
            assert!(!expression.contains('$'), "{expression}: a variable that is not known here");
            if let Err(error) = prometheus.query(expression) {
                panic!("{of}: {expression}: {error}");
            }
            let ours = named(expression);
            assert!(!ours.is_empty() || expression.contains("up{"), "{expression}: of nothing of ours");
            for name in ours {
                assert!(there.contains(&name) || recorded.contains(&name), "{of}: {expression}: {name} is not there");
                metrics.insert(name);
            }
        }
        println!("proven: expressions of {of}, each evaluated: {}", all.len());
    }
    println!("proven: metrics named in them, each in the scrape: {}", metrics.len());
    assert!(rules.len() >= 30 && board.len() >= 30);
}
