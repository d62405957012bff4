//! What leaves this host by which device: what the kernel says of all devices, and what the configuration asks for, in;
//! which of them are to be watched, and why not the others, out. Pure: the daemon has the devices read and the plan
//! carried out.
//!
//! Routes decide nothing here. Whatever a table, a next hop, a rule or a socket names is a device, and every device by
//! which packets leave is watched: a route that comes later opens no way that was not watched before.

mod ledger;
mod plan;
mod roles;

pub use self::{
    ledger::Ledger,
    plan::{Plan, Planned, Wanted, plan},
    roles::{Attached, asks_for_own_way, ppp_beside_cards},
};
