//! Why one line, record or entry of a file can't be taken. Made by the readers; counted by kind in a
//! [`Rejected`](super::Rejected).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::country::{Country, CountryError};

/// Why something can't be taken. Values are excerpts of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("not text (UTF-8): save the file as UTF-8, or give an .mmdb or .egm file its name")]
    NotText,
    #[error("{0:?} has no country: expected first,last,CC or network/prefix,CC, or a line '# country: DE' above")]
    NoCountry(String),
    #[error(transparent)]
    CountryCode(#[from] CountryError),
    #[error("{0:?} is no country: write '# country: DE', a name, or 'undetermined' for anycast and satellite networks")]
    CountryComment(String),
    #[error("this file has numbers for countries, whose codes are in another file: give the .mmdb instead")]
    CountryNumbers,
    #[error(
        "the first line names no column of {0}: call it {1}, or put a '#' before the line if the columns stand as usual"
    )]
    NoColumn(&'static str, &'static str),
    #[error("these columns are others than those above: give each table a file of its own")]
    OtherColumns,
    #[error("in country {country}, but in region {region:?}, which is elsewhere: correct one of them")]
    RegionElsewhere { country: Country, region: String },
    #[error(
        "is it in {country} or, if that is a continent here, in {behind}? Other lines hold countries there: correct it"
    )]
    CountryOrContinent { country: Country, behind: Country },
    #[error("it has a line break inside: write one network on each line")]
    LineBreak,
    #[error("{0:?} was rounded, as spreadsheets do with long numbers: give the file as its publisher has it")]
    Rounded(String),
    #[error("{0:?} is no range: expected first,last,CC or network/prefix,CC")]
    NoRange(String),
    #[error("{0:?} is no IP address: write it like 192.0.2.1, 2001:db8::1 or as a decimal number")]
    Address(String),
    #[error("{0:?} is larger than any IPv6 address: correct or remove it")]
    AddressTooLarge(String),
    #[error("{0:?} is no IPv4 address: correct it")]
    NotIpv4(String),
    #[error("{0:?} is no IPv6 address: correct it")]
    NotIpv6(String),
    #[error("the range ends at {last:?}, before its start {first:?}: swap the two")]
    Reversed { first: String, last: String },
    #[error("{first:?} and {last:?} are of different families: a range starts and ends in IPv4 or in IPv6")]
    TwoFamilies { first: String, last: String },
    #[error("{text:?} has no prefix length from 0 to {longest}: write it like {address}/{longest}")]
    PrefixLength { text: String, address: IpAddr, longest: u8 },
    #[error("{text:?} has bits set after its prefix: write {network}/{prefix}, or the prefix that you mean")]
    HostBits { text: String, network: IpAddr, prefix: u8 },
    #[error("{0:?} is no status: expected allocated, assigned, available or reserved")]
    Status(String),
    #[error("{0:?} is no type: expected asn, ipv4 or ipv6")]
    Type(String),
    #[error("{count:?} addresses from {start} on are none, or reach past IPv4: correct the count")]
    Count { count: String, start: Ipv4Addr },
    #[error("{network} carries IPv4 addresses, and where these are decides: write {ipv4}")]
    Carried { network: Ipv6Addr, ipv4: String },
    #[error("{0:?} has no AS number: expected first,last,number,name")]
    NoAsNumber(String),
    #[error("{0:?} is no AS number: write it like 64500 or AS64500")]
    AsNumber(String),
    #[error("region {region:?} of {network:?} is not known (regions as of {as_of}): use a later release")]
    UnknownRegion { region: String, network: String, as_of: &'static str },
    #[error("{0} in it")]
    Missing(&'static str),
}

impl Rejection {
    /// Of what kind it is, in few words: how `geo import` and `check` sum rejections up.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::NotText => "not text",
            Self::NoCountry(_) => "no country",
            Self::CountryCode(_) | Self::CountryComment(_) | Self::CountryNumbers => "no country code",
            Self::NoColumn(..) | Self::OtherColumns => "no such column",
            Self::RegionElsewhere { .. } => "country and region contradict",
            Self::CountryOrContinent { .. } => "country or continent",
            Self::LineBreak => "line break inside",
            Self::Rounded(_) => "rounded number",
            Self::NoRange(_) => "no range",
            Self::Address(_) | Self::AddressTooLarge(_) | Self::NotIpv4(_) | Self::NotIpv6(_) => "no address",
            Self::Reversed { .. } => "ends before it starts",
            Self::TwoFamilies { .. } => "two families",
            Self::PrefixLength { .. } => "no prefix length",
            Self::HostBits { .. } => "bits after the prefix",
            Self::Status(_) => "unknown status",
            Self::Type(_) => "unknown type",
            Self::Count { .. } => "impossible count",
            Self::Carried { .. } => "carries IPv4",
            Self::NoAsNumber(_) | Self::AsNumber(_) => "no AS number",
            Self::UnknownRegion { .. } => "unknown region",
            Self::Missing(what) => what,
        }
    }
}
