//! Which country a cloud provider's region is in. Called by the readers of the providers' lists.
//!
//! From the providers' own documentation of their regions, as of [`AS_OF`]. Where a region is that is not here is
//! undetermined, and told, never guessed: `eu-…` is no country, and new regions are where the last ones were not.

use super::super::country::Country;

/// When the tables were compared with the providers' documentation.
pub const AS_OF: &str = "2026-11";

/// Countries with their regions.
type RegionTable = &'static [(&'static str, &'static str)];

const AWS: RegionTable = &[
    ("AE", "me-central-1"),
    ("AU", "ap-southeast-2 ap-southeast-4"),
    ("BH", "me-south-1"),
    ("BR", "sa-east-1"),
    ("CA", "ca-central-1 ca-west-1"),
    ("CH", "eu-central-2"),
    ("CL", "sa-west-1"),
    ("CN", "cn-north-1 cn-northwest-1"),
    ("DE", "eu-central-1 eusc-de-east-1"),
    ("ES", "eu-south-2"),
    ("FR", "eu-west-3"),
    ("GB", "eu-west-2"),
    ("HK", "ap-east-1"),
    ("ID", "ap-southeast-3"),
    ("IE", "eu-west-1"),
    ("IL", "il-central-1"),
    ("IN", "ap-south-1 ap-south-2"),
    ("IT", "eu-south-1"),
    ("JP", "ap-northeast-1 ap-northeast-3"),
    ("KR", "ap-northeast-2"),
    ("MX", "mx-central-1"),
    ("MY", "ap-southeast-5"),
    ("NZ", "ap-southeast-6"),
    ("SE", "eu-north-1"),
    ("SG", "ap-southeast-1"),
    ("TH", "ap-southeast-7"),
    ("TW", "ap-east-2"),
    ("US", "us-east-1 us-east-2 us-west-1 us-west-2 us-gov-east-1 us-gov-west-1 us-south-1"),
    ("ZA", "af-south-1"),
];

/// Local zones of AWS stand in another city than their region, and some in another country: by the city's letters in
/// `network_border_group` (`eu-central-1-waw-1`).
const AWS_CITIES: RegionTable = &[
    ("AR", "bue"),
    ("AU", "per"),
    ("CL", "scl"),
    ("DE", "ham"),
    ("DK", "cph"),
    ("FI", "hel"),
    ("GR", "ath"),
    ("IN", "ccu del"),
    ("MX", "qro"),
    ("NG", "los"),
    ("NZ", "akl"),
    ("OM", "mct"),
    ("PE", "lim"),
    ("PH", "mnl"),
    ("PL", "waw"),
    ("TH", "bkk"),
    ("TR", "ist"),
    ("TW", "tpe"),
    ("US", "atl bna bos chi clt cmh den dfw hnl iah las lax mci mia msp nyc pdx phl phx sea slc"),
    ("VN", "han"),
];

/// Regions whose zones inside carriers' networks (`us-east-1-wl1`) are all in the region's country.
const AWS_WAVELENGTH_AT_HOME: &str =
    "us-east-1 us-west-2 ap-northeast-1 ap-northeast-2 ca-central-1 eu-central-1 eu-west-2";

const GOOGLE: RegionTable = &[
    ("AU", "australia-southeast1 australia-southeast2"),
    ("BE", "europe-west1"),
    ("BR", "southamerica-east1"),
    ("CA", "northamerica-northeast1 northamerica-northeast2"),
    ("CH", "europe-west6"),
    ("CL", "southamerica-west1"),
    ("DE", "europe-west3 europe-west10"),
    ("ES", "europe-southwest1"),
    ("FI", "europe-north1"),
    ("FR", "europe-west9"),
    ("GB", "europe-west2"),
    ("HK", "asia-east2"),
    ("ID", "asia-southeast2"),
    ("IL", "me-west1"),
    ("IN", "asia-south1 asia-south2"),
    ("IT", "europe-west8 europe-west12"),
    ("JP", "asia-northeast1 asia-northeast2"),
    ("KR", "asia-northeast3"),
    ("MX", "northamerica-south1"),
    ("NL", "europe-west4"),
    ("PL", "europe-central2"),
    ("QA", "me-central1"),
    ("SA", "me-central2"),
    ("SE", "europe-north2"),
    ("SG", "asia-southeast1"),
    ("TH", "asia-southeast3"),
    ("TW", "asia-east1"),
    (
        "US",
        "us-central1 us-central2 us-east1 us-east4 us-east5 us-east7 us-south1 us-west1 us-west2 us-west3 us-west4 us-west8",
    ),
    ("ZA", "africa-south1"),
];

/// Azure's names in the list of service tags are partly others than in its other tools: both are here.
const AZURE: RegionTable = &[
    ("AE", "uaecentral uaenorth"),
    ("AT", "austriaeast"),
    ("AU", "australiac australiac2 australiacentral australiacentral2 australiaeast australiasoutheast"),
    ("BE", "belgiumcentral"),
    ("BR", "brazilsouth brazilse brazilsoutheast brazilne brazilnortheast"),
    ("CA", "canadacentral canadaeast"),
    ("CH", "switzerlandn switzerlandw switzerlandnorth switzerlandwest"),
    ("CL", "chilec chilecentral"),
    ("CN", "chinaeast chinaeast2 chinaeast3 chinanorth chinanorth2 chinanorth3"),
    ("DE", "germanyn germanywc germanynorth germanywestcentral"),
    ("DK", "denmarkeast"),
    ("ES", "spaincentral"),
    ("FR", "centralfrance southfrance francecentral francesouth"),
    ("GB", "uknorth uksouth uksouth2 ukwest"),
    ("HK", "eastasia"),
    ("ID", "indonesiacentral"),
    ("IE", "northeurope northeurope2"),
    ("IL", "israelcentral israelnorthwest"),
    ("IN", "centralindia southindia westindia jioindiacentral jioindiawest indiasouthcentral"),
    ("IT", "italynorth"),
    ("JP", "japaneast japanwest"),
    ("KR", "koreacentral koreasouth koreanorthcentral koreanorthcentral2"),
    ("MX", "mexicocentral"),
    ("MY", "malaysiawest malaysiasouth"),
    ("NL", "westeurope"),
    ("NO", "norwaye norwayw norwayeast norwaywest"),
    ("NZ", "newzealandnorth"),
    ("PL", "polandcentral"),
    ("QA", "qatarcentral"),
    ("SA", "saudiarabiaeast"),
    ("SE", "swedencentral swedensouth"),
    ("SG", "southeastasia"),
    ("TW", "taiwannorth taiwannorthwest"),
    (
        "US",
        "centralus centraluseuap eastus eastus2 eastus2euap northcentralus southcentralus westcentralus westus westus2 westus3 usdodcentral usdodeast usgovarizona usgoviowa usgovtexas usgovvirginia eastus3 eastusstg southcentralus2 southcentralusstg southeastus southeastus3 southeastus5 southwestus",
    ),
    ("ZA", "southafricanorth southafricawest"),
];

const ORACLE: RegionTable = &[
    ("AE", "me-abudhabi-1 me-dubai-1 me-abudhabi-2 me-abudhabi-3 me-abudhabi-4 me-alain-1"),
    ("AU", "ap-melbourne-1 ap-sydney-1 ap-dcc-canberra-1"),
    ("BD", "ap-dcc-gazipur-1"),
    ("BR", "sa-saopaulo-1 sa-vinhedo-1 sa-riodejaneiro-2"),
    ("CA", "ca-montreal-1 ca-toronto-1"),
    ("CH", "eu-zurich-1 eu-crissier-1 eu-dcc-zurich-1"),
    ("CL", "sa-santiago-1 sa-valparaiso-1"),
    ("CO", "sa-bogota-1"),
    ("DE", "eu-frankfurt-1 eu-frankfurt-2 eu-dcc-rating-1 eu-dcc-rating-2"),
    ("ES", "eu-madrid-1 eu-madrid-3 eu-madrid-2"),
    ("FR", "eu-marseille-1 eu-paris-1"),
    ("GB", "uk-cardiff-1 uk-london-1 uk-gov-cardiff-1 uk-gov-london-1"),
    ("ID", "ap-batam-1"),
    ("IE", "eu-dcc-dublin-1 eu-dcc-dublin-2"),
    ("IL", "il-jerusalem-1"),
    ("IN", "ap-hyderabad-1 ap-mumbai-1"),
    ("IT", "eu-milan-1 eu-turin-1 eu-dcc-milan-1 eu-dcc-milan-2"),
    ("JP", "ap-osaka-1 ap-tokyo-1 ap-chiyoda-1 ap-ibaraki-1"),
    ("KR", "ap-chuncheon-1 ap-seoul-1 ap-chuncheon-2 ap-seoul-2 ap-suwon-1"),
    ("MA", "af-casablanca-1"),
    ("MX", "mx-monterrey-1 mx-queretaro-1"),
    ("MY", "ap-kulai-2"),
    ("NL", "eu-amsterdam-1"),
    ("OM", "me-dcc-muscat-1"),
    ("QA", "me-dcc-doha-1"),
    ("RS", "eu-jovanovac-1"),
    ("SA", "me-jeddah-1 me-riyadh-1"),
    ("SE", "eu-stockholm-1"),
    ("SG", "ap-singapore-1 ap-singapore-2"),
    (
        "US",
        "us-ashburn-1 us-chicago-1 us-phoenix-1 us-saltlake-2 us-sanjose-1 us-abilene-1 us-boardman-1 us-columbus-1 us-dallas-1 us-desmoines-1 us-gov-ashburn-1 us-gov-chicago-1 us-gov-fortworth-1 us-gov-phoenix-1 us-langley-1 us-lenexa-1 us-luke-1 us-quincy-1 us-sanantonio-1 us-shawnee-1 us-tacoma-1",
    ),
    ("ZA", "af-johannesburg-1"),
];

fn find(table: RegionTable, region: &str) -> Option<Country> {
    let lists = |regions: &str| regions.split_ascii_whitespace().any(|known| known == region);
    let (code, _) = table.iter().find(|(_, regions)| lists(regions))?;
    Some(Country(*code.as_bytes().first_chunk()?))
}

/// AWS: the region, and the network border group where it is another.
pub(crate) fn aws(region: &str, group: Option<&str>) -> Option<Country> {
    if region == "GLOBAL" {
        return Some(Country::UNDETERMINED);
    }
    let country = find(AWS, region)?;
    let Some(rest) = group.filter(|group| !group.is_empty() && *group != region) else { return Some(country) };
    let zone = rest.strip_prefix(region)?.strip_prefix('-')?;
    if zone.starts_with("wl") {
        return AWS_WAVELENGTH_AT_HOME.split_ascii_whitespace().any(|known| known == region).then_some(country);
    }
    find(AWS_CITIES, zone.split('-').next()?)
}

/// Google Cloud's scope.
pub(crate) fn google(scope: &str) -> Option<Country> {
    if scope == "global" { Some(Country::UNDETERMINED) } else { find(GOOGLE, scope) }
}

/// Azure's region. Those where it tries things out (`usstagec`, `usstagee` and more to come) are in the US.
pub(crate) fn azure(region: &str) -> Option<Country> {
    let region = region.to_ascii_lowercase();
    find(AZURE, &region).or_else(|| region.starts_with("usstage").then_some(Country(*b"US")))
}

/// Oracle Cloud's region.
pub(crate) fn oracle(region: &str) -> Option<Country> {
    find(ORACLE, region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_in_one_assigned_country() {
        for table in [AWS, AWS_CITIES, GOOGLE, AZURE, ORACLE] {
            let mut seen = std::collections::BTreeSet::new();
            for (code, regions) in table {
                assert!(Country::parse(code).is_ok_and(Country::is_assigned), "{code}");
                for region in regions.split_ascii_whitespace() {
                    assert!(seen.insert(region), "{region} is there twice");
                }
            }
            assert!(table.is_sorted_by_key(|(code, _)| code), "not sorted");
        }
        for region in AWS_WAVELENGTH_AT_HOME.split_ascii_whitespace() {
            assert!(find(AWS, region).is_some(), "{region}");
        }
    }

    #[test]
    fn a_local_zone_is_where_its_city_is_and_an_unknown_region_nowhere() {
        let code = |country: Option<Country>| country.map_or_else(|| "-".into(), |country| country.to_string());
        for (region, group, expected) in [
            ("eu-central-1", None, "DE"),
            ("eu-central-1", Some("eu-central-1"), "DE"),
            ("eu-central-1", Some("eu-central-1-waw-1"), "PL"),
            ("eu-central-1", Some("eu-central-1-ist-1"), "TR"),
            ("eu-central-1", Some("eu-central-1-ath-1"), "GR"),
            ("us-south-1", Some("us-south-1"), "US"),
            ("sa-west-1", None, "CL"),
            ("us-east-1", Some("us-east-1-bue-1"), "AR"),
            ("us-east-1", Some("us-east-1-wl1"), "US"),
            ("eu-west-3", Some("eu-west-3-wl1"), "-"),
            ("eu-central-1", Some("eu-central-1-zzz-1"), "-"),
            ("eu-central-1", Some("us-east-1"), "-"),
            ("eu-central-9", None, "-"),
            ("GLOBAL", Some("GLOBAL"), "??"),
        ] {
            assert_eq!(code(aws(region, group)), expected, "{region} {group:?}");
        }
        // Published without saying where it is.
        assert_eq!(code(aws("me-west-1", None)), "-");
        assert_eq!(code(google("global")), "??");
        assert_eq!(code(google("europe-west6")), "CH");
        assert_eq!(code(azure("GermanyWC")), "DE");
        assert_eq!(code(azure("northeurope")), "IE");
        for (region, country) in [
            ("malaysiasouth", "MY"),
            ("southcentralus2", "US"),
            ("southeastus", "US"),
            ("brazilne", "BR"),
            ("northeurope2", "IE"),
            ("usstagec", "US"),
            ("usstagee", "US"),
        ] {
            assert_eq!(code(azure(region)), country, "{region}");
        }
        for region in ["us-dallas-1", "us-abilene-1", "us-boardman-1"] {
            assert_eq!(code(oracle(region)), "US", "{region}");
        }
        assert_eq!(code(oracle("eu-jovanovac-1")), "RS");
        assert_eq!(code(oracle("eu-nowhere-1")), "-");
    }
}
