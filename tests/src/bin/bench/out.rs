//! What is on the way out of a pair's sender: nothing, the empty program, the product's, or what it is compared with.
//! Each is put there for one measurement and taken away after it, and then tells what it has counted.

use std::{rc::Rc, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf,
    maps::{
        MapData, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{SchedClassifier, tc::SchedClassifierLinkId},
};
use egress_monitor_tests::{
    cycles::Meter,
    monitor::kernel::{Kernel, Options},
    netns::Count,
    wire::Networks,
};
use monitor_common::wire::Counters;

use crate::{
    lookup::prefixes_v4,
    nft::{self, Rule},
    pair::Pair,
    plan::Plan,
    rig::{self, Base},
    send::flood,
};

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    Nothing,
    /// The program that does nothing: what ratios and differences are to.
    Empty,
    /// The product's.
    Ours,
    Nft(Rule),
    /// A program with a look-up in the kernel's LPM trie and a count, and nothing else.
    Trie,
    /// A program that counts in a line of memory of the flow's own, and nothing else.
    Line,
}

/// What a way out has counted, as far as it does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub packets: Option<u64>,
    pub bytes: Option<u64>,
    pub flows: Option<u64>,
    /// Places that the product had in its flow cache.
    pub places: Option<u32>,
}

impl Counted {
    /// Whether it is what was sent; gives how many packets were missed where some may be: nftables makes a flow's
    /// element without waiting for memory, and counts no packet while there is none.
    pub fn check(&self, out: Out, sent: u64, flows: u64) -> Result<u64> {
        let missing = |counted: Option<u64>, of: u64| counted.map_or(Some(0), |counted| of.checked_sub(counted));
        let whole = match (missing(self.packets, sent), missing(self.flows, flows)) {
            // A flow that is not there has no packet that was counted.
            (Some(packets), Some(flows)) if out == Out::Nft(Rule::Flows) => packets <= sent / 10 && flows <= packets,
            missing => missing == (Some(0), Some(0)),
        };
        ensure!(whole, "{out:?} counted {self:?} of {sent} packets of {flows} flows");
        Ok(missing(self.packets, sent).unwrap_or(0))
    }

    /// Whether it is what the interface has sent.
    pub fn check_device(&self, out: Out, sent: Count) -> Result<()> {
        let whole = self.packets.is_none_or(|packets| packets == sent.packets)
            && self.bytes.is_none_or(|bytes| bytes == sent.bytes);
        ensure!(whole, "{out:?} counted {self:?}, and the interface {sent:?}");
        Ok(())
    }
}

/// What the kernel has accounted of a program since it was loaded, while somebody wanted it to (BPF_ENABLE_STATS).
#[derive(Clone, Copy, Debug)]
pub struct RunTime {
    time: Duration,
    runs: u64,
}

impl RunTime {
    fn of(program: &SchedClassifier) -> Result<Self> {
        let info = program.info().context("what the kernel knows of a program")?;
        Ok(Self { time: info.run_time(), runs: info.run_count() })
    }

    /// Runs since `earlier`.
    pub const fn runs_since(&self, earlier: &Self) -> u64 {
        self.runs - earlier.runs
    }

    /// Nanoseconds of each run since `earlier`.
    pub fn each_since(&self, earlier: &Self) -> Result<f64> {
        let runs = self.runs_since(earlier);
        ensure!(runs > 0, "the kernel has accounted no run of the program");
        Ok((self.time - earlier.time).as_nanos() as f64 / runs as f64)
    }
}

/// A pair with all of them.
pub struct Ways {
    /// Shared with whoever sends while the ways out are asked what they have counted.
    pub pair: Rc<Pair>,
    kernel: Kernel,
    object: Ebpf,
    counted: PerCpuArray<MapData, u64>,
    /// How many ranges nftables' set has, or why there is none.
    pub nft: Result<usize>,
    /// Prefixes in the trie.
    pub prefixes: usize,
}

/// The program with a look-up in the trie.
const TRIE: &str = "trie_out";
/// The program with a line of memory a flow.
const LINE: &str = "line_out";

/// What is attached, and what its counter said before.
pub struct Placed {
    link: Option<SchedClassifierLinkId>,
    before: u64,
}

impl Ways {
    /// The product's program and the empty one.
    pub fn new(networks: Networks, base: &Base) -> Result<Self> {
        Self::with_prefixes(networks, base, &[])
    }

    /// With nftables and the LPM trie.
    pub fn compared(plan: &Plan, networks: Networks, base: &Base) -> Result<Self> {
        plan.say("an LPM trie and nftables sets of the same networks");
        let mut ways = Self::with_prefixes(networks, base, &prefixes_v4(&base.policy.image))?;
        ways.nft = nft::make(&ways.pair.near, &base.policy);
        if let Err(error) = &ways.nft {
            eprintln!("bench: without nftables: {error:#}");
        }
        Ok(ways)
    }

    fn with_prefixes(networks: Networks, base: &Base, prefixes: &[(u32, u32, u32)]) -> Result<Self> {
        let pair = Rc::new(Pair::new(networks)?);
        let mut kernel = rig::load(&base.policy, Options { flows: base.config.flows, ..Options::default() })?;
        rig::register(&mut kernel, pair.index)?;
        let mut object = rig::object(&[("TRIE_V4", prefixes.len())])?;
        // Before any map is taken: they refer to maps by descriptor.
        rig::load_empty(&mut object)?;
        rig::program(&mut object, TRIE)?.load().context("loading the program with the trie")?;
        rig::program(&mut object, LINE)?.load().context("loading the program with a line a flow")?;
        let mut trie: LpmTrie<MapData, u32, u32> = rig::map(&mut object, "TRIE_V4")?;
        for (start, length, class_id) in prefixes {
            trie.insert(&Key::new(*length, start.to_be()), class_id, 0).context("filling an LPM trie")?;
        }
        let counted = rig::map(&mut object, "COUNTED")?;
        let nft = Err(anyhow!("not asked for"));
        Ok(Self { pair, kernel, object, counted, nft, prefixes: prefixes.len() })
    }

    /// Puts `out` there.
    pub fn put(&mut self, out: Out) -> Result<Placed> {
        let mut placed = Placed { link: None, before: 0 };
        match out {
            Out::Nothing | Out::Empty | Out::Line => {}
            Out::Nft(rule) => nft::hook(&self.pair.near, rule)?,
            Out::Ours => drop(self.kernel.flip()?),
            Out::Trie => placed.before = self.counted()?,
        }
        if let Some(program) = Self::program(out, &mut self.kernel, &mut self.object)? {
            placed.link = Some(self.pair.attach(program)?);
        }
        Ok(placed)
    }

    /// Takes it away.
    pub fn take(&mut self, out: Out, placed: Placed) -> Result<Counted> {
        if let (Some(program), Some(link)) = (Self::program(out, &mut self.kernel, &mut self.object)?, placed.link) {
            program.detach(link)?;
        }
        Ok(match out {
            Out::Nothing | Out::Empty | Out::Line => Counted::default(),
            Out::Trie => Counted { packets: Some(self.counted()? - placed.before), ..Counted::default() },
            Out::Nft(rule) => {
                let (packets, flows) = nft::unhook(&self.pair.near, rule)?;
                Counted { packets: Some(packets), flows, ..Counted::default() }
            }
            Out::Ours => {
                let epoch = self.kernel.flip()?;
                let lost = epoch.residual().into_iter().find(|(_, counters)| !counters.is_zero());
                ensure!(lost.is_none(), "the sums of an epoch do not close: {lost:?}");
                let sum = |of: fn(&Counters) -> u64| epoch.interfaces.iter().map(|counts| of(&counts.hook)).sum();
                Counted {
                    packets: Some(sum(|hook| hook.packets)),
                    bytes: Some(sum(|hook| hook.bytes)),
                    flows: Some(epoch.flows.len() as u64),
                    places: Some(epoch.fill.cache.capacity),
                }
            }
        })
    }

    /// Sends until the product's flow cache has the size that is right for what is sent, as it has after an epoch or two.
    pub fn settle(&mut self, plan: &Plan, shares: &[&[u8]], meter: &Meter) -> Result<()> {
        let mut before = None;
        loop {
            let placed = self.put(Out::Ours)?;
            flood(plan, &self.pair.near, shares, Duration::from_millis(1), meter, || Ok(()))?;
            let places = self.take(Out::Ours, placed)?.places;
            if places == before {
                return Ok(());
            }
            before = places;
        }
    }

    /// What the kernel has accounted of a program that is one.
    pub fn run_time(&mut self, out: Out) -> Result<RunTime> {
        let program = Self::program(out, &mut self.kernel, &mut self.object)?;
        RunTime::of(program.with_context(|| format!("{out:?} is no program"))?)
    }

    fn program<'a>(out: Out, kernel: &'a mut Kernel, object: &'a mut Ebpf) -> Result<Option<&'a mut SchedClassifier>> {
        Ok(match out {
            Out::Ours => Some(kernel.program("egress")?),
            Out::Empty => Some(rig::program(object, "empty")?),
            Out::Trie => Some(rig::program(object, TRIE)?),
            Out::Line => Some(rig::program(object, LINE)?),
            Out::Nothing | Out::Nft(_) => None,
        })
    }

    /// What the program with the trie has counted on all CPUs.
    fn counted(&self) -> Result<u64> {
        Ok(self.counted.get(&0, 0).context("reading the count")?.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, Out, Rule};

    #[test]
    fn what_counts_must_have_counted_everything_but_nftables_flows() {
        let check = |out, packets, flows| Counted { packets, flows, ..Counted::default() }.check(out, 1000, 10).ok();
        assert_eq!(check(Out::Empty, None, None), Some(0));
        for out in [Out::Ours, Out::Trie, Out::Nft(Rule::Networks)] {
            assert_eq!(check(out, Some(1000), None), Some(0));
            assert_eq!(check(out, Some(999), None), None);
            assert_eq!(check(out, Some(1001), None), None);
        }
        assert_eq!(check(Out::Ours, Some(1000), Some(9)), None);
        let flows = Out::Nft(Rule::Flows);
        assert_eq!(check(flows, Some(993), Some(10)), Some(7));
        assert_eq!(check(flows, Some(993), Some(3)), Some(7));
        assert_eq!(check(flows, Some(993), Some(2)), None);
        assert_eq!([check(flows, Some(800), None), check(flows, Some(1001), None)], [None, None]);
    }
}
