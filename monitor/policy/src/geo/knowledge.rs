//! All that is known of addresses, together.

use std::sync::Arc;

use super::{Dataset, asn::AsDataset, overlay::Overlay, special::Special};

/// What is known of addresses from outside the configuration: what a policy is compiled from, beside it.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The datasets, in the order in which they name countries.
    pub datasets: Vec<Dataset>,
    /// The overlays, in the order in which they name countries.
    pub overlays: Vec<Overlay>,
    /// The special-purpose ranges.
    pub special: Vec<Special>,
    /// Who announces which network, where such a dataset is loaded.
    pub asn: Option<Arc<AsDataset>>,
}

impl Knowledge {
    /// Datasets and special-purpose ranges, and nothing else.
    #[must_use]
    pub fn new(datasets: &[Dataset], special: &[Special]) -> Self {
        Self { datasets: datasets.to_vec(), special: special.to_vec(), ..Self::default() }
    }
}
