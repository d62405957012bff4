//! Promises of the compact form.

use super::{
    super::{
        country::Country,
        dataset::{Range, find},
        ranges::{Collector, Piece},
        testing::{random_country, seed},
    },
    *,
};

/// A dataset of random ranges over the whole space, with gaps, touching ends and both ends of the space.
fn random_dataset(random: &mut fastrand::Rng, ranges: usize) -> Dataset {
    let mut collector = Collector::default();
    for _ in 0..random.usize(0..=ranges) {
        let country = random_country(random);
        let shift = random.u32(0..32);
        let first = random.u32(..) >> shift << shift;
        collector.push(Piece::V4(first, first | ((1 << shift) - 1), country)).unwrap();
        let shift = random.u32(0..128);
        let first = random.u128(..) >> shift << shift;
        collector.push(Piece::V6(first, first | ((1 << shift) - 1), country)).unwrap();
    }
    if random.bool() {
        collector.push(Piece::V4(u32::MAX, u32::MAX, Country(*b"NO"))).unwrap();
        collector.push(Piece::V6(0, 0, Country(*b"NO"))).unwrap();
        collector.push(Piece::V6(u128::MAX, u128::MAX, Country(*b"NO"))).unwrap();
    }
    let dataset = collector.finish().unwrap().dataset;
    let about = About {
        name: "random".into(),
        version: "2026.1".into(),
        built: random.bool().then(|| random.i64(..)),
        attribution: "nobody — CC BY".into(),
        provenance: "from nowhere".into(),
        ..dataset.about
    };
    Dataset { about, ..dataset }
}

fn small() -> Dataset {
    let seed = 7;
    random_dataset(&mut fastrand::Rng::with_seed(seed), 12)
}

#[test]
fn what_is_encoded_is_read_back_plain_and_compressed() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..300 {
        let dataset = random_dataset(&mut random, [0, 1, 3, 200][round % 4]);
        let encoded = encode(&dataset).unwrap();
        for bytes in [&encoded, &compress(&encoded)] {
            let read = decode(bytes).unwrap();
            assert_eq!((&read.v4, &read.v6), (&dataset.v4, &dataset.v6), "seed {seed} round {round}");
            assert_eq!(read.about, dataset.about, "seed {seed} round {round}");
        }
    }
}

#[test]
fn lookups_after_a_round_trip_agree_with_a_linear_scan() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..20 {
        let dataset = decode(&encode(&random_dataset(&mut random, 100)).unwrap()).unwrap();
        for _ in 0..2_000 {
            let near = |random: &mut fastrand::Rng, at: u128| at.wrapping_add(random.u128(0..3)).wrapping_sub(1);
            let v4 = match random.choice(&dataset.v4) {
                Some(range) if random.bool() => near(&mut random, range.last.into()) as u32,
                _ => random.u32(..),
            };
            let scan = dataset.v4.iter().find(|r| r.first <= v4 && v4 <= r.last);
            assert_eq!(find(&dataset.v4, v4), scan, "seed {seed} {v4:#x}");
            let v6 = match random.choice(&dataset.v6) {
                Some(range) if random.bool() => near(&mut random, range.first),
                _ => random.u128(..),
            };
            let scan = dataset.v6.iter().find(|r| r.first <= v6 && v6 <= r.last);
            assert_eq!(find(&dataset.v6, v6), scan, "seed {seed} {v6:#x}");
        }
    }
}

#[test]
fn every_truncation_and_every_addition_is_an_error() {
    let plain = encode(&small()).unwrap();
    for whole in [&plain, &compress(&plain)] {
        decode(whole).unwrap();
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length} of {} bytes were read as a dataset", whole.len());
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(decode(&longer).is_err());
    }
    assert_eq!(decode(&plain[..plain.len() - 1]).unwrap_err(), Truncated("ranges"));
    assert_eq!(decode(&plain[..3]).unwrap_err(), Truncated("first bytes"));
}

#[test]
fn a_changed_byte_never_passes_for_other_ranges() {
    let dataset = small();
    let whole = encode(&dataset).unwrap();
    for at in 0..whole.len() {
        for flip in [1_u8, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= flip;
            if let Ok(read) = decode(&changed) {
                // In a name or the date: the ranges are still those of the digest.
                assert_eq!((&read.v4, &read.v6), (&dataset.v4, &dataset.v6), "byte {at}");
            }
        }
    }
}

/// A file with this body and a true digest: what an attacker, not an accident, makes.
fn with_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&DATASET.to_le_bytes());
    out.extend_from_slice(&[0; 5]);
    out.extend_from_slice(&Sha256::digest(body));
    put_number(&mut out, body.len() as u128);
    out.extend_from_slice(body);
    out
}

#[test]
fn a_forged_body_is_refused_for_what_is_wrong_with_it() {
    let ok: &[u8] = &[1, 0, b'D', b'E', 2, 8, 8, 1, 1, 1, 0, 0];
    let dataset = decode(&with_body(ok)).unwrap();
    assert_eq!(dataset.v4, [Range { first: 256, last: 511, country: Country(*b"DE") }]);
    assert_eq!(dataset.v6, []);

    let impossible = Damaged("a start has an impossible distance from the one before");
    let cases: &[(&str, &[u8], CompactError)] = &[
        ("no such country", &[1, 0, b'Q', b'Q', 0, 0], Damaged("it lists a country that is none")),
        ("countries unsorted", &[2, 0, b'D', b'E', b'A', b'T', 0, 0], Damaged("its countries are not sorted")),
        ("country twice", &[2, 0, b'D', b'E', b'D', b'E', 0, 0], Damaged("its countries are not sorted")),
        ("country not listed", &[1, 0, b'D', b'E', 1, 8, 1, 2, 0], Damaged("it uses a country it does not list")),
        ("distance zero", &[1, 0, b'D', b'E', 2, 8, 0, 1, 0, 1, 0, 0], impossible.clone()),
        ("distance even", &[1, 0, b'D', b'E', 1, 8, 2, 1, 0], impossible.clone()),
        ("shift too far", &[1, 0, b'D', b'E', 1, 32, 1, 1, 0], impossible.clone()),
        ("shifted out", &[1, 0, b'D', b'E', 1, 31, 3, 1, 0], impossible.clone()),
        ("past the end", &[1, 0, b'D', b'E', 2, 31, 31, 1, 1, 1, 0, 0], Damaged("a start lies past the last address")),
        ("not joined", &[1, 0, b'D', b'E', 2, 8, 8, 1, 1, 1, 1, 0], Damaged("two neighbouring intervals are one")),
        ("starts unknown", &[1, 0, b'D', b'E', 1, 8, 1, 0, 0], Damaged("two neighbouring intervals are one")),
        ("long number", &[1, 0, b'D', b'E', 1, 8, 0x81, 0, 1, 0], Damaged("a number is not in its shortest form")),
        ("large number", &[0, 0, 0, 1, 0, 0x80, 0x80, 0x80, 0x80, 0x80], Truncated("ranges")),
        ("33 bits", &[1, 0, b'D', b'E', 1, 0, 0xff, 0xff, 0xff, 0xff, 0x1f, 1, 0], Damaged("a number is too large")),
        ("count past the end", &[0, 0, 0xff, 0xff, 0x03], Truncated("ranges")),
        ("count past all memory", &[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f], TooLarge("4 Mi ranges of one family")),
        ("something behind", &[0, 0, 0, 0, 7], Damaged("something follows its ranges")),
        ("empty body", &[], Truncated("ranges")),
    ];
    for (what, body, error) in cases {
        assert_eq!(decode(&with_body(body)).as_ref().map(|_| ()).unwrap_err(), error, "{what}");
    }
}

#[test]
fn other_files_and_later_formats_are_told_apart() {
    assert_eq!(
        decode(b"PK\x03\x04 and so on").unwrap_err().to_string(),
        "not a compact dataset (it starts with [50, 4b, 03, 04, 20, 61]): make one with `egress-monitor geo import`"
    );
    let mut later = encode(&small()).unwrap();
    later[6] = 9;
    assert_eq!(decode(&later).unwrap_err(), CompactError::Version(9));
}

#[test]
fn a_small_file_that_would_decompress_to_more_than_the_limit_is_refused() {
    // A zstd frame (RFC 8878) with a window of 128 KiB, and blocks that each repeat one byte 128 KiB times.
    const BLOCK: u32 = 128 << 10;
    let mut bomb = ZSTD_MAGIC.to_vec();
    bomb.extend([0, 7 << 3]);
    let blocks = MAX_UNCOMPRESSED as u32 / BLOCK + 1;
    for block in 1..=blocks {
        let header = u32::from(block == blocks) | 1 << 1 | BLOCK << 3;
        bomb.extend(&header.to_le_bytes()[..3]);
        bomb.push(0);
    }
    assert_eq!(bomb.len(), 2058);
    assert_eq!(decode(&bomb).unwrap_err(), TooLarge("64 MiB"));
}

#[test]
fn a_text_with_terminal_escapes_is_refused() {
    let name = |name: &str| Dataset { about: About::named(name), ..small() };
    let mut bytes = encode(&name("?[2J")).unwrap();
    let at = bytes.windows(4).position(|four| four == b"?[2J").unwrap();
    bytes[at] = 0x1b;
    assert_eq!(decode(&bytes).unwrap_err(), Damaged("a text has control characters"));
    // None is written, as the file's path would be.
    assert_eq!(decode(&encode(&name("\u{1b}[2J")).unwrap()).unwrap().about.name, "\u{fffd}[2J");
}

#[test]
fn a_dataset_that_breaks_its_own_rules_is_not_encoded() {
    let (de, no) = (Country(*b"DE"), Country(*b"NO"));
    let range = |first, last, country| Range { first, last, country };
    let with = |v4: &[Range<u32>]| encode(&Dataset { v4: v4.into(), ..Dataset::default() }).map(|_| ());
    assert_eq!(with(&[range(5, 9, de), range(1, 2, no)]), Err(Unfit("its ranges are not sorted and disjoint")));
    assert_eq!(with(&[range(5, 9, de), range(9, 12, no)]), Err(Unfit("its ranges are not sorted and disjoint")));
    assert_eq!(with(&[range(9, 5, de)]), Err(Unfit("its ranges are not sorted and disjoint")));
    assert_eq!(with(&[range(0, u32::MAX, de), range(0, 1, no)]), Err(Unfit("its ranges are not sorted and disjoint")));
    assert_eq!(with(&[range(5, 9, de), range(10, 12, de)]), Err(Unfit("its ranges are not joined")));
    assert_eq!(with(&[range(5, 9, Country::UNKNOWN)]), Err(Unfit("a range has no assigned country")));
    assert_eq!(find(&[range(5_u32, 9, de)], 4), None);
}
