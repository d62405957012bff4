//! The kernel part loaded, and the benchmark's own object that gives it packets of many flows.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapError, ProgramArray, RingBuf},
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use egress_monitor_tests::{
    monitor::{
        config::{Config, Origin, Site, Spec},
        geo::{self, Dataset},
        kernel::{Interface, Kernel, Options, boot_ns},
        now,
        policy::{self, ClockMap, Policy},
    },
    stage::INTERFACE,
};
use monitor_common::wire::Link;
use serde_json::{Value, json};

/// The benchmark's programs (monitor-ebpf/src/bench).
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("BENCH_OBJECT"));

/// Where BPF_PROG_TEST_RUN sends by.
const LOOPBACK: u32 = 1;

/// TCX_NEXT, as BPF_PROG_TEST_RUN gives it.
const NEXT: u32 = u32::MAX;

/// What every section needs: configuration and datasets as they are by default.
pub struct Base {
    /// The defaults.
    pub config: Config,
    /// The embedded ones.
    pub datasets: Vec<Dataset>,
    /// Compiled of both.
    pub policy: Arc<Policy>,
    /// Jiffies a second.
    pub hz: u32,
    programs: [(&'static str, Option<u32>, u32); 2],
}

impl Base {
    /// Compiles, and loads once to see that it can be loaded.
    pub fn new() -> Result<Self> {
        let mut config = Config::default();
        config.spec.sites.push(site());
        let datasets = geo::load("embedded")?;
        let policy = Arc::new(compile(&config.spec, &datasets)?);
        let mut kernel = load(&policy, Options { flows: config.flows, ..Options::default() })?;
        let mut object = object(&[])?;
        let egress = kernel.program("egress")?.info()?;
        let empty = load_empty(&mut object)?.info()?;
        let programs = [("egress", egress), ("empty", empty)]
            .map(|(name, info)| (name, info.verified_instruction_count(), info.size_jitted()));
        let hz = kernel.flip()?.hz;
        Ok(Self { config, datasets, policy, hz, programs })
    }

    /// For people.
    pub fn text(&self) -> String {
        let image = &self.policy.image;
        let programs: Vec<String> = self
            .programs
            .iter()
            .map(|(name, verified, bytes)| {
                let verified = verified.map_or_else(|| "?".into(), |n| n.to_string());
                format!("program {name}: {verified} instructions verified, {bytes} bytes of machine code")
            })
            .collect();
        format!(
            "policy: {} IPv4 intervals, {} IPv6 tree nodes, {} classes; {}",
            image.v4_count(),
            image.v6_nodes.len(),
            image.classes.len(),
            programs.join("; ")
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let image = &self.policy.image;
        let program = |(name, verified, bytes): &(&str, Option<u32>, u32)| json!({ "name": name, "verified_instructions": verified, "machine_code_bytes": bytes });
        json!({
            "digest": self.policy.digest,
            "ipv4_intervals": image.v4_count(),
            "ipv6_nodes": image.v6_nodes.len(),
            "classes": image.classes.len(),
            "programs": self.programs.iter().map(program).collect::<Vec<_>>(),
        })
    }
}

/// The networks that it sends to, of which no dataset says anything: inside, so that nothing makes an alert.
fn site() -> Site {
    let networks = ["198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"];
    let named = |network: &str| (network.parse().expect("a network"), Origin::default());
    Site { name: "bench".into(), country: geo::Country(*b"IE"), networks: networks.map(named).into() }
}

/// A policy of `spec` and `datasets`, by the clocks as they are.
pub fn compile(spec: &Spec, datasets: &[Dataset]) -> Result<Policy> {
    let clock = ClockMap { realtime_ns: now() as i64, boottime_ns: boot_ns() };
    Ok(policy::compile(spec, &policy::Knowledge::new(datasets, geo::special::table()), &clock)?)
}

/// The kernel part in observe mode.
pub fn load(policy: &Arc<Policy>, options: Options) -> Result<Kernel> {
    Kernel::load(options, Arc::clone(policy)).context("loading the kernel part")
}

/// Registers the interface of a namespace's end of a wire, whose number is `index`.
pub fn register(kernel: &mut Kernel, index: u32) -> Result<()> {
    kernel.register(&Interface { name: INTERFACE.into(), index, link: Link::Ethernet })?;
    Ok(())
}

/// The benchmark's object with places for so many prefixes, and for a policy image's tables, of which none is loaded
/// yet.
pub fn object(sizes: &[(&str, usize)]) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for (map, size) in sizes {
        loader.map_max_entries(map, u32::try_from((*size).max(1)).context("a map's size")?);
    }
    loader.load(OBJECT).context("loading the benchmark's object")
}

/// One of an object's maps.
pub fn map<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T> {
    let map = ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("map {name}"))
}

/// One of an object's programs.
pub fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    program.try_into().with_context(|| format!("program {name}"))
}

/// The program that does nothing, loaded.
pub fn load_empty(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let empty = program(ebpf, "empty")?;
    empty.load().context("loading empty")?;
    Ok(empty)
}

/// Mean nanoseconds of `repeat` runs on the same frame.
pub fn run(program: &SchedClassifier, frame: &[u8], repeat: u32) -> Result<f64> {
    let mut context = [0; 192];
    // wire_len.
    context[160..164].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
    let options = TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), repeat, ..TestRunOptions::default() };
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
    ensure!(result.return_value == NEXT, "the program gave {} and not NEXT", result.return_value as i32);
    // The kernel gives the mean of one run in whole nanoseconds.
    Ok(result.duration.as_nanos() as f64)
}

/// Which flows the packets of a run are of.
#[derive(Clone, Copy, Debug)]
pub enum Flows {
    /// So many (a power of two), again and again.
    Around(u64),
    /// Each another, from this number on.
    From(u64),
}

/// What is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The product's program.
    Egress,
    /// One that does nothing.
    Empty,
    /// One that does nothing but submit an event.
    Event,
}

/// The kernel part, and programs that give it packets of many flows.
pub struct Rig {
    /// The kernel part.
    pub kernel: Kernel,
    object: Ebpf,
    step: Array<MapData, [u64; 4]>,
    target: ProgramArray<MapData>,
    events: RingBuf<MapData>,
}

impl Rig {
    /// Loads both.
    pub fn new(policy: &Arc<Policy>, flows: u32) -> Result<Self> {
        let mut kernel = load(policy, Options { flows, ..Options::default() })?;
        kernel.register(&Interface { name: "lo".into(), index: LOOPBACK, link: Link::Ethernet })?;
        let mut object = object(&[])?;
        for name in ["empty", "event", "vary_v4", "vary_v6"] {
            program(&mut object, name)?.load().with_context(|| format!("loading {name}"))?;
        }
        let (step, target) = (map(&mut object, "STEP")?, map(&mut object, "TARGET")?);
        let events = map(&mut object, "EVENTS")?;
        Ok(Self { kernel, object, step, target, events })
    }

    /// Takes the events of [`Target::Event`], and says how many there were.
    pub fn take_events(&mut self) -> u32 {
        let mut taken = 0;
        while self.events.next().is_some() {
            taken += 1;
        }
        taken
    }

    /// Mean nanoseconds of `repeat` packets, each the frame with the next flow's number in it.
    pub fn run(&mut self, target: Target, frame: &[u8], flows: Flows, repeat: u32) -> Result<f64> {
        let (next, mask) = match flows {
            Flows::Around(flows) => (0, flows - 1),
            Flows::From(next) => (next, u64::MAX),
        };
        self.step.set(0, [next, mask, 0, 0], 0)?;
        let target = Self::target(target, &mut self.kernel, &mut self.object)?;
        self.target.set(0, target.fd()?, 0)?;
        let vary = if frame[12..14] == [0x86, 0xdd] { "vary_v6" } else { "vary_v4" };
        run(program(&mut self.object, vary)?, frame, repeat)
    }

    /// Mean nanoseconds of `repeat` packets that are all the same.
    pub fn run_alone(&mut self, target: Target, frame: &[u8], repeat: u32) -> Result<f64> {
        run(Self::target(target, &mut self.kernel, &mut self.object)?, frame, repeat)
    }

    fn target<'a>(target: Target, kernel: &'a mut Kernel, object: &'a mut Ebpf) -> Result<&'a mut SchedClassifier> {
        match target {
            Target::Egress => Ok(kernel.program("egress")?),
            Target::Empty => program(object, "empty"),
            Target::Event => program(object, "event"),
        }
    }
}
