//! Region algebra: `EEA + CH - LI` in, sorted country codes out. Called by the configuration reader.
//!
//! Evaluated from left to right. Some countries have parts with ISO codes of their own that belong to the same legal
//! area (Réunion to France, Åland to Finland): naming the country or its region takes them along, and they can be
//! added and subtracted by themselves.

use std::collections::BTreeSet;

use crate::geo::{Country, all_countries};

/// The 27 member states and their parts: see [`PARTS`].
const EU: &str =
    "AT AX BE BG CY CZ DE DK EE ES FI FR GF GP GR HR HU IE IT LT LU LV MF MQ MT NL PL PT RE RO SE SI SK YT";

/// What the European Economic Area has beside the EU.
const EEA_BESIDE_EU: &str = "IS LI NO";

/// The European Free Trade Association.
const EFTA: &str = "CH IS LI NO";

/// Countries with an adequacy decision under Art. 45 GDPR that covers a country as such. Canada and Japan: private
/// sector only. Brazil since 26 January 2026; the United Kingdom's renewed on 19 December 2025. Not the US: its
/// decision covers certified companies.
const ADEQUATE: &str = "AD AR BR CA CH FO GB GG IL IM JE JP KR NZ UY";

/// Parts of EU member states to which EU law applies as to the rest (Art. 349 and 355 TFEU; Protocol 2 on Åland).
const PARTS: [(&str, &str); 2] = [("FI", "AX"), ("FR", "GF GP MF MQ RE YT")];

/// The US and its territories with codes of their own.
const US: &str = "AS GU MP PR UM US VI";

/// The names that are not countries.
const REGIONS: [&str; 4] = ["EU", "EEA", "EFTA", "ADEQUATE"];

/// The word for unplaced private networks.
const PRIVATE: &str = "private";

/// A region worked out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Sorted codes.
    pub countries: Vec<Country>,
    /// Whether private networks that no site places are inside.
    pub private: bool,
}

/// Why an expression names no region.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegionError {
    /// No such country or region; the nearest one, where one is near.
    #[error("'{name}' is no country or region: {}", mend(nearest.as_ref()))]
    Unknown {
        /// As written.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A code that people use and ISO 3166-1 does not.
    #[error("'{0}' is not the ISO 3166-1 code: write '{1}'")]
    Synonym(String, &'static str),
    /// The US.
    #[error(
        "'{0}' can't be inside by address: the US adequacy decision covers certified companies, not networks: remove \
         it and name each permitted transfer in an [[allow]] rule"
    )]
    UnitedStates(String),
    /// Two names without an operator, two operators, nothing at all.
    #[error("{0}: write names joined by '+' and '-', such as 'EEA + CH - LI'")]
    Syntax(String),
    /// Nothing is left.
    #[error("nothing is inside: add at least one country or 'private'")]
    Empty,
}

fn mend(nearest: Option<&String>) -> String {
    match nearest {
        Some(name) => format!("did you mean '{name}'? Known: ISO 3166-1 codes, {}, {PRIVATE}", REGIONS.join(", ")),
        None => format!("write an ISO 3166-1 code such as 'DE', {}, or '{PRIVATE}'", REGIONS.join(", ")),
    }
}

/// Codes in the list `text`.
fn codes(text: &str) -> impl Iterator<Item = Country> {
    text.split_ascii_whitespace().filter_map(|code| Some(Country(*code.as_bytes().first_chunk()?)))
}

/// The EEA's codes, sorted: the default for what is inside.
#[must_use]
pub fn eea() -> Vec<Country> {
    let mut countries: Vec<_> = codes(EU).chain(codes(EEA_BESIDE_EU)).collect();
    countries.sort_unstable();
    countries
}

/// The country with this ISO 3166-1 code.
///
/// # Errors
/// The code is not assigned: what to write instead.
pub fn country(code: &str) -> Result<Country, RegionError> {
    if let Some(synonym) = synonym(code) {
        return Err(RegionError::Synonym(code.to_owned(), synonym));
    }
    if let Ok(letters) = <[u8; 2]>::try_from(code.as_bytes())
        && Country(letters).is_assigned()
    {
        return Ok(Country(letters));
    }
    Err(RegionError::Unknown { name: code.to_owned(), nearest: nearest(code) })
}

fn synonym(code: &str) -> Option<&'static str> {
    match code {
        "UK" => Some("GB"),
        "EL" => Some("GR"),
        _ => None,
    }
}

fn nearest(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let countries = all_countries().iter().map(Country::to_string).filter(|code| *code == upper);
    let regions = REGIONS.into_iter().chain([PRIVATE]).map(str::to_owned);
    countries
        .chain(regions)
        .map(|known| (strsim::damerau_levenshtein(&upper, &known.to_ascii_uppercase()), known))
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .min()
        .map(|(_, known)| known)
}

/// What one name stands for.
fn named(name: &str) -> Result<Vec<Country>, RegionError> {
    Ok(match name {
        "EU" => codes(EU).collect(),
        "EEA" => eea(),
        "EFTA" => codes(EFTA).collect(),
        "ADEQUATE" => codes(ADEQUATE).collect(),
        code => {
            let whole = country(code)?;
            let parts = PARTS.iter().find(|(state, _)| *state == code).map_or("", |(_, parts)| parts);
            std::iter::once(whole).chain(codes(parts)).collect()
        }
    })
}

/// Works an expression out.
///
/// # Errors
/// [`RegionError`] when it names no region.
pub fn parse(text: &str) -> Result<Region, RegionError> {
    let spaced = text.replace('+', " + ").replace('-', " - ");
    let mut countries = BTreeSet::new();
    let mut private = false;
    // The operator before the next name; a leading '+' may be left out.
    let mut operator = Some("+");
    for word in spaced.split_whitespace() {
        match (word, operator) {
            ("+" | "-", None) => operator = Some(word),
            ("+" | "-", Some(_)) => {
                return Err(RegionError::Syntax(format!("'{word}' has no name before it in '{text}'")));
            }
            (name, None) => {
                return Err(RegionError::Syntax(format!("'{name}' has no '+' or '-' before it in '{text}'")));
            }
            (PRIVATE, Some(sign)) => {
                private = sign == "+";
                operator = None;
            }
            (name, Some("+")) => {
                if US.split_ascii_whitespace().any(|code| code == name) {
                    return Err(RegionError::UnitedStates(name.to_owned()));
                }
                countries.extend(named(name)?);
                operator = None;
            }
            (name, Some(_)) => {
                for country in named(name)? {
                    countries.remove(&country);
                }
                operator = None;
            }
        }
    }
    if operator.is_some() && !text.trim().is_empty() {
        return Err(RegionError::Syntax(format!("'{text}' ends in an operator")));
    }
    if countries.is_empty() && !private {
        return Err(RegionError::Empty);
    }
    Ok(Region { countries: countries.into_iter().collect(), private })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(expression: &str) -> String {
        let region = parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let codes: Vec<_> = region.countries.iter().map(Country::to_string).collect();
        codes.join(" ") + if region.private { " private" } else { "" }
    }

    fn complaint(expression: &str) -> String {
        parse(expression).expect_err("must be refused").to_string()
    }

    const EEA_TEXT: &str = "AT AX BE BG CY CZ DE DK EE ES FI FR GF GP GR HR HU IE IS IT LI LT LU LV MF MQ MT NL NO PL \
                            PT RE RO SE SI SK YT";

    #[test]
    fn the_eea_is_thirty_states_and_seven_parts_of_them() {
        assert_eq!(text("EEA"), EEA_TEXT);
        assert_eq!(EEA_TEXT.split(' ').count(), 30 + 7);
        assert_eq!(text("EU + IS + LI + NO"), EEA_TEXT);
    }

    #[test]
    fn terms_apply_from_left_to_right() {
        assert_eq!(text("EFTA - LI"), "CH IS NO");
        assert_eq!(text("EFTA-LI+LI"), "CH IS LI NO");
        assert_eq!(text("CH + EFTA - EFTA + SG"), "SG");
        assert_eq!(text("ADEQUATE"), "AD AR BR CA CH FO GB GG IL IM JE JP KR NZ UY");
    }

    #[test]
    fn a_state_takes_its_parts_along_and_parts_go_alone() {
        assert_eq!(text("FR"), "FR GF GP MF MQ RE YT");
        assert_eq!(text("FR - GF - YT"), "FR GP MF MQ RE");
        assert!(!text("EEA - FR").contains("RE"));
        assert_eq!(text("FI"), "AX FI");
    }

    #[test]
    fn private_is_added_and_subtracted_as_a_country_is() {
        assert_eq!(text("IE + private"), "IE private");
        assert_eq!(text("IE + private - private"), "IE");
        assert_eq!(text("private"), " private");
    }

    #[test]
    fn the_us_and_its_territories_are_never_inside_but_may_be_subtracted() {
        for code in ["US", "PR", "GU"] {
            assert_eq!(parse(&format!("EEA + {code}")), Err(RegionError::UnitedStates(code.into())));
        }
        assert_eq!(
            complaint("US"),
            "'US' can't be inside by address: the US adequacy decision covers certified companies, not networks: \
             remove it and name each permitted transfer in an [[allow]] rule"
        );
        assert_eq!(text("CH - US"), "CH");
    }

    #[test]
    fn what_is_no_region_is_refused_with_what_to_write() {
        assert_eq!(
            complaint("EAE"),
            "'EAE' is no country or region: did you mean 'EEA'? Known: ISO 3166-1 codes, EU, EEA, EFTA, ADEQUATE, private"
        );
        assert_eq!(
            complaint("Germany"),
            "'Germany' is no country or region: write an ISO 3166-1 code such as 'DE', EU, EEA, EFTA, ADEQUATE, or \
             'private'"
        );
        assert_eq!(complaint("EEA + UK"), "'UK' is not the ISO 3166-1 code: write 'GB'");
        assert_eq!(
            complaint("EEA CH"),
            "'CH' has no '+' or '-' before it in 'EEA CH': write names joined by '+' and '-', such as 'EEA + CH - LI'"
        );
        assert_eq!(
            complaint("EEA +"),
            "'EEA +' ends in an operator: write names joined by '+' and '-', such as 'EEA + CH - LI'"
        );
        assert_eq!(
            complaint("EEA + - CH"),
            "'-' has no name before it in 'EEA + - CH': write names joined by '+' and '-', such as 'EEA + CH - LI'"
        );
        assert_eq!(complaint("CH - CH"), "nothing is inside: add at least one country or 'private'");
        assert_eq!(complaint(" "), "nothing is inside: add at least one country or 'private'");
    }

    #[test]
    fn every_region_is_made_of_assigned_codes() {
        for list in [EU, EEA_BESIDE_EU, EFTA, ADEQUATE, US] {
            assert!(codes(list).all(Country::is_assigned), "{list}");
            assert!(codes(list).is_sorted(), "{list}");
        }
    }
}
