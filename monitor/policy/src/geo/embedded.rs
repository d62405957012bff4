//! The two datasets that are built in, for `sources = ["embedded"]`. Called by [`super::open`].
//!
//! Two, because each alone misplaces what the other knows: *inside* only where both say so. They are made from
//! their publishers' archives by `cargo xtask geo`, which names package, version and SHA-256; that stands in each
//! file's header, with licence and attribution, and is shown by `geo info`.

use std::path::Path;

use super::{
    compact,
    dataset::{Format, Opened},
    error::{GeoError, GeoFault},
    rejected::Rejected,
};

/// DB-IP Lite, then the registries' and operators' own data (geofeeds, whois, AS numbers).
const FILES: [(&str, &[u8]); 2] = [
    ("(embedded) dbip-country.egm.zst", include_bytes!("../../data/dbip-country.egm.zst")),
    ("(embedded) geo-whois-asn-country.egm.zst", include_bytes!("../../data/geo-whois-asn-country.egm.zst")),
];

/// Both datasets, DB-IP first: where both agree on the side of the border it names the country.
///
/// # Errors
/// None in a released binary: the files are part of it, and a test decodes them.
pub fn open() -> Result<Vec<Opened>, GeoError> {
    // One thread each: this is most of what the start of the program takes.
    std::thread::scope(|scope| {
        let workers = FILES.map(|(name, bytes)| scope.spawn(move || (name, compact::decode(bytes))));
        let mut opened = Vec::with_capacity(FILES.len());
        for worker in workers {
            let Ok((name, decoded)) = worker.join() else {
                return Err(GeoError::file(Path::new("(embedded)"), GeoFault::DecoderFailed));
            };
            let dataset = decoded.map_err(|error| GeoError::file(Path::new(name), error))?;
            opened.push(Opened {
                dataset,
                file: None,
                format: Format::Compact,
                contradictions: 0,
                rejected: Rejected::default(),
            });
        }
        Ok(opened)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Dataset, Range, Space, load, open_file};
    use super::*;

    fn assert_canonical<A: Space>(ranges: &[Range<A>]) {
        for range in ranges {
            assert!(range.first <= range.last && range.country.is_assigned(), "{range:?}");
        }
        for pair in ranges.windows(2) {
            assert!(pair[0].last < pair[1].first, "{pair:?}");
            let touch = pair[0].last.number() + 1 == pair[1].first.number();
            assert!(!touch || pair[0].country != pair[1].country, "{pair:?} are not joined");
        }
    }

    #[test]
    fn both_datasets_hold_exactly_what_was_made_from_their_archives() {
        let opened = open().unwrap();
        let about: Vec<_> = opened
            .iter()
            .map(|o| {
                let d = &o.dataset;
                (
                    d.about.name.as_str(),
                    d.about.version.as_str(),
                    d.about.built,
                    d.v4.len(),
                    d.v6.len(),
                    d.countries().len(),
                )
            })
            .collect();
        assert_eq!(
            about,
            [
                ("dbip-country", "2.3.2026060120", Some(1_780_344_000), 355_800, 345_868, 250),
                ("geo-whois-asn-country", "2.3.2026061719", Some(1_781_722_800), 334_304, 216_286, 250),
            ]
        );
        assert_eq!(
            opened.iter().map(|o| crate::text::hex(&o.dataset.about.digest)).collect::<Vec<_>>(),
            [
                "490faa6e61026d47cbd128a11adc5217eaae9818911da61ed654b9c5fd6299f7",
                "520537709c9a3959d1cd62f8900a71429580f69714dc488967343a8f819fd912",
            ]
        );
        for o in &opened {
            assert_canonical(&o.dataset.v4);
            assert_canonical(&o.dataset.v6);
            // From the ranges, not from the file's body.
            assert_eq!(o.dataset.about.digest, compact::digest(&o.dataset.v4, &o.dataset.v6));
        }
    }

    #[test]
    fn licences_and_archives_are_named() {
        let opened = open().unwrap();
        assert_eq!(opened[0].dataset.about.attribution, "IP Geolocation by DB-IP, https://db-ip.com (CC BY 4.0)");
        assert_eq!(
            opened[0].dataset.about.provenance,
            "npm @ip-location-db/dbip-country@2.3.2026060120, \
             sha256:78a6009a9c18434e6b690d703431241900d6127ddcd7c26ed48852549ee0df4f"
        );
        assert_eq!(
            opened[1].dataset.about.attribution,
            "Registry data by the Number Resource Organization, https://www.nro.net (CC BY 4.0)"
        );
        assert_eq!(
            opened[1].dataset.about.provenance,
            "npm @ip-location-db/geo-whois-asn-country@2.3.2026061719, \
             sha256:2a3e609015884c93c2d398e777ce1d2d34cab026054c43559bff32b25669f606"
        );
    }

    #[test]
    fn a_dataset_written_as_its_publishers_csv_reads_as_the_same_dataset() {
        use std::fmt::Write as _;
        let opened = open().unwrap();
        let dataset = &opened[1].dataset;
        let mut text = String::new();
        for range in &dataset.v4 {
            let [first, last] = [range.first, range.last].map(std::net::Ipv4Addr::from);
            writeln!(text, "{first},{last},{}", range.country).unwrap();
        }
        // The other family as decimal numbers, and another order than that of the addresses.
        for range in dataset.v6.iter().rev() {
            writeln!(text, "{},{},{}", range.first, range.last, range.country).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("whole.csv");
        std::fs::write(&file, text).unwrap();
        let again = open_file(&file).unwrap();
        assert_eq!((again.contradictions, again.format), (0, Format::Csv));
        assert_eq!(again.dataset.about.digest, dataset.about.digest);
        assert_eq!((again.dataset.v4.len(), again.dataset.v6.len()), (334_304, 216_286));
    }

    fn answers(datasets: &[Dataset], address: &str) -> Vec<Option<String>> {
        let of = |dataset: &Dataset| dataset.lookup(address.parse().unwrap()).map(|range| range.country.to_string());
        datasets.iter().map(of).collect()
    }

    #[test]
    fn well_known_addresses_are_where_their_lines_in_the_archives_say() {
        let datasets = load("embedded").unwrap();
        let says = |country: &str| Some(country.to_owned());
        for (address, expected) in [
            ("8.8.8.8", [says("US"), says("US")]),
            ("193.0.6.139", [says("NL"), says("NL")]),
            // Frankfurt; the registries know the company's seat. Both in the EEA.
            ("2a00:1450:4001::1", [says("DE"), says("IE")]),
            ("2001:67c:2e8::1", [says("NL"), says("NL")]),
            // A line in the first; DE and US for the very same range in the second.
            ("108.165.88.1", [says("DE"), None]),
            ("240.0.0.1", [None, None]),
        ] {
            assert_eq!(answers(&datasets, address), expected, "{address}");
        }
    }
}
