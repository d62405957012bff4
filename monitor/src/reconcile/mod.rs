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
        readings::{Amount, Reading},
    },
    store::MonitorState,
};

mod account;

#[cfg(test)]
mod tests;

pub use account::Account;

/// Names of interfaces that are gone; what more there are is summed up. As many as there are names in all.
const MOST_PAST: usize = 1024;

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
    /// By index, with when it was attached: another that gets the index is another.
    accounts: BTreeMap<u32, (i128, Account)>,
    /// What there is of interfaces that the program is off, by name.
    past: BTreeMap<String, InterfaceAccount>,
    /// Found in the latest epoch.
    surpluses: Vec<Surplus>,
}

impl Reconciler {
    /// Takes an epoch's readings; gives what was found in it.
    pub fn read(&mut self, readings: &[Reading]) -> Vec<Surplus> {
        let mut surpluses = Vec::new();
        for reading in readings {
            if self.accounts.get(&reading.ifindex).is_some_and(|(attached, _)| *attached != reading.attached) {
                self.close(reading.ifindex);
            }
            let opened = || (reading.attached, Account::new(reading));
            let (_, account) = self.accounts.entry(reading.ifindex).or_insert_with(opened);
            let found = account.read(reading);
            if found != Amount::default() {
                let InterfaceAccount { interface, unaccounted, .. } = account.report();
                surpluses.push(Surplus { interface, found, total: unaccounted });
            }
            if reading.last {
                self.close(reading.ifindex);
            }
        }
        surpluses
    }

    /// Keeps what an account comes to under the interface's name.
    fn close(&mut self, ifindex: u32) {
        let Some((_, account)) = self.accounts.remove(&ifindex) else { return };
        let report = account.report();
        let full = self.past.len() >= MOST_PAST && !self.past.contains_key(&report.interface);
        let name = if full { "(other)".into() } else { report.interface.clone() };
        let before = self.past.remove(&name);
        let report = InterfaceAccount { interface: name.clone(), here: false, waiting: 0, ..report };
        self.past.insert(name, before.map_or(report.clone(), |before| report.after(&before)));
    }

    /// What each interface comes to, by name: all that had it, one after the other.
    pub fn accounts(&self) -> Vec<InterfaceAccount> {
        let open: Vec<InterfaceAccount> = self.accounts.values().map(|(_, account)| account.report()).collect();
        let past = self.past.values().filter(|past| !open.iter().any(|open| open.interface == past.interface));
        let past = past.cloned().collect::<Vec<_>>();
        let whole = |open: InterfaceAccount| match self.past.get(&open.interface) {
            Some(past) => open.after(past),
            None => open,
        };
        open.into_iter().map(whole).chain(past).collect()
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
            Detail { text: found.iter().map(of).collect::<Vec<_>>().join("; "), unaccounted: found, severity: None }
        });
        findings.report(FindingKind::UnaccountedEgress, detail);
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
