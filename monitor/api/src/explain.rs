//! What the policy makes of destinations: printed by `egress-monitor explain` with `--json`. A few destinations give a
//! list of [`Explanation`]s, destinations on standard input a [`Line`] each, networks a list of [`Network`]s.

use std::net::IpAddr;

use serde::Serialize;

pub use monitor_policy::{
    Explanation,
    explain::{
        AddressInfo, Announcer, CoveringRule, Nat64Entry, OverlayOpinion, SiteEntry, SourceOpinion, SpecialRange,
    },
};

/// What becomes of one destination, by the compiled policy alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Line<'a> {
    /// The destination as it was written.
    pub destination: &'a str,
    /// Its country.
    pub country: &'a str,
    /// inside, outside…
    pub class: &'static str,
    /// The rule that decides.
    pub rule: Option<&'a str>,
    /// Where that stands: `file:line`.
    pub origin: Option<&'a str>,
    /// Verdict in observe mode.
    pub observe: &'static str,
    /// Verdict in enforce mode.
    pub enforce: &'static str,
    /// Whether a new flow makes an alert.
    pub alert: bool,
}

/// A network and what it is made of, the largest part first.
pub type Network = (String, Vec<NetworkPart>);

/// One kind of destination in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NetworkPart {
    /// Country.
    pub country: String,
    /// inside, outside…
    pub class: &'static str,
    /// As text: IPv6 has more than numbers in JSON hold.
    pub addresses: String,
    /// The first of its addresses.
    pub first: IpAddr,
    /// The verdict in enforce on packets without ports; embedded IPv4 addresses are evaluated by themselves.
    pub enforce: &'static str,
    /// The rules that decide here, by port, those in front that are tried first.
    pub rules: Vec<String>,
}
