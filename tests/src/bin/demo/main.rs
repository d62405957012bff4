//! The demonstration (`cargo xtask demo`): an enclave host sends to Germany and to Singapore, the monitor watches,
//! then enforces, then makes one exception; in the end what it counted is compared with what arrived. Exits 0
//! only if everything went as it must and every number is equal.

mod compare;
mod scene;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use compare::Evidence;
use egress_monitor_tests::{
    daemon::{Daemon, PATIENCE},
    measure,
    netns::{Count, Statistics},
};
use scene::{Errand, Outcome, Scene, TCP_BYTES};
use serde_json::Value;

const GERMANY: usize = 0;
const SINGAPORE: usize = 1;

/// Alerts come within a second; a busy machine gets some more.
const ALERTS_COME: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    measure::catch_interrupts();
    let begun = Instant::now();
    let result = story();
    // Everything was dropped by now: namespaces, wires, programs, files.
    match result {
        _ if measure::interrupted() => {
            eprintln!("\ndemo: interrupted; everything that it made was removed");
            ExitCode::from(130)
        }
        Ok(()) => {
            println!(
                "\nDone in {:.0} s. Everything that the demonstration made was removed.",
                begun.elapsed().as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn story() -> Result<()> {
    title("The scene: three network namespaces, as good as three machines");
    println!("{PICTURE}");
    let scene = Scene::build()?;
    let before = scene.statistics()?;
    let segments_before = scene.host.tcp_segments_sent()?;

    title("Act 1: observe. The monitor watches both interfaces; nothing is blocked");
    let daemon = Daemon::start(&scene.host, &config(&scene, "observe", ""), &[])?;
    for line in daemon.log.all() {
        println!("  | {line}");
    }
    let mut show = Show { scene, daemon, before, segments_before, alerts_shown: 0 };
    show.round(&[(GERMANY, Outcome::Complete), (SINGAPORE, Outcome::Complete)])?;
    show.proof("What left, as the monitor counted it, and what the peers received")?;

    title("Act 2: enforce. Same host, same programs; the policy says that nothing may leave the EEA");
    let denied = show.config("enforce", "");
    show.reconfigure(&denied, "enforce")?;
    show.round(&[(GERMANY, Outcome::Complete), (SINGAPORE, Outcome::Stopped)])?;

    title("Act 3: one exception, on the record: HTTPS to one address in Singapore");
    let [v4, v6] = show.scene.places[SINGAPORE].addresses[0];
    let rule = format!(
        "[[allow]]\nid = \"migration-sg\"\nto = [\"{v4}/32\", \"{v6}/128\"]\nports = [\"tcp/443\"]\n\
         reason = \"user data migration\"\nlegal_basis = \"SCC 2021/914\"\nowner = \"dpo@example.org\"\n"
    );
    for line in rule.lines() {
        println!("  | {line}");
    }
    println!();
    let excepted = show.config("enforce", &rule);
    show.reconfigure(&excepted, "enforce")?;
    for family in [0, 1] {
        show.errand(SINGAPORE, 0, family, Errand::Tcp(443), Outcome::Complete)?;
        show.errand(SINGAPORE, 0, family, Errand::Tcp(80), Outcome::Stopped)?;
        show.errand(SINGAPORE, 0, family, Errand::Udp, Outcome::Stopped)?;
        show.errand(SINGAPORE, 1, family, Errand::Tcp(443), Outcome::Stopped)?;
        show.errand(GERMANY, 0, family, Errand::Tcp(443), Outcome::Complete)?;
    }
    show.alerts()?;
    show.proof("The proof: every flow of the whole demonstration, counted and received")?;

    let Show { daemon, scene, .. } = show;
    let ended = daemon.stop()?;
    ensure!(ended.status.success(), "the monitor ended with {}: {}", ended.status, ended.log.join("\n"));
    let (transfers, bytes) = scene.close()?;
    println!("\nThe peers checked {transfers} TCP transfers byte for byte ({bytes} bytes): all whole.");
    // Observe: both places, both families. Enforce: Germany. The exception: one port in Singapore, and Germany.
    let expected = 4 + 2 + 4;
    ensure!(transfers == expected && bytes == expected as u64 * TCP_BYTES, "{expected} transfers were to arrive");
    Ok(())
}

/// The running demonstration. The daemon is dropped, and so stopped, before its namespace goes.
struct Show {
    daemon: Daemon,
    scene: Scene,
    before: Vec<(&'static str, Statistics)>,
    segments_before: u64,
    alerts_shown: usize,
}

impl Show {
    fn config(&self, mode: &str, rules: &str) -> String {
        config(&self.scene, mode, rules)
    }

    /// Gives the daemon another configuration while it runs, and waits until that is in force.
    fn reconfigure(&self, config: &str, mode: &str) -> Result<()> {
        let digest = |status: &Value| status["policy"]["digest"].clone();
        let old = self.daemon.json(&["status"])?;
        self.daemon.reconfigure(config)?;
        let new = self.daemon.json_until(&["status"], |status| {
            status["mode"] == mode && (digest(status) != digest(&old) || status["mode"] != old["mode"])
        })?;
        let digest = digest(&new);
        let digest = digest.as_str().context("`status --json` has no policy.digest")?;
        println!("  The new policy is in force: {mode}, digest {}…\n", digest.get(..16).unwrap_or(digest));
        Ok(())
    }

    /// Every kind of traffic to the first address of the places, in both families.
    fn round(&mut self, expected: &[(usize, Outcome)]) -> Result<()> {
        for (place, outcome) in expected {
            for errand in [Errand::Tcp(443), Errand::Udp, Errand::Ping] {
                for family in [0, 1] {
                    self.errand(*place, 0, family, errand, *outcome)?;
                }
            }
        }
        self.alerts()
    }

    /// One program, reported live.
    fn errand(&mut self, place: usize, address: usize, family: usize, errand: Errand, expected: Outcome) -> Result<()> {
        if measure::interrupted() {
            bail!("interrupted");
        }
        let begun = Instant::now();
        let outcome = self.scene.send(place, address, family, errand)?;
        let at = &self.scene.places[place];
        let to = at.addresses[address][family];
        let what = match errand {
            Errand::Tcp(port) => format!("TCP 1 MiB to port {port}"),
            Errand::Udp => "UDP 100 datagrams to port 4500".to_owned(),
            Errand::Ping => "ping, 5 requests".to_owned(),
        };
        let went = match outcome {
            Outcome::Complete => "arrived".to_owned(),
            Outcome::Stopped => "stopped".to_owned(),
            Outcome::Partly(some) => format!("only {some} packets arrived"),
        };
        println!("  {:<10} {to:<18} {what:<31} {went:<8} {:>6} ms", at.country, begun.elapsed().as_millis());
        ensure!(outcome == expected, "this was to be {expected:?} and is {outcome:?}");
        Ok(())
    }

    /// Prints the alerts that have come since the last time, once each flow to the outside has one.
    fn alerts(&mut self) -> Result<()> {
        let document = self.daemon.json(&["flows", "--top", "100000"])?;
        let deadline = Instant::now() + ALERTS_COME;
        let (flows, missing) = loop {
            let known = self.daemon.alerts.all();
            let (flows, missing) = compare::without_alert(&document, &known)?;
            if missing.is_empty() || Instant::now() > deadline {
                break (flows, missing);
            }
            // Another line, or the end of patience: the loop decides.
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = self.daemon.alerts.wait_for(known.len(), left, |_| true);
        };
        println!("\n  Alerts of the monitor (one JSON line each; here their messages):");
        let all = self.daemon.alerts.all();
        for line in all.iter().skip(self.alerts_shown) {
            let alert: Value = serde_json::from_str(line).unwrap_or_default();
            println!("  ! {}", alert["message"].as_str().unwrap_or(line));
        }
        self.alerts_shown = all.len();
        ensure!(missing.is_empty(), "flows that left or tried to, without an alert:\n  {}", missing.join("\n  "));
        println!("  Each of the {flows} flows to the outside so far is part of an incident that was told.");
        Ok(())
    }

    /// Compares everything that was counted so far with everything that was received.
    fn proof(&self, heading: &str) -> Result<()> {
        // Acknowledgements of TCP may still be on their way while the programs are done: until all agree, or
        // patience is over and the difference is real.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let document = self.daemon.json(&["flows", "--top", "100000"])?;
            let received = self.scene.received()?;
            let interfaces: Vec<(&'static str, Count)> = compare::sent_since(&self.before, &self.scene.statistics()?);
            let evidence = Evidence {
                document: &document,
                sent: &self.scene.sent,
                received: &received,
                interfaces: &interfaces,
                tcp_segments: self.scene.host.tcp_segments_sent()? - self.segments_before,
            };
            let found = compare::differences(&evidence)?;
            if !found.is_empty() && Instant::now() < deadline && !measure::interrupted() {
                continue;
            }
            println!("\n  {heading} (packets / bytes):\n\n{}", compare::table(&evidence)?);
            for (interface, sent) in &interfaces {
                println!("  {interface} itself counts {} packets, {} bytes sent", sent.packets, sent.bytes);
            }
            println!("  the host's TCP counts {} segments handed down", evidence.tcp_segments);
            if found.is_empty() {
                println!(
                    "  EXACT: counted = received + dropped for every flow; the interfaces, the host's TCP and the\n  \
                     programs' own numbers agree with it, to the packet and the byte."
                );
                return Ok(());
            }
            bail!("the numbers differ:\n  {}", found.join("\n  "));
        }
    }
}

/// The daemon's configuration: where the two networks are, and what may be done.
fn config(scene: &Scene, mode: &str, rules: &str) -> String {
    let mut text = format!(
        "[monitor]\nmode = \"{mode}\"\ninterfaces = [\"de0\", \"sg0\"]\nepoch = \"1s\"\n\n\
         [zone]\nname = \"demo\"\ninside = \"EEA\"\non_outside = \"deny\"\n\n[management]\nnetworks = []\n\n[http]\nlisten = \"\"\n\n"
    );
    for place in &scene.places {
        text += &format!(
            "[[site]]\nname = \"{}\"\ncountry = \"{}\"\nnetworks = [\"{}/24\", \"{}/64\"]\n\n",
            place.country.to_lowercase(),
            place.code,
            place.networks.v4,
            place.networks.v6
        );
    }
    text + rules
}

fn title(text: &str) {
    println!("\n== {text}\n");
}

const PICTURE: &str = "
     enclave host                              Germany (inside the EEA)
   +--------------+  de0 ------------- eth0 +---------------------------------+
   |              |                         | 198.18.49.2    2001:db8:49::2   |
   |  programs    |                         +---------------------------------+
   |  + monitor   |                            Singapore (outside)
   |              |  sg0 ------------- eth0 +---------------------------------+
   +--------------+                         | 198.18.65.2,.3 2001:db8:65::2,3 |
                                            +---------------------------------+

  The monitor sits in the kernel where packets leave the host, on de0 and sg0: it counts each one, asks its policy
  where the destination is, and lets the packet go or drops it. The peers count what reaches them, with other code.";
