//! The `egress-monitor` binary: exit codes only.

use std::process::ExitCode;

use egress_monitor::{cli::output::shown, error::CliError};

fn main() -> ExitCode {
    match egress_monitor::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(answered @ CliError::Answered(_)) => answered.exit_code(),
        Err(failure) => {
            eprintln!("egress-monitor: {}", shown(&failure.to_string()));
            failure.exit_code()
        }
    }
}
