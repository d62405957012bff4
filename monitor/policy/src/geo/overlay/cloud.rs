//! The cloud providers' lists of their own networks, by region: JSON in, ranges with countries out. Called by
//! [`super::read`].
//!
//! One shape takes all, told apart by what they have: `values` (Azure), `regions` (Oracle), `prefixes` with `ip_prefix`
//! (AWS) or with `ipv4Prefix` (Google), `subnets` (Vultr's feed). Lists have at most [`MAX_ENTRIES`] entries, and whatever else is
//! in the file is skipped without being kept.

use std::{borrow::Cow, fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{
    super::{
        country::Country,
        dataset::OverlayKind,
        error::{GeoError, GeoFault},
        ranges::{Collector, TooMany},
        rejected::{Position, Rejected},
        rejection::Rejection,
        subdivisions,
        text::{about, address, entry::Untaken},
    },
    regions,
};
use crate::text::excerpt;

/// The longest of the lists has a tenth of this.
const MAX_ENTRIES: usize = 1 << 20;

/// Larger than the largest list by ten.
const MAX_JSON: usize = 64 << 20;

/// What a list comes to.
pub(crate) struct Cloud {
    pub(crate) kind: OverlayKind,
    pub(crate) ranges: Collector,
    pub(crate) rejected: Rejected,
    pub(crate) built: Option<i64>,
    /// Ranges taken.
    pub(crate) taken: usize,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    prefixes: Option<Bounded<Prefix<'a>>>,
    #[serde(borrow, default)]
    ipv6_prefixes: Option<Bounded<Prefix<'a>>>,
    #[serde(borrow, default)]
    values: Option<Bounded<Tag<'a>>>,
    #[serde(borrow, default)]
    regions: Option<Bounded<Region<'a>>>,
    #[serde(borrow, default)]
    subnets: Option<Bounded<Subnet<'a>>>,
    /// Of a feed with `subnets`.
    #[serde(borrow, default)]
    updated: Option<Cow<'a, str>>,
    /// AWS.
    #[serde(borrow, default, rename = "createDate")]
    create_date: Option<Cow<'a, str>>,
    /// Google.
    #[serde(borrow, default, rename = "creationTime")]
    creation_time: Option<Cow<'a, str>>,
    /// Oracle.
    #[serde(borrow, default)]
    last_updated_timestamp: Option<Cow<'a, str>>,
}

/// AWS and Google.
#[derive(Deserialize)]
struct Prefix<'a> {
    #[serde(borrow, default, alias = "ipv6_prefix")]
    ip_prefix: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    region: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    network_border_group: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "ipv4Prefix", alias = "ipv6Prefix")]
    google_prefix: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    scope: Option<Cow<'a, str>>,
}

/// Azure.
#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    properties: Properties<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    #[serde(borrow, default)]
    region: Cow<'a, str>,
    #[serde(borrow, default)]
    address_prefixes: Bounded<Text<'a>>,
}

/// Oracle.
#[derive(Deserialize)]
struct Region<'a> {
    #[serde(borrow)]
    region: Cow<'a, str>,
    #[serde(borrow, default)]
    cidrs: Bounded<Cidr<'a>>,
}

/// Of a feed.
#[derive(Deserialize)]
struct Subnet<'a> {
    #[serde(borrow, alias = "network", alias = "prefix", alias = "cidr", alias = "subnet", rename = "ip_prefix")]
    network: Cow<'a, str>,
    #[serde(borrow, default, alias = "country_code", alias = "country", rename = "alpha2code")]
    country: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    region: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Cidr<'a> {
    #[serde(borrow)]
    cidr: Cow<'a, str>,
}

/// Text that is borrowed where it has no escapes, in a list.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A list that ends in time.
struct Bounded<T>(Vec<T>);

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Bounded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Bounded<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(next) = sequence.next_element()? {
                    if list.len() == MAX_ENTRIES {
                        return Err(A::Error::custom(format_args!("a list of more than {MAX_ENTRIES} entries")));
                    }
                    list.push(next);
                }
                Ok(Bounded(list))
            }
        }

        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}

/// Reads a whole list; `file` is for messages, and for the date that Azure has in the name only.
///
/// # Errors
/// It is no JSON or none of the four lists; too much in it.
pub(crate) fn read(file: &Path, bytes: &[u8]) -> Result<Cloud, GeoError> {
    if bytes.len() > MAX_JSON {
        return Err(GeoError::file(file, GeoFault::JsonTooLarge { mib: MAX_JSON >> 20 }));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let document: Document<'_> = serde_json::from_slice(bytes).map_err(|error| {
        let what: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        GeoError::file(file, GeoFault::NotAList(what))
    })?;
    let mut reader = Reader {
        file,
        cloud: Cloud {
            kind: OverlayKind::Aws,
            ranges: Collector::default(),
            rejected: Rejected::default(),
            built: None,
            taken: 0,
        },
    };
    if let Some(Bounded(tags)) = document.values {
        reader.azure(&tags)?;
    } else if let Some(Bounded(regions)) = document.regions {
        reader.cloud.built = document.last_updated_timestamp.as_deref().and_then(about::time);
        reader.oracle(&regions)?;
    } else if let Some(Bounded(subnets)) = document.subnets {
        reader.cloud.built = document.updated.as_deref().and_then(about::time);
        reader.feed(&subnets)?;
    } else if let Some(Bounded(prefixes)) = document.prefixes {
        if prefixes.iter().any(|prefix| prefix.google_prefix.is_some()) {
            // `2026-06-01T12:00:00.123456`: UTC, without saying so.
            let time = |text: &str| about::time(&format!("{text}Z")).or_else(|| about::time(text));
            reader.cloud.built = document.creation_time.as_deref().and_then(time);
            reader.google(&prefixes)?;
        } else {
            // `2026-06-01-20-13-10`: to the day is enough.
            reader.cloud.built = document.create_date.as_deref().and_then(about::time);
            reader.aws("prefixes", &prefixes)?;
            reader.aws("ipv6_prefixes", &document.ipv6_prefixes.unwrap_or_default().0)?;
        }
    } else {
        return Err(GeoError::file(file, GeoFault::UnknownList));
    }
    Ok(reader.cloud)
}

struct Reader<'a> {
    file: &'a Path,
    cloud: Cloud,
}

impl Reader<'_> {
    /// `name` and `at` say where it stands: `prefixes[3]`. Where nothing says where it is, that is undetermined: a wider
    /// prefix must not decide.
    fn take(
        &mut self,
        name: &str,
        at: usize,
        network: &str,
        place: Result<Country, Rejection>,
    ) -> Result<(), GeoError> {
        let rejected = &mut self.cloud.rejected;
        let entry = format!("{name}[{at}]");
        let piece = match (address::network(network, ()), place) {
            (Ok(piece), Ok(country)) => {
                self.cloud.taken += 1;
                piece.with(country)
            }
            (Ok(piece), Err(why)) => {
                match &why {
                    // Each once, with its count, not the first of a thousand networks three times.
                    Rejection::UnknownRegion { region, .. } if !rejected.region(region) => rejected.count(why.kind()),
                    _ => rejected.note(Position::Entry(&entry), why.kind(), &why),
                }
                piece.with(Country::UNDETERMINED)
            }
            (Err(bad), _) => {
                rejected.note(Position::Entry(&entry), bad.kind(), &bad);
                match Untaken::from(bad).about {
                    Some(piece) => piece.with(Country::UNDETERMINED),
                    None => return Ok(()),
                }
            }
        };
        self.cloud.ranges.push(piece).map_err(|TooMany| GeoError::file(self.file, GeoFault::TooManyRanges))
    }

    fn missing(&mut self, name: &str, at: usize, what: &'static str) {
        let missing = Rejection::Missing(what);
        self.cloud.rejected.note(Position::Entry(&format!("{name}[{at}]")), missing.kind(), &missing);
    }

    fn aws(&mut self, name: &str, prefixes: &[Prefix<'_>]) -> Result<(), GeoError> {
        for (at, prefix) in prefixes.iter().enumerate() {
            let Some(network) = &prefix.ip_prefix else {
                self.missing(name, at, "no prefix");
                continue;
            };
            let group = prefix.network_border_group.as_deref();
            let place = match &prefix.region {
                Some(region) => known(regions::aws(region, group), group.unwrap_or(region), network),
                None => Err(Rejection::Missing("no region")),
            };
            self.take(name, at, network, place)?;
        }
        Ok(())
    }

    fn google(&mut self, prefixes: &[Prefix<'_>]) -> Result<(), GeoError> {
        self.cloud.kind = OverlayKind::Google;
        for (at, prefix) in prefixes.iter().enumerate() {
            let Some(network) = &prefix.google_prefix else {
                self.missing("prefixes", at, "no prefix");
                continue;
            };
            let place = match &prefix.scope {
                Some(scope) => known(regions::google(scope), scope, network),
                None => Err(Rejection::Missing("no scope")),
            };
            self.take("prefixes", at, network, place)?;
        }
        Ok(())
    }

    fn azure(&mut self, tags: &[Tag<'_>]) -> Result<(), GeoError> {
        self.cloud.kind = OverlayKind::Azure;
        self.cloud.built = date_in_name(self.file);
        // A tag without a region is of a service, and says nothing of where.
        for tag in tags.iter().filter(|tag| !tag.properties.region.is_empty()) {
            let Properties { region, address_prefixes } = &tag.properties;
            let country = regions::azure(region);
            for (at, Text(network)) in address_prefixes.0.iter().enumerate() {
                self.take(&excerpt(&tag.name), at, network, known(country, region, network))?;
            }
        }
        Ok(())
    }

    fn oracle(&mut self, list: &[Region<'_>]) -> Result<(), GeoError> {
        self.cloud.kind = OverlayKind::Oracle;
        for Region { region, cidrs } in list {
            let country = regions::oracle(region);
            for (at, Cidr { cidr }) in cidrs.0.iter().enumerate() {
                self.take(&excerpt(region), at, cidr, known(country, region, cidr))?;
            }
        }
        Ok(())
    }

    /// A feed as Vultr has it: RFC 8805's fields by name.
    fn feed(&mut self, list: &[Subnet<'_>]) -> Result<(), GeoError> {
        self.cloud.kind = OverlayKind::Geofeed;
        for (at, Subnet { network, country, region }) in list.iter().enumerate() {
            let (country, region) = (country.as_deref().unwrap_or(""), region.as_deref().unwrap_or(""));
            let place = Country::parse(country).map_err(Rejection::from).and_then(|code| {
                let settled = subdivisions::settle(code, region, true);
                settled.ok_or_else(|| Rejection::RegionElsewhere { country: code, region: excerpt(region) })
            });
            self.take("subnets", at, network, place)?;
        }
        Ok(())
    }
}

/// Where a region is.
fn known(country: Option<Country>, region: &str, network: &str) -> Result<Country, Rejection> {
    country.ok_or_else(|| Rejection::UnknownRegion {
        region: excerpt(region),
        network: excerpt(network),
        as_of: regions::AS_OF,
    })
}

/// `ServiceTags_Public_20260601.json`.
fn date_in_name(file: &Path) -> Option<i64> {
    let name = file.file_stem()?.to_str()?;
    let digits = name.rsplit(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 8)?;
    about::time(&format!("{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..]))
}
