//! How much of the flow cache each CPU gets: flows of the last epochs in, regions of blocks out. Called by the flow cache
//! before each epoch. A cache that is larger than its flows need costs every packet: its lines come from further away.

use std::time::{Duration, Instant};

use monitor_common::wire::{CACHE_WAYS, CacheRegion, CpuHalf};

/// IPv4 flows that fit into a block.
pub(super) const PER_BLOCK: u32 = CACHE_WAYS as u32;

/// Places of a CPU and IP version at least.
pub(super) const LEAST: u32 = 1_024;

/// How many times the places grow and shrink by.
const STEP: u32 = 4;

/// Places shrink when they were too many for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// No region: no block has this number.
pub(super) const NONE: CacheRegion = CacheRegion { base: u32::MAX, shift: 63 };

/// Sets of a region; one of IPv6 has at least two.
pub(super) const fn sets(region: CacheRegion) -> u32 {
    places(region) / PER_BLOCK
}

const fn places(region: CacheRegion) -> u32 {
    if region.base == NONE.base { 0 } else { 1 << (64 - region.shift) }
}

/// Blocks for so many places of IPv4 and IPv6.
pub(super) const fn blocks([v4, v6]: [u32; 2]) -> u32 {
    v4 / PER_BLOCK + v6 / PER_BLOCK + (v6 / PER_BLOCK).div_ceil(2)
}

/// What a CPU needs of one IP version.
#[derive(Clone, Copy, Debug)]
struct Need {
    places: u32,
    /// The most flows since then.
    highest: u32,
    since: Instant,
}

impl Need {
    /// So many crowded flows are a reason to end the epoch. While there can be more places, a few; then as many as there is
    /// room for elsewhere, `beyond`.
    const fn limit(&self, most: u32, beyond: u32) -> u32 {
        let few = self.places / 16 + 1;
        if self.places < most || few > beyond { few } else { beyond }
    }
}

/// What all CPUs need, IPv4 and IPv6.
#[derive(Debug)]
pub(super) struct Needs {
    cpus: Vec<[Need; 2]>,
    /// Places of a CPU and IP version at most.
    most: u32,
}

impl Needs {
    /// `most`: a power of two.
    pub fn new(cpus: usize, most: u32) -> Self {
        let need = Need { places: LEAST.min(most), highest: 0, since: Instant::now() };
        Self { cpus: vec![[need; 2]; cpus], most }
    }

    /// Notes how many flows a CPU had in an epoch: more places hold from the next, fewer when that was so for a while.
    /// Epochs that end early have few flows, so a single one says little.
    pub fn note(&mut self, cpu: usize, flows: [u32; 2], now: Instant) {
        for (need, flows) in self.cpus[cpu].iter_mut().zip(flows) {
            need.highest = need.highest.max(flows);
            let places = places_for(need.highest, self.most);
            if places >= need.places {
                *need = Need { places, highest: 0, since: now };
            } else if now.saturating_duration_since(need.since) >= PATIENCE {
                // A step at a time.
                *need = Need { places: places.max(need.places / STEP), highest: 0, since: now };
            }
        }
    }

    /// How many crowded flows a CPU is to report, IPv4 and IPv6. `table`: places of the flow table that it may fill.
    pub fn limits(&self, cpu: usize, reserves: [CacheRegion; 2], table: u32) -> [u32; 2] {
        let Some(needs) = self.cpus.get(cpu) else { return [0; 2] };
        std::array::from_fn(|version| needs[version].limit(self.most, places(reserves[version]) + table))
    }

    /// Gives those more.
    pub fn note_crowded(&mut self, cpu: usize, half: &CpuHalf) {
        for (need, crowded) in self.cpus[cpu].iter_mut().zip(half.crowded) {
            if crowded > need.places / 16 {
                need.places = need.places.saturating_mul(STEP).min(self.most);
            }
        }
    }

    /// Gives each CPU what it needs of `count` blocks from `start` on: those that need most get less until it is enough
    /// for all.
    pub fn layout(&self, start: u32, count: u32) -> Layout {
        let mut wanted: Vec<[u32; 2]> = self.cpus.iter().map(|needs| needs.map(|need| need.places)).collect();
        while wanted.iter().map(|of| blocks(*of)).sum::<u32>() > count {
            let Some(largest) = wanted.iter_mut().flatten().max() else { break };
            *largest /= 2;
        }
        let mut next = start;
        let regions = wanted.iter().map(|[v4, v6]| {
            let mut region = |places: u32, blocks| {
                let base = next;
                next += blocks;
                CacheRegion { base, shift: 64 - places.ilog2() }
            };
            [region(*v4, blocks([*v4, 0])), region(*v6, blocks([0, *v6]))]
        });
        let regions: Vec<_> = regions.collect();
        let left = (start + count - next) / self.cpus.len() as u32;
        Layout(regions.into_iter().map(|needed| Regions { needed, reserves: reserves(left, &mut next) }).collect())
    }
}

/// Divides so many blocks from `next` on: half of them for IPv4, and what is left then for IPv6.
fn reserves(mut left: u32, next: &mut u32) -> [CacheRegion; 2] {
    let v4 = power_of_two(left / 2 * PER_BLOCK);
    left -= blocks([v4, 0]);
    let v6 = power_of_two(left * PER_BLOCK * 2 / 3);
    [[v4, 0], [0, v6]].map(|places| {
        let base = *next;
        *next += blocks(places);
        let places = places[0] + places[1];
        if places == 0 { NONE } else { CacheRegion { base, shift: 64 - places.ilog2() } }
    })
}

/// The largest power of two that is not more, of the numbers that a region can have places; 0: it is less than those.
fn power_of_two(places: u32) -> u32 {
    if places < 2 * PER_BLOCK { 0 } else { 1 << places.ilog2() }
}

/// Places for so many flows: twice as many at least, so that few sets are full.
fn places_for(flows: u32, most: u32) -> u32 {
    let mut places = LEAST;
    while places < flows.saturating_mul(2) {
        places = places.saturating_mul(STEP);
    }
    places.min(most)
}

/// Where a CPU's sets are in one half: IPv4, IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Regions {
    /// For the flows that it is expected to have.
    pub needed: [CacheRegion; 2],
    /// For those beyond them.
    pub reserves: [CacheRegion; 2],
}

/// What a CPU has that came later.
pub(super) const NOTHING: Regions = Regions { needed: [NONE; 2], reserves: [NONE; 2] };

/// Where each CPU's sets are in one half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Layout(Vec<Regions>);

impl Layout {
    /// As the CPUs have it.
    pub(super) fn of_halves(halves: &[CpuHalf]) -> Self {
        let regions =
            |half: &CpuHalf| Regions { needed: [half.v4, half.v6], reserves: [half.v4_reserve, half.v6_reserve] };
        Self(halves.iter().map(regions).collect())
    }

    /// By CPU.
    pub(super) fn regions(&self) -> &[Regions] {
        &self.0
    }

    /// All places.
    pub fn places(&self) -> u32 {
        self.0.iter().flat_map(|of| of.needed.into_iter().chain(of.reserves)).map(places).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u32 = 1 << 20;

    fn places_of(needs: &Needs) -> Vec<[u32; 2]> {
        needs.layout(0, MANY).regions().iter().map(|regions| regions.needed.map(places)).collect()
    }

    #[test]
    fn places_are_twice_the_flows_in_steps_of_four() {
        for (flows, expected) in [(0, 1_024), (512, 1_024), (513, 4_096), (2_048, 4_096), (40_000, 131_072)] {
            assert_eq!(places_for(flows, 131_072), expected, "{flows}");
        }
        assert_eq!(places_for(u32::MAX, 131_072), 131_072);
        assert_eq!(places_for(0, 128), 128);
    }

    #[test]
    fn more_flows_get_more_places_at_once_and_fewer_after_a_while() {
        let mut needs = Needs::new(2, 65_536);
        let begin = Instant::now();
        needs.note(1, [3_000, 0], begin);
        assert_eq!(places_of(&needs), [[1_024; 2], [16_384, 1_024]]);
        // Epochs that were ended early have few flows.
        for second in 1..60 {
            needs.note(1, [10, 0], begin + Duration::from_secs(second));
        }
        needs.note(1, [600, 0], begin + Duration::from_secs(59));
        assert_eq!(places_of(&needs)[1], [16_384, 1_024]);
        needs.note(1, [10, 0], begin + Duration::from_secs(60));
        assert_eq!(places_of(&needs)[1], [4_096, 1_024]);
        needs.note(1, [10, 0], begin + Duration::from_secs(119));
        assert_eq!(places_of(&needs)[1], [4_096, 1_024]);
        needs.note(1, [10, 0], begin + Duration::from_secs(120));
        assert_eq!(places_of(&needs)[1], [1_024, 1_024]);
        needs.note(1, [0, 0], begin + Duration::from_secs(1_000));
        assert_eq!(places_of(&needs), [[1_024; 2]; 2]);
    }

    #[test]
    fn a_sixteenth_of_the_places_crowded_is_a_reason_for_more_as_long_as_there_are_any() {
        let mut needs = Needs::new(1, 4_096);
        let half = |crowded| CpuHalf { crowded, ..bytemuck::Zeroable::zeroed() };
        assert_eq!(needs.limits(0, [NONE; 2], 4_096), [65, 65]);
        needs.note_crowded(0, &half([64, 65]));
        assert_eq!((places_of(&needs), needs.limits(0, [NONE; 2], 4_096)), (vec![[1_024, 4_096]], [65, 4_096]));
        let reserve = CacheRegion { base: 0, shift: 64 - 10 };
        assert_eq!(needs.limits(0, [reserve; 2], 4_096), [65, 5_120]);
        assert_eq!(needs.limits(0, [NONE; 2], 0), [65, 257]);
    }

    #[test]
    fn regions_do_not_overlap_and_stay_within_what_there_is_whatever_is_needed() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2_000 {
            let cpus = random.usize(1..40);
            let mut needs = Needs::new(cpus, 1 << random.u32(7..20));
            for cpu in 0..cpus {
                let mut flows = || {
                    let bits = random.u32(1..21);
                    random.u32(..1 << bits)
                };
                needs.note(cpu, [flows(), flows()], Instant::now());
            }
            let (start, count) = (random.u32(..1_000), random.u32(cpus as u32 * 64..200_000));
            let layout = needs.layout(start, count);
            let needed = layout.regions().iter().map(|of| of.needed);
            let all: Vec<_> =
                needed.chain(layout.regions().iter().map(|of| of.reserves)).flatten().enumerate().collect();
            let mut next = start;
            for (at, region) in all {
                if region == NONE {
                    assert!(at >= 2 * cpus, "seed {seed}");
                    continue;
                }
                assert_eq!(region.base, next, "seed {seed}");
                assert!(sets(region) >= 1 && places(region).is_power_of_two(), "seed {seed}");
                next += if at % 2 == 0 { sets(region) } else { sets(region) + sets(region).div_ceil(2) };
            }
            assert!(next <= start + count, "seed {seed}: {next} of {start} + {count}");
        }
    }

    #[test]
    fn those_that_need_most_get_less_where_there_is_too_little() {
        let mut needs = Needs::new(2, 131_072);
        for cpu in 0..2 {
            needs.note(cpu, [65_536, 0], Instant::now());
        }
        let enough = 131_072 / PER_BLOCK + 2 * blocks([LEAST, LEAST]);
        let found: Vec<_> = needs.layout(0, enough).regions().iter().map(|of| of.needed.map(places)).collect();
        assert_eq!(found, [[65_536, 1_024]; 2]);
        let mut needs = Needs::new(2, 131_072);
        needs.note(0, [65_536, 0], Instant::now());
        let found: Vec<_> = needs.layout(0, enough).regions().iter().map(|of| of.needed.map(places)).collect();
        assert_eq!(found, [[131_072, 1_024], [1_024, 1_024]]);
    }

    #[test]
    fn what_is_left_is_a_reserve_for_all() {
        let needs = Needs::new(2, 131_072);
        let enough = 131_072 / PER_BLOCK + 2 * blocks([LEAST, LEAST]);
        let reserves: Vec<_> = needs.layout(0, enough).regions().iter().map(|of| of.reserves.map(places)).collect();
        assert_eq!(reserves, [[32_768, 16_384]; 2]);
        let reserves = needs.layout(0, 2 * blocks([LEAST, LEAST])).regions()[0].reserves;
        assert_eq!(reserves, [NONE; 2]);
    }
}
