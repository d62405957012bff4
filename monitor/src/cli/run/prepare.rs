//! What stands between the command line and the daemon: configuration and policy read, kernel part opened. The one
//! file that knows the modules on the other side of the seams.

use std::{path::Path, sync::Arc};

use tokio::sync::mpsc;

use super::{Args, Hook, KernelLog};
use crate::{
    change::{Files, Read, Reader, watch::Seen},
    cli::inputs,
    config::{self, Config, Mode},
    epochs::{
        Attachment, Places, Snapshot, Source,
        facts::{DatasetInfo, InForce},
        now,
        source::{EVENT_QUEUE, Opened, Task},
    },
    failure::Failure,
    kernel::{self, Kernel, Options, Switch},
    policy::{self, ClockMap, Knowledge},
    shadow::{Candidate, Shadow},
};

/// Reads the configuration.
///
/// # Errors
/// What is wrong with it.
pub fn load(config: Option<&Path>) -> Result<Config, Failure> {
    config::load(config).map_err(config::ConfigError::into_failure)
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
    // `--enforce` on the command line gets here with a file that says observe.
    if let Some(mend) = config.lacks_for_enforce().filter(|_| enforce) {
        return Err(Failure::Usage(mend.to_owned()));
    }
    let knowledge = inputs::knowledge(config)?;
    let clock = clocks();
    let policy = policy::compile(config, &knowledge, &clock)?;
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
    let inside = config.zone.inside_text.clone();
    Ok(InForce { policy: policy.into(), enforce, inside, datasets, shadow, since: now() })
}

/// The policy to be judged beside it. One that is no good never stops the daemon: it is told.
fn shadow(config: &Config, knowledge: &Knowledge, clock: ClockMap) -> Shadow {
    let Some(file) = &config.shadow else { return Shadow::None };
    let compiled = (|| {
        let candidate = load(Some(file))?;
        let same = candidate.geo == config.geo;
        let other = if same { None } else { Some(inputs::knowledge(&candidate)?) };
        Ok::<_, Failure>(policy::compile(&candidate, other.as_ref().unwrap_or(knowledge), &clock)?)
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
pub fn read(args: &Args) -> Result<(Config, InForce, Files), Failure> {
    let before = Seen::look(&own(args));
    let config = load(args.config.as_deref())?;
    let files = files(&config, args, before);
    let in_force = compile(&config, enforces(&config, args))?;
    Ok((config, in_force, files))
}

/// Reads the same files again. `--enforce` stays; interfaces, port, paths and epoch do not change without a restart.
#[must_use]
pub fn reader(args: Args) -> Reader {
    Arc::new(move || {
        let before = Seen::look(&own(&args));
        match load(args.config.as_deref()) {
            Ok(config) => Read {
                files: files(&config, &args, before),
                policy: compile(&config, enforces(&config, &args)).map_err(|failure| failure.to_string()),
            },
            Err(failure) => Read {
                files: Files { inputs: own(&args), seen: before, watch: None },
                policy: Err(failure.to_string()),
            },
        }
    })
}

/// The configuration file itself.
fn own(args: &Args) -> Vec<std::path::PathBuf> {
    vec![args.config.clone().unwrap_or_else(|| config::DEFAULT_FILE.into())]
}

/// What a configuration depends on, looked at before datasets are read; of the file itself, as it was `before`.
fn files(config: &Config, args: &Args, before: Seen) -> Files {
    let mut inputs = config.inputs();
    inputs.extend(own(args));
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
pub fn open(config: &Config, args: &Args, in_force: &InForce) -> Result<Opened, Failure> {
    let wanted = if args.interfaces.is_empty() { &config.interfaces } else { &args.interfaces };
    let interfaces = kernel::resolve(wanted)?;
    let options = Options {
        interfaces: interfaces.len() as u32,
        flows: config.flows,
        cache: config.cache,
        enforce: in_force.enforce,
        log_level: args.kernel_log as u8,
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
    if args.kernel_log != KernelLog::Off {
        let mut log = kernel.log()?;
        tasks.push(("kernel log", Box::pin(async move { Ok(log.forward().await?) })));
    }
    kernel.attach(&interfaces, hook(config, args))?;
    Ok(Opened { source: Box::new(KernelSource(kernel)), events, tasks, kernel_memory: kernel::memory::of_maps() })
}

fn hook(config: &Config, args: &Args) -> Option<kernel::Hook> {
    match (args.hook, config.hook) {
        (Some(Hook::Tcx), _) | (None, config::Hook::Tcx) => Some(kernel::Hook::Tcx),
        (Some(Hook::Clsact), _) | (None, config::Hook::Clsact) => Some(kernel::Hook::Clsact),
        (Some(Hook::Auto), _) | (None, config::Hook::Auto) => None,
    }
}

/// The kernel part as the epoch task sees it.
struct KernelSource(Kernel);

impl Source for KernelSource {
    fn flip(&mut self) -> anyhow::Result<Snapshot> {
        Ok(self.0.flip()?)
    }

    fn stage(&mut self, next: &InForce) -> anyhow::Result<()> {
        let policy = Arc::clone(&next.policy);
        Ok(self.0.stage(Switch { policy, enforce: next.enforce })?)
    }

    fn verify(&mut self) -> anyhow::Result<()> {
        Ok(self.0.verify()?)
    }

    fn roll_back(&mut self) -> anyhow::Result<()> {
        Ok(self.0.roll_back()?)
    }

    fn table(&self) -> Places {
        self.0.table()
    }

    fn attachments(&self) -> Vec<Attachment> {
        let of = |attached: &kernel::Attachment| Attachment {
            interface: attached.interface.name.clone(),
            ifindex: attached.interface.index,
            hook: attached.hook.name().into(),
            since: attached.since.as_nanosecond(),
        };
        self.0.attachments().iter().filter(|attached| attached.is_there()).map(of).collect()
    }

    fn detach(&mut self) -> anyhow::Result<()> {
        self.0.detach();
        Ok(())
    }
}
