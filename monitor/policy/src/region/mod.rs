//! Region algebra: `EEA + CH - LI` in, sorted country codes out. Called by the configuration reader.
//!
//! Evaluated from left to right. A country is its ISO 3166-1 code or its name in English. Some countries have parts with
//! ISO codes of their own that belong to the same legal area (Réunion to France, Åland to Finland, Puerto Rico to the
//! US): naming the country or its region takes them along, and they can be added and subtracted by themselves.

mod acts;
mod doubts;

use std::collections::BTreeSet;

use self::acts::{PARTS, US, codes, region, us_parts};
pub use self::{
    acts::{AS_OF, NAMED, NamedRegion},
    doubts::{doubts, named_alone},
};
use crate::geo::{Country, all_countries, names};

/// What private networks without a site are called in `inside`.
const PRIVATE: &str = "private";

/// The members of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Countries, sorted.
    pub countries: Vec<Country>,
    /// Whether private networks without a site are members.
    pub private: bool,
}

/// Why an expression names no region.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegionError {
    /// No such country or region; the nearest one, where one is near.
    #[error("'{name}' is no country or region: {}", hint(nearest.as_ref()))]
    Unknown {
        /// As written.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A code that people use and ISO 3166-1 does not.
    #[error("'{0}' is not the ISO 3166-1 code: write '{1}'")]
    Synonym(String, &'static str),
    /// The US in a region under European law.
    #[error(
        "'{0}' can't be inside beside {1} by address: the US adequacy decision covers certified companies, not \
         networks: remove it and name each permitted transfer in an [[allow]] rule"
    )]
    UnitedStates(String, &'static str),
    /// Two names without an operator, two operators, nothing at all.
    #[error("{0}: write names joined by '+' and '-', such as 'EEA + CH - LI'")]
    Syntax(String),
    /// Nothing is left.
    #[error("nothing is inside: add at least one country or 'private'")]
    Empty,
}

fn hint(nearest: Option<&String>) -> String {
    let regions = NAMED.map(|region| region.name).join(", ");
    match nearest {
        Some(name) => {
            format!("did you mean '{name}'? Known: ISO 3166-1 codes, countries' names, {regions}, {PRIVATE}")
        }
        None => format!("write an ISO 3166-1 code such as 'DE', a country's name, {regions}, or '{PRIVATE}'"),
    }
}

/// The EEA's countries, sorted: the default for what is inside.
pub fn eea() -> Vec<Country> {
    region("EEA").map(|eea| eea.members().collect()).unwrap_or_default()
}

/// The country with this ISO 3166-1 code, or of this name.
///
/// # Errors
/// There is no such country; the error says what to write instead.
pub fn country(code: &str) -> Result<Country, RegionError> {
    if let Some(synonym) = synonym(code) {
        return Err(RegionError::Synonym(code.to_owned(), synonym));
    }
    if let Ok(letters) = <[u8; 2]>::try_from(code.as_bytes())
        && Country(letters).is_assigned()
    {
        return Ok(Country(letters));
    }
    if let Some(country) = names::named(code) {
        return Ok(country);
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
    let regions = NAMED.iter().map(|region| region.name).chain([PRIVATE]).map(str::to_owned);
    countries
        .chain(regions)
        .map(|known| (strsim::damerau_levenshtein(&upper, &known.to_ascii_uppercase()), known))
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .min()
        .map(|(_, known)| known)
        .or_else(|| names::nearest(name).map(str::to_owned))
}

/// The members of one name.
fn named(name: &str) -> Result<Vec<Country>, RegionError> {
    if let Some(region) = region(name) {
        return Ok(region.members().collect());
    }
    let whole = country(name)?;
    let parts = PARTS.iter().find(|(state, _)| state.as_bytes() == whole.0).map_or("", |(_, parts)| parts);
    Ok(std::iter::once(whole).chain(codes(parts)).collect())
}

/// Splits an expression into operators and names. Names may have blanks in them, and some a hyphen.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '+' | '-' => 1,
            _ => hyphenated(rest).unwrap_or_else(|| rest.find(['+', '-']).unwrap_or(rest.len())),
        };
        let (word, more) = rest.split_at(length);
        words.push(word.trim_end());
        rest = more.trim_start();
    }
    words
}

/// The length of the country's name with a hyphen in it that the text starts with: `Guinea-Bissau`.
fn hyphenated(text: &str) -> Option<usize> {
    let names = names::names().map(|(name, _)| name).filter(|name| name.contains('-'));
    let starts = |name: &&str| {
        let start = text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        start && text[name.len()..].trim_start().chars().next().is_none_or(|next| matches!(next, '+' | '-'))
    };
    names.filter(starts).map(str::len).max()
}

/// Whether the word is a name by itself.
fn is_known(word: &str) -> bool {
    word == PRIVATE || named(word).is_ok()
}

/// Evaluates an expression.
///
/// # Errors
/// [`RegionError`] when it names no region.
pub fn parse(text: &str) -> Result<Region, RegionError> {
    let mut countries = BTreeSet::new();
    let mut private = false;
    // The first European region and the first name of the US that were added.
    let (mut european, mut american) = (None, None);
    // The operator before the next name; a leading '+' may be left out.
    let mut operator = Some("+");
    for word in words(text) {
        match (word, operator.take()) {
            ("+" | "-", None) => operator = Some(word),
            ("+" | "-", Some(_)) => {
                return Err(RegionError::Syntax(format!("'{word}' has no name before it in '{text}'")));
            }
            (name, None) => {
                return Err(RegionError::Syntax(format!("'{name}' has no '+' or '-' before it in '{text}'")));
            }
            (PRIVATE, Some(sign)) => private = sign == "+",
            (name, Some(sign)) => {
                let of = named(name).map_err(|error| apart(name, text).unwrap_or(error))?;
                if sign == "+" {
                    european = european.or_else(|| region(name).map(|region| region.name));
                    let of_us = |country: &Country| *country == US || us_parts().any(|part| part == *country);
                    american = american.or_else(|| of.iter().any(of_us).then(|| name.to_owned()));
                    countries.extend(of);
                } else {
                    of.iter().for_each(|country| {
                        countries.remove(country);
                    });
                }
            }
        }
    }
    if operator.is_some() && !text.trim().is_empty() {
        return Err(RegionError::Syntax(format!("'{text}' ends in an operator")));
    }
    if let (Some(region), Some(name)) = (european, american) {
        return Err(RegionError::UnitedStates(name, region));
    }
    if countries.is_empty() && !private {
        return Err(RegionError::Empty);
    }
    Ok(Region { countries: countries.into_iter().collect(), private })
}

/// Two names without an operator, rather than one that nobody knows: `EEA CH`.
fn apart(name: &str, text: &str) -> Option<RegionError> {
    let (before, after) = name.rsplit_once(char::is_whitespace)?;
    let missing = is_known(after) && before.split_whitespace().next_back().is_some_and(is_known);
    missing.then(|| RegionError::Syntax(format!("'{after}' has no '+' or '-' before it in '{text}'")))
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
    fn the_us_is_a_region_of_its_own_but_never_beside_european_ones() {
        for name in ["US", "PR", "GU", "United States"] {
            assert_eq!(parse(&format!("EEA + {name}")), Err(RegionError::UnitedStates(name.into(), "EEA")));
            assert_eq!(parse(&format!("{name} + ADEQUATE")), Err(RegionError::UnitedStates(name.into(), "ADEQUATE")));
        }
        assert_eq!(
            complaint("US + EU"),
            "'US' can't be inside beside EU by address: the US adequacy decision covers certified companies, not \
             networks: remove it and name each permitted transfer in an [[allow]] rule"
        );
        assert_eq!(text("CH - US"), "CH");
        assert_eq!(text("EEA - US"), EEA_TEXT);
        assert_eq!(text("US"), "AS GU MP PR UM US VI");
        assert_eq!(text("US - Puerto Rico"), "AS GU MP UM US VI");
    }

    #[test]
    fn countries_may_be_named_in_english() {
        assert_eq!(text("Germany + united kingdom + CH"), "CH DE GB");
        assert_eq!(text("EFTA - Switzerland"), "IS LI NO");
        assert_eq!(text("guinea-bissau-Guinea-Bissau+Timor-Leste"), "TL");
        assert_eq!(text("Bosnia and Herzegovina"), "BA");
        assert_eq!(country("Norway"), Ok(Country(*b"NO")));
        assert_eq!(
            complaint("Germny"),
            "'Germny' is no country or region: did you mean 'Germany'? Known: ISO 3166-1 codes, countries' names, EU, \
             EEA, EFTA, ADEQUATE, private"
        );
    }

    /// One term: a region, a country by code or by name.
    fn random_term(random: &mut fastrand::Rng) -> String {
        if random.u8(0..3) == 0 {
            return NAMED[random.usize(0..NAMED.len())].name.into();
        }
        loop {
            let country = all_countries()[random.usize(0..all_countries().len())];
            if country != US && us_parts().all(|part| part != country) {
                let name = names::name(country).expect("every country has a name");
                return if random.bool() { country.to_string() } else { name.to_lowercase() };
            }
        }
    }

    #[test]
    fn the_laws_of_the_algebra_hold() {
        let seed = fastrand::u64(..);
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let of = |text: &str| match parse(text) {
            Ok(region) => region.countries,
            Err(RegionError::Empty) => Vec::new(),
            Err(error) => panic!("{text}: {error}, seed {seed}"),
        };
        for _ in 0..2_000 {
            let [a, b, c] = [(); 3].map(|()| random_term(&mut random));
            assert_eq!(of(&format!("{a} + {b}")), of(&format!("{b} + {a}")), "seed {seed}");
            assert_eq!(of(&format!("{a} + {b} + {c}")), of(&format!("{c} + {a} + {b}")), "seed {seed}");
            assert_eq!(of(&format!("{a} + {a}")), of(&a), "seed {seed}");
            assert_eq!(of(&format!("{a} + {b} - {b}")), of(&format!("{a} - {b}")), "seed {seed}");
            assert_eq!(of(&format!("{a} - {b} - {c}")), of(&format!("{a} - {c} - {b}")), "seed {seed}");
            assert_eq!(of(&format!("{a} - {b} + {b}")), of(&format!("{a} + {b}")), "seed {seed}");
            assert_eq!(of(&format!("{a} - {a}")), [], "seed {seed}");
            // Against sets: a member of the sum is one of a or b, one of the difference of a and not of b.
            let (in_a, in_b) = (of(&a), of(&b));
            let has = |list: &[Country], country: &Country| list.binary_search(country).is_ok();
            let (sum, difference) = (of(&format!("{a}+{b}")), of(&format!("{a}-{b}")));
            for country in all_countries() {
                assert_eq!(has(&sum, country), has(&in_a, country) || has(&in_b, country), "seed {seed}");
                assert_eq!(has(&difference, country), has(&in_a, country) && !has(&in_b, country), "seed {seed}");
            }
        }
    }

    #[test]
    fn what_is_no_region_is_refused_with_what_to_write() {
        assert_eq!(
            complaint("EAE"),
            "'EAE' is no country or region: did you mean 'EEA'? Known: ISO 3166-1 codes, countries' names, EU, EEA, EFTA, \
             ADEQUATE, private"
        );
        assert_eq!(
            complaint("Atlantis"),
            "'Atlantis' is no country or region: write an ISO 3166-1 code such as 'DE', a country's name, EU, EEA, EFTA, \
             ADEQUATE, or 'private'"
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
}
