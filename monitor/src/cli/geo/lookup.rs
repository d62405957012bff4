//! `egress-monitor geo lookup`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use monitor_common::wire::{Address, Embedded};

use crate::{
    cli::{output::Shape, render},
    error::CliError,
};
use monitor_api::geo::{Answer, Found, Lookup, SpecialRange};
use monitor_policy::geo::{
    self, Dataset,
    special::{self, Special},
};

/// Look up addresses in each source (`explain` says how the policy treats them)
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor geo lookup 8.8.8.8 2a00:1450:4001::1\n  egress-monitor geo lookup 192.0.2.1 --source embedded --source my.csv --json"
)]
pub struct Args {
    /// IPv4 or IPv6 addresses.
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<String>,
    /// A file (.mmdb, .csv, .egm, .egm.zst) or `embedded`; may be given several times.
    #[arg(long = "source", value_name = "FILE", default_value = "embedded")]
    sources: Vec<String>,
    #[command(flatten)]
    shape: Shape,
}

pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let mut addresses = Vec::new();
    for text in &args.addresses {
        let address: IpAddr = text.parse().map_err(|_| {
            CliError::Usage(format!("{text:?} is no IP address: write it like 192.0.2.1 or 2001:db8::1"))
        })?;
        addresses.push(address);
    }
    let mut datasets = Vec::new();
    for source in &args.sources {
        datasets.extend(geo::load(source)?);
    }
    let results: Vec<Found> = addresses.into_iter().map(|address| find(address, &datasets)).collect();
    let attributions: BTreeSet<String> =
        datasets.iter().map(|dataset| dataset.about.attribution.clone()).filter(|text| !text.is_empty()).collect();
    let output = Lookup { results, attributions: attributions.into_iter().collect() };
    args.shape.print(&output, |output, _| render::geo::lookup(output))
}

fn find(address: IpAddr, datasets: &[Dataset]) -> Found {
    let special = special::lookup(address);
    let inner = match (special, address) {
        (Some(row), IpAddr::V6(v6)) if row.embedded != Embedded::None => {
            let bits = u128::from(v6);
            row.embedded.extract(Address { high: (bits >> 64) as u64, low: bits as u64 }).map(Ipv4Addr::from)
        }
        _ => None,
    };
    Found {
        address,
        special: special.map(|row: &Special| SpecialRange {
            network: row.network.to_string(),
            kind: if row.embedded == Embedded::None { row.class.name() } else { "embedded" },
            name: row.name,
            reference: row.source,
        }),
        embedded: inner.map(|inner| Box::new(find(inner.into(), datasets))),
        sources: datasets.iter().map(|dataset| answer(address, dataset)).collect(),
    }
}

fn answer(address: IpAddr, dataset: &Dataset) -> Answer {
    let found = dataset.lookup(address);
    Answer {
        source: dataset.about.name.clone(),
        country: found.map(|range| range.country.to_string()),
        first: found.map(|range| range.first),
        last: found.map(|range| range.last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use monitor_policy::geo::{About, Country, Range};

    fn dataset() -> Dataset {
        Dataset {
            about: About { attribution: "By me, https://example.org".into(), ..About::named("mine") },
            v4: vec![Range { first: 0x0808_0000, last: 0x0808_ffff, country: Country(*b"US") }],
            v6: Vec::new(),
        }
    }

    #[test]
    fn an_address_its_special_range_and_the_one_inside_it_are_shown_with_the_attribution() {
        let datasets = [dataset()];
        let of = |text: &str| find(text.parse().unwrap(), &datasets);
        let output = Lookup {
            results: vec![of("8.8.8.8"), of("9.9.9.9"), of("10.1.2.3"), of("64:ff9b::808:808")],
            attributions: vec![dataset().about.attribution],
        };
        assert_eq!(
            render::geo::lookup(&output),
            "\
address           source    country   range
8.8.8.8           mine      US        8.8.0.0 - 8.8.255.255
9.9.9.9           mine      unknown
10.1.2.3          registry  private   10.0.0.0/8 private use, RFC 1918
64:ff9b::808:808  registry  embedded  64:ff9b::/96 IPv4/IPv6 translation, RFC 6052
  8.8.8.8         mine      US        8.8.0.0 - 8.8.255.255

By me, https://example.org
"
        );
        let value = serde_json::to_value(&output).unwrap();
        assert_eq!(value["results"][3]["embedded"]["sources"][0]["country"], "US");
        assert_eq!(value["results"][1]["sources"][0]["country"], serde_json::Value::Null);
        assert_eq!(value["results"][2]["special"]["kind"], "private");
    }
}
