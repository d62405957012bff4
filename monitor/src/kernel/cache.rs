//! The flow cache from userspace: how much of it each CPU has, and taking what a closed half holds.

use std::{hash::BuildHasher as _, io, time::Instant};

use aya::{maps::MapData, util};
use monitor_common::{
    cache::{FlowSet, HashKeys, WholeSetV6},
    wire::{
        CACHE_WAYS, CacheBlock, CacheRegion, CacheRestsV6, CacheSetV4, CacheSetV6, Counters, CpuHalf, FlowRecord,
        HookTotal, MAX_INTERFACES,
    },
};

use self::layout::{Layout, Needs, PER_BLOCK};
use super::{KernelError, object, sys::MappedArray};

mod layout;

/// Bytes in memory are given out by the block; of IPv4 flows so many fit into the blocks of a half by default.
const PLACES: u32 = 131_072;
/// Such places for each CPU at least.
const LEAST_OF_CPU: u32 = 4_096;

/// Places of a flow table for which an epoch ends early.
const LEAST_TABLE: u32 = 16_384;

/// Places of all CPUs' logs together, in each half; but no CPU has fewer than [`LEAST_LOG`].
const LOG: u32 = 16_384;
const LEAST_LOG: u32 = 1_024;

/// The flow cache: blocks that are given to the CPUs as they need them, anew before each epoch.
#[derive(Debug)]
pub(super) struct Cache {
    /// CPUs that have one: those up to the last that was there at the load. One that comes later has none, and counts in
    /// the flow table.
    cpus: u32,
    /// CPUs that the kernel has place for in a per-CPU value.
    possible: usize,
    /// Blocks of one half.
    blocks: u32,
    /// Places in a CPU's log, in one half.
    log: u32,
    keys: HashKeys,
    /// Places of the flow table that a CPU may fill before the epoch had better end.
    table: u32,
    needs: Needs,
    /// Where each CPU's sets are in the half of each parity.
    layouts: [Layout; 2],
}

impl Cache {
    /// A cache with as many places a CPU and IP version at most, in each half.
    /// `table`: places in the flow table, where what finds none here goes.
    pub fn of(places: Option<u32>, table: u32) -> Result<Self, KernelError> {
        let count = |error: io::Error| KernelError::Map { what: "counting the CPUs", error };
        let online = util::online_cpus().map_err(|(what, e)| count(io::Error::other(format!("{what}: {e}"))))?;
        let possible = util::nr_cpus().map_err(|(_, error)| count(error))?;
        let random = std::hash::RandomState::new();
        let keys = std::array::from_fn(|word| random.hash_one(word) | 1);
        Ok(Self::for_cpus(online.into_iter().max().unwrap_or(0) + 1, possible, places, table, keys))
    }

    /// The same for CPUs up to this one of so many possible ones.
    fn for_cpus(cpus: u32, possible: usize, places: Option<u32>, table: u32, keys: HashKeys) -> Self {
        // Halves begin a page, so that one alone can be mapped.
        let aligned = |number: u32, size: usize| {
            number.next_multiple_of((rustix::param::page_size() / (size & size.wrapping_neg())).max(1) as u32)
        };
        let most = places.unwrap_or(PLACES).next_power_of_two();
        let blocks = match places {
            Some(_) => cpus * layout::blocks([most, most]),
            None => PLACES.max(LEAST_OF_CPU * cpus) / PER_BLOCK + cpus * layout::blocks([layout::LEAST, layout::LEAST]),
        };
        let needs = Needs::new(cpus as usize, most);
        let blocks = aligned(blocks, size_of::<CacheBlock>());
        Self {
            cpus,
            possible,
            blocks,
            log: aligned((LOG / cpus).max(LEAST_LOG), size_of::<FlowRecord>()),
            keys,
            layouts: [0, blocks].map(|start| needs.layout(start, blocks)),
            needs,
            // A smaller table would be full before anything could be done.
            table: if table < LEAST_TABLE { u32::MAX / 2 } else { table / 4 / cpus },
        }
    }

    /// Of an earlier start's maps, to be drained: `halves`, by parity, say where each CPU's sets are.
    pub fn left(halves: [&[CpuHalf]; 2], all_blocks: u32) -> Self {
        // Those that had a cache are the first ones; others may be possible that never came.
        let cpus = halves[0].iter().take_while(|half| half.log_places > 0).count();
        let layouts = halves.map(|half| layout::Layout::of_halves(&half[..cpus]));
        let first = halves[0].first();
        Self {
            cpus: cpus as u32,
            possible: halves[0].len(),
            blocks: all_blocks / 2,
            log: first.map_or(0, |half| half.log_places),
            keys: first.map_or([1; 6], |half| half.keys),
            table: 0,
            needs: Needs::new(cpus, layout::LEAST),
            layouts,
        }
    }

    /// Blocks of both halves.
    pub const fn all_blocks(&self) -> u32 {
        2 * self.blocks
    }

    /// Places in the logs of both halves.
    pub const fn all_log_places(&self) -> u32 {
        2 * self.cpus * self.log
    }

    /// Places in the caches of all CPUs, in the half of this parity.
    pub fn places(&self, parity: u32) -> u32 {
        self.layouts[parity as usize].places()
    }

    /// Places in the logs of all CPUs, in one half.
    pub const fn log_places(&self) -> u32 {
        self.cpus * self.log
    }

    /// What each CPU begins an epoch of this parity with.
    pub fn fresh(&self, parity: u32) -> Vec<CpuHalf> {
        let regions = self.layouts[parity as usize].regions();
        (0..self.possible)
            .map(|cpu| {
                let of = regions.get(cpu).copied().unwrap_or(layout::NOTHING);
                let ([v4, v6], [v4_reserve, v6_reserve]) = (of.needed, of.reserves);
                let has_log = cpu < self.cpus as usize;
                CpuHalf {
                    keys: self.keys,
                    v4,
                    v6,
                    v4_reserve,
                    v6_reserve,
                    log_base: (parity * self.cpus + cpu as u32) * self.log,
                    log_places: if has_log { self.log } else { 0 },
                    logged: 0,
                    crowded: [0; 2],
                    crowded_limit: self.needs.limits(cpu, of.reserves, self.table),
                    events: 0,
                    _reserved: [0; 4],
                    dropped: [Counters::default(); MAX_INTERFACES as usize],
                    hook: [HookTotal::default(); MAX_INTERFACES as usize],
                }
            })
            .collect()
    }

    /// Places in use of the logs, as if all were as full as the fullest, and whether so many flows found no place, or took
    /// another's, that the epoch had better end.
    pub fn pressure(&self, open: &[CpuHalf]) -> (usize, bool) {
        let of_cpus = || open.iter().enumerate().take(self.cpus as usize);
        let fullest = of_cpus().map(|(_, half)| half.logged).max().unwrap_or(0);
        let crowded =
            |half: &CpuHalf| half.crowded.iter().zip(half.crowded_limit).any(|(crowded, limit)| *crowded >= limit);
        ((fullest * self.cpus) as usize, of_cpus().any(|(_, half)| crowded(half)))
    }

    /// Plans the half of this parity, which is closed and empty, for the epoch that comes, seeing how the open one goes. If
    /// that differs from what was planned, which it then gives, the CPUs must get it.
    pub fn plan(&mut self, parity: u32, open: &[CpuHalf]) -> Option<Layout> {
        for (cpu, half) in open.iter().enumerate().take(self.cpus as usize) {
            self.needs.note_crowded(cpu, half);
        }
        let layout = self.needs.layout(parity * self.blocks, self.blocks);
        let before = std::mem::replace(&mut self.layouts[parity as usize], layout);
        (before != self.layouts[parity as usize]).then_some(before)
    }

    /// Takes a plan back.
    pub fn keep(&mut self, parity: u32, layout: Layout) {
        self.layouts[parity as usize] = layout;
    }

    /// Takes every flow out of the half of this parity, which is closed, and learns from it how much each CPU needs. Mapped
    /// only meanwhile: it would count as the daemon's memory.
    /// `halves`: what the CPUs had of it.
    pub fn drain(
        &mut self,
        map: &MapData,
        parity: u32,
        halves: &[CpuHalf],
        mut flow: impl FnMut(&FlowRecord),
    ) -> io::Result<()> {
        let (start, count) = ((parity * self.blocks) as usize, self.blocks as usize);
        let mut window: MappedArray<CacheBlock> = MappedArray::window(object::fd(map), start, count)?;
        let now = Instant::now();
        for (cpu, of) in self.layouts[parity as usize].regions().iter().enumerate() {
            let crowded = halves.get(cpu).map_or([0, 0], |half| half.crowded);
            let [v4, v6] = of.needed;
            let there = [
                take_v4(region(&mut window, start, v4.base, layout::sets(v4)), &mut flow),
                take_v6(region(&mut window, start, v6.base, blocks_v6(v6)), &mut flow),
            ];
            // Those in the reserves are among the crowded.
            let [v4, v6] = of.reserves;
            if crowded[0] > 0 && v4 != layout::NONE {
                take_v4(region(&mut window, start, v4.base, layout::sets(v4)), &mut flow);
            }
            if crowded[1] > 0 && v6 != layout::NONE {
                take_v6(region(&mut window, start, v6.base, blocks_v6(v6)), &mut flow);
            }
            // Of an epoch that nobody ended for long there may be any number.
            self.needs.note(cpu, [0, 1].map(|version: usize| there[version].saturating_add(crowded[version])), now);
        }
        Ok(())
    }

    /// Gives every flow that left the cache in a closed epoch, of which `halves` are.
    pub fn read_log(
        &self,
        map: &MapData,
        parity: u32,
        halves: &[CpuHalf],
        mut flow: impl FnMut(&FlowRecord),
    ) -> io::Result<()> {
        let half = self.log_places() as usize;
        let mut window: MappedArray<FlowRecord> = MappedArray::window(object::fd(map), parity as usize * half, half)?;
        for (cpu, of) in halves.iter().enumerate().take(self.cpus as usize) {
            let logged = of.logged.min(self.log) as usize;
            window.part(cpu * self.log as usize, logged).iter().for_each(&mut flow);
        }
        Ok(())
    }
}

/// Blocks of an IPv6 region: its sets, and for two of them one with their rests.
fn blocks_v6(region: CacheRegion) -> u32 {
    layout::sets(region) + layout::sets(region).div_ceil(2)
}

/// Blocks of a half that is mapped from block `start` on.
fn region(half: &mut MappedArray<CacheBlock>, start: usize, base: u32, count: u32) -> &mut [CacheBlock] {
    half.part(base as usize - start, count as usize)
}

/// Takes the flows out of an IPv4 region.
fn take_v4(region: &mut [CacheBlock], flow: &mut impl FnMut(&FlowRecord)) -> u32 {
    let sets = region.iter_mut().map(bytemuck::cast_mut::<_, CacheSetV4>);
    sets.map(|set| take(set, flow)).sum()
}

/// Takes the flows out of an IPv6 region.
fn take_v6(region: &mut [CacheBlock], flow: &mut impl FnMut(&FlowRecord)) -> u32 {
    let (sets, rests) = region.split_at_mut(region.len() - region.len() / 3);
    let mut flows = 0;
    for (pair, rests) in sets.chunks_mut(2).zip(rests) {
        let rests: &mut CacheRestsV6 = bytemuck::cast_mut(rests);
        for (set, rest) in pair.iter_mut().zip(&mut rests.sets) {
            flows += take(&mut WholeSetV6 { set: bytemuck::cast_mut::<_, CacheSetV6>(set), rest }, flow);
        }
    }
    flows
}

/// Takes the flows out of a set.
fn take(set: &mut impl FlowSet, flow: &mut impl FnMut(&FlowRecord)) -> u32 {
    let mut flows = 0;
    for way in 0..CACHE_WAYS {
        if set.way(way).0.0 != 0 {
            flow(&set.record(way));
            set.clear(way);
            flows += 1;
        }
    }
    flows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the processor's cache.
    const LINE: usize = 64;

    /// Which bytes of which map a CPU writes in an epoch of this parity.
    fn written(cache: &Cache, parity: u32) -> Vec<Vec<(&'static str, std::ops::Range<usize>)>> {
        let blocks = |base: u32, count: u32| {
            base as usize * size_of::<CacheBlock>()..(base + count) as usize * size_of::<CacheBlock>()
        };
        let halves = cache.fresh(parity);
        let of = |half: &CpuHalf| {
            let sets = [half.v4, half.v4_reserve].map(|of| blocks(of.base, layout::sets(of)));
            let v6 = [half.v6, half.v6_reserve].map(|of| blocks(of.base, blocks_v6(of)));
            let log = half.log_base as usize * size_of::<FlowRecord>();
            let log = log..log + half.log_places as usize * size_of::<FlowRecord>();
            let sets = sets.into_iter().chain(v6).filter(|range| !range.is_empty()).map(|range| ("CACHE", range));
            sets.chain([("LOG", log)]).collect()
        };
        halves.iter().map(of).collect()
    }

    #[test]
    fn no_two_cpus_write_into_one_line_of_cache_or_log_and_all_is_within_the_maps() {
        for cpus in [1, 2, 3, 7, 64, 256] {
            let mut cache = Cache::for_cpus(cpus, cpus as usize, None, 16_384, [1; 6]);
            // Some of them busy, as at 100 Gbit/s.
            for cpu in 0..cpus as usize {
                cache.needs.note(cpu, [[0, 600, 5_000, 40_000][cpu % 4], [0, 0, 3_000][cpu % 3]], Instant::now());
            }
            let open = cache.fresh(0);
            cache.plan(1, &open);
            let mut lines = Vec::new();
            for (cpu, ranges) in [0, 1].iter().flat_map(|parity| written(&cache, *parity)).enumerate() {
                for (map, range) in ranges {
                    let size = match map {
                        "LOG" => cache.all_log_places() as usize * size_of::<FlowRecord>(),
                        _ => cache.all_blocks() as usize * size_of::<CacheBlock>(),
                    };
                    assert!(range.end <= size, "{cpus} CPUs: {map} {range:?} of {size}");
                    lines.push((map, range.start / LINE, range.end.div_ceil(LINE), cpu));
                }
            }
            lines.sort_unstable();
            assert!(lines.len() >= 2 * 3 * cpus as usize);
            for (one, next) in lines.iter().zip(&lines[1..]) {
                assert!(one.0 != next.0 || one.2 <= next.1, "{cpus} CPUs: {one:?} and {next:?}");
            }
        }
    }

    #[test]
    fn what_is_left_is_where_it_was_also_where_some_cpus_never_came() {
        for (cpus, possible) in [(1, 1), (2, 2), (2, 8), (3, 64)] {
            let mut cache = Cache::for_cpus(cpus, possible, None, 16_384, [1; 6]);
            cache.needs.note(0, [5_000, 700], Instant::now());
            let open = cache.fresh(0);
            cache.plan(1, &open);
            let left = Cache::left([&cache.fresh(0), &cache.fresh(1)], cache.all_blocks());
            assert_eq!(left.layouts, cache.layouts, "{cpus} of {possible}");
            assert_eq!((left.cpus, left.blocks, left.log), (cpus, cache.blocks, cache.log), "{cpus} of {possible}");
        }
    }

    #[test]
    fn memory_grows_with_the_cpus_as_the_documentation_says() {
        let mebibytes = |cpus: u32| {
            let cache = Cache::for_cpus(cpus, cpus as usize, None, 16_384, [1; 6]);
            let halves = 2 * cpus as usize * size_of::<CpuHalf>();
            let sizes = [
                cache.all_blocks() as usize * size_of::<CacheBlock>(),
                cache.all_log_places() as usize * size_of::<FlowRecord>(),
                halves,
            ];
            sizes.map(|bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)))
        };
        assert_eq!(mebibytes(2), ["16.6", "3.0", "0.1"]);
        assert_eq!(mebibytes(64), ["52.0", "12.0", "2.0"]);
        assert_eq!(mebibytes(256), ["208.0", "48.0", "8.1"]);
    }
}
