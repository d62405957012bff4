//! The kernel part as the engine sees it: the seam's implementation, so that neither knows the other.

use std::sync::Arc;

use crate::{
    engine::source::EpochSource,
    kernel::{self, Kernel, Switch},
    model::{Attachment, Occupancy, Snapshot, in_force::PolicyInForce},
};

/// The kernel part as the epoch task sees it.
pub(super) struct KernelSource(pub(super) Kernel);

impl EpochSource for KernelSource {
    fn flip(&mut self) -> anyhow::Result<Snapshot> {
        Ok(self.0.flip()?)
    }

    fn stage(&mut self, next: &PolicyInForce) -> anyhow::Result<()> {
        let policy = Arc::clone(&next.policy);
        Ok(self.0.stage(Switch { policy, enforce: next.mode.enforces() })?)
    }

    fn verify(&mut self) -> anyhow::Result<()> {
        Ok(self.0.verify()?)
    }

    fn roll_back(&mut self) -> anyhow::Result<()> {
        Ok(self.0.roll_back()?)
    }

    fn table(&self) -> Occupancy {
        self.0.table()
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
        self.0.detach();
        Ok(())
    }
}
