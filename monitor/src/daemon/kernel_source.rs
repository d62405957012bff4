//! The kernel part as the engine sees it: the seam's implementation, so that neither knows the other.

use std::{path::PathBuf, sync::Arc, time::Duration};

use monitor_policy::Policy;
use tokio::sync::mpsc;

use super::Launch;
use crate::{
    config::{Config, OnDaemonLoss},
    engine::source::{EVENT_QUEUE, EpochSource, Opened, Report, Task},
    error::CliError,
    fault::Fault,
    kernel::{self, Kernel, KernelError, Left, Options, Pins, Switch},
    model::{
        Attachment, Fill, Snapshot, Succession,
        in_force::{Fell, PolicyInForce, Trial},
        now,
    },
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
        exclusive: true,
        lease: Some(config.lease()),
        observes_alone: config.on_daemon_loss == OnDaemonLoss::Observe,
    };
    for layout in kernel::attached_beside(&config.paths.bpffs, launch.outlives) {
        tracing::warn!(
            layout,
            bpffs = %config.paths.bpffs.display(),
            "programs that an earlier daemon has left go on counting and enforcing beside this one: end them by \
             `egress-monitor detach` of the version that left them"
        );
    }
    let (mut kernel, mut succession) = load(options, &in_force.policy, launch.outlives.then_some(&config.paths.bpffs))?;
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
    Fault::Start.point();
    kernel.attach(&interfaces, launch.hook(config))?;
    let mut inherited = Vec::new();
    match kernel.take_left() {
        Ok(left) => {
            for one in left {
                match one {
                    Left::Epoch(epoch) => {
                        for counts in &epoch.interfaces {
                            succession.add(&counts.name, counts.hook, counts.dropped);
                        }
                        inherited.push(*epoch);
                    }
                    Left::Unreadable(why) => succession.unreadable.push(why),
                    Left::Twice(interface) => succession.twice.push(interface),
                    Left::Rest(rest) => rest.iter().for_each(|(interface, sums)| succession.add_rest(interface, sums)),
                }
            }
        }
        // The pins stay: the next start finds it.
        Err(error) => tracing::warn!(%error, "what was counted before is not known yet"),
    }
    let source = Box::new(KernelSource(kernel));
    Ok(Opened { source, events, tasks, kernel_memory: kernel::memory::of_maps(), succession, inherited })
}

/// Loads the kernel part, so that it outlives the daemon where there is a place for pins; where there is none, or nothing can
/// be pinned, it enforces all the same, and why is told.
///
/// # Errors
/// What the kernel refuses, or the pins of another daemon are there.
fn load(options: Options, policy: &Arc<Policy>, bpffs: Option<&PathBuf>) -> Result<(Kernel, Succession), CliError> {
    let Some(bpffs) = bpffs else { return Ok((Kernel::load(options, Arc::clone(policy))?, Succession::default())) };
    let pinned = Pins::open(bpffs).and_then(|pins| Kernel::load_to_outlive(options, Arc::clone(policy), Some(pins)));
    match pinned {
        Ok(kernel) => {
            let adopts = kernel.adopts();
            Ok((kernel, Succession { outlives: true, adopts, ..Succession::default() }))
        }
        Err(error @ KernelError::Pins { .. }) => {
            let unpinned = Some(error.to_string());
            Ok((Kernel::load(options, Arc::clone(policy))?, Succession { unpinned, ..Succession::default() }))
        }
        Err(error) => Err(error.into()),
    }
}

/// How much later than the daemon the kernel part takes a policy back: it does so only where the daemon does not.
const GRACE: Duration = Duration::from_secs(2);

/// The kernel part as the engine sees it.
struct KernelSource(Kernel);

impl EpochSource for KernelSource {
    fn flip(&mut self) -> anyhow::Result<Snapshot> {
        Ok(self.0.flip()?)
    }

    fn began(&self) -> i128 {
        self.0.epoch_began()
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

    fn guard(&mut self, fallback: Option<&Trial>) -> anyhow::Result<()> {
        let fallback = fallback.map(|trial| {
            let PolicyInForce { policy, mode, .. } = &trial.fallback;
            (Switch { policy: Arc::clone(policy), mode: *mode }, trial.within + GRACE)
        });
        Ok(self.0.guard(fallback)?)
    }

    fn fell(&mut self) -> Option<Fell> {
        self.0.fell()
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
