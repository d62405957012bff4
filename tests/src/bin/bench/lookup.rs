//! What it costs to find an address's class in the full embedded table: the product's index beside the kernel's LPM
//! trie with the same prefixes, each over a program that only takes the address. The two must give the same answers.

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::{
        Array, MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use monitor_common::{classify::build::Image, wire::PolicyMeta};

use crate::{
    goal::{Goal, Goals},
    plan::{Plan, on_cpu},
    rig::{Base, map, object, program, run as run_program},
    spread::{Spread, Unit},
    table::Row,
};

pub const ROWS: &[&str] = &["lookup/ipv4", "lookup/ipv6"];

const ROUNDS: usize = 11;
/// Addresses that are looked up in turn: so many that they are no help to each other. Of IPv6 as in the object's map;
/// of IPv4 the programs have one of their own for each number.
const ADDRESSES: u32 = 65_536;
/// So few that the tables they touch stay in the CPU's caches.
const FEW: u32 = 256;
/// The same on every run.
const SEED: u64 = 4;

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for id in ROWS.iter().filter(|id| plan.wants(id)) {
        // One after the other, since the tries need much memory.
        rows.push(on_cpu(0, || if id.ends_with('4') { v4(plan, id, base) } else { v6(plan, id, base) })?);
    }
    Ok(rows)
}

fn v4(plan: &Plan, id: &str, base: &Base) -> Result<Row> {
    let image = &base.policy.image;
    let prefixes = prefixes_v4(image);
    plan.say(&format!("an LPM trie with {} IPv4 prefixes", prefixes.len()));
    let programs = ["none_v4", "index_v4", "trie_v4"];
    let mut bench = Bench::new(image, programs, "TRIE_V4", prefixes.len())?;
    let mut trie: LpmTrie<MapData, u32, u32> = map(&mut bench.object, "TRIE_V4")?;
    for (start, length, class_id) in &prefixes {
        trie.insert(&Key::new(*length, start.to_be()), class_id, 0)?;
    }
    let name = "address, IPv4, random";
    let goals = [Goal::AtMost(42.0).into(), Goal::AtMost(8.0).into()];
    bench.measure(plan, id, name, goals, prefixes.len())
}

fn v6(plan: &Plan, id: &str, base: &Base) -> Result<Row> {
    let image = &base.policy.image;
    let starts = image.v6_intervals();
    let mut prefixes = Vec::new();
    each_prefix(&starts, 128, |start, length, class_id| prefixes.push((start, length, class_id)));
    plan.say(&format!("an LPM trie with {} IPv6 prefixes", prefixes.len()));
    let programs = ["none_v6", "index_v6", "trie_v6"];
    let mut bench = Bench::new(image, programs, "TRIE_V6", prefixes.len())?;
    let mut trie: LpmTrie<MapData, [u64; 2], u32> = map(&mut bench.object, "TRIE_V6")?;
    for (start, length, class_id) in &prefixes {
        trie.insert(&Key::new(*length, halves(*start).map(u64::to_be)), class_id, 0)?;
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    // Where an interval begins, or the last address before.
    let near = |random: &mut fastrand::Rng| starts[random.usize(1..starts.len())].0 - u128::from(random.bool());
    fill(&mut bench.object, "ADDRESSES", (0..ADDRESSES).map(|_| halves(near(&mut random))))?;
    let name = "address, IPv6, next to a random boundary";
    // Either is as good: the more of the tables the processor keeps for few addresses, the less for many.
    let goals = [
        Goals::from(Goal::AtMost(280.0)).or(Goal::AtMost(340.0)),
        Goals::from(Goal::AtMost(85.0)).or(Goal::AtMost(30.0)),
    ];
    bench.measure(plan, id, name, goals, prefixes.len())
}

const fn halves(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}

struct Bench {
    object: Ebpf,
    /// Without a look-up, by the index, by the trie.
    programs: [&'static str; 3],
    step: Array<MapData, [u64; 4]>,
}

impl Bench {
    /// The object with the policy image in its maps and place in one trie.
    fn new(image: &Image, programs: [&'static str; 3], trie: &str, prefixes: usize) -> Result<Self> {
        let sizes = [
            ("V4_NODES", image.v4_nodes.len()),
            ("V6_NODES", image.v6_nodes.len()),
            ("V6_LOW", image.v6_low.len()),
            (trie, prefixes),
        ];
        let mut object = object(&sizes)?;
        // Before any map is taken: they refer to maps by descriptor.
        for name in programs {
            program(&mut object, name)?.load().with_context(|| format!("loading {name}"))?;
        }
        fill(&mut object, "V4_ROOT", image.v4_root.iter().copied())?;
        fill(&mut object, "V4_NODES", image.v4_nodes.iter().copied())?;
        fill(&mut object, "V6_ROOT", image.v6_root.iter().copied())?;
        fill(&mut object, "V6_NODES", image.v6_nodes.iter().copied())?;
        fill(&mut object, "V6_LOW", image.v6_low.iter().copied())?;
        fill(&mut object, "POLICY", std::iter::once(PolicyMeta::default()))?;
        let step = map(&mut object, "STEP")?;
        Ok(Self { object, programs, step })
    }

    fn measure(&mut self, plan: &Plan, id: &str, name: &str, goals: [Goals; 2], prefixes: usize) -> Result<Row> {
        let programs = self.programs;
        let [_, index, trie] = programs;
        let answers = self.answers(index)?;
        let others = self.answers(trie)?;
        ensure!(answers == others, "the classes sum up to {answers} by the index and to {others} by the trie");
        let repeat = plan.repeat(4 * ADDRESSES);
        let [none, ours, trie, warm] = plan.interleave(name, plan.rounds(ROUNDS), |variant| {
            let (name, addresses) = if variant == 3 { (index, FEW) } else { (programs[variant], ADDRESSES) };
            self.step.set(0, [0, u64::from(addresses) - 1, 0, 0], 0)?;
            run_program(program(&mut self.object, name)?, &[0; 64], repeat)
        })?;
        let cost = |with: &[f64]| with.iter().zip(&none).map(|(with, none)| with - none).collect::<Vec<f64>>();
        let (ours_cost, trie_cost, warm_cost) = (cost(&ours), cost(&trie), cost(&warm));
        let row = Row::new(id, name, Spread::of(&ours), Unit::Nanoseconds)
            .with("no look-up", Spread::of(&none))
            .with("LPM trie", Spread::of(&trie))
            .check("more", Spread::of(&ours_cost), Unit::Nanoseconds, goals[0])
            // Below a nanosecond nothing is told apart.
            .check(
                "faster than LPM",
                Spread::pairs(&trie_cost, &ours_cost, |trie, ours| trie / ours.max(1.0)),
                Unit::Times,
                Goal::AtLeast(10.0),
            )
            .check("the same with 256 addresses", Spread::of(&warm_cost), Unit::Nanoseconds, goals[1]);
        Ok(row.note(format!("the embedded datasets, {prefixes} prefixes in the trie; answers are the same by both")))
    }

    /// The sum of the classes of all addresses.
    fn answers(&mut self, name: &str) -> Result<u64> {
        self.step.set(0, [0, u64::from(ADDRESSES) - 1, 0, 0], 0)?;
        run_program(program(&mut self.object, name)?, &[0; 64], ADDRESSES)?;
        let [_, _, sum, missed] = self.step.get(&0, 0)?;
        ensure!(missed == 0, "{name} finds nothing for {missed} of {ADDRESSES} addresses");
        Ok(sum)
    }
}

fn fill<T: aya::Pod>(object: &mut Ebpf, name: &str, values: impl Iterator<Item = T>) -> Result<()> {
    let mut array: Array<MapData, T> = map(object, name)?;
    for (value, index) in values.zip(0..) {
        array.set(index, value, 0).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// An image's IPv4 prefixes: start, length, class.
pub fn prefixes_v4(image: &Image) -> Vec<(u32, u32, u32)> {
    let starts: Vec<(u128, u32)> =
        image.v4_intervals().iter().map(|(start, class_id)| (u128::from(*start), *class_id)).collect();
    let mut prefixes = Vec::new();
    each_prefix(&starts, 32, |start, length, class_id| prefixes.push((start as u32, length, class_id)));
    prefixes
}

/// The prefixes, longest as can be, that the intervals of a partition consist of: start, length, class.
fn each_prefix(starts: &[(u128, u32)], bits: u32, mut prefix: impl FnMut(u128, u32, u32)) {
    let last_address = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
    let ends = starts.iter().skip(1).map(|(start, _)| start - 1).chain([last_address]);
    for ((start, class_id), end) in starts.iter().zip(ends) {
        range_prefixes(*start, end, bits, |at, length| prefix(at, length, *class_id));
    }
}

/// The prefixes that a range consists of.
pub fn range_prefixes(first: u128, last: u128, bits: u32, mut prefix: impl FnMut(u128, u32)) {
    let mut at = first;
    loop {
        // As large as where it begins allows, and not past the end.
        let room = (last - at).checked_add(1).map_or(u128::BITS, u128::ilog2);
        let size = at.trailing_zeros().min(room).min(bits);
        prefix(at, bits - size);
        let end = at | 1_u128.checked_shl(size).map_or(u128::MAX, |one| one - 1);
        if end >= last {
            return;
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::range_prefixes;

    fn prefixes(first: u128, last: u128, bits: u32) -> Vec<(u128, u32)> {
        let mut found = Vec::new();
        range_prefixes(first, last, bits, |at, length| found.push((at, length)));
        found
    }

    #[test]
    fn a_range_is_the_fewest_prefixes_that_cover_exactly_it() {
        assert_eq!(prefixes(0, 0xffff_ffff, 32), [(0, 0)]);
        assert_eq!(prefixes(0, u128::MAX, 128), [(0, 0)]);
        assert_eq!(prefixes(5, 5, 32), [(5, 32)]);
        assert_eq!(prefixes(1, 6, 32), [(1, 32), (2, 31), (4, 31), (6, 32)]);
        assert_eq!(prefixes(0xffff_fffe, 0xffff_ffff, 32), [(0xffff_fffe, 31)]);
        assert_eq!(prefixes(u128::MAX - 2, u128::MAX, 128), [(u128::MAX - 2, 128), (u128::MAX - 1, 127)]);
    }
}
