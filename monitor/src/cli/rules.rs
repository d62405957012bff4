//! `egress-monitor rules`: asks the running daemon through its control socket.

use super::args::Daemon;
use crate::{cli::render, error::CliError, model::now};
use monitor_api::rules::Rules;

/// Show rule hits, budgets and owners
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor rules\n  egress-monitor rules --never-hit\n  \
                        egress-monitor rules --json | jq '.rules[] | select(.budget)'")]
pub struct Args {
    /// Only rules that decided nothing since they are in force.
    #[arg(long)]
    never_hit: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or the configuration is bad.
pub fn run(args: &Args) -> Result<(), CliError> {
    let mut reply: Rules = args.daemon.client()?.get("/api/v1/rules?fresh=1")?;
    if args.never_hit {
        reply.rules.retain(|row| row.last_hit.is_none());
        reply.former.clear();
    }
    args.daemon.shape.print(&reply, |reply, width| render::rules(reply, now(), width))
}
