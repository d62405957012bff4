//! `egress-monitor flows`: asks the running daemon through its control socket.

use anyhow::Context as _;
use clap::ValueEnum;

use super::args::Daemon;
use crate::{
    cli::{output::print_either, render},
    error::CliError,
};
use monitor_api::{
    flows::{By, Flows, MAX_SINCE},
    shadow::ShadowPage,
};

/// Flow counters of the running monitor.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor flows --by country --verdict observed\n  \
                        egress-monitor flows --top 1000 --json\n  egress-monitor flows --since 10min --by peer\n  egress-monitor flows --shadow")]
pub struct Args {
    /// Rows, those with most bytes on the wire first.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    top: u32,
    /// Sum flows by what they have in common.
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only flows with this verdict.
    #[arg(long, value_name = "VERDICT", value_parser = ["allowed", "observed", "denied"])]
    verdict: Option<String>,
    /// Only the last hour, or as much of it: 1h, 10min, 90s. Begins up to a minute earlier; the heading says when.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u32>,
    /// Instead: what the shadow policy would have made of the traffic, and the flows of which it thinks otherwise.
    #[arg(long, conflicts_with_all = ["by", "verdict", "since"])]
    shadow: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Seconds, rounded up.
fn since(text: &str) -> anyhow::Result<u32> {
    let time = monitor_policy::duration::parse(text)?;
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_SINCE);
    seconds.with_context(|| format!("more than is kept: write {MAX_SINCE} s or less"))
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or the configuration is bad.
pub fn run(args: &Args) -> Result<(), CliError> {
    let client = args.daemon.client()?;
    if args.shadow {
        let page: ShadowPage = client.get(&format!("/api/v1/policy/shadow?fresh=1&top={}", args.top))?;
        return print_either(args.daemon.json, &page, render::shadow);
    }
    let by = args.by.and_then(|by| by.to_possible_value()).map(|by| by.get_name().to_owned());
    // Who reads sums need not be one who reads flows.
    let page = if args.by.is_some_and(By::is_total) { "totals" } else { "flows" };
    let mut path = format!("/api/v1/{page}?fresh=1&top={}", args.top);
    let since = args.since.map(|seconds| seconds.to_string());
    for (key, value) in [("by", &by), ("verdict", &args.verdict), ("since", &since)] {
        if let Some(value) = value {
            path += &format!("&{key}={value}");
        }
    }
    let reply: Flows = client.get(&path)?;
    print_either(args.daemon.json, &reply, |reply| render::flows(reply, by.as_deref()))
}
