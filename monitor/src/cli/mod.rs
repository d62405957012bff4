//! The command line: arguments in, one command's `run` called. One file a command.

pub mod alerts;
pub mod allow;
mod args;
pub mod attempt;
pub mod changes;
pub mod check;
pub mod clock;
pub mod confirm;
pub mod detach;
pub mod diff;
pub mod explain;
pub mod flows;
pub mod geo;
pub mod helper;
pub mod mode;
pub mod output;
pub mod reload;
pub mod render;
pub mod rules;
pub mod run;
pub mod sinks;
pub mod status;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};

use crate::error::CliError;

/// Count, and optionally block, traffic leaving a region
#[derive(Debug, Parser)]
#[command(name = "egress-monitor", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Explain(explain::Args),
    Status(status::Args),
    Flows(flows::Args),
    Rules(rules::Args),
    Alerts(alerts::Args),
    Changes(changes::Args),
    Sinks(sinks::Args),
    Diff(diff::Args),
    Allow(allow::Args),
    Try(attempt::Args),
    Confirm(confirm::Args),
    Reload(reload::Args),
    Mode(mode::Args),
    Clock(clock::Args),
    Detach(detach::Args),
    Geo(geo::Args),
    #[command(hide = true)]
    Helper(helper::Args),
}

/// The command that is meant by the arguments behind the program's name, such as `egress-monitor geo info`: as far as they
/// name one.
fn named(arguments: impl Iterator<Item = OsString>) -> String {
    let (mut command, mut name) = (Cli::command(), "egress-monitor".to_owned());
    for argument in arguments {
        let Some(next) = command.find_subcommand(&argument).cloned() else { break };
        name += &format!(" {}", next.get_name());
        command = next;
    }
    name
}

/// clap's complaint about a command in one line: what is wrong, with clap's tips; its usage is in the command's `--help`.
fn one_line(rendered: &str, command: &str) -> String {
    let complaint = rendered.split("Usage:").next().unwrap_or(rendered).split("For more information").next();
    let words: Vec<&str> = complaint.unwrap_or(rendered).split_whitespace().collect();
    let words = words.join(" ");
    format!("{}; see `{command} --help`", words.strip_prefix("error: ").unwrap_or(&words))
}

/// Parses the command line and runs it.
///
/// # Errors
/// What the command could not do.
pub fn main() -> Result<(), CliError> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Without any command: the whole help is the hint, and clap's.
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{}", error.render());
            std::process::exit(64);
        }
        Err(error) if error.use_stderr() => {
            let command = named(std::env::args_os().skip(1));
            return Err(CliError::Usage(one_line(&error.render().to_string(), &command)));
        }
        Err(help) => help.exit(),
    };
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Flows(args) => flows::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Changes(args) => changes::run(&args),
        Command::Sinks(args) => sinks::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Allow(args) => allow::run(&args),
        Command::Try(args) => attempt::run(&args),
        Command::Confirm(args) => confirm::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Mode(args) => mode::run(&args),
        Command::Clock(args) => clock::run(&args),
        Command::Detach(args) => detach::run(&args),
        Command::Geo(args) => geo::run(args),
        Command::Helper(args) => helper::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_argument_is_one_line_with_the_help_of_its_command() {
        for (arguments, line) in [
            (&["frob"][..], "unrecognized subcommand 'frob'; see `egress-monitor --help`"),
            (
                &["flows", "--by", "x"],
                "invalid value 'x' for '--by <BY>' [possible values: country, class, network, rule, peer, \
                 source, source,peer, port, interface]; see `egress-monitor flows --help`",
            ),
            (
                &["status", "--sockett", "x"],
                "unexpected argument '--sockett' found tip: a similar argument exists: '--socket'; see \
                 `egress-monitor status --help`",
            ),
            (
                &["geo", "info", "--jsonn"],
                "unexpected argument '--jsonn' found tip: a similar argument exists: '--json'; see \
                 `egress-monitor geo info --help`",
            ),
            (
                &["clock", "reset", "--reason"],
                "a value is required for '--reason <TEXT>' but none was supplied; see `egress-monitor clock reset --help`",
            ),
        ] {
            let error = Cli::try_parse_from(["egress-monitor"].iter().chain(arguments)).unwrap_err();
            let command = named(arguments.iter().map(OsString::from));
            assert_eq!(one_line(&error.render().to_string(), &command), line);
        }
    }
}
