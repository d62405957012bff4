//! The trees' shape, how deep they get, and what of them is refused or broken.

use super::*;

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
    let starts: Vec<u128> = (0..u128::from(LOW_LIST_ROWS)).map(|low| half + low * 3).collect();
    let longest = partition(&mut random, starts.clone());
    check_v6(&longest, (0..200_000).step_by(7).map(|low| half + low).collect(), seed);

    let mut longer = starts;
    longer.push(half + u128::from(u64::MAX));
    let longer = partition(&mut random, longer);
    let refused = Image::build(&[(0, 0)], &longer, classes(), Vec::new());
    assert_eq!(refused, Err(BuildError::TooManyInOne64 { at: 0x2001_0db8_u64 << 32, rows: 65_536 }));
}

#[test]
fn long_lists_below_64s_side_by_side_are_each_found() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let half = 0x2001_0db8_u128 << 96;
    // Lists of which one, two, or all but the last are further than a leaf can say; between them ones of a few rows.
    let mut starts = Vec::new();
    for (at, rows) in
        [(0, 30_000), (1, 30_000), (2, 5), (3, 40_000), (4, 20_000), (5, 20_000), (7, 3), (9, 65_000), (40, 9)]
    {
        starts.extend((0..rows).map(|row| half + (at << 64) + row * 5 + 1));
        starts.push(half + (at << 64) + (1 << 63));
    }
    let partition = partition(&mut random, starts.clone());
    let probes = (0..50_000).map(|_| starts[random.usize(..starts.len())].wrapping_add(random.u128(0..7)));
    check_v6(&partition, probes.collect(), seed);
}

#[test]
fn as_many_rows_below_64_as_fit_are_found_and_one_more_is_refused() {
    // Where the compiler does not optimise, all of them would take minutes.
    const MOST: u32 = if cfg!(debug_assertions) { 1 << 19 } else { LOW_ROWS };
    let rows = |rows: u32| -> Vec<(u128, u32)> {
        (0..rows).map(|row| (u128::from(row / 4_095 * 2) << 64 | u128::from(row % 4_095), row % CLASSES)).collect()
    };
    let full = rows(MOST);
    let image = image_v6(&full);
    assert_eq!(image.v6_low.len(), MOST as usize);
    for (start, class_id) in full.into_iter().rev().take(5_000) {
        assert_eq!(class_id_v6(&image, address(start)), Some(class_id), "{start:#x}");
    }
    let refused = super::super::build::index_v6(&rows(MOST + 1), MOST as usize).err();
    assert_eq!(refused, Some(BuildError::TooManyLow(MOST as usize + 1)));
}
