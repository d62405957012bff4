//! What stands between the command line and the daemon: configuration and policy read, kernel part opened. The one
//! file that knows the modules on the other side of the seams.

use std::{path::Path, sync::Arc};

use tokio::sync::mpsc;

use super::{Args, Hook, KernelLog};
use crate::{
    cli::inputs,
    config::{self, Config, Mode},
    epochs::{
        Attachment, Drained, Source,
        facts::{DatasetInfo, InForce},
        now,
        source::{EVENT_QUEUE, Opened, Task},
    },
    failure::Failure,
    kernel::{self, Kernel, Options, Switch},
    policy::{self, ClockMap},
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
    // Rules with times are judged by CLOCK_BOOTTIME in the kernel.
    let clock = ClockMap { realtime_ns: i64::try_from(now()).unwrap_or(i64::MAX), boottime_ns: kernel::boot_ns() };
    let policy = policy::compile(config, &knowledge, &clock)?;
    let datasets = inputs::data(&knowledge)
        .map(|(name, version, built)| DatasetInfo { name: name.into(), version: version.into(), built })
        .collect();
    Ok(InForce { policy: policy.into(), enforce, inside: config.zone.inside_text.clone(), datasets, since: now() })
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
    fn flip(&mut self) -> anyhow::Result<Drained> {
        let drained = self.0.flip()?;
        Ok(Drained {
            epoch: drained.epoch,
            interfaces: drained.interfaces,
            flows: drained.flows,
            events_lost: drained.events_lost,
            jiffies: drained.jiffies,
            hz: drained.hz,
            started: drained.span.0.as_nanosecond(),
            ended: drained.span.1.as_nanosecond(),
            fill: drained.fill,
            readings: drained.readings,
        })
    }

    fn stage(&mut self, next: &InForce) -> anyhow::Result<()> {
        let policy = Arc::clone(&next.policy);
        Ok(self.0.stage(Switch { policy, enforce: next.enforce })?)
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
