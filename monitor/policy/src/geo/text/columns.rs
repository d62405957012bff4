//! Which column of a file holds what: a line of names in, places out; and where there is none, whether what stands in the
//! place of the country may be a continent. Called by the readers of text.

use super::{
    super::{country::Country, rejection::Rejection},
    address,
};

const NETWORK: [&str; 8] = ["network", "cidr", "prefix", "ip_prefix", "subnet", "ip_network", "ip_cidr", "netblock"];
/// The same where no two columns hold the ends of a range.
const ADDRESS: [&str; 4] = ["ip_range", "net", "ip", "ip_address"];
const FIRST: [&str; 18] = [
    "start_ip",
    "ip_range_start",
    "range_start",
    "ip_from",
    "ip_start",
    "start",
    "first",
    "first_ip",
    "startip",
    "ip_first",
    "from_ip",
    "from",
    "begin",
    "begin_ip",
    "start_address",
    "start_ip_address",
    "ip_start_address",
    "network_start",
];
const LAST: [&str; 18] = [
    "end_ip",
    "ip_range_end",
    "range_end",
    "ip_to",
    "ip_end",
    "end",
    "last",
    "last_ip",
    "endip",
    "ip_last",
    "to_ip",
    "to",
    "finish",
    "end_ip_2",
    "end_address",
    "end_ip_address",
    "ip_end_address",
    "network_end",
];
/// A column of codes before one that may hold names.
const COUNTRY: [&str; 22] = [
    "country_code",
    "country_iso_code",
    "country_iso",
    "iso_code",
    "cc",
    "alpha2",
    "alpha2code",
    "alpha2_code",
    "alpha_2",
    "alpha_2_code",
    "iso2",
    "iso_2",
    "iso_alpha2",
    "iso_alpha_2",
    "iso_country_code",
    "country_alpha2",
    "country_code2",
    "country_iso2",
    "countrycode",
    "country_short",
    "ccode",
    "country",
];
const REGION: [&str; 9] = [
    "region",
    "region_code",
    "region_iso_code",
    "subdivision",
    "subdivision_code",
    "subdivision_1_iso_code",
    "iso_3166_2",
    "state",
    "state_code",
];
const SYSTEM: [&str; 8] =
    ["asn", "autonomous_system_number", "as_number", "asnum", "as", "origin_as", "origin", "number"];
const SYSTEM_NAME: [&str; 8] = [
    "as_name",
    "autonomous_system_organization",
    "as_organization",
    "organization",
    "org",
    "name",
    "description",
    "as_org",
];

fn plain(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace(['-', ' ', '.'], "_")
}

fn place(names: &[String], known: &[&str]) -> Option<usize> {
    known.iter().find_map(|known| names.iter().position(|name| name == known))
}

/// Whether a line is one of column names: it names one that holds addresses, or begins with what can be no address. A file's
/// first line only; one that holds addresses in a place of its own may come later.
pub(in super::super) fn is_header(values: &[&str]) -> bool {
    let first = values.first().copied().unwrap_or("");
    let data = address::is_number(first) || address::address(first.split('/').next().unwrap_or("")).is_ok();
    let word = first.starts_with(char::is_alphabetic) && values.len() > 1;
    !data && (word || names_addresses(values))
}

/// Whether one of the values is the name of a column of addresses.
pub(in super::super) fn names_addresses(values: &[&str]) -> bool {
    let known = |value: &&str| {
        let name = plain(value);
        [&NETWORK[..], &ADDRESS, &FIRST].iter().any(|known| known.contains(&name.as_str()))
    };
    values.iter().any(known)
}

/// Where the addresses stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(super) first: usize,
    /// `None`: `first` is a network.
    pub(super) last: Option<usize>,
}

impl Addresses {
    fn named(names: &[String]) -> Result<Self, Rejection> {
        let ends = place(names, &FIRST).zip(place(names, &LAST));
        let found = match (place(names, &NETWORK), ends) {
            (Some(first), _) => Some(Self { first, last: None }),
            (None, Some((first, last))) => Some(Self { first, last: Some(last) }),
            (None, None) => place(names, &ADDRESS).map(|first| Self { first, last: None }),
        };
        found.ok_or(Rejection::NoColumn("networks", "network, or start_ip and end_ip"))
    }
}

/// Where things stand in a file of countries that names its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(super) addresses: Addresses,
    /// `None`: the country is the whole file's.
    pub(super) country: Option<usize>,
    pub(super) region: Option<usize>,
}

impl Columns {
    /// `whole`: the file has a country by its name or by a comment.
    ///
    /// # Errors
    /// Nothing holds the networks, or the countries. A place is never guessed then: `DE` may be Delaware.
    pub(crate) fn named(names: &[&str], whole: bool) -> Result<Self, Rejection> {
        let names: Vec<String> = names.iter().map(|name| plain(name)).collect();
        let addresses = Addresses::named(&names)?;
        let country = place(&names, &COUNTRY);
        if country.is_none() && names.iter().any(|name| name.contains("geoname_id")) {
            return Err(Rejection::CountryNumbers);
        }
        let nothing_else = names.len() == 1 + usize::from(addresses.last.is_some());
        if country.is_none() && !whole && !nothing_else {
            return Err(Rejection::NoColumn("countries", "country_code"));
        }
        Ok(Self { addresses, country, region: place(&names, &REGION).filter(|_| country.is_some()) })
    }
}

impl Columns {
    /// Whether nothing stands before the addresses.
    pub(super) fn begins_with_addresses(self) -> bool {
        self.addresses.first == 0
    }

    /// The same for a line with a network where the columns are a range's ends: it has one end, and may have one column less.
    pub(super) fn without_end(self, values: &[&str]) -> Self {
        let Some(last) =
            self.addresses.last.filter(|_| values.get(self.addresses.first).is_some_and(|first| first.contains('/')))
        else {
            return self;
        };
        let there = values.get(last).is_none_or(|value| value.is_empty() || address::is_end(value));
        let shift = |place: usize| if !there && place > last { place - 1 } else { place };
        let addresses = Addresses { first: shift(self.addresses.first), last: None };
        Self { addresses, country: self.country.map(shift), region: self.region.map(shift) }
    }
}

/// Where things stand in a file of AS numbers that names its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SystemColumns {
    pub(crate) first: usize,
    pub(crate) last: Option<usize>,
    pub(crate) number: usize,
    pub(crate) name: Option<usize>,
}

impl SystemColumns {
    /// # Errors
    /// As [`Columns::named`].
    pub(crate) fn named(names: &[&str]) -> Result<Self, Rejection> {
        let names: Vec<String> = names.iter().map(|name| plain(name)).collect();
        let Addresses { first, last } = Addresses::named(&names)?;
        let number = place(&names, &SYSTEM).ok_or(Rejection::NoColumn("AS numbers", "asn"))?;
        Ok(Self { first, last, number, name: place(&names, &SYSTEM_NAME) })
    }
}

/// What a line without named columns says of the column behind the addresses. Seven continents have codes, and five of those
/// are a country's, too: read on, and all of Asia were in American Samoa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// It holds countries: this one is no continent's code.
    Countries,
    /// It holds continents: a country stands behind it.
    Continents,
    /// It may hold either: a place for a country stands behind it, and is empty.
    Open,
    /// Nothing.
    Silent,
}

/// `at` is the place behind the addresses; `ends`: there are two of these, as in files of cities and not in geofeeds.
pub(super) fn column(values: &[&str], at: usize, ends: bool) -> Column {
    const CONTINENTS: [&str; 8] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA", "ZZ"];
    let Some(value) = values.get(at).filter(|value| !value.is_empty()) else { return Column::Silent };
    let country = |value: &str| Country::parse(value).is_ok_and(Country::is_assigned);
    if !CONTINENTS.iter().any(|code| code.eq_ignore_ascii_case(value)) {
        return if country(value) { Column::Countries } else { Column::Silent };
    }
    match values.get(at + 1) {
        Some(behind) if country(behind) && !behind.eq_ignore_ascii_case(value) => Column::Continents,
        Some(&"") if ends && country(value) => Column::Open,
        _ => Column::Silent,
    }
}
