//! What a host needs and the policy does not let it send to: a part of what `check` and `run` print.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Somebody whom the host needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CutOff {
    /// `gateway`, `resolver`, `time server`, `package mirror` or `open connection`.
    pub what: String,
    /// The file that names it, or the port of the connection.
    pub by: String,
    /// Where it is.
    pub address: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// `inside`, `outside`…
    pub class: String,
    /// Country code; `ZZ`: nobody knows.
    pub country: String,
}
