//! The kernel part as the engine sees it: the seam's implementation, so that neither knows the other.

use std::{path::Path, sync::Arc};

use tokio::sync::mpsc;

use super::Launch;
use crate::{
    config::Config,
    engine::source::{EVENT_QUEUE, EpochSource, Opened, Report, Task},
    error::CliError,
    kernel::{self, Kernel, KernelError, Options, Pins, Switch},
    model::{Attachment, Fill, Snapshot, Succession, in_force::PolicyInForce, now},
};

/// Loads the kernel part and attaches it. Called within the runtime, after everything else that can fail.
///
/// # Errors
/// The kernel, or a wrong interface name, stands against it; nothing stays attached.
pub fn open(config: &Config, launch: &Launch, in_force: &PolicyInForce) -> Result<Opened, CliError> {
    let interfaces = kernel::resolve(launch.interfaces(config))?;
    let options = Options {
        interfaces: interfaces.len() as u32,
        flows: config.flows,
        cache: config.cache,
        mode: in_force.mode,
        debug_log: launch.kernel_log,
    };
    let mut kernel = Kernel::load(options, Arc::clone(&in_force.policy))?;
    let mut reader = kernel.events()?;
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    let read: Task = Box::pin(async move {
        loop {
            let report = reader.next().await?.map_or(Report::Filling, |event| Report::Event(event, now()));
            // The engine ends after this one; a full queue makes the ring fill up, which is counted there.
            if sender.send(report).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    });
    let mut tasks = vec![("event reader", read)];
    if launch.kernel_log {
        let mut log = kernel.log()?;
        tasks.push(("kernel log", Box::pin(async move { Ok(log.forward().await?) })));
    }
    let mut succession = Succession::default();
    if launch.outlives {
        succession.unpinned = pin(&mut kernel, &config.paths.bpffs)?;
        succession.outlives = succession.unpinned.is_none();
    }
    kernel.attach(&interfaces, launch.hook(config))?;
    match kernel.take_left() {
        Ok(gaps) => succession.gaps = gaps,
        // The pins stay: the next start finds it.
        Err(error) => tracing::warn!(%error, "what was counted before is not known yet"),
    }
    let source = Box::new(KernelSource(kernel));
    Ok(Opened { source, events, tasks, kernel_memory: kernel::memory::of_maps(), succession })
}

/// Has programs and counters outlive the daemon. Why they do not, where they can't: it enforces all the same.
///
/// # Errors
/// Those of another daemon are there.
fn pin(kernel: &mut Kernel, bpffs: &Path) -> Result<Option<String>, CliError> {
    match Pins::open(bpffs).and_then(|pins| kernel.pin(pins)) {
        Ok(()) => Ok(None),
        Err(error @ KernelError::PinsInUse { .. }) => Err(error.into()),
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// The kernel part as the engine sees it.
struct KernelSource(Kernel);

impl EpochSource for KernelSource {
    fn flip(&mut self) -> anyhow::Result<Snapshot> {
        Ok(self.0.flip()?)
    }

    fn stage(&mut self, next: &PolicyInForce) -> anyhow::Result<()> {
        let policy = Arc::clone(&next.policy);
        Ok(self.0.stage(Switch { policy, mode: next.mode })?)
    }

    fn verify(&mut self) -> anyhow::Result<()> {
        Ok(self.0.verify()?)
    }

    fn roll_back(&mut self) -> anyhow::Result<()> {
        Ok(self.0.roll_back()?)
    }

    fn fill(&self) -> Fill {
        self.0.fill()
    }

    fn attachments(&self) -> Vec<Attachment> {
        let of = |attached: &kernel::AttachedProgram| Attachment {
            interface: attached.interface.name.clone(),
            ifindex: attached.interface.index,
            hook: attached.hook.name().into(),
            since: attached.since.as_nanosecond(),
        };
        self.0.attachments().iter().filter(|attached| attached.is_there()).map(of).collect()
    }

    fn detach(&mut self) -> anyhow::Result<()> {
        if !self.0.is_pinned() {
            self.0.detach();
        }
        Ok(())
    }
}
