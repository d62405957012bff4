//! What the command line asked for in; configuration and policy read, kernel part opened, out. Reads them anew at each
//! reload.

use std::{path::PathBuf, sync::Arc, time::Duration};

use monitor_policy::{ClockMap, Knowledge, spec::Mode};
use tokio::sync::mpsc;

use super::kernel_source::KernelSource;
use crate::{
    config::{self, Config, inputs},
    engine::source::{EVENT_QUEUE, Opened, Task},
    error::CliError,
    kernel::{self, Kernel, Options},
    model::{
        Hook, HookChoice,
        in_force::{DatasetInfo, PolicyInForce},
        now,
        shadow::{Candidate, Shadow},
    },
    reload::{Files, Read, Reader, watch::Seen},
};

/// What the daemon is launched with, beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The configuration file; `None`: the default one.
    pub config: Option<PathBuf>,
    /// Interfaces, instead of the configured ones; empty: those.
    pub interfaces: Vec<String>,
    /// Enforce, whatever the configuration says.
    pub enforce: bool,
    /// End when this time has passed since attaching.
    pub duration: Option<Duration>,
    /// Each reload, and an enforcing start, is to be confirmed within this time.
    pub confirm: Option<Duration>,
    /// How to attach, instead of the configured way.
    pub hook: Option<HookChoice>,
    /// Level of the kernel part's log; 0: off.
    pub kernel_log: u8,
    /// Append alerts to this file as well.
    pub alerts_file: Option<PathBuf>,
}

/// Denied packets are dropped where the file says so or `--enforce` does.
#[must_use]
pub fn mode(config: &Config, launch: &Launch) -> Mode {
    if launch.enforce { Mode::Enforce } else { config.mode }
}

/// Compiles the policy, with what is to be said of it.
///
/// # Errors
/// What is wrong with the policy or with a dataset.
pub fn compile(config: &Config, mode: Mode) -> Result<PolicyInForce, CliError> {
    // `--enforce` on the command line gets here with a file that says observe.
    if let Some(mend) = config.lacks_for_enforce().filter(|_| mode.enforces()) {
        return Err(CliError::Usage(mend.to_owned()));
    }
    let knowledge = inputs::knowledge(config)?;
    let clock = clocks();
    let policy = monitor_policy::compile(&config.spec, &knowledge, &clock)?;
    let shadow = shadow(config, &knowledge, clock);
    for overlay in knowledge.overlays.iter().filter(|overlay| overlay.rejected.count > 0) {
        tracing::warn!(
            overlay = overlay.about.name,
            "{}: `egress-monitor check` says what",
            overlay.rejected.summary()
        );
    }
    let datasets = inputs::data(&knowledge)
        .map(|of| DatasetInfo { name: of.name.clone(), version: of.version.clone(), built: of.built })
        .collect();
    let inside = config.spec.zone.inside_text.clone();
    Ok(PolicyInForce { policy: policy.into(), mode, inside, datasets, shadow, since: now() })
}

/// The policy to be judged beside it. One that is no good never stops the daemon: it is told.
fn shadow(config: &Config, knowledge: &Knowledge, clock: ClockMap) -> Shadow {
    let Some(file) = &config.shadow else { return Shadow::None };
    let compiled = (|| {
        let candidate = inputs::load(Some(file))?;
        let same = candidate.geo == config.geo;
        let other = if same { None } else { Some(inputs::knowledge(&candidate)?) };
        Ok::<_, CliError>(monitor_policy::compile(&candidate.spec, other.as_ref().unwrap_or(knowledge), &clock)?)
    })();
    match compiled {
        Ok(policy) => Shadow::Candidate(Arc::new(Candidate { file: file.clone(), policy: policy.into(), clock })),
        Err(failure) => {
            let why = failure.to_string().lines().collect::<Vec<_>>().join("; ");
            tracing::warn!(why, "the shadow policy is refused");
            Shadow::Refused(why)
        }
    }
}

/// Wall clock and CLOCK_BOOTTIME, by which rules with times are judged in the kernel.
#[must_use]
pub fn clocks() -> ClockMap {
    ClockMap { realtime_ns: i64::try_from(now()).unwrap_or(i64::MAX), boottime_ns: kernel::boot_ns() }
}

/// Configuration and policy for the start, with what they were read from.
///
/// # Errors
/// What is wrong with them.
pub fn read(launch: &Launch) -> Result<(Config, PolicyInForce, Files), CliError> {
    let before = Seen::look(&own(launch));
    let config = inputs::load(launch.config.as_deref())?;
    let files = files(&config, launch, before);
    let in_force = compile(&config, mode(&config, launch))?;
    Ok((config, in_force, files))
}

/// Reads the same files again. `--enforce` stays; interfaces, port, paths and epoch do not change without a restart.
#[must_use]
pub fn reader(launch: Launch) -> Reader {
    Arc::new(move || {
        let before = Seen::look(&own(&launch));
        match inputs::load(launch.config.as_deref()) {
            Ok(config) => Read {
                files: files(&config, &launch, before),
                policy: compile(&config, mode(&config, &launch)).map_err(|failure| failure.to_string()),
            },
            Err(failure) => Read {
                files: Files { inputs: own(&launch), seen: before, watch: None },
                policy: Err(failure.to_string()),
            },
        }
    })
}

/// The configuration file itself.
fn own(launch: &Launch) -> Vec<std::path::PathBuf> {
    vec![launch.config.clone().unwrap_or_else(|| config::DEFAULT_FILE.into())]
}

/// What a configuration depends on, looked at before datasets are read; of the file itself, as it was `before`.
fn files(config: &Config, launch: &Launch, before: Seen) -> Files {
    let mut inputs = config.inputs();
    inputs.extend(own(launch));
    let seen = Seen::look(&inputs).after(before);
    Files { inputs, seen, watch: Some(config.reload == config::Reload::Auto) }
}

/// When this machine booted by the wall clock, UTC nanoseconds since 1970: moves when the wall clock is set.
#[must_use]
pub fn boot_began() -> i128 {
    now() - i128::from(kernel::boot_ns())
}

/// Loads the kernel part and attaches it. Called within the runtime, after everything else that can fail.
///
/// # Errors
/// The kernel, or a wrong interface name, stands against it; nothing stays attached.
pub fn open(config: &Config, launch: &Launch, in_force: &PolicyInForce) -> Result<Opened, CliError> {
    let wanted = if launch.interfaces.is_empty() { &config.interfaces } else { &launch.interfaces };
    let interfaces = kernel::resolve(wanted)?;
    let options = Options {
        interfaces: interfaces.len() as u32,
        flows: config.flows,
        cache: config.cache,
        enforce: in_force.mode.enforces(),
        log_level: launch.kernel_log,
    };
    let mut kernel = Kernel::load(options, Arc::clone(&in_force.policy))?;
    let mut reader = kernel.events()?;
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    let read: Task = Box::pin(async move {
        loop {
            let event = reader.next().await?;
            // The epoch task ends after this one; a full queue makes the ring fill up, which is counted there.
            if sender.send((event, now())).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    });
    let mut tasks = vec![("event reader", read)];
    if launch.kernel_log != 0 {
        let mut log = kernel.log()?;
        tasks.push(("kernel log", Box::pin(async move { Ok(log.forward().await?) })));
    }
    kernel.attach(&interfaces, hook(config, launch))?;
    Ok(Opened { source: Box::new(KernelSource(kernel)), events, tasks, kernel_memory: kernel::memory::of_maps() })
}

fn hook(config: &Config, launch: &Launch) -> Option<Hook> {
    launch.hook.unwrap_or(config.hook).hook()
}
