//! What the hooks let pass held against what the devices say they sent: readings in, one [`InterfaceAccount`] per interface
//! and the surpluses of this epoch out. Pure: the kernel's numbers come with the snapshot (`kernel/readings` reads them),
//! the epoch task calls [`Reconciler::read`] once per epoch.
//!
//! A surplus on the device's side is traffic that left without passing the hook. See [`account`] for what is proven
//! and when.

use std::collections::BTreeMap;

use crate::model::{
    InterfaceAccount,
    readings::{Amount, Reading},
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
pub struct Reconciler(BTreeMap<u32, Account>);

impl Reconciler {
    /// Takes an epoch's readings; gives what was found in it.
    pub fn read(&mut self, readings: &[Reading]) -> Vec<Surplus> {
        let mut surpluses = Vec::new();
        for reading in readings {
            let account = self.0.entry(reading.ifindex).or_insert_with(|| Account::new(reading));
            let found = account.read(reading);
            if found != Amount::default() {
                let InterfaceAccount { interface, unaccounted, .. } = account.report();
                surpluses.push(Surplus { interface, found, total: unaccounted });
            }
        }
        surpluses
    }

    /// How each interface stands.
    #[must_use]
    pub fn accounts(&self) -> Vec<InterfaceAccount> {
        self.0.values().map(Account::report).collect()
    }
}
