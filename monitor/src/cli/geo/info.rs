//! `egress-monitor geo info`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    cli::{
        output::{Shape, joined},
        render,
    },
    error::CliError,
};
use monitor_api::geo::{Family, Info};
use monitor_policy::{
    geo::{
        self, About, Content, Opened, Progress, Space,
        asn::{self, AsDataset},
        overlay::{self, Overlay},
    },
    text::{hex, time},
};

/// Show version, age, size, licence and digest of datasets, overlays and AS numbers
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  egress-monitor geo info\n  egress-monitor geo info /etc/egress-monitor/geo/country.mmdb --json"
)]
pub struct Args {
    /// Files, or `embedded`.
    #[arg(value_name = "FILE", default_value = "embedded")]
    files: Vec<String>,
    /// Overlays; a cloud provider's list is one without this, too.
    #[arg(long = "overlay", value_name = "FILE")]
    overlays: Vec<PathBuf>,
    /// AS numbers.
    #[arg(long = "asn", value_name = "FILE")]
    as_numbers: Vec<PathBuf>,
    #[command(flatten)]
    shape: Shape,
}

pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let now = jiff::Timestamp::now().as_second();
    let mut infos = Vec::new();
    // The embedded ones are asked for only by nobody asking for anything else.
    let files = args.files.iter().filter(|file| {
        *file != "embedded" || args.files.len() > 1 || (args.overlays.is_empty() && args.as_numbers.is_empty())
    });
    for file in files {
        let path = Path::new(file);
        match if file == "embedded" { Content::Dataset } else { geo::content(path)? } {
            Content::Dataset if file == "embedded" => infos.extend(geo::open(file)?.iter().map(|of| info(of, now))),
            Content::Dataset => infos.push(info(&geo::read_file(path, &Progress::default())?, now)),
            Content::Overlay => infos.push(overlay_info(&overlay::open(path)?, now)),
            Content::AsNumbers => infos.push(asn_info(file, &asn::read(path, &Progress::default())?, now)),
        }
    }
    for file in &args.overlays {
        infos.push(overlay_info(&overlay::open(file)?, now));
    }
    for file in &args.as_numbers {
        infos.push(asn_info(&file.display().to_string(), &asn::read(file, &Progress::default())?, now));
    }
    args.shape.print(&infos, |infos, _| joined(infos.iter().map(render::geo::info)))
}

fn family<A: Space>(ranges: impl ExactSizeIterator<Item = (A, A)>) -> Family {
    let length = ranges.len();
    let size = |(first, last): (A, A)| (last.number() - first.number()).saturating_add(1);
    let addresses = ranges.map(size).fold(0_u128, u128::saturating_add);
    Family { ranges: length, addresses: addresses.to_string() }
}

/// What data says of itself; the rest is its kind's.
fn described(about: &About, now: i64) -> Info {
    Info {
        name: about.name.clone(),
        version: about.version.clone(),
        built: about.built.map(time),
        age_days: about.age_days(now),
        stale: about.stale_days(now).is_some(),
        digest: hex(&about.digest),
        provenance: about.provenance.clone(),
        attribution: about.attribution.clone(),
        ..Info::default()
    }
}

fn info(opened: &Opened, now: i64) -> Info {
    let dataset = &opened.dataset;
    Info {
        kind: "dataset",
        file: opened.file.as_ref().map(|file| file.display().to_string()),
        format: opened.format.name(),
        ipv4: family(dataset.v4.iter().map(|range| (range.first, range.last))),
        ipv6: family(dataset.v6.iter().map(|range| (range.first, range.last))),
        countries: dataset.countries().len(),
        contradictions: opened.contradictions,
        rejected: opened.rejected.clone(),
        ..described(&dataset.about, now)
    }
}

fn overlay_info(of: &Overlay, now: i64) -> Info {
    let countries: BTreeSet<_> = of.v4.iter().map(|r| r.country).chain(of.v6.iter().map(|r| r.country)).collect();
    Info {
        kind: "overlay",
        file: Some(of.file.display().to_string()),
        format: of.kind.name(),
        ipv4: family(of.v4.iter().map(|range| (range.first, range.last))),
        ipv6: family(of.v6.iter().map(|range| (range.first, range.last))),
        countries: countries.into_iter().filter(|country| country.is_assigned()).count(),
        contradictions: of.contradictions,
        rejected: of.rejected.clone(),
        ..described(&of.about, now)
    }
}

fn asn_info(file: &str, of: &AsDataset, now: i64) -> Info {
    Info {
        kind: "asn",
        file: Some(file.to_owned()),
        format: "AS numbers",
        ipv4: family(of.v4.iter().map(|range| (range.first, range.last))),
        ipv6: family(of.v6.iter().map(|range| (range.first, range.last))),
        names: Some(of.names.len()),
        contradictions: of.contradictions,
        rejected: of.rejected.clone(),
        ..described(&of.about, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use monitor_policy::geo::{Country, Dataset, Format, Range};

    fn opened(built: Option<i64>) -> Opened {
        let de = Country(*b"DE");
        Opened {
            dataset: Dataset {
                about: About { version: "1".into(), built, ..About::named("t") },
                v4: vec![Range { first: 0, last: 0x7fff_ffff, country: de }],
                v6: vec![Range { first: 0, last: u128::MAX, country: de }],
            },
            file: None,
            format: Format::Csv,
            contradictions: 0,
            rejected: geo::Rejected::default(),
        }
    }

    #[test]
    fn a_dataset_is_stale_from_its_91st_day() {
        let day = 86_400_i64;
        let at = |days: i64| info(&opened(Some(1_000 * day)), (1_000 + days) * day);
        assert_eq!((at(90).age_days, at(90).stale), (Some(90), false));
        assert_eq!((at(91).age_days, at(91).stale), (Some(91), true));
        assert!(render::geo::info(&at(91)).contains("(91 days old: older than 90 days, import a fresh one with"));
        assert!(!info(&opened(None), 0).stale);
        assert!(render::geo::info(&info(&opened(None), 0)).contains("  built       the source does not say\n"));
    }

    #[test]
    fn addresses_are_counted_over_the_whole_space() {
        let info = info(&opened(None), 0);
        assert_eq!((info.ipv4.ranges, info.ipv4.addresses.as_str()), (1, "2147483648"));
        assert_eq!(info.ipv6.addresses, u128::MAX.to_string());
        assert!(
            render::geo::info(&info)
                .contains("  IPv4        1 range, 2,147,483,648 addresses (50.00 % of the IPv4 space)\n")
        );
    }
}
