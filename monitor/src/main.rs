//! The `egress-monitor` binary: exit codes only.

use std::process::ExitCode;

fn main() -> ExitCode {
    match egress_monitor::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("egress-monitor: {failure}");
            failure.exit_code()
        }
    }
}
