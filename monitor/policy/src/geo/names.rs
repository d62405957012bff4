//! Countries' English names: names in, codes out, and back. Called by the configuration reader and the region algebra.

use super::country::Country;

/// Code, the short name, and other names in use behind `=`. One a line.
const NAMES: &str = "\
AD Andorra
AE United Arab Emirates=UAE
AF Afghanistan
AG Antigua and Barbuda
AI Anguilla
AL Albania
AM Armenia
AO Angola
AQ Antarctica
AR Argentina
AS American Samoa
AT Austria
AU Australia
AW Aruba
AX Åland Islands=Aland Islands=Åland=Aland
AZ Azerbaijan
BA Bosnia and Herzegovina=Bosnia
BB Barbados
BD Bangladesh
BE Belgium
BF Burkina Faso
BG Bulgaria
BH Bahrain
BI Burundi
BJ Benin
BL Saint Barthélemy=Saint Barthelemy
BM Bermuda
BN Brunei Darussalam=Brunei
BO Bolivia
BQ Bonaire, Sint Eustatius and Saba=Bonaire=Caribbean Netherlands
BR Brazil
BS Bahamas=The Bahamas
BT Bhutan
BV Bouvet Island
BW Botswana
BY Belarus
BZ Belize
CA Canada
CC Cocos (Keeling) Islands=Cocos Islands
CD Democratic Republic of the Congo=DR Congo
CF Central African Republic
CG Congo=Republic of the Congo
CH Switzerland
CI Côte d'Ivoire=Cote d'Ivoire=Ivory Coast
CK Cook Islands
CL Chile
CM Cameroon
CN China
CO Colombia
CR Costa Rica
CU Cuba
CV Cabo Verde=Cape Verde
CW Curaçao=Curacao
CX Christmas Island
CY Cyprus
CZ Czechia=Czech Republic
DE Germany
DJ Djibouti
DK Denmark
DM Dominica
DO Dominican Republic
DZ Algeria
EC Ecuador
EE Estonia
EG Egypt
EH Western Sahara
ER Eritrea
ES Spain
ET Ethiopia
FI Finland
FJ Fiji
FK Falkland Islands
FM Micronesia
FO Faroe Islands
FR France
GA Gabon
GB United Kingdom=Great Britain
GD Grenada
GE Georgia
GF French Guiana
GG Guernsey
GH Ghana
GI Gibraltar
GL Greenland
GM Gambia=The Gambia
GN Guinea
GP Guadeloupe
GQ Equatorial Guinea
GR Greece
GS South Georgia and the South Sandwich Islands=South Georgia
GT Guatemala
GU Guam
GW Guinea-Bissau
GY Guyana
HK Hong Kong
HM Heard Island and McDonald Islands
HN Honduras
HR Croatia
HT Haiti
HU Hungary
ID Indonesia
IE Ireland
IL Israel
IM Isle of Man
IN India
IO British Indian Ocean Territory
IQ Iraq
IR Iran
IS Iceland
IT Italy
JE Jersey
JM Jamaica
JO Jordan
JP Japan
KE Kenya
KG Kyrgyzstan
KH Cambodia
KI Kiribati
KM Comoros
KN Saint Kitts and Nevis
KP North Korea
KR South Korea=Republic of Korea
KW Kuwait
KY Cayman Islands
KZ Kazakhstan
LA Laos
LB Lebanon
LC Saint Lucia
LI Liechtenstein
LK Sri Lanka
LR Liberia
LS Lesotho
LT Lithuania
LU Luxembourg
LV Latvia
LY Libya
MA Morocco
MC Monaco
MD Moldova
ME Montenegro
MF Saint Martin
MG Madagascar
MH Marshall Islands
MK North Macedonia
ML Mali
MM Myanmar=Burma
MN Mongolia
MO Macao=Macau
MP Northern Mariana Islands
MQ Martinique
MR Mauritania
MS Montserrat
MT Malta
MU Mauritius
MV Maldives
MW Malawi
MX Mexico
MY Malaysia
MZ Mozambique
NA Namibia
NC New Caledonia
NE Niger
NF Norfolk Island
NG Nigeria
NI Nicaragua
NL Netherlands=The Netherlands
NO Norway
NP Nepal
NR Nauru
NU Niue
NZ New Zealand
OM Oman
PA Panama
PE Peru
PF French Polynesia
PG Papua New Guinea
PH Philippines
PK Pakistan
PL Poland
PM Saint Pierre and Miquelon
PN Pitcairn
PR Puerto Rico
PS Palestine=State of Palestine
PT Portugal
PW Palau
PY Paraguay
QA Qatar
RE Réunion=Reunion
RO Romania
RS Serbia
RU Russia=Russian Federation
RW Rwanda
SA Saudi Arabia
SB Solomon Islands
SC Seychelles
SD Sudan
SE Sweden
SG Singapore
SH Saint Helena, Ascension and Tristan da Cunha=Saint Helena
SI Slovenia
SJ Svalbard and Jan Mayen=Svalbard
SK Slovakia
SL Sierra Leone
SM San Marino
SN Senegal
SO Somalia
SR Suriname
SS South Sudan
ST São Tomé and Príncipe=Sao Tome and Principe
SV El Salvador
SX Sint Maarten
SY Syria
SZ Eswatini=Swaziland
TC Turks and Caicos Islands
TD Chad
TF French Southern Territories
TG Togo
TH Thailand
TJ Tajikistan
TK Tokelau
TL Timor-Leste=East Timor
TM Turkmenistan
TN Tunisia
TO Tonga
TR Türkiye=Turkiye=Turkey
TT Trinidad and Tobago
TV Tuvalu
TW Taiwan
TZ Tanzania
UA Ukraine
UG Uganda
UM United States Minor Outlying Islands
US United States=United States of America=USA
UY Uruguay
UZ Uzbekistan
VA Holy See=Vatican City
VC Saint Vincent and the Grenadines
VE Venezuela
VG British Virgin Islands
VI US Virgin Islands
VN Vietnam=Viet Nam
VU Vanuatu
WF Wallis and Futuna
WS Samoa
XK Kosovo
YE Yemen
YT Mayotte
ZA South Africa
ZM Zambia
ZW Zimbabwe";

/// Every name with its country.
pub(crate) fn names() -> impl Iterator<Item = (&'static str, Country)> {
    NAMES
        .lines()
        .filter_map(|line| {
            let (code, names) = line.split_once(' ')?;
            let country = Country(*code.as_bytes().first_chunk()?);
            Some(names.split('=').map(move |name| (name, country)))
        })
        .flatten()
}

/// The country with this English name, upper or lower case.
pub fn named(text: &str) -> Option<Country> {
    let wanted = text.to_lowercase();
    names().find(|(name, _)| name.to_lowercase() == wanted).map(|(_, country)| country)
}

/// The known name most like this one, if it is near enough to be a typo of it.
pub fn nearest(text: &str) -> Option<&'static str> {
    let wanted = text.to_lowercase();
    names()
        .map(|(name, _)| (strsim::damerau_levenshtein(&wanted, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.chars().count() / 4)
        .min()
        .map(|(_, name)| name)
}

/// The country's short name; `None` for codes that are not assigned.
pub fn name(country: Country) -> Option<&'static str> {
    names().find(|(_, code)| *code == country).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_has_a_name_and_no_name_stands_for_two() {
        let mut seen = std::collections::HashMap::new();
        for (text, country) in names() {
            assert_eq!(seen.insert(text.to_lowercase(), country), None, "{text}");
            assert_eq!(named(&text.to_uppercase()), Some(country));
        }
        for country in crate::geo::all_countries() {
            assert!(name(*country).is_some(), "{country} has no name");
        }
        assert_eq!(seen.values().collect::<std::collections::BTreeSet<_>>().len(), 250);
    }

    #[test]
    fn a_name_nearly_right_is_recognised_and_nonsense_is_not() {
        assert_eq!((nearest("Singapur"), nearest("germny")), (Some("Singapore"), Some("Germany")));
        assert_eq!(nearest("xyzzy"), None);
    }
}
