//! `egress-monitor detach`: ends what a daemon that is gone has left counting and enforcing, and says what that was.

use std::path::PathBuf;

use monitor_policy::text::counted;

use crate::{cli::output::Shape, config, error::CliError, kernel};

/// End counting and enforcing that a stopped daemon has left in the kernel
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor detach\n  egress-monitor detach --bpffs /run/egress-monitor-bpf\n\n\
                        While a daemon has pins there it is refused: stop that first. Filters of kernels without TCX are \
                        looked for on the interfaces of this network namespace."
)]
pub struct Args {
    /// Configuration file, which says where the pins are [default: /etc/egress-monitor/config.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the pins are, instead of where the configuration says.
    #[arg(long, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A daemon runs, or what is there is not ours.
pub fn run(args: &Args) -> Result<(), CliError> {
    let bpffs = match &args.bpffs {
        Some(bpffs) => bpffs.clone(),
        None => config::paths(args.config.as_deref()).bpffs,
    };
    let removed = kernel::detach_all(&bpffs)?;
    let mut text = removed.iter().fold(String::new(), |text, what| text + "removed " + what + "\n");
    let others = kernel::beside(&bpffs, true);
    if others.is_empty() && removed.is_empty() {
        text = format!("nothing was left attached ({} and the clsact filters of this host)\n", bpffs.display());
    }
    Shape::default().page(&text)?;
    let [other, ..] = &others[..] else { return Ok(()) };
    let (layout, interfaces) = (other.layout, counted(other.interfaces.len(), "interface"));
    Err(CliError::Unavailable(format!(
        "programs of another version (layout {layout}) are still on {interfaces}, counting, and enforcing if they did: detach by \
         that version, or take them over by `egress-monitor run --replace`"
    )))
}
