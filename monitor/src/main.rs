//! The `egress-monitor` binary: exit codes only.

use std::process::ExitCode;

use egress_monitor::cli::output::shown;

fn main() -> ExitCode {
    match egress_monitor::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("egress-monitor: {}", shown(&failure.to_string()));
            failure.exit_code()
        }
    }
}
