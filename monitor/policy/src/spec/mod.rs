//! What the operator asks for, checked and free of any file format: zone, sites, rules, management networks. Made by the
//! configuration reader; read by the compiler, `explain` and the lint of rules.

mod mode;
mod rule;
mod site;
mod zone;

pub use self::{
    mode::Mode,
    rule::{Management, PortRange, Rule},
    site::Site,
    zone::{Action, Zone},
};

/// What the policy is compiled from, beside the [`Knowledge`](crate::Knowledge) of addresses.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// `[zone]`.
    pub zone: Zone,
    /// `[[site]]`.
    pub sites: Vec<Site>,
    /// `[[allow]]` and `[[deny]]` of the configuration and of its allowlists.
    pub rules: Vec<Rule>,
    /// `[management]`.
    pub management: Option<Management>,
}
