//! Named regions and the parts of countries, by dated legal acts: a name in, its members out. Called by the algebra
//! ([`super`]).

use crate::geo::Country;

/// The day on which the members of every named region were last compared with their sources.
pub const AS_OF: &str = "2026-06-01";

/// A named region: its members, and the acts that they come from.
#[derive(Clone, Copy, Debug)]
pub struct NamedRegion {
    /// Its name, as written in `inside`.
    pub name: &'static str,
    /// What the name stands for.
    pub meaning: &'static str,
    /// The legal acts.
    pub source: &'static str,
    /// Their codes, sorted.
    members: &'static str,
}

impl NamedRegion {
    /// Its members' codes, sorted.
    pub fn members(&self) -> impl Iterator<Item = Country> {
        codes(self.members)
    }
}

/// Every named region.
pub const NAMED: [NamedRegion; 4] = [
    NamedRegion {
        name: "EU",
        meaning: "European Union",
        source: "Treaty on European Union, Art. 52; Treaty on the Functioning of the European Union, Art. 349 and 355; \
                 Protocol 2 to the 1994 Act of Accession (Åland); the United Kingdom left on 31 January 2020",
        members: "AT AX BE BG CY CZ DE DK EE ES FI FR GF GP GR HR HU IE IT LT LU LV MF MQ MT NL PL PT RE RO SE SI SK YT",
    },
    NamedRegion {
        name: "EEA",
        meaning: "European Economic Area: the EU, Iceland, Liechtenstein, Norway (without Svalbard and Jan Mayen)",
        source: "Agreement on the European Economic Area, Art. 126 and Protocol 40; Joint Committee decision 154/2018 (GDPR)",
        members: "AT AX BE BG CY CZ DE DK EE ES FI FR GF GP GR HR HU IE IS IT LI LT LU LV MF MQ MT NL NO PL PT RE RO SE SI \
                  SK YT",
    },
    NamedRegion {
        name: "EFTA",
        meaning: "European Free Trade Association",
        source: "Convention establishing the European Free Trade Association (Vaduz, 21 June 2001)",
        members: "CH IS LI NO",
    },
    NamedRegion {
        name: "ADEQUATE",
        meaning: "countries with an adequacy decision under GDPR Art. 45 that covers a country as such. Canada and Japan: \
                  private sector only. Not the US: its decision covers certified companies",
        source: "Commission decisions 2010/625/EU (AD), 2003/490/EC (AR), of 26 January 2026 (BR), 2002/2/EC (CA), \
                 2000/518/EC (CH), 2010/146/EU (FO), (EU) 2021/1772 as renewed on 19 December 2025 (GB), 2003/821/EC (GG), \
                 2011/61/EU (IL), 2004/411/EC (IM), 2008/393/EC (JE), (EU) 2019/419 (JP), (EU) 2022/254 (KR), \
                 2013/65/EU (NZ), 2012/484/EU (UY)",
        members: "AD AR BR CA CH FO GB GG IL IM JE JP KR NZ UY",
    },
];

/// Parts of countries with codes of their own, in which the country's law on personal data or on export applies as in
/// the rest: Art. 349 and 355 TFEU and Protocol 2 on Åland; for the US 22 CFR 120.60.
pub(crate) const PARTS: [(&str, &str); 3] = [("FI", "AX"), ("FR", "GF GP MF MQ RE YT"), ("US", "AS GU MP PR UM VI")];

pub(crate) const US: Country = Country(*b"US");

/// The countries of a list of codes.
pub(crate) fn codes(text: &str) -> impl Iterator<Item = Country> {
    text.split_ascii_whitespace().filter_map(|code| Some(Country(*code.as_bytes().first_chunk()?)))
}

pub(crate) fn region(name: &str) -> Option<&'static NamedRegion> {
    NAMED.iter().find(|region| region.name == name)
}

pub(crate) fn us_parts() -> impl Iterator<Item = Country> {
    PARTS.iter().filter(|(state, _)| state.as_bytes() == US.0).flat_map(|(_, parts)| codes(parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{geo::names, region::parse};

    #[test]
    fn every_named_region_has_exactly_its_members() {
        let members = |name: &str| -> Vec<&str> {
            let region = region(name).expect("named");
            region.members().map(|country| names::name(country).expect("every country has a name")).collect()
        };
        let mut eu = vec![
            "Austria",
            "Belgium",
            "Bulgaria",
            "Croatia",
            "Cyprus",
            "Czechia",
            "Denmark",
            "Estonia",
            "Finland",
            "France",
            "Germany",
            "Greece",
            "Hungary",
            "Ireland",
            "Italy",
            "Latvia",
            "Lithuania",
            "Luxembourg",
            "Malta",
            "Netherlands",
            "Poland",
            "Portugal",
            "Romania",
            "Slovakia",
            "Slovenia",
            "Spain",
            "Sweden",
        ];
        assert_eq!(eu.len(), 27);
        // The parts with codes of their own.
        eu.extend(["Åland Islands", "French Guiana", "Guadeloupe", "Martinique", "Mayotte", "Réunion", "Saint Martin"]);
        let same = |name: &str, expected: &[&str]| {
            let (mut is, mut expected) = (members(name), expected.to_vec());
            is.sort_unstable();
            expected.sort_unstable();
            assert_eq!(is, expected, "{name}");
        };
        same("EU", &eu);
        same("EEA", &[&eu[..], &["Iceland", "Liechtenstein", "Norway"]].concat());
        same("EFTA", &["Iceland", "Liechtenstein", "Norway", "Switzerland"]);
        let adequate = [
            "Andorra",
            "Argentina",
            "Brazil",
            "Canada",
            "Faroe Islands",
            "Guernsey",
            "Isle of Man",
            "Israel",
            "Japan",
            "Jersey",
            "New Zealand",
            "South Korea",
            "Switzerland",
            "United Kingdom",
            "Uruguay",
        ];
        same("ADEQUATE", &adequate);
        // Each decision stands with its country.
        let acts = region("ADEQUATE").expect("named").source;
        for country in region("ADEQUATE").expect("named").members() {
            assert!(acts.contains(&format!("({country})")), "{country}");
        }
        // What is often taken for a part, and is none.
        for (region, outside) in
            [("EU", "GB"), ("EU", "CH"), ("EU", "GI"), ("EEA", "SJ"), ("EEA", "GL"), ("EEA", "FO"), ("EEA", "BL")]
        {
            assert!(
                !parse(region)
                    .expect("good")
                    .countries
                    .contains(&Country(*outside.as_bytes().first_chunk().expect("two")))
            );
        }
    }

    #[test]
    fn every_region_is_made_of_assigned_codes() {
        for list in NAMED.iter().map(|region| region.members).chain(PARTS.iter().map(|(_, parts)| *parts)) {
            assert!(codes(list).all(Country::is_assigned), "{list}");
            assert!(codes(list).is_sorted_by(|a, b| a < b), "{list}");
        }
    }
}
