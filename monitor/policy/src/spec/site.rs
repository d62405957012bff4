//! `[[site]]`: where the operator's own networks are.

use ipnetwork::IpNetwork;

use crate::geo::Country;

/// `[[site]]`: where networks of ours are.
#[derive(Clone, Debug)]
pub struct Site {
    /// `name`.
    pub name: String,
    /// `country`.
    pub country: Country,
    /// `networks`, each with the `file:line` where it stands.
    pub networks: Vec<(IpNetwork, String)>,
}
