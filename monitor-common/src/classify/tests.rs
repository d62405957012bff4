//! The index against a linear scan of the intervals it was built from. Every random test prints its seed when it fails.

use super::{
    build::{BuildError, Image},
    *,
};
use crate::wire::{MAX_CLASSES, MAX_RULES_PER_CLASS, RuleRowAction};

mod rules;
mod shape;

const CLASSES: u32 = 97;

/// Intervals of a full table; fewer where the compiler does not optimise, with as many addresses.
const FULL: usize = if cfg!(debug_assertions) { 50_000 } else { 500_000 };

fn classes() -> Vec<ClassRow> {
    vec![ClassRow::default(); CLASSES as usize]
}

fn image_v4(v4: &[(u32, u32)]) -> Image {
    Image::build(v4, &[(0, 0)], classes(), Vec::new()).expect("a partition")
}

fn image_v6(v6: &[(u128, u32)]) -> Image {
    Image::build(&[(0, 0)], v6, classes(), Vec::new()).expect("a partition")
}

fn address(bits: u128) -> Address {
    Address { high: (bits >> 64) as u64, low: bits as u64 }
}

/// Random starts made a partition: 0 added, sorted, each with a random class.
fn partition<A: Copy + Ord + Default>(random: &mut fastrand::Rng, mut starts: Vec<A>) -> Vec<(A, u32)> {
    starts.push(A::default());
    starts.sort_unstable();
    starts.dedup();
    starts.into_iter().map(|start| (start, random.u32(0..CLASSES))).collect()
}

/// Looks every address up and compares with a walk through partition and addresses side by side, from the first
/// interval to the last.
fn compare<A: Copy + Ord + core::fmt::LowerHex>(
    partition: &[(A, u32)],
    mut addresses: Vec<A>,
    look_up: impl Fn(A) -> Option<u32>,
    seed: u64,
) {
    addresses.sort_unstable();
    let mut at = 0;
    for address in addresses {
        while partition.get(at + 1).is_some_and(|next| next.0 <= address) {
            at += 1;
        }
        assert_eq!(look_up(address), Some(partition[at].1), "address {address:#x}, seed {seed}");
    }
}

/// Every start, one below and one above, and both ends of the space.
fn around_v4(partition: &[(u32, u32)]) -> Vec<u32> {
    let mut around = vec![0, u32::MAX];
    around.extend(partition.iter().flat_map(|(start, _)| [start.wrapping_sub(1), *start, start.wrapping_add(1)]));
    around
}

/// As [`around_v4`], and both ends of the half that each start is in and of its neighbours.
fn around_v6(partition: &[(u128, u32)]) -> Vec<u128> {
    let mut around = vec![0, u128::MAX];
    for &(start, _) in partition {
        let half = start >> 64 << 64;
        for edge in [start, half, half.wrapping_add(1 << 64), half.wrapping_sub(1 << 64)] {
            around.extend([edge.wrapping_sub(1), edge, edge.wrapping_add(1)]);
        }
    }
    around
}

fn check_v4(partition: &[(u32, u32)], more: Vec<u32>, seed: u64) {
    let image = image_v4(partition);
    assert_eq!(image.v4_intervals(), without_steps(partition), "seed {seed}");
    let mut addresses = around_v4(partition);
    addresses.extend(more);
    compare(partition, addresses, |address| class_id_v4(&image, address), seed);
}

/// Without the intervals that only go on with what the one before has.
fn without_steps<A: Copy>(partition: &[(A, u32)]) -> Vec<(A, u32)> {
    let mut intervals = partition.to_vec();
    intervals.dedup_by_key(|interval| interval.1);
    intervals
}

fn check_v6(partition: &[(u128, u32)], more: Vec<u128>, seed: u64) {
    let image = image_v6(partition);
    assert_eq!(image.v6_intervals(), without_steps(partition), "seed {seed}");
    let mut addresses = around_v6(partition);
    addresses.extend(more);
    compare(partition, addresses, |bits| class_id_v6(&image, address(bits)), seed);
}

#[test]
fn a_million_random_ipv4_addresses_on_a_full_table_agree_with_a_scan() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let starts = (0..FULL).map(|_| random.u32(..) & u32::MAX << random.u32(0..16)).collect();
    let partition = partition(&mut random, starts);
    let addresses = (0..1_000_000).map(|_| random.u32(..)).collect();
    check_v4(&partition, addresses, seed);
}

#[test]
fn a_million_random_ipv6_addresses_on_a_full_table_agree_with_a_scan() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let starts: Vec<u128> = (0..FULL)
        .map(|i| {
            let bits = random.u128(..) & u128::MAX << random.u32(64..128);
            // One in a thousand has structure below /64.
            if i % 1000 == 0 { bits | random.u128(..) >> 64 } else { bits }
        })
        .collect();
    // Half of the addresses near a start: random ones alone hit few of the intervals.
    let addresses = (0..1_000_000)
        .map(|i| {
            if i % 2 == 0 {
                random.u128(..)
            } else {
                starts[random.usize(0..starts.len())] ^ random.u128(..) >> random.u32(40..128)
            }
        })
        .collect();
    let partition = partition(&mut random, starts);
    check_v6(&partition, addresses, seed);
}

#[test]
fn an_interval_for_every_address_of_one_ipv4_bucket_is_found_exactly() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for bucket in [0_u32, 0x0a00, 0xffff] {
        let starts = (0..=0xffff).map(|low| bucket << 16 | low).collect();
        let partition = partition(&mut random, starts);
        check_v4(&partition, Vec::new(), seed);
    }
}

#[test]
fn small_ipv4_partitions_agree_with_a_scan_at_every_boundary() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    check_v4(&[(0, 5)], vec![1, 0x8000_0000], seed);
    check_v4(&[(0, 5), (u32::MAX, 6)], vec![], seed);
    check_v4(&[(0, 5), (1, 6)], vec![], seed);
    check_v4(&[(0, 5), (0xffff, 6), (0x1_0000, 7), (0x1_ffff, 8), (0x3_0000, 9)], vec![0x2_8000], seed);
    for _ in 0..300 {
        let mask = [u32::MAX, 0xffff_0000, 0x0001_ffff, 0xff00_00ff][random.usize(0..4)];
        let starts = (0..random.usize(0..60)).map(|_| random.u32(..) & mask).collect();
        let partition = partition(&mut random, starts);
        let addresses = (0..100).map(|_| random.u32(..)).collect();
        check_v4(&partition, addresses, seed);
    }
}

#[test]
fn small_ipv6_partitions_agree_with_a_scan_at_every_boundary_and_below_64() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    const HALF: u128 = 1 << 64;
    let top = u128::from(u64::MAX) << 64;
    let by_hand: [&[(u128, u32)]; 14] = [
        &[(0, 5)],
        &[(0, 5), (1, 6)],
        &[(0, 5), (u128::MAX, 6)],
        &[(0, 5), (top, 6)],
        &[(0, 5), (top, 6), (top + 1, 7)],
        &[(0, 5), (top - 1, 6), (top, 7)],
        // A list; the next half has nothing, a start of its own, a list of its own.
        &[(0, 5), (7, 6), (9, 7)],
        &[(0, 5), (7, 6), (HALF, 7)],
        &[(0, 5), (7, 6), (HALF + 3, 7), (2 * HALF + 3, 8)],
        &[(0, 5), (HALF - 1, 6), (HALF, 7), (2 * HALF, 8)],
        &[(0, 5), (HALF + 9, 6), (3 * HALF + 9, 7)],
        &[(0, 5), (HALF, 6), (HALF + 1, 7), (2 * HALF - 1, 8), (u128::MAX, 9)],
        // The second tree begins with what holds before its first start.
        &[(0, 5), (9, 6), ((1 << 127) + HALF, 7)],
        &[(0, 5), ((1 << 127) + 1, 6), ((1 << 127) + HALF, 7)],
    ];
    for partition in by_hand {
        check_v6(partition, vec![], seed);
    }
    for _ in 0..300 {
        // Few halves, next to each other, with few low parts: everything meets.
        let starts = (0..random.usize(0..200))
            .map(|_| {
                let high = match random.u8(0..4) {
                    0 => random.u64(..),
                    1 => u64::MAX - random.u64(0..4),
                    _ => random.u64(0..40),
                };
                let low = match random.u8(0..4) {
                    0 | 1 => 0,
                    2 => random.u64(0..4),
                    _ => u64::MAX - random.u64(0..4),
                };
                u128::from(high) << 64 | u128::from(low)
            })
            .collect();
        let partition = partition(&mut random, starts);
        let addresses = (0..100).map(|_| random.u128(..)).collect();
        check_v6(&partition, addresses, seed);
    }
}

#[test]
fn what_is_no_partition_or_does_not_fit_is_refused() {
    let build = |v4: &[(u32, u32)], v6: &[(u128, u32)]| Image::build(v4, v6, classes(), Vec::new()).err();
    assert_eq!(build(&[], &[(0, 0)]), Some(BuildError::NotAPartition(0)));
    assert_eq!(build(&[(0, 0)], &[]), Some(BuildError::NotAPartition(0)));
    assert_eq!(build(&[(1, 0)], &[(0, 0)]), Some(BuildError::NotAPartition(0)));
    assert_eq!(build(&[(0, 0), (5, 0), (5, 1)], &[(0, 0)]), Some(BuildError::NotAPartition(2)));
    assert_eq!(build(&[(0, 0)], &[(0, 0), (5, 0), (4, 1)]), Some(BuildError::NotAPartition(2)));
    assert_eq!(build(&[(0, CLASSES)], &[(0, 0)]), Some(BuildError::NoSuchClass(CLASSES)));
    assert_eq!(build(&[(0, 0)], &[(0, CLASSES)]), Some(BuildError::NoSuchClass(CLASSES)));

    let with = |class: ClassRow, rules: usize| {
        Image::build(&[(0, 0)], &[(0, 0)], vec![class], vec![RuleRow::default(); rules]).err()
    };
    let rows = |rules_start, rules_len| ClassRow { rules_start, rules_len, ..ClassRow::default() };
    assert_eq!(with(rows(1, 2), 3), None);
    assert_eq!(with(rows(2, 2), 3), Some(BuildError::TooManyRules(0, 2)));
    assert_eq!(with(rows(u32::MAX, 1), 3), Some(BuildError::TooManyRules(0, 1)));
    assert_eq!(with(rows(0, MAX_RULES_PER_CLASS), 40), None);
    assert_eq!(with(rows(0, MAX_RULES_PER_CLASS + 1), 40), Some(BuildError::TooManyRules(0, MAX_RULES_PER_CLASS + 1)));

    let many = MAX_CLASSES as usize + 1;
    let refused = Image::build(&[(0, 0)], &[(0, 0)], vec![ClassRow::default(); many], Vec::new());
    assert_eq!(refused, Err(BuildError::TooManyClasses(many)));
}

#[test]
fn as_many_classes_as_fit_are_found_by_their_numbers() {
    let last = MAX_CLASSES - 1;
    let numbers = [0, last, 0xff, 0x100, last - 1];
    let v4: Vec<(u32, u32)> = (0..).zip(numbers).collect();
    let v6: Vec<(u128, u32)> = (0..5).map(|at| at << 64).zip(numbers).collect();
    let below: Vec<(u128, u32)> = (0..).zip(numbers).collect();
    let build = |v6: &[(u128, u32)]| {
        Image::build(&v4, v6, vec![ClassRow::default(); MAX_CLASSES as usize], Vec::new()).expect("just fits")
    };
    let (image, listed) = (build(&v6), build(&below));
    for (at, class_id) in (0_u32..).zip(numbers) {
        assert_eq!(class_id_v4(&image, at), Some(class_id));
        assert_eq!(class_id_v6(&image, address(u128::from(at) << 64)), Some(class_id));
        assert_eq!(class_id_v6(&listed, address(at.into())), Some(class_id));
    }
}
