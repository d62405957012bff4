//! `egress-monitor flows`: asks the running daemon through its control socket.

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clap::ValueEnum as _;

use super::args::Daemon;
use crate::{cli::render, error::CliError, model::now};
use monitor_api::{
    flows::{By, Flows, MAX_SINCE},
    shadow::ShadowPage,
};

/// Between two looks.
const WATCH: Duration = Duration::from_secs(2);

/// Show flow counters
///
/// What is asked for can be narrowed by lists with commas between; the last table says what it comes to beside all the rest,
/// to the packet.
///
/// `bytes` are frames as the kernel hands them on, GSO packets whole; `on wire` is what they are on the wire, with the headers
/// of every segment. Neither is payload.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor flows --would-drop --by source,peer\n  egress-monitor flows --country CN,SG \
                        --since 1h --active\n  egress-monitor flows --since 1h --until 30min --by peer\n  egress-monitor flows --by country --verdict observed\n  egress-monitor flows \
                        --top 100000 --json\n  egress-monitor flows --shadow"
)]
pub struct Args {
    /// Rows, those with most bytes on the wire first.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    top: u32,
    /// Sum flows by what they have in common.
    #[arg(long, value_enum)]
    by: Option<By>,
    #[command(flatten)]
    only: Only,
    /// Only the last TIME, at most 1h. Begins up to a minute earlier; the heading says when
    #[arg(long, value_name = "TIME", value_parser = ago)]
    since: Option<u32>,
    /// Only until TIME ago; without --since of the last hour. Ends up to a minute later; the heading says when
    #[arg(long, value_name = "TIME", value_parser = ago, conflicts_with = "active")]
    until: Option<u32>,
    /// Show it again every two seconds, until it is interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Show where the shadow policy differs.
    #[arg(long, conflicts_with_all = ["by", "Only", "since", "until", "watch"])]
    shadow: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Which flows.
#[derive(Debug, clap::Args)]
#[group(multiple = true)]
struct Only {
    /// Only these verdicts: allowed, observed, denied
    #[arg(long, value_name = "VERDICTS")]
    verdict: Option<String>,
    /// Only what enforce drops, or would drop
    #[arg(long)]
    would_drop: bool,
    /// Only these countries, by their codes
    #[arg(long, value_name = "CODES")]
    country: Option<String>,
    /// Only these classes: inside, outside…
    #[arg(long, value_name = "CLASSES")]
    class: Option<String>,
    /// Only what these rules decided; - for the zone default
    #[arg(long, value_name = "IDS")]
    rule: Option<String>,
    /// Only from these networks
    #[arg(long, value_name = "NETWORKS")]
    source: Option<String>,
    /// Only to these networks
    #[arg(long, value_name = "NETWORKS")]
    peer: Option<String>,
    /// Only to these ports
    #[arg(long, value_name = "PORTS")]
    port: Option<String>,
    /// Only by these interfaces
    #[arg(long, value_name = "NAMES")]
    interface: Option<String>,
    /// Only what is going on: seen in the epoch closed last
    #[arg(long)]
    active: bool,
}

impl Only {
    fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let flag = |set: bool| set.then(|| "1".to_owned());
        let all = [
            ("verdict", self.verdict.clone()),
            ("would_drop", flag(self.would_drop)),
            ("country", self.country.clone()),
            ("class", self.class.clone()),
            ("rule", self.rule.clone()),
            ("source", self.source.clone()),
            ("peer", self.peer.clone()),
            ("port", self.port.clone()),
            ("interface", self.interface.clone()),
            ("active", flag(self.active)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// Whether it is what sums know.
    const fn is_total(&self) -> bool {
        let Self { source, peer, port, interface, active, .. } = self;
        source.is_none() && peer.is_none() && port.is_none() && interface.is_none() && !*active
    }
}

/// Seconds, rounded up.
fn ago(text: &str) -> anyhow::Result<u32> {
    let time = monitor_policy::duration::parse(text)?;
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_SINCE);
    seconds.context("only 1h is kept")
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or the configuration is bad.
pub fn run(args: &Args) -> Result<(), CliError> {
    let client = args.daemon.client()?;
    if args.shadow {
        let page: ShadowPage = client.get(&format!("/api/v1/policy/shadow?fresh=1&top={}", args.top))?;
        return args.daemon.shape.print(&page, |page, width| render::shadow(page, now(), width));
    }
    let by = args.by.and_then(|by| by.to_possible_value()).map(|by| by.get_name().to_owned());
    // Who reads sums need not be one who reads flows.
    let page = if args.by.is_some_and(By::is_total) && args.only.is_total() { "totals" } else { "flows" };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("fresh", "1").append_pair("top", &args.top.to_string());
    query.extend_pairs(by.iter().map(|by| ("by", by)));
    query.extend_pairs(args.only.pairs());
    let times = [("since", args.since), ("until", args.until)];
    query.extend_pairs(times.iter().filter_map(|(name, ago)| Some((name, ago.as_ref()?.to_string()))));
    let path = format!("/api/v1/{page}?{}", query.finish());
    loop {
        let reply: Flows = client.get(&path)?;
        let shape = args.daemon.shape;
        let text = |reply: &Flows, width| render::flows(reply, by.as_deref(), now(), width);
        if !args.watch {
            return shape.print(&reply, text);
        }
        // The terminal is cleared, and what it shows stands at its top.
        let clear = if io::stdout().is_terminal() { "\x1b[2J\x1b[H" } else { "" };
        io::stdout()
            .write_all(clear.as_bytes())
            .and_then(|()| io::stdout().flush())
            .context("standard output")
            .map_err(|error| CliError::Unavailable(format!("{error:#}")))?;
        shape.page(&text(&reply, shape.width()))?;
        thread::sleep(WATCH);
    }
}
