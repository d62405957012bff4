//! The document of every refusal: what any page answers with a status other than 200.

use serde::{Deserialize, Serialize};

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorDocument {
    /// What is wrong, and where there is one, the hint.
    pub error: String,
}
