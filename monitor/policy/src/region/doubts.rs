//! Countries that a region may name by mistake: `IR` for Ireland, `NI` for Northern Ireland. Called by `check`, which shows
//! names and warns.

use super::{PRIVATE, country, parse, region, words};
use crate::geo::{Country, names};

const EUROPE: &str = "AD AL AT AX BA BE BG CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD \
                      ME MK MT NL NO PL PT RO RS SE SI SJ SK SM UA VA XK";
const PACIFIC: &str = "FJ NC NZ PG SB SG VU WS";
const GULF: &str = "AE AF AM AZ BH IQ KW OM PK QA SA SY TM TR";

/// A code that people write for another, what they mean by it, and the countries that stand beside either where it is right.
struct Mistake {
    code: &'static str,
    meant: &'static str,
    beside_code: &'static str,
    beside_meant: &'static str,
}

const fn mistake(
    code: &'static str,
    meant: &'static str,
    beside_code: &'static str,
    beside_meant: &'static str,
) -> Mistake {
    Mistake { code, meant, beside_code, beside_meant }
}

const MISTAKES: [Mistake; 15] = [
    mistake("AT", "AU", EUROPE, PACIFIC),
    mistake("AU", "AT", PACIFIC, EUROPE),
    mistake("BY", "BE", "AM AZ KG KZ LT LV PL RU UA UZ", "CH DE FR GB LU NL"),
    mistake("CH", "CN", EUROPE, "HK JP KR MO SG TW"),
    mistake("CN", "CH", "HK JP KR KP MN MO RU SG TW VN", EUROPE),
    mistake("GE", "DE", "AM AZ RU TR UA", EUROPE),
    mistake("IE", "IR", EUROPE, GULF),
    mistake("IR", "IE", GULF, EUROPE),
    mistake("KP", "KR", "CN RU", "AU CA GB JP NZ SG TW US"),
    mistake("LR", "LI", "CI GH GN SL", EUROPE),
    mistake("NI", "GB", "BZ CO CR CU DO GT HN MX PA SV", EUROPE),
    mistake("SI", "SK", "BA HR IT ME RS", "CZ PL UA"),
    mistake("SK", "SI", "CZ PL UA", "BA HR IT ME RS"),
    mistake("SL", "SI", "CI GH GN LR", EUROPE),
    mistake("SV", "SI", "BZ CR GT HN MX NI PA", EUROPE),
];

/// The countries that an expression names one by one, in its order.
pub fn named_alone(text: &str) -> Vec<Country> {
    let alone = words(text).into_iter().filter(|word| *word != PRIVATE && region(word).is_none());
    alone.filter_map(|word| country(word).ok()).collect()
}

/// What is doubtful in an expression, each as a sentence: a code that is often written for another country, where all else
/// that is inside is near that one.
pub fn doubts(text: &str) -> Vec<String> {
    let Ok(whole) = parse(text) else { return Vec::new() };
    let has = |list: &str, country: &Country| list.split(' ').any(|code| code.as_bytes() == country.0);
    // A name in full is no mistake.
    let written = |code: &str| words(text).contains(&code);
    let doubtful = MISTAKES.iter().filter(|of| written(of.code)).filter_map(|of| {
        let inside = |code: &str| whole.countries.iter().any(|country| country.0 == code.as_bytes());
        let others = || whole.countries.iter().filter(|country| country.0 != of.code.as_bytes());
        let meant = *of.meant.as_bytes().first_chunk()?;
        // Northern Ireland is a part of what is there already.
        let already = inside(of.meant) && of.code != "NI";
        let doubt = inside(of.code)
            && !already
            && !others().any(|country| has(of.beside_code, country))
            && others().any(|country| has(of.beside_meant, country));
        let name = names::name(Country(*of.code.as_bytes().first_chunk()?))?;
        let meant_name = if of.code == "NI" { "Northern Ireland" } else { names::name(Country(meant))? };
        doubt.then(|| {
            format!(
                "{} is {name}, and the rest of the region is elsewhere: for {meant_name} write {}; for {name} write its name",
                of.code, of.meant
            )
        })
    });
    doubtful.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_doubted_only_where_the_rest_is_near_what_may_be_meant() {
        let of = |text: &str| doubts(text).iter().map(|doubt| doubt[..2].to_owned()).collect::<Vec<_>>().join(" ");
        for (text, doubted) in [
            ("IR + NO", "IR"),
            ("GB + NI", "NI"),
            ("EU + IR", ""),
            ("EEA - IE + IR", "IR"),
            ("Iran + NO", ""),
            ("IR + IQ", ""),
            ("IR", ""),
            ("AU + DE", "AU"),
            ("AT + NZ", "AT"),
            ("AU + NZ + DE", ""),
            ("CN + DE", "CN"),
            ("CH + JP", "CH"),
            ("SK + HR", "SK"),
            ("SI + CZ", "SI"),
            ("SK + CZ", ""),
            ("EEA + CH", ""),
            ("EEA", ""),
            ("nonsense", ""),
        ] {
            assert_eq!(of(text), doubted, "{text}");
        }
        assert_eq!(
            doubts("IR + NO"),
            ["IR is Iran, and the rest of the region is elsewhere: for Ireland write IE; for Iran write its name"]
        );
    }

    #[test]
    fn what_is_named_one_by_one_is_listed_in_order() {
        let of = |text: &str| named_alone(text).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(of("EEA + CH - Liechtenstein + private + GB"), "CH LI GB");
        assert_eq!(of("EEA"), "");
    }

    #[test]
    fn the_table_has_assigned_codes_only() {
        for of in &MISTAKES {
            let lists = [of.code, of.meant, of.beside_code, of.beside_meant];
            for code in lists.iter().flat_map(|list| list.split(' ')) {
                assert!(country(code).is_ok(), "{code}");
            }
        }
    }
}
