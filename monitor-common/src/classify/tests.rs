//! The index against a linear scan of the intervals it was built from. Every random test prints its seed when it fails.

use super::{
    build::{BuildError, Image},
    *,
};
use crate::wire::{MAX_CLASSES, MAX_RULES_PER_CLASS, RuleRowAction};

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

/// Nodes of IPv6 on the way from a cell, the leaf or list included: the most there are.
fn depth(image: &Image) -> u32 {
    fn below(image: &Image, index: u32) -> u32 {
        let node = image.v6_node(index).expect("a node");
        if !node.is_inner() {
            return 1;
        }
        let first = (node.words[0] >> 32) as u32;
        let lanes = (4..32).map(|lane| node.words[lane / 4] >> (lane % 4 * 16) & 0xffff);
        let children = 1 + lanes.filter(|lane| *lane != node::UNUSED).count() as u32;
        1 + (first..first + children).map(|child| below(image, child)).max().expect("children")
    }
    let cells = image.v6_root.as_flattened().iter().filter(|cell| **cell & IS_NODE != 0);
    cells.map(|cell| below(image, cell & !IS_NODE)).max().unwrap_or(0)
}

#[test]
fn starts_under_one_cell_are_as_many_nodes_below_it_as_full_nodes_need_and_three_more_at_most() {
    let class_id = |key: u64| (key % u64::from(CLASSES)) as u32;
    let first = 0x2001_u64 << 48;
    // What fits in a leaf, in as many leaves as an inner node has children, and so on; some places are left free.
    for (keys, nodes) in [(15, 1), (16, 2), (15 * 29, 2), (15 * 29 + 1, 3), (290_000, 4), (1_000_000, 5)] {
        let partition: Vec<(u128, u32)> =
            [(0, 0)].into_iter().chain((0..keys).map(|key| (u128::from(first + key) << 64, class_id(key)))).collect();
        let image = image_v6(&partition);
        // The range reaches far past the last start: it takes three nodes until steps are as fine as /64s.
        assert!((nodes..=nodes + 3).contains(&depth(&image)), "{keys} starts: {} nodes", depth(&image));
        for key in (0..1_000.min(keys)).chain((0..keys).step_by(997)).chain(keys.saturating_sub(100)..keys) {
            for low in [0, u64::MAX] {
                let found = class_id_v6(&image, Address { high: first + key, low });
                assert_eq!(found, Some(class_id(key)), "key {key} of {keys}");
            }
        }
    }
}

#[test]
fn fourteen_starts_on_the_steps_of_a_leaf_are_one_node_and_so_are_seven_anywhere() {
    const STEP: u128 = 1 << 97;
    for (starts, nodes) in [(0, 0), (1, 1), (14, 1), (15, 3), (29, 3), (30, 4), (29 * 15 - 1, 30)] {
        let partition: Vec<(u128, u32)> = (0..=starts).map(|at| (at * STEP, (at % 2) as u32)).collect();
        assert_eq!(image_v6(&partition).v6_nodes.len(), nodes, "{starts} starts after the first");
        let partition: Vec<(u32, u32)> = (0..=starts as u32).map(|at| (2 * at, at % 2)).collect();
        assert_eq!(image_v4(&partition).v4_nodes.len(), nodes, "{starts} starts after the first");
    }
    // Between two steps. With a list of low halves the half behind it is a start, too.
    let anywhere = |starts: u128, low: u128| -> Vec<(u128, u32)> {
        (0..=starts).map(|at| (at * STEP + at * ((1 << 64) + low), (at % 2) as u32)).collect()
    };
    assert_eq!(image_v6(&anywhere(7, 0)).v6_nodes.len(), 1);
    assert_eq!(image_v6(&anywhere(8, 0)).v6_nodes.len(), 3);
    let image = image_v6(&anywhere(3, 1));
    assert_eq!((image.v6_nodes.len(), image.v6_low.len()), (1, 6));
}

#[test]
fn networks_far_from_each_other_are_four_to_a_node_and_hosts_two() {
    for (bits, to_a_node) in [(80, 3), (0, 2)] {
        let partition: Vec<(u128, u32)> = [(0, 0)]
            .into_iter()
            .chain((1..10_000_u128).flat_map(|at| [(at << 104, 1), ((at << 104) + (1 << bits), 0)]))
            .collect();
        let nodes = image_v6(&partition).v6_nodes.len();
        assert!(nodes * to_a_node < 10_000, "{nodes} nodes for 10,000 networks of {bits} bits");
    }
}

#[test]
fn partitions_of_every_size_up_to_three_levels_agree_with_a_scan() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for keys in (1..=130_u64).chain((131..=1500).step_by(131)) {
        for first_bit in [0, 1 << 127] {
            let starts: Vec<u128> = (1..keys).map(|key| first_bit | u128::from(key) << 100).collect();
            let partition = partition(&mut random, starts);
            check_v6(&partition, vec![(1 << 127) - 1, 1 << 127, u128::MAX], seed);
        }
    }
}

#[test]
fn starts_that_crowd_at_every_scale_are_found_within_the_levels() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..40 {
        // Crowds within crowds: each start is near one there is already, at a distance of any size.
        let mut starts: Vec<u128> = vec![random.u128(..)];
        while starts.len() < if round == 0 { FULL / 5 } else { 2_000 } {
            let near = starts[random.usize(0..starts.len())];
            let crowd = near ^ random.u128(..) >> random.u32(1..128);
            starts.push(if random.u8(0..20) == 0 { crowd } else { crowd >> 64 << 64 });
            if random.bool() {
                let step = 1_u128 << random.u32(64..120);
                starts.extend((1..random.u128(2..200)).map(|at| crowd.wrapping_add(at * step) >> 64 << 64));
            }
        }
        let partition = partition(&mut random, starts);
        check_v6(&partition, Vec::new(), seed);
        let deep = depth(&image_v6(&partition));
        assert!(deep <= V6_LEVELS - 4, "{deep} nodes deep, seed {seed}");
        let v4: Vec<u32> = partition.iter().map(|(start, _)| (start >> 96) as u32 ^ (start >> 64) as u32).collect();
        let v4 = self::partition(&mut random, v4);
        check_v4(&v4, Vec::new(), seed);
    }
}

#[test]
fn a_tree_deeper_than_look_ups_go_is_refused() {
    let starts: Vec<(u64, u32)> = (0..100).map(|at| (at << 32, 0)).collect();
    assert_eq!(tree::build(&starts, 1, true).err(), Some(BuildError::TooDeep(1)));
    assert!(tree::build(&starts, 2, true).is_ok());
}

#[test]
fn a_node_that_is_gone_gives_no_answer_and_never_another() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..50 {
        let starts: Vec<u128> = (0..500).map(|_| random.u128(..) & u128::MAX << random.u32(50..128)).collect();
        let v6 = partition(&mut random, starts.iter().map(|start| start >> 8).collect());
        let v4 = partition(&mut random, starts.iter().map(|start| (start >> 100) as u32).collect());
        let whole = Image::build(&v4, &v6, classes(), Vec::new()).expect("a partition");
        let mut broken = whole.clone();
        for _ in 0..10 {
            let (gone4, gone6) = (random.usize(0..whole.v4_nodes.len()), random.usize(0..whole.v6_nodes.len()));
            broken.v4_nodes[gone4] = Node::default();
            broken.v6_nodes[gone6] = Node::default();
        }
        broken.v6_nodes.truncate(whole.v6_nodes.len() - 3);
        let mut missed = 0;
        for bits in around_v6(&v6) {
            let found = class_id_v6(&broken, address(bits));
            assert!(found.is_none() || found == class_id_v6(&whole, address(bits)), "{bits:#x}, seed {seed}");
            missed += usize::from(found.is_none());
        }
        assert!(missed > 0, "seed {seed}");
        for bits in around_v4(&v4) {
            let found = class_id_v4(&broken, bits);
            assert!(found.is_none() || found == class_id_v4(&whole, bits), "{bits:#x}, seed {seed}");
        }
    }
}

#[test]
fn nodes_that_lead_back_end_a_look_up_without_an_answer() {
    let partition: Vec<(u128, u32)> = (0..100).map(|at| (at << 96, (at % 2) as u32)).collect();
    let mut image = image_v6(&partition);
    let top = image.v6_cell(0).expect("a cell") & !IS_NODE;
    let head = &mut image.v6_nodes[top as usize].words[0];
    *head = *head & 0xffff_ffff | u64::from(top) << 32;
    assert_eq!(class_id_v6(&image, address(0)), None);
}

#[test]
fn the_longest_list_below_64_is_searched_to_its_end_and_a_longer_one_is_refused() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let half = 0x2001_0db8_u128 << 96;
    let starts: Vec<u128> = (0..4095).map(|low| half + low * 3).collect();
    let longest = partition(&mut random, starts.clone());
    check_v6(&longest, (0..13_000).map(|low| half + low).collect(), seed);

    let mut longer = starts;
    longer.push(half + u128::from(u64::MAX));
    let longer = partition(&mut random, longer);
    assert_eq!(Image::build(&[(0, 0)], &longer, classes(), Vec::new()), Err(BuildError::TooManyLow));
}

#[test]
fn as_many_rows_below_64_as_fit_are_found_and_one_more_is_refused() {
    const ROWS: u32 = LOW_ROWS;
    let rows = |rows: u32| -> Vec<(u128, u32)> {
        (0..rows).map(|row| (u128::from(row / 4095 * 2) << 64 | u128::from(row % 4095), row % CLASSES)).collect()
    };
    let full = rows(ROWS);
    let image = image_v6(&full);
    assert_eq!(image.v6_low.len(), ROWS as usize);
    for (start, class_id) in full.into_iter().rev().take(5_000) {
        assert_eq!(class_id_v6(&image, address(start)), Some(class_id), "{start:#x}");
    }
    let refused = Image::build(&[(0, 0)], &rows(ROWS + 1), classes(), Vec::new());
    assert_eq!(refused, Err(BuildError::TooManyLow));
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

const TCP: u8 = 6;
const UDP: u8 = 17;

fn row(rule: u16, protocol: u8, port_low: u16, port_high: u16) -> RuleRow {
    RuleRow {
        not_before_ns: 0,
        expires_ns: u64::MAX,
        port_low,
        port_high,
        rule,
        protocol,
        action: RuleRowAction::Allow as u8,
    }
}

/// One class with these rules, asked about at any address.
fn one_class(rules: Vec<RuleRow>) -> Image {
    let class = ClassRow {
        rules_len: rules.len() as u32,
        deny: 1,
        alert: 1,
        class: Class::Outside as u8,
        ..ClassRow::default()
    };
    Image::build(&[(0, 0)], &[(0, 0)], vec![class], rules).expect("fits")
}

#[test]
fn a_rule_with_ports_covers_its_protocol_from_the_first_port_to_the_last() {
    let image =
        one_class(vec![row(1, TCP, 100, 200), row(1, UDP, 0, 0), row(2, TCP, 200, 65535), row(3, UDP, 65535, 65535)]);
    let rule = |protocol, port, known: bool| {
        classify(&image, 4, Address::v4(1), protocol, known.then_some(port)).expect("whole").rule
    };
    for (protocol, port, expected) in [
        (TCP, 99, 0),
        (TCP, 100, 1),
        (TCP, 200, 1),
        (TCP, 201, 2),
        (TCP, 65535, 2),
        (TCP, 0, 0),
        (UDP, 0, 1),
        (UDP, 1, 0),
        (UDP, 65534, 0),
        (UDP, 65535, 3),
        (1, 100, 0),
        (0, 100, 0),
    ] {
        assert_eq!(rule(protocol, port, true), expected, "protocol {protocol} port {port}");
        assert_eq!(rule(protocol, port, false), 0, "a later fragment has no port to cover");
    }
}

#[test]
fn a_rule_without_ports_covers_every_packet_and_fragments_too() {
    let image = one_class(vec![row(1, TCP, 443, 443), row(7, 0, 0, 65535)]);
    for (protocol, port, known, rule) in
        [(TCP, 443, true, 1), (TCP, 443, false, 7), (1, 0, true, 7), (255, 9, false, 7)]
    {
        let got = classify(&image, 4, Address::v4(1), protocol, known.then_some(port)).expect("whole");
        assert_eq!(
            got,
            Classification { class_id: 0, rule, deny: false, alert: false, keep: false },
            "protocol {protocol} {known}"
        );
    }
}

#[test]
fn a_rule_for_all_of_a_protocol_covers_what_has_no_port_and_one_for_all_but_one_does_not() {
    let rules = vec![row(1, TCP, 1, 65535), row(2, TCP, 0, 65534), row(3, UDP, 0, 65535), row(4, TCP, 0, 65535)];
    let image = one_class(rules);
    let rule = |protocol, port| classify(&image, 4, Address::v4(1), protocol, port).expect("whole").rule;
    assert_eq!([rule(TCP, None), rule(UDP, None), rule(1, None)], [4, 3, 0]);
    assert_eq!([rule(TCP, Some(0)), rule(TCP, Some(1))], [2, 1]);
}

#[test]
fn a_rule_out_of_its_time_is_passed_over_for_the_next() {
    let timed = RuleRow { not_before_ns: 1000, expires_ns: 2000, ..row(1, TCP, 443, 443) };
    let mut image = one_class(vec![timed, row(2, TCP, 440, 450)]);
    for (now, rule) in [(0, 2), (999, 2), (1000, 1), (1999, 1), (2000, 2), (u64::MAX, 2)] {
        image.host_boot_ns = now;
        assert_eq!(classify(&image, 4, Address::v4(1), TCP, Some(443)).expect("whole").rule, rule, "at {now}");
    }
}

#[test]
fn random_rules_agree_with_a_scan() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        let rows: Vec<RuleRow> = (0..random.usize(0..=MAX_RULES_PER_CLASS as usize))
            .map(|number| {
                let (a, b) = (random.u16(0..30), random.u16(0..30));
                let times = (random.u64(0..10), if random.bool() { u64::MAX } else { random.u64(0..10) });
                RuleRow {
                    not_before_ns: times.0,
                    expires_ns: times.1,
                    action: random.u8(1..=3),
                    ..row(number as u16 + 1, [0, TCP, UDP][random.usize(0..3)], a.min(b), a.max(b))
                }
            })
            .collect();
        let mut image = one_class(rows.clone());
        for _ in 0..200 {
            let (protocol, port, known, now) =
                ([TCP, UDP, 1][random.usize(0..3)], random.u16(0..32), random.bool(), random.u64(0..12));
            image.host_boot_ns = now;
            let expected = rows.iter().filter(|row| row.not_before_ns <= now && (now < row.expires_ns)).find(|row| {
                row.protocol == 0 || known && row.protocol == protocol && (row.port_low..=row.port_high).contains(&port)
            });
            let got = classify(&image, 4, Address::v4(9), protocol, known.then_some(port)).expect("whole");
            let denied = expected.is_none_or(|row| row.action == RuleRowAction::Deny as u8);
            let expected = Classification {
                class_id: 0,
                rule: expected.map_or(0, |row| row.rule),
                deny: denied,
                alert: denied,
                keep: expected.is_some_and(|row| row.action == RuleRowAction::Keep as u8),
            };
            assert_eq!(got, expected, "seed {seed}");
        }
    }
}

#[test]
fn an_address_inside_an_ipv6_address_decides_but_never_makes_it_local() {
    let of = |class: Class, rules: (u32, u32)| ClassRow {
        class: class as u8,
        deny: u8::from(matches!(class, Class::Outside | Class::Unknown)),
        alert: u8::from(matches!(class, Class::Outside | Class::Unknown)),
        rules_start: rules.0,
        rules_len: rules.1,
        ..ClassRow::default()
    };
    let carrier = |form: Embedded| ClassRow { embedded: form as u8, ..of(Class::Unknown, (0, 1)) };
    let classes = vec![
        of(Class::Unknown, (0, 0)),
        of(Class::Outside, (1, 1)),
        of(Class::Local, (0, 0)),
        of(Class::Inside, (0, 0)),
        carrier(Embedded::Low32),
        carrier(Embedded::SixToFour),
        carrier(Embedded::Teredo),
    ];
    let v4 = [(0, 0), (0x0505_0000, 3), (0x0808_0000, 1), (0x0809_0000, 0), (0x7f00_0000, 2), (0x8000_0000, 0)];
    let v6 = [
        (0, 0),
        (0x0064_ff9b << 96, 4),
        ((0x0064_ff9b << 96) + (1 << 32), 0),
        (0x2001_0000 << 96, 6),
        (0x2001_0001 << 96, 0),
        (0x2002 << 112, 5),
        (0x2003 << 112, 0),
    ];
    let image = Image::build(&v4, &v6, classes, vec![row(1, TCP, 80, 80), row(2, TCP, 90, 90)]).expect("fits");
    let ask = |bits: u128, port| classify(&image, 6, address(bits), TCP, Some(port)).expect("whole");
    for (form, put) in [
        ("NAT64", (|inner| 0x0064_ff9b << 96 | inner) as fn(u128) -> u128),
        ("6to4", |inner| 0x2002 << 112 | inner << 80 | 1),
        ("Teredo", |inner| 0x2001_0000 << 96 | 0x1234_5678 << 64 | (inner ^ 0xffff_ffff)),
    ] {
        let outside = Classification { class_id: 1, rule: 0, deny: true, alert: true, keep: false };
        assert_eq!(ask(put(0x0808_0808), 443), outside, "{form}");
        assert_eq!(
            ask(put(0x0808_0808), 80),
            Classification { rule: 1, deny: false, alert: false, ..outside },
            "{form}: the prefix's rule"
        );
        assert_eq!(
            ask(put(0x0808_0808), 90),
            Classification { rule: 2, deny: false, alert: false, ..outside },
            "{form}: the rule inside"
        );
        assert_eq!(ask(put(0x0505_0505), 443), Classification { class_id: 3, ..Classification::default() }, "{form}");
        let local = ask(put(0x7f00_0001), 443);
        assert!(local.deny && local.alert && (4..=6).contains(&local.class_id), "{form}: {local:?}");
        assert_eq!(ask(put(0x7f00_0001), 80).rule, 1, "{form}");
    }
}

/// The prefix's rule, or that of the address inside, by an image with one of each.
fn embedded(prefix: RuleRowAction, inside: RuleRowAction, form: Embedded, class: Class) -> Classification {
    let ruled = |row_action: RuleRowAction, start| if row_action == RuleRowAction::None { (0, 0) } else { (start, 1) };
    let of = |class: Class, (rules_start, rules_len), form: Embedded| {
        let denied = u8::from(matches!(class, Class::Outside | Class::Unknown));
        ClassRow {
            class: class as u8,
            deny: denied,
            alert: denied,
            rules_start,
            rules_len,
            embedded: form as u8,
            ..ClassRow::default()
        }
    };
    let classes = vec![of(Class::Unknown, ruled(prefix, 0), form), of(class, ruled(inside, 1), Embedded::None)];
    let rules =
        vec![RuleRow { action: prefix as u8, ..row(1, 0, 0, 0) }, RuleRow { action: inside as u8, ..row(2, 0, 0, 0) }];
    let image = Image::build(&[(0, 1)], &[(0, 0)], classes, rules).expect("fits");
    let isatap = Address { high: 0x2001_0db8 << 32, low: 0x5efe_0808_0808 };
    classify(&image, 6, isatap, TCP, Some(1)).expect("whole")
}

#[test]
fn of_a_prefix_and_the_address_inside_the_stricter_rule_holds_and_management_stands_above_both() {
    use RuleRowAction::{Allow, Deny, Keep, None};
    for class in [Class::Inside, Class::Outside, Class::Local] {
        let local = class == Class::Local;
        for (prefix, inside, rule) in [
            (None, None, 0),
            (Allow, None, 1),
            (Deny, None, 1),
            (Keep, None, 1),
            (None, Allow, if local { 0 } else { 2 }),
            (None, Deny, 2),
            (None, Keep, if local { 0 } else { 2 }),
            (Allow, Allow, 1),
            (Allow, Deny, 2),
            (Deny, Allow, 1),
            (Deny, Deny, 1),
            (Deny, Keep, if local { 1 } else { 2 }),
            (Keep, Deny, 1),
        ] {
            let got = embedded(prefix, inside, Embedded::Low32, class);
            let row_action = [None, prefix, inside][usize::from(rule)];
            let deny = if rule == 0 { class != Class::Inside } else { row_action == Deny };
            let expected =
                Classification { class_id: u16::from(!local), rule, deny, alert: deny, keep: row_action == Keep };
            assert_eq!(got, expected, "{class:?}: {prefix:?} on the prefix, {inside:?} inside");
        }
    }
}

#[test]
fn by_isatap_each_address_has_its_own_rules_and_the_stricter_of_the_two_holds() {
    use RuleRowAction::{Allow, Deny, Keep, None};
    // The outer address is denied by its class, the inner one by its own.
    for (outer, inside, class, class_id, deny) in [
        (None, None, Class::Inside, 0, true),
        (None, None, Class::Outside, 0, true),
        (None, Allow, Class::Outside, 0, true),
        (None, Keep, Class::Outside, 0, true),
        (Allow, None, Class::Inside, 0, false),
        (Allow, None, Class::Outside, 1, true),
        (Allow, Allow, Class::Outside, 0, false),
        (Allow, Deny, Class::Inside, 1, true),
        (Deny, Allow, Class::Inside, 0, true),
        (Deny, Deny, Class::Inside, 0, true),
        (Keep, None, Class::Outside, 0, false),
        (Keep, Deny, Class::Inside, 0, false),
    ] {
        let got = embedded(outer, inside, Embedded::None, class);
        assert_eq!((got.class_id, got.deny), (class_id, deny), "{class:?}: {outer:?} outside, {inside:?} inside");
        assert_eq!(got.keep, outer == Keep);
    }
}

#[test]
fn an_image_that_is_not_whole_gives_no_answer_and_never_panics() {
    let whole = image_v6(&[(0, 1), (5, 2), (1 << 100, 3)]);
    let ask = |image: &Image, version| classify(image, version, Address { high: 0, low: 7 }, TCP, Some(1));
    assert_eq!(ask(&whole, 6).map(|got| got.class_id), Some(2));
    assert_eq!(ask(&Image::default(), 4), None);
    assert_eq!(ask(&Image::default(), 6), None);
    assert_eq!(ask(&Image { v4_root: Vec::new(), ..whole.clone() }, 4), None);
    assert_eq!(ask(&Image { v6_root: Vec::new(), ..whole.clone() }, 6), None);
    assert_eq!(ask(&Image { v6_nodes: Vec::new(), ..whole.clone() }, 6), None);
    assert_eq!(ask(&Image { v6_low: Vec::new(), ..whole.clone() }, 6), None);
    assert_eq!(ask(&Image { classes: Vec::new(), ..whole }, 6), None);
    let rules_gone = Image { rules: Vec::new(), ..one_class(vec![row(1, 0, 0, 0)]) };
    assert_eq!(ask(&rules_gone, 4), None);
}
