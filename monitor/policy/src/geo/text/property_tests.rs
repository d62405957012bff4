//! What no change of form may change: order of lines, line ends, byte order mark, comments, case, blanks, quotes. And that no
//! file places an address where none of its lines does, by an independent reading of random feeds.

use super::{super::ranges::Collected, *};
use crate::geo::{Dataset, naive, testing::seed};

fn dataset(text: &str) -> Result<Dataset, String> {
    let text = read(Path::new("t.csv"), text.as_bytes(), &Progress::default()).map_err(|error| error.to_string())?;
    let Collected { dataset, .. } = text.ranges.finish().expect("few");
    Ok(dataset)
}

/// A random feed over a small space, good and bad lines mixed: network, country, region, city.
fn feed(random: &mut fastrand::Rng) -> Vec<[String; 4]> {
    let pick = |random: &mut fastrand::Rng, of: &[&str]| of[random.usize(0..of.len())].to_owned();
    (0..random.usize(1..24))
        .map(|_| {
            let prefix = random.u8(20..=32);
            let bits = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let address = 0x0500_0000 | random.u32(0..1 << 13);
            // One in eight has bits after its prefix.
            let address = if random.u8(0..8) == 0 { address } else { address & bits };
            let network = format!("{}/{prefix}", Ipv4Addr::from(address));
            let country = pick(random, &["DE", "de", "US", "NL", "NO", "SG", "", "USA", "ZZ", "??", "AS", "NA"]);
            let region = pick(random, &["", "", "", "DE-BE", "US-CA", "NL-CW", "NO-21", "Berlin"]);
            [network, country, region, pick(random, &["", "Berlin", "CN", "A, B"])]
        })
        .collect()
}

/// A feed as text, in one of many forms that mean the same.
fn written(lines: &[[String; 4]], random: &mut fastrand::Rng) -> String {
    let mut lines: Vec<&[String; 4]> = lines.iter().collect();
    random.shuffle(&mut lines);
    let row = |line: &[String; 4], upper: bool| {
        let values = line.iter().enumerate();
        values
            .map(|(at, value)| if upper && matches!(at, 1 | 2) { value.to_uppercase() } else { value.clone() })
            .collect()
    };
    let rows: Vec<Vec<String>> = lines.into_iter().map(|line| row(line, random.bool())).collect();
    naive::text(&rows, naive::Text::default(), &mut |below| random.u32(0..below))
}

#[test]
fn no_form_of_the_same_lines_changes_what_they_say() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut read, mut refused) = (0, 0);
    for round in 0..2_000 {
        let lines = feed(&mut random);
        let one = dataset(&written(&lines, &mut random));
        let other = dataset(&written(&lines, &mut random));
        match (one, other) {
            (Ok(one), Ok(other)) => {
                read += 1;
                assert_eq!((one.v4, one.v6), (other.v4, other.v6), "seed {seed} round {round}: {lines:?}");
            }
            // Which of several bad lines comes first depends on their order.
            (Err(_), Err(_)) => refused += 1,
            (one, other) => panic!("seed {seed} round {round}: {one:?} {other:?} {lines:?}"),
        }
    }
    assert!(read > 500 && refused > 50, "seed {seed}: {read} read, {refused} refused");
}

/// Independent of the reader: where a line of a feed puts its own network, or that it puts it nowhere.
fn says(line: &[String; 4]) -> Option<(u32, u32, Option<&'static str>)> {
    let (address, prefix) = line[0].split_once('/')?;
    let octets: Vec<u32> = address.split('.').map(|octet| octet.parse().unwrap()).collect();
    let address = octets.iter().fold(0, |sum, octet| sum << 8 | octet);
    let width = 2_u64.pow(32 - prefix.parse::<u32>().unwrap());
    let first = u64::from(address) / width * width;
    let exact = first == u64::from(address);
    let known = ["DE", "US", "NL", "NO", "SG", "AS", "NA"];
    let named = known.into_iter().find(|code| *code == line[1].to_uppercase());
    let country = match (line[2].as_str(), named) {
        ("NL-CW", Some("NL")) => Some("CW"),
        ("NO-21", Some("NO")) => Some("SJ"),
        // Of another country.
        (region, Some(country)) if region.contains('-') && !region.starts_with(country) => None,
        (_, named) => named,
    };
    let country = country.filter(|_| exact);
    Some((u32::try_from(first).unwrap(), u32::try_from(first + width - 1).unwrap(), country))
}

#[test]
fn each_address_is_where_the_narrowest_line_that_covers_it_puts_it_or_nowhere() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut compared = 0;
    for round in 0..400 {
        let lines = feed(&mut random);
        let Ok(dataset) = dataset(&written(&lines, &mut random)) else { continue };
        let said: Vec<_> = lines.iter().filter_map(says).collect();
        for offset in (0..1 << 13).step_by(3) {
            let address = 0x0500_0000 | offset;
            let covering = said.iter().filter(|(first, last, _)| (*first..=*last).contains(&address));
            let narrowest = covering.clone().map(|(first, last, _)| last - first).min();
            let deciding: Vec<_> = covering.filter(|(first, last, _)| Some(last - first) == narrowest).collect();
            let expected = match deciding.split_first() {
                Some((first, rest)) if rest.iter().all(|other| other.2 == first.2) => first.2,
                _ => None,
            };
            let found = dataset.lookup(Ipv4Addr::from(address).into()).map(|range| range.country.to_string());
            assert_eq!(found.as_deref(), expected, "seed {seed} round {round} {}: {lines:?}", Ipv4Addr::from(address));
            compared += 1;
        }
    }
    assert!(compared > 100_000, "seed {seed}: {compared}");
}
