//! `egress-monitor status`: asks the running daemon through its control socket.

use super::args::Daemon;
use crate::{
    cli::{output::print, render},
    error::CliError,
    model::now,
};
use monitor_api::status::{FindingStatus, Status};
use monitor_policy::text::counted;

/// Show the state of the running monitor
///
/// With --check one line, and an exit code for monitoring: 0 all is well, 1 something should be looked at, 2 something is
/// wrong or it is not to be relied on, 3 no answer.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor status\n  egress-monitor status --all\n  egress-monitor status --check\n  egress-monitor status --json | \
                        jq .losses"
)]
pub struct Args {
    /// Everything that is known
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// One line and an exit code, for monitoring
    #[arg(long, conflicts_with_all = ["json", "all"])]
    check: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, or the configuration is bad; with `--check`, what is found.
pub fn run(args: &Args) -> Result<(), CliError> {
    let status = ask(args);
    if !args.check {
        let page = |status: &Status, width| {
            if args.all { render::status(status, now(), width) } else { render::summary(status, now()) }
        };
        return args.daemon.shape.print(&status?, page);
    }
    let (code, line) = match &status {
        Ok(status) => verdict(status),
        Err(failure) => (3, format!("UNKNOWN: {failure}")),
    };
    print(&format!("{line}\n"))?;
    if code == 0 { Ok(()) } else { Err(CliError::Answered(code)) }
}

fn ask(args: &Args) -> Result<Status, CliError> {
    let client = args.daemon.client()?;
    let status = client.get("/api/v1/status?fresh=1").or_else(|failure| {
        // When an epoch can't be closed the last known state is what helps; it says so itself.
        client.get("/api/v1/status").map_err(|_| failure)
    });
    Ok(status?)
}

/// The exit code of a monitoring plugin, and its line.
fn verdict(status: &Status) -> (u8, String) {
    let grave = |of: &&FindingStatus| ["High", "Critical"].contains(&of.severity.as_str());
    let names = |of: &[&FindingStatus]| of.iter().map(|one| one.kind.as_str()).collect::<Vec<_>>().join(", ");
    let (worse, rest): (Vec<_>, Vec<_>) = status.findings.iter().partition(grave);
    let watched = status.interfaces.iter().filter(|interface| interface.hook.is_some()).count();
    let what = format!("{}, zone {}, {} watched", status.mode, status.zone, counted(watched, "interface"));
    match (&status.not_ready, worse.is_empty(), rest.is_empty()) {
        (Some(why), _, _) => (2, format!("CRITICAL: not to be relied on: {why}; {what}")),
        (None, false, _) => (2, format!("CRITICAL: {}; {what}", names(&worse))),
        (None, true, false) => (1, format!("WARNING: {}; {what}", names(&rest))),
        (None, true, true) => (0, format!("OK: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_that_is_found_decides_the_code() {
        let of = |severity: &str| FindingStatus {
            kind: severity.to_lowercase(),
            severity: severity.into(),
            ..FindingStatus::default()
        };
        let with = |findings: &[&str], not_ready: Option<&str>| {
            let findings = findings.iter().map(|severity| of(severity)).collect();
            let not_ready = not_ready.map(str::to_owned);
            let (mode, zone) = ("enforce".into(), "eea".into());
            verdict(&Status { findings, not_ready, mode, zone, ..Status::default() })
        };
        let what = "enforce, zone eea, 0 interfaces watched";
        assert_eq!(with(&[], None), (0, format!("OK: {what}")));
        assert_eq!(with(&["Low", "Medium"], None), (1, format!("WARNING: low, medium; {what}")));
        assert_eq!(with(&["Low", "High"], None), (2, format!("CRITICAL: high; {what}")));
        assert_eq!(with(&["Critical"], None).0, 2);
        assert_eq!(with(&[], Some("x")), (2, format!("CRITICAL: not to be relied on: x; {what}")));
    }
}
