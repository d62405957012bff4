//! What the hooks let pass held against what the devices say they sent: readings in, one [`InterfaceAccount`] per
//! interface and the surpluses of this epoch out. Pure: the kernel's numbers come with the snapshot (`kernel/readings`
//! reads them), the [pipeline](crate::engine::pipeline) hands over each epoch.
//!
//! A surplus on the device's side is traffic that left without passing the hook. See `account` for what is proven
//! and when.

use std::collections::BTreeMap;

use crate::{
    engine::{
        outbox::AlertBatch,
        pipeline::{Consumer, Findings},
    },
    model::{
        ClosedEpoch, FindingKind, InterfaceAccount,
        finding::{Detail, Unaccounted},
        in_force::PolicyInForce,
        readings::{Amount, Presence, Reading},
    },
    store::MonitorState,
};

mod account;

#[cfg(test)]
mod tests;

pub use account::Account;

/// A surplus found in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surplus {
    /// Interface.
    pub interface: String,
    /// How much.
    pub found: Amount,
    /// How much since the program was attached.
    pub total: Amount,
}

/// All interfaces.
#[derive(Debug, Default)]
pub struct Reconciler {
    /// By index.
    accounts: BTreeMap<u32, Account>,
    /// Found in the latest epoch.
    surpluses: Vec<Surplus>,
}

impl Reconciler {
    /// Takes an epoch's readings; gives what was found in it.
    pub fn read(&mut self, readings: &[Reading]) -> Vec<Surplus> {
        let mut surpluses = Vec::new();
        for reading in readings {
            let account = self.accounts.entry(reading.ifindex).or_insert_with(|| Account::new(reading));
            let found = account.read(reading);
            if found != Amount::default() {
                let InterfaceAccount { interface, unaccounted, .. } = account.report();
                surpluses.push(Surplus { interface, found, total: unaccounted });
            }
        }
        surpluses
    }

    /// What each interface comes to.
    pub fn accounts(&self) -> Vec<InterfaceAccount> {
        self.accounts.values().map(Account::report).collect()
    }
}

impl Consumer for Reconciler {
    fn epoch(&mut self, epoch: &ClosedEpoch<'_>, _: &PolicyInForce, _: &mut AlertBatch<'_>) {
        self.surpluses = self.read(&epoch.snapshot.readings);
    }

    fn publish(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        state.accounts = self.accounts();
        let found: Vec<_> =
            self.surpluses.drain(..).map(|surplus| unaccounted(surplus, epoch.snapshot.epoch)).collect();
        let detail = (!found.is_empty()).then(|| {
            let of = |one: &Unaccounted| {
                format!(
                    "{}, epoch {}: {} packets, {} bytes (since it was attached {} and {})",
                    one.interface, one.epoch, one.packets, one.bytes, one.total_packets, one.total_bytes
                )
            };
            Detail { text: found.iter().map(of).collect::<Vec<_>>().join("; "), unaccounted: found }
        });
        findings.report(FindingKind::UnaccountedEgress, detail);
        let off = state.accounts.iter().filter(|one| one.here && one.presence == Presence::Detached);
        let off: Vec<&str> = off.map(|one| one.interface.as_str()).collect();
        let detail = (!off.is_empty()).then(|| {
            format!("{}: what leaves there is neither counted nor dropped; restart to attach again", off.join(", "))
        });
        findings.report(FindingKind::Detached, detail);
    }
}

/// For the alert.
fn unaccounted(surplus: Surplus, epoch: u32) -> Unaccounted {
    let Surplus { interface, found, total } = surplus;
    tracing::error!(interface, epoch, packets = found.packets, bytes = found.bytes, "unaccounted egress");
    Unaccounted {
        interface,
        epoch,
        packets: found.packets,
        bytes: found.bytes,
        total_packets: total.packets,
        total_bytes: total.bytes,
    }
}
