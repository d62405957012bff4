//! `egress-monitor clock`: shows the clock that rules and budgets go by, or has what is remembered of it forgotten.

use super::{args::Daemon, output::Shape};
use crate::{cli::render, error::CliError, model::now};
use monitor_api::clock::{ClockReset, ClockStatus, PAGE};

/// Show the clock that rules and budgets go by, or reset it
///
/// Rules and budgets never go by a time before the latest one at which the kernel called its clock synchronised: a clock that
/// is set back revives nothing. Where that time was wrong, `reset` has it forgotten; it is an alert.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor clock\n  egress-monitor clock reset --reason \"CHG-4712: the RTC was \
                        a year ahead\""
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Forget the remembered time: rules and budgets go by the wall clock as it is
    Reset {
        /// Why; it is part of the alert
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or it refuses.
pub fn run(args: &Args) -> Result<(), CliError> {
    let (status, shape): (ClockStatus, Shape) = match &args.what {
        None => (args.daemon.client()?.get(PAGE)?, args.daemon.shape),
        Some(What::Reset { reason, daemon }) => {
            let reset = ClockReset { reason: reason.clone() };
            reset.reason().map_err(|error| CliError::Usage(error.to_string()))?;
            (daemon.client()?.post(&reset.path())?, daemon.shape)
        }
    };
    shape.print(&status, |status, _| render::clock(status, now()))
}
