//! What the overlays promise: every list's form, what undetermined is, and what is left out.

use super::*;

fn opened(name: &str, text: &str) -> Result<Overlay, GeoError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, text).unwrap();
    open(&file)
}

fn says(overlay: &Overlay, address: &str) -> String {
    overlay.lookup(address.parse().unwrap()).map_or_else(|| "-".into(), |range| range.country.to_string())
}

fn assert_says(overlay: &Overlay, expected: &[(&str, &str)]) {
    for (address, country) in expected {
        assert_eq!(says(overlay, address), *country, "{address}");
    }
}

#[test]
fn a_geofeeds_narrowest_prefix_wins_and_one_without_a_country_is_undetermined() {
    let text = "# RFC 8805\r\n192.0.2.0/24,DE,DE-BE,Berlin,\r\n192.0.2.128/25,NO,,Oslo,\r\n192.0.2.192/26,,,,\r\n\
                198.51.100.7,SG,,,\r\n2001:db8::/32,IE,,Dublin,\r\n198.51.100.0/24,DE,,,\r\n198.51.100.0/24,FR,,,\r\n\
                203.0.113.1/25,DE,,,\r\n203.0.113.128/25,Germany,,,\r\n";
    let overlay = opened("feed.csv", text).unwrap();
    assert_eq!((overlay.about.name.as_str(), overlay.kind), ("feed", OverlayKind::Geofeed));
    assert_says(
        &overlay,
        &[
            ("192.0.2.1", "DE"),
            ("192.0.2.128", "NO"),
            ("192.0.2.192", "??"),
            ("198.51.100.7", "SG"),
            ("198.51.100.8", "??"),
            ("203.0.113.1", "??"),
            ("203.0.113.129", "??"),
            ("2001:db8::1", "IE"),
            ("2001:db9::1", "-"),
        ],
    );
    assert_eq!(overlay.contradictions, 1);
    assert_eq!(overlay.rejected.summary(), "2 left out: 1 bits after the prefix, 1 no country code");
}

#[test]
fn anycast_and_satellite_lists_are_undetermined_by_name_by_comment_or_by_line() {
    for (name, text) in [
        ("anycast.txt", "192.0.2.0/24\n2001:db8::/32\n"),
        ("list.txt", "# country: undetermined\n192.0.2.0/24\n2001:db8::/32\n"),
        ("list.txt", "192.0.2.0/24 ??\n2001:db8::/32 undetermined\n"),
        ("feed.csv", "192.0.2.0/24,??,,,\n2001:db8::/32,ZZ,,,\n"),
    ] {
        let overlay = opened(name, text).unwrap();
        assert_says(&overlay, &[("192.0.2.9", "??"), ("2001:db8::9", "??"), ("192.0.3.0", "-")]);
    }
    assert_eq!(opened("list.txt", "192.0.2.0/24\n").unwrap_err().to_string().split(": ").last(), Some("DE' above"));
}

const AWS: &str = r#"{"syncToken": "1", "createDate": "2026-06-01-20-13-10", "prefixes": [
  {"ip_prefix": "192.0.2.0/24", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"},
  {"ip_prefix": "192.0.2.128/25", "region": "eu-central-1", "service": "EC2", "network_border_group": "eu-central-1-waw-1"},
  {"ip_prefix": "198.51.100.0/25", "region": "GLOBAL", "service": "CLOUDFRONT", "network_border_group": "GLOBAL"},
  {"ip_prefix": "198.51.100.128/25", "region": "eu-moon-1", "service": "EC2", "network_border_group": "eu-moon-1"}],
  "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32", "region": "us-east-1", "network_border_group": "us-east-1"}]}"#;

#[test]
fn the_four_clouds_lists_are_told_apart_and_read() {
    let aws = opened("ip-ranges.json", AWS).unwrap();
    assert_eq!(
        (aws.kind, aws.about.built, aws.about.name.as_str()),
        (OverlayKind::Aws, Some(1_780_272_000), "ip-ranges")
    );
    assert_says(
        &aws,
        &[
            ("192.0.2.1", "IE"),
            ("192.0.2.128", "PL"),
            ("198.51.100.1", "??"),
            ("198.51.100.129", "??"),
            ("2001:db8::1", "US"),
        ],
    );
    assert_eq!(
        aws.rejected.kinds["unknown region"].examples,
        [format!(
            "prefixes[3]: region \"eu-moon-1\" of \"198.51.100.128/25\" is not known (regions as of {}): use a later \
             release",
            regions::AS_OF
        )]
    );

    let google = r#"{"syncToken": "1", "creationTime": "2026-06-01T00:00:05.000001", "prefixes": [
      {"ipv4Prefix": "192.0.2.0\/24", "service": "Google Cloud", "scope": "europe-west3"},
      {"ipv6Prefix": "2001:db8::/32", "service": "Google Cloud", "scope": "global"},
      {"ipv4Prefix": "198.51.100.0/24"}]}"#;
    let google = opened("cloud.json", google).unwrap();
    assert_eq!((google.kind, google.about.built), (OverlayKind::Google, Some(1_780_272_005)));
    assert_says(&google, &[("192.0.2.1", "DE"), ("2001:db8::1", "??"), ("198.51.100.1", "??")]);
    assert_eq!(google.rejected.summary(), "1 left out: 1 no scope");

    let azure = r#"{"changeNumber": 1, "cloud": "Public", "values": [
      {"name": "AzureCloud", "id": "AzureCloud", "properties": {"region": "", "addressPrefixes": ["203.0.113.0/24"]}},
      {"name": "AzureCloud.germanywc", "properties": {"region": "germanywc", "platform": "Azure",
        "addressPrefixes": ["192.0.2.0/24", "2001:db8::/32"]}}]}"#;
    let azure = opened("ServiceTags_Public_20260601.json", azure).unwrap();
    assert_eq!((azure.kind, azure.about.built), (OverlayKind::Azure, Some(1_780_272_000)));
    assert_says(&azure, &[("192.0.2.1", "DE"), ("2001:db8::1", "DE"), ("203.0.113.1", "-")]);

    let oracle = r#"{"last_updated_timestamp": "2026-06-01T00:00:00.123456", "regions": [
      {"region": "eu-zurich-1", "cidrs": [{"cidr": "192.0.2.0/24", "tags": ["OCI"]}]},
      {"region": "us-ashburn-1", "cidrs": [{"cidr": "198.51.100.0/24", "tags": ["OSN"]}]}]}"#;
    let oracle = opened("public_ip_ranges.json", oracle).unwrap();
    assert_eq!((oracle.kind, oracle.about.built), (OverlayKind::Oracle, Some(1_780_272_000)));
    assert_says(&oracle, &[("192.0.2.1", "CH"), ("198.51.100.1", "US")]);
}

#[test]
fn a_narrower_prefix_in_an_unknown_region_is_undetermined_within_a_known_one() {
    let aws = |group: &str, narrow: &str| {
        format!(
            r#"{{"prefixes": [
            {{"ip_prefix": "5.0.0.0/24", "region": "eu-central-1", "network_border_group": "eu-central-1"}},
            {{"ip_prefix": "{narrow}", "region": "eu-central-1", "network_border_group": "{group}"}}]}}"#
        )
    };
    let google = r#"{"prefixes": [{"ipv4Prefix": "5.0.0.0/24", "scope": "europe-west3"},
        {"ipv4Prefix": "5.0.0.128/25", "scope": "europe-moon1"}]}"#;
    let azure = r#"{"values": [
        {"name": "AzureCloud.germanywc", "properties": {"region": "germanywc", "addressPrefixes": ["5.0.0.0/24"]}},
        {"name": "AzureCloud.moonn", "properties": {"region": "moonn", "addressPrefixes": ["5.0.0.128/25"]}}]}"#;
    let oracle = r#"{"regions": [{"region": "eu-frankfurt-1", "cidrs": [{"cidr": "5.0.0.0/24"}]},
        {"region": "eu-moon-1", "cidrs": [{"cidr": "5.0.0.128/25"}]}]}"#;
    for (list, narrow) in [
        (aws("eu-central-1-ist-1", "5.0.0.128/25"), "TR"),
        (aws("eu-central-1-moo-1", "5.0.0.128/25"), "??"),
        (aws("eu-central-1", "5.0.0.129/25"), "??"),
        (google.to_owned(), "??"),
        (azure.to_owned(), "??"),
        (oracle.to_owned(), "??"),
    ] {
        let overlay = opened("list.json", &list).unwrap();
        assert_says(&overlay, &[("5.0.0.1", "DE"), ("5.0.0.129", narrow), ("5.0.1.0", "-")]);
        assert_eq!(overlay.rejected.count, usize::from(narrow == "??"), "{list}");
    }
}

#[test]
fn each_region_that_is_not_known_is_named_once_with_its_count() {
    let of = |region: &str, count: usize| -> Vec<String> {
        let cidr = |at: usize| format!(r#"{{"cidr": "5.0.{}.0/24"}}"#, at + region.len());
        vec![format!(r#"{{"region": "{region}", "cidrs": [{}]}}"#, (0..count).map(cidr).collect::<Vec<_>>().join(","))]
    };
    let regions =
        [of("eu-frankfurt-1", 50), of("eu-moon-1", 12), of("eu-a-1", 1), of("eu-mars-1", 3), of("b", 1)].concat();
    let overlay = opened("list.json", &format!(r#"{{"regions": [{}]}}"#, regions.join(","))).unwrap();
    assert_eq!(overlay.rejected.regions(), "eu-moon-1 (12), eu-mars-1 (3), b (1), eu-a-1 (1)");
    assert_eq!((overlay.rejected.count, overlay.rejected.kinds["unknown region"].examples.len()), (17, 3));
}

#[test]
fn a_providers_feed_of_subnets_is_read_as_a_geofeed() {
    let feed = r#"{"description": "A provider's feed", "asn": 64500, "updated": "2026-06-01T20:13:10Z", "subnets": [
        {"ip_prefix": "5.0.0.0/24", "alpha2code": "DE", "region": "DE-HE", "city": "Frankfurt", "postal_code": "60313"},
        {"ip_prefix": "5.0.0.128/25", "alpha2code": "US", "region": "US-PR", "city": "San Juan", "postal_code": ""},
        {"ip_prefix": "5.0.1.0/24", "alpha2code": "USA", "region": "", "city": ""},
        {"ip_prefix": "2001:db8::/32", "alpha2code": "", "region": "", "city": ""}]}"#;
    let overlay = opened("feed.json", feed).unwrap();
    assert_eq!((overlay.kind, overlay.about.built), (OverlayKind::Geofeed, Some(1_780_344_790)));
    let expected = [("5.0.0.1", "DE"), ("5.0.0.129", "PR"), ("5.0.1.1", "??"), ("2001:db8::1", "??"), ("5.0.2.0", "-")];
    assert_says(&overlay, &expected);
    assert_eq!(overlay.rejected.summary(), "1 left out: 1 no country code");
}

#[test]
fn json_that_is_no_list_is_refused_in_one_line() {
    let deep = "[".repeat(100_000);
    for (text, expected) in [
        (
            "{}",
            "JSON without 'prefixes' (AWS, Google), 'values' (Azure), 'regions' (Oracle) or 'subnets': give one of these lists",
        ),
        ("{\"prefixes\": []}", "no networks in it: fetch it again, or leave it out"),
        (
            "{\"prefixes\": 1}",
            "not a provider's list: invalid type: integer `1`, expected a list at line 1 column 14: fetch it again",
        ),
        ("{\"prefixes\": [", "not a provider's list: EOF while parsing a list at line 1 column 14: fetch it again"),
        (deep.as_str(), "not a provider's list: "),
        (
            &AWS.replace("eu-west-1", "x").replace("GLOBAL", "y").replace("us-east-1", "z"),
            "prefixes[0]: region \"x\" of",
        ),
    ] {
        let error = opened("x.json", text).unwrap_err().to_string();
        let (_, what) = error.split_once("x.json: ").unwrap();
        assert!(what.starts_with(expected), "{error}");
        assert!(error.len() < 500 && !error.contains('\n'), "{error}");
    }
}

#[test]
fn one_overlay_has_one_digest_in_text_and_in_compact_form() {
    let dir = tempfile::tempdir().unwrap();
    let feed =
        opened("feed.csv", "# built: 2026-06-01\n192.0.2.0/24,DE,,,\n198.51.100.0/24,,,,\n2001:db8::/32,NO,,,\n")
            .unwrap();
    let file = dir.path().join("feed.egm.zst");
    std::fs::write(&file, compact::compress(&compact::encode_overlay(&feed).unwrap())).unwrap();
    let again = open(&file).unwrap();
    assert_eq!(
        (again.kind, again.about.name.as_str(), again.about.built),
        (OverlayKind::Compact, "feed", Some(1_780_272_000))
    );
    assert_eq!((again.about.digest, &again.v4, &again.v6), (feed.about.digest, &feed.v4, &feed.v6));
    assert_ne!(again.about.digest, [0; 32]);
    // A dataset has no undetermined places.
    let error = super::super::open_file(&file).unwrap_err().to_string();
    assert!(error.ends_with("feed.egm.zst: it holds an overlay: name it in [geo] overlays"), "{error}");
}

#[test]
fn files_that_do_not_overlap_become_one_overlay_with_the_oldest_date_and_all_that_was_wrong() {
    let feed = |date: &str, lines: &str| opened("feed.csv", &format!("# built: {date}\n{lines}")).unwrap();
    let one = feed("2026-06-02", "192.0.2.0/25,DE,,,\n198.51.100.0/24,DE,,,\n198.51.100.0/24,FR,,,\n");
    let two =
        feed("2026-06-01", "192.0.2.128/25,DE,,,\n203.0.113.0/24,SG,,,\n203.0.113.0/24,US,,,\n9.9.9.300/24,DE,,,\n");
    let whole = feed("2026-06-03", "192.0.2.0/24,DE,,,\n198.51.100.0/24,,,,\n203.0.113.0/24,,,,\n");
    for files in [[&one, &two], [&two, &one]] {
        let merged = merge(files.map(Clone::clone).into()).unwrap();
        assert_eq!((&merged.v4, &merged.v6, merged.about.digest), (&whole.v4, &whole.v6, whole.about.digest));
        assert_eq!((merged.about.built, merged.contradictions, merged.rejected.count), (Some(1_780_272_000), 2, 1));
    }
    let again = merge(vec![whole.clone(), whole]).unwrap_err().to_string();
    assert!(again.contains("places 192.0.2.0 again"), "{again}");
    // Of one family only, either.
    let six = opened("feed.csv", "2001:db8::/32,DE,,,\n").unwrap();
    assert_eq!((six.v4.len(), six.v6.len()), (0, 1));
    assert_eq!(name_of(Path::new("/a/.csv")), ".csv");
}

#[test]
fn random_damage_to_a_list_gives_an_overlay_or_one_clean_line() {
    let seed = super::super::testing::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut good, mut bad) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = AWS.as_bytes().to_vec();
        for _ in 0..random.usize(0..4) {
            let at = random.usize(0..bytes.len());
            bytes[at] = if random.bool() { random.u8(..) } else { b"{}[]\",:0 /\\"[random.usize(0..11)] };
        }
        match read_bytes(Path::new("t.json"), &bytes, &Progress::default()) {
            Ok(overlay) => {
                assert!(overlay.v4.windows(2).all(|w| w[0].last < w[1].first), "seed {seed} round {round}");
                good += 1;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() < 600 && !text.chars().any(char::is_control), "seed {seed} round {round}: {text:?}");
                bad += 1;
            }
        }
    }
    assert!(good > 100 && bad > 100, "seed {seed}: {good} good, {bad} bad");
}

#[test]
fn every_truncation_and_every_changed_byte_of_the_compact_form_is_noticed() {
    let feed = opened("feed.csv", "192.0.2.0/24,DE,,,\n198.51.100.0/24,,,,\n2001:db8::/32,NO,,,\n").unwrap();
    let whole = compact::encode_overlay(&feed).unwrap();
    for length in 0..whole.len() {
        assert!(compact::decode_overlay(&whole[..length]).is_err(), "{length}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x81;
        if let Ok(again) = compact::decode_overlay(&changed) {
            // In a name or the date.
            assert_eq!((&again.v4, &again.v6), (&feed.v4, &feed.v6), "byte {at}");
        }
    }
}
