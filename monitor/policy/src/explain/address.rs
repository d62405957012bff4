//! An address in, an [`AddressInfo`] out: what each source, overlay, registry and site says of it, with the range or the
//! line that says so. What becomes of traffic to it is for [`super`] to say.

use std::net::IpAddr;

use monitor_common::wire::{Class, ClassRow, Embedded};
use serde::Serialize;

use super::inputs::ExplainInputs;
use crate::{
    compile::ZoneEvaluator,
    geo::{Country, Dataset, Range},
    origin::Origin,
    spec::Site,
    text,
};

/// What one source says of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SourceOpinion {
    /// The source.
    pub source: String,
    /// When it was built, RFC 3339; `null` when it does not say.
    pub built: Option<String>,
    /// The country, `null` where the source does not know.
    pub country: Option<String>,
    /// The range that it says this of.
    pub range: Option<String>,
}

/// What an overlay says of an address that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OverlayOpinion {
    /// The overlay.
    pub overlay: String,
    /// What kind of list it is.
    pub kind: &'static str,
    /// When it was built, RFC 3339; `null` when it does not say.
    pub built: Option<String>,
    /// The country; `null` where the location is undetermined (anycast, satellite, not to be placed).
    pub country: Option<String>,
    /// The range that it says this of.
    pub range: String,
}

/// Who announces an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Announcer {
    /// AS number.
    pub number: u32,
    /// Its name; may be empty.
    pub name: String,
}

/// The special-purpose range that an address is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SpecialRange {
    /// Which.
    pub network: String,
    /// Its name in the registry.
    pub name: String,
    /// The standard.
    pub standard: String,
}

/// The translator's prefix that an address is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Nat64Entry {
    /// Which.
    pub network: String,
    /// Where the entry stands.
    pub origin: Origin,
}

/// The site that an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SiteEntry {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub country: String,
    /// The entry that covers the address.
    pub network: String,
    /// Where the entry stands.
    pub origin: Origin,
}

/// What is known of one address, without what it may carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddressInfo {
    /// The address.
    pub address: IpAddr,
    /// What each source says.
    pub sources: Vec<SourceOpinion>,
    /// What each overlay says that holds it; they override the sources.
    pub overlays: Vec<OverlayOpinion>,
    /// Who announces it, where a dataset of AS numbers is loaded and knows.
    #[serde(rename = "as")]
    pub announcer: Option<Announcer>,
    /// Special-purpose range.
    pub special: Option<SpecialRange>,
    /// Site.
    pub site: Option<SiteEntry>,
    /// Prefix of a translator of the operator's.
    pub nat64: Option<Nat64Entry>,
    #[serde(skip)]
    /// What the zone makes of it, without rules.
    pub(super) row: ClassRow,
}

impl AddressInfo {
    /// What the class rests on.
    pub(super) fn basis(&self) -> &'static str {
        if Class::from_wire(self.row.class).stays() {
            "special"
        } else if self.nat64.is_some() {
            "nat64"
        } else if self.site.is_some() {
            "site"
        } else if self.special.is_some() {
            "special"
        } else if !self.overlays.is_empty() {
            "overlays"
        } else {
            "sources"
        }
    }
}

impl ExplainInputs<'_> {
    /// All that is known of `address`.
    pub(super) fn address_info(&self, address: IpAddr, evaluator: &ZoneEvaluator<'_>) -> AddressInfo {
        let found: Vec<_> = self.knowledge.datasets.iter().map(|dataset| dataset.lookup(address)).collect();
        let countries: Vec<_> = found.iter().map(|range| range.map(|range| range.country.0)).collect();
        let special = self
            .knowledge
            .special
            .iter()
            .filter(|special| special.network.contains(address))
            .max_by_key(|special| special.network.prefix());
        let site = self.spec.sites.iter().find_map(|site| {
            let entry = site.networks.iter().find(|(network, _)| network.contains(address))?;
            Some((site, entry))
        });
        let nat64 = self.spec.zone.nat64.iter().filter(|(prefix, _)| prefix.contains(address));
        let nat64 = nat64.max_by_key(|(prefix, _)| prefix.prefix());
        let says = |(dataset, range): (&Dataset, Option<Range<IpAddr>>)| {
            let known = range.filter(|range| range.country != Country::UNKNOWN);
            SourceOpinion {
                source: dataset.about.name.clone(),
                built: dataset.about.built.map(text::time),
                country: known.map(|range| range.country.to_string()),
                range: known.as_ref().map(ends),
            }
        };
        let overlays = self.knowledge.overlays.iter();
        let overlaid: Vec<_> = overlays.filter_map(|overlay| Some((overlay, overlay.lookup(address)?))).collect();
        let said: Vec<_> = overlaid.iter().map(|(_, range)| Some(range.country.0)).collect();
        let asn = self.knowledge.asn.as_ref().and_then(|asn| asn.lookup(address));
        AddressInfo {
            address,
            row: evaluator.row(
                &countries,
                evaluator.overlaid(&said),
                special,
                site.map(|(site, _): (&Site, _)| site),
                nat64.and_then(|(prefix, _)| Embedded::nat64(prefix.prefix())),
            ),
            sources: self.knowledge.datasets.iter().zip(found).map(says).collect(),
            overlays: overlaid
                .into_iter()
                .map(|(overlay, range)| OverlayOpinion {
                    overlay: overlay.about.name.clone(),
                    kind: overlay.kind.name(),
                    built: overlay.about.built.map(text::time),
                    country: (range.country != Country::UNDETERMINED).then(|| range.country.to_string()),
                    range: ends(&range),
                })
                .collect(),
            announcer: asn.map(|(number, name)| Announcer { number, name: name.to_owned() }),
            special: special.map(|special| SpecialRange {
                network: special.network.to_string(),
                name: special.name.to_owned(),
                standard: special.source.to_owned(),
            }),
            site: site.map(|(site, (network, origin))| SiteEntry {
                name: site.name.clone(),
                country: site.country.to_string(),
                network: network.to_string(),
                origin: origin.clone(),
            }),
            nat64: nat64.map(|(prefix, origin)| Nat64Entry { network: prefix.to_string(), origin: origin.clone() }),
        }
    }
}

/// A range as text.
fn ends(range: &Range<IpAddr>) -> String {
    format!("{} - {}", range.first, range.last)
}
