//! `[[site]]`: where the operator's own networks are.

use ipnetwork::IpNetwork;

use crate::{geo::Country, origin::Origin};

/// `[[site]]`: networks of the operator's own in one country.
#[derive(Clone, Debug)]
pub struct Site {
    /// `name`.
    pub name: String,
    /// `country`.
    pub country: Country,
    /// `networks`, each with where it stands.
    pub networks: Vec<(IpNetwork, Origin)>,
}
