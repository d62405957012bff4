//! What stands between the command line and the daemon: configuration and policy read, kernel part opened. The one
//! file that knows the modules on the other side of the seams.

use std::path::{Path, PathBuf};

use super::Args;
use crate::{
    config::{Action, Config, Mode},
    epochs::{facts::InForce, source::Opened},
    failure::Failure,
};

/// Where the control socket is.
///
/// # Errors
/// The configuration is bad.
pub fn control_socket(socket: Option<PathBuf>, config: Option<&Path>) -> Result<PathBuf, Failure> {
    match socket {
        Some(socket) => Ok(socket),
        None => Ok(load(config)?.paths.runtime.join("control.sock")),
    }
}

/// Reads the configuration.
///
/// # Errors
/// What is wrong with it.
pub fn load(config: Option<&Path>) -> Result<Config, Failure> {
    let _ = config;
    Err(Failure::Unavailable("the configuration module is not merged".into()))
}

/// Whether denied packets are dropped: the file says so or `--enforce` does.
#[must_use]
pub fn enforces(config: &Config, args: &Args) -> bool {
    args.enforce || config.mode == Mode::Enforce
}

/// Compiles the policy, with what is to be said of it.
///
/// # Errors
/// What is wrong with the policy or with a dataset.
pub fn compile(config: &Config, enforce: bool) -> Result<InForce, Failure> {
    let (policy, datasets) = policy(config)?;
    Ok(InForce {
        policy: policy.into(),
        enforce,
        drop_unparsed: config.zone.on_undecodable == Action::Deny,
        inside: config.zone.inside_text.clone(),
        datasets,
        since: crate::epochs::now(),
    })
}

fn policy(config: &Config) -> Result<(crate::policy::Policy, Vec<crate::epochs::facts::DatasetInfo>), Failure> {
    let _ = config;
    Err(Failure::Unavailable("the policy module is not merged".into()))
}

/// Loads the kernel part and attaches it. Called within the runtime, after everything else that can fail.
///
/// # Errors
/// The kernel, or a wrong interface name, stands against it; nothing stays attached.
pub fn open(config: &Config, args: &Args, in_force: &InForce) -> Result<Opened, Failure> {
    let _ = (config, args, in_force);
    Err(Failure::Unavailable("the kernel module is not merged".into()))
}
