//! Country codes: a source's or an operator's spelling in, a checked [`Country`] out. Called by every dataset
//! reader and by the region algebra.

use std::fmt;

use crate::text::excerpt;

/// ISO 3166-1 alpha-2 country code, upper case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country(pub [u8; 2]);

/// Text that is no country code; the beginning of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a country code: give two letters of ISO 3166-1 (DE, NO, SG...), or leave it empty for unknown")]
pub struct CountryError(pub String);

/// Officially assigned ISO 3166-1 alpha-2 codes, and XK: user-assigned, but what the European Commission, the
/// banks and the datasets write for Kosovo.
const ASSIGNED: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO \
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM \
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// What sources write where they know no single country: regions (EU, AP), dissolved states whose successors
/// are several (AN, CS), MaxMind's proxies and satellites (A1, A2, O1), and placeholders.
const UNKNOWN: [&str; 12] = ["", "NONE", "-", "--", "EU", "AP", "ZZ", "AN", "CS", "XX", "A1", "A2"];

impl Country {
    /// What a source says when it does not know.
    pub const UNKNOWN: Self = Self(*b"ZZ");
    /// What a list says of addresses that are in no one place (anycast, satellite). In overlays only.
    pub const UNDETERMINED: Self = Self(*b"??");
    /// Where a country makes no sense (private, link-local…).
    pub const NONE: Self = Self(*b"--");

    /// Reads a country code in any case: UK and EL become GB and GR; what stands for no single country (empty,
    /// None, EU, AP, ZZ, AN, CS, XX, A1, A2, O1) becomes [`Country::UNKNOWN`], `??` and `undetermined` become
    /// [`Country::UNDETERMINED`].
    ///
    /// # Errors
    /// The text is none of these and no assigned code.
    pub fn parse(text: &str) -> Result<Self, CountryError> {
        let trimmed = text.trim();
        // Nearly all are this.
        if let [first, second] = trimmed.as_bytes() {
            let code = Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()]);
            if code.is_assigned() {
                return Ok(code);
            }
        }
        let upper = trimmed.to_ascii_uppercase();
        match upper.as_str() {
            "UK" => return Ok(Self(*b"GB")),
            "EL" => return Ok(Self(*b"GR")),
            "O1" => return Ok(Self::UNKNOWN),
            "??" | "UNDETERMINED" => return Ok(Self::UNDETERMINED),
            other if UNKNOWN.contains(&other) => return Ok(Self::UNKNOWN),
            _ => {}
        }
        match <[u8; 2]>::try_from(upper.as_bytes()) {
            Ok(code) if Self(code).is_assigned() => Ok(Self(code)),
            _ => Err(CountryError(excerpt(trimmed))),
        }
    }

    /// Whether this is a country, not [`Country::UNKNOWN`] or [`Country::NONE`] or a code nobody assigned.
    #[must_use]
    pub fn is_assigned(self) -> bool {
        all().binary_search(&self).is_ok()
    }
}

/// Every assigned code, sorted.
pub fn all() -> &'static [Country] {
    static CODES: std::sync::LazyLock<Vec<Country>> = std::sync::LazyLock::new(|| {
        ASSIGNED.split_ascii_whitespace().map(|code| Country([code.as_bytes()[0], code.as_bytes()[1]])).collect()
    });
    &CODES
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.0).unwrap_or("??"))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_assigned_code_is_read_in_any_case_and_no_other_pair_of_letters() {
        assert_eq!(all().len(), 250);
        assert!(all().is_sorted_by(|a, b| a < b));
        let mut read = 0;
        for first in b'A'..=b'Z' {
            for second in b'A'..=b'Z' {
                let code = [first, second];
                let text = String::from_utf8_lossy(&code).to_ascii_lowercase();
                match Country::parse(&text) {
                    Ok(Country::UNKNOWN) => assert!(UNKNOWN.contains(&text.to_ascii_uppercase().as_str()), "{text}"),
                    Ok(country) if matches!(&code, b"UK" | b"EL") => assert_ne!(country.0, code),
                    Ok(country) => {
                        assert_eq!(country.0, code);
                        read += 1;
                    }
                    Err(_) => assert!(!all().contains(&Country(code))),
                }
            }
        }
        assert_eq!(read, 250);
    }

    #[test]
    fn other_spellings_and_no_country_are_normalised() {
        assert_eq!(Country::parse("uk"), Ok(Country(*b"GB")));
        assert_eq!(Country::parse("EL"), Ok(Country(*b"GR")));
        for undetermined in ["??", "Undetermined"] {
            assert_eq!(Country::parse(undetermined), Ok(Country::UNDETERMINED));
        }
        for unknown in ["", " ", "None", "EU", "ap", "ZZ", "AN", "CS", "XX", "A1", "A2", "O1", "-", "--"] {
            assert_eq!(Country::parse(unknown), Ok(Country::UNKNOWN), "{unknown:?}");
        }
    }

    #[test]
    fn a_typo_is_refused_with_its_text() {
        for wrong in ["DEU", "D", "QQ", "G\u{e9}", "1A", "D E"] {
            let error = Country::parse(wrong).unwrap_err();
            assert_eq!(error, CountryError(wrong.into()));
        }
        assert_eq!(
            Country::parse("QQ").unwrap_err().to_string(),
            "\"QQ\" is not a country code: give two letters of ISO 3166-1 (DE, NO, SG...), or leave it empty for unknown"
        );
    }
}
