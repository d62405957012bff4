//! What an operator asks of the policy, checked and without a file format: zone, sites, rules, management networks. Made
//! by whoever reads configuration; the compiler, `explain` and the lint of rules read it.

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

/// Everything that the policy is compiled from, beside the [`Knowledge`](crate::Knowledge) of addresses.
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
