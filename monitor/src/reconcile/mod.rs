//! What the hooks let pass held against what the devices say they sent: readings in, one [`InterfaceAccount`] per
//! interface and the surpluses of this epoch out. Pure: the kernel's numbers come with the snapshot (`kernel/readings`
//! reads them), the [pipeline](crate::engine::pipeline) hands over each epoch.
//!
//! A surplus on the device's side is traffic that left without passing the hook. See `account` for what is proven
//! and when. Packets that passed it and are lost behind it, with nobody counting them, are room for such traffic: that is
//! a finding, too.

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
mod bound;
mod losses;
mod supers;

#[cfg(test)]
mod tests;

pub use account::Account;

/// For so long after the latest packet that was lost, in nanoseconds, the finding stays open.
const LOSES: u64 = 60_000_000_000;

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

/// What an interface lost, with nobody counting it, since it did not for a while.
#[derive(Clone, Copy, Debug)]
struct Losing {
    packets: u64,
    /// When it did last, by the readings' clock.
    at: u64,
}

/// All interfaces.
#[derive(Debug, Default)]
pub struct Reconciler {
    /// By index, with when it was attached: another that gets the index is another.
    accounts: BTreeMap<u32, (i128, Account)>,
    /// What there is of interfaces that the program is off, by name.
    past: BTreeMap<String, InterfaceAccount>,
    /// Interfaces that lose packets, by name.
    losing: BTreeMap<String, Losing>,
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
            let before = account.report().lost;
            let found = account.read(reading);
            let lost = account.report().lost - before;
            if lost > 0 {
                let losing = self.losing.entry(reading.interface.clone()).or_insert(Losing { packets: 0, at: 0 });
                *losing = Losing { packets: losing.packets + lost, at: reading.at };
            }
            if found != Amount::default() {
                let InterfaceAccount { interface, unaccounted, .. } = account.report();
                surpluses.push(Surplus { interface, found, total: unaccounted });
            }
            if reading.last {
                self.close(reading.ifindex);
            }
        }
        let now = readings.iter().map(|reading| reading.at).max().unwrap_or(0);
        self.losing.retain(|_, losing| now < losing.at + LOSES);
        surpluses
    }

    /// Interfaces that lose packets, and what there is to say of each.
    fn losses(&self) -> impl Iterator<Item = (&str, String)> {
        self.losing.iter().map(|(name, Losing { packets, .. })| {
            let report = self.accounts.values().map(|(_, account)| account.report()).find(|one| one.interface == *name);
            let besides = match report.map_or(0, |report| report.filtered) {
                0 => String::new(),
                filtered => format!("; filters behind it took {filtered}, which are not among them"),
            };
            let text = "passed the hook, and were neither sent nor counted by whoever dropped them";
            (name.as_str(), format!("{name}: {packets} packets {text}: as many may leave beside it unseen{besides}"))
        })
    }

    /// Keeps what an account comes to under the interface's name.
    fn close(&mut self, ifindex: u32) {
        let Some((_, account)) = self.accounts.remove(&ifindex) else { return };
        let report = account.report();
        let full = self.past.len() >= MOST_PAST && !self.past.contains_key(&report.interface);
        let name = if full { "(other)".into() } else { report.interface.clone() };
        let before = self.past.remove(&name);
        let report = InterfaceAccount { interface: name.clone(), here: false, waiting: 0, hidden: 0, ..report };
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
            Detail {
                text: found.iter().map(of).collect::<Vec<_>>().join("; "),
                unaccounted: found,
                ..Detail::default()
            }
        });
        findings.report(FindingKind::UnaccountedEgress, detail);
        let open: Vec<String> = findings.subjects(FindingKind::EgressLost).map(str::to_owned).collect();
        for over in open.iter().filter(|name| !self.losing.contains_key(*name)) {
            findings.report_of((FindingKind::EgressLost, over), None::<Detail>);
        }
        for (name, text) in self.losses() {
            findings.report_of((FindingKind::EgressLost, name), Some(text));
        }
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
