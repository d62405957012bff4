//! Object and first policy in, a loaded program with all its maps out.

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, atomic::Ordering},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf},
    programs::SchedClassifier,
};
use monitor_common::wire::{
    Clock, Control, Counters, FlowKey, FlowValue, FullKey, HookSums, INTERFACE_PROBES, INTERFACE_TABLE, InterfaceEntry,
    MAX_INTERFACES, ReasonSums,
};

use super::{
    EventReader, Interface, KernelError, KernelLog, OBJECT,
    attach::AttachedProgram,
    cache::Cache,
    clock,
    drain::{Closing, Switch},
    image::{Capacity, Images},
    nic::Nic,
    readings::Looked,
    sys::{Grace, Shared},
};
use monitor_policy::Policy;

use crate::model::DEFAULT_FLOWS;

/// What the loader needs to know beside the policy.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Interfaces that can be registered.
    pub interfaces: u32,
    /// Places in each half of the flow table.
    pub flows: u32,
    /// Places in each half of each CPU's flow cache; `None`: see [`Cache::of`].
    pub cache: Option<u32>,
    /// Whether denied packets are dropped.
    pub enforce: bool,
    /// aya-log's level for the kernel part, 0 (off) to 5 (trace).
    pub log_level: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { interfaces: MAX_INTERFACES - 1, flows: DEFAULT_FLOWS, cache: None, enforce: false, log_level: 0 }
    }
}

/// The loaded kernel part. Dropping it detaches everything.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) attachments: Vec<AttachedProgram>,
    /// Slot `n` is `interfaces[n - 1]`.
    pub(super) interfaces: Vec<Interface>,
    pub(super) maps: Maps,
    pub(super) images: Images,
    pub(super) control: Control,
    pub(super) policy: Arc<Policy>,
    pub(super) grace: Grace,
    pub(super) hz: u32,
    pub(super) flow_capacity: u32,
    pub(super) cache: Cache,
    /// Slots that [`Maps::overflow`] has place for.
    slots: u32,
    pub(super) epoch_started: jiff::Timestamp,
    pub(super) staged: Option<Switch>,
    /// What held before the last switch: whole in the other slot until the next policy is written there.
    pub(super) previous: Option<Switch>,
    pub(super) closing: Option<Closing>,
    /// What passed each slot's hook in all epochs drained so far.
    pub(super) hooked: Vec<HookSums>,
    pub(super) nic: Option<Nic>,
    /// What was read of the interfaces before they were detached.
    pub(super) parting: Option<Vec<Looked>>,
}

pub(super) struct Maps {
    pub control: Shared<u64>,
    pub interfaces: Array<MapData, InterfaceEntry>,
    pub hook: PerCpuArray<MapData, HookSums>,
    pub unparsed: PerCpuArray<MapData, ReasonSums>,
    pub cache: MapData,
    pub flows: [HashMap<MapData, FlowKey, FlowValue>; 2],
    pub inner: [HashMap<MapData, FullKey, FlowValue>; 2],
    pub overflow: Shared<Counters>,
    pub events_lost: PerCpuArray<MapData, u64>,
    pub clock: Array<MapData, Clock>,
    // Kept open: the mapping of `overflow` alone would keep it too, but names it nowhere.
    _overflow: MapData,
}

impl Kernel {
    /// Loads the object with room for `policy` and some growth, and puts the policy in force. Nothing is attached.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn load(options: Options, policy: Arc<Policy>) -> Result<Self, KernelError> {
        let capacity = Capacity::for_image(&policy.image);
        let cache = Cache::of(options.cache)?;
        // Slot 0 is for the unregistered.
        let slots = (options.interfaces + 1).min(MAX_INTERFACES);
        let overflow = 2 * slots * capacity.classes * 3;
        let mut ebpf = {
            let mut loader = EbpfLoader::new();
            loader
                .override_global("CLASS_CAPACITY", &capacity.classes, true)
                .override_global("CPUS", &cache.cpus, true)
                .override_global("CACHE_SETS", &cache.sets, true)
                .override_global("HASH_KEYS", &cache.keys, true)
                .override_global(aya_log::LEVEL, &options.log_level, true)
                .map_max_entries("CACHE", 2 * cache.half())
                .map_max_entries("FLOWS_EVEN", options.flows)
                .map_max_entries("FLOWS_ODD", options.flows)
                .map_max_entries("INNER_EVEN", inner_capacity(options.flows))
                .map_max_entries("INNER_ODD", inner_capacity(options.flows))
                .map_max_entries("OVERFLOW", overflow)
                .map_max_entries("V4_ENTRIES", 2 * capacity.v4_entries)
                .map_max_entries("V6_NODES", 2 * capacity.v6_nodes)
                .map_max_entries("V6_LOW", 2 * capacity.v6_low)
                .map_max_entries("CLASSES", 2 * capacity.classes)
                .map_max_entries("RULES", 2 * capacity.rules);
            loader.load(OBJECT).map_err(|error| KernelError::Load(chain(&error)))?
        };
        for name in ["egress", "clock", "probe"] {
            program(&mut ebpf, name)?.load().map_err(|error| KernelError::Load(chain(&error)))?;
        }
        let overflow_map = data(&mut ebpf, "OVERFLOW")?;
        let maps = Maps {
            control: Shared::of(data(&mut ebpf, "CONTROL")?.fd_of(), 1)
                .map_err(KernelError::map("can't map the control word"))?,
            interfaces: take(&mut ebpf, "INTERFACES")?,
            hook: take(&mut ebpf, "HOOK")?,
            unparsed: take(&mut ebpf, "UNPARSED")?,
            cache: data(&mut ebpf, "CACHE")?,
            flows: [take(&mut ebpf, "FLOWS_EVEN")?, take(&mut ebpf, "FLOWS_ODD")?],
            inner: [take(&mut ebpf, "INNER_EVEN")?, take(&mut ebpf, "INNER_ODD")?],
            overflow: Shared::of(overflow_map.fd_of(), overflow as usize)
                .map_err(KernelError::map("can't map the overflow counters"))?,
            events_lost: take(&mut ebpf, "EVENTS_LOST")?,
            clock: take(&mut ebpf, "CLOCK")?,
            _overflow: overflow_map,
        };
        let hz = {
            let clock_program = program(&mut ebpf, "clock")?;
            clock::measure_hz(|| clock::read(clock_program, &maps.clock))?
        };
        let mut images = Images::new(&mut ebpf, capacity)?;
        images.write(0, &policy.image)?;
        images.check(0, &policy.image)?;
        let mut kernel = Self {
            ebpf,
            attachments: Vec::new(),
            interfaces: Vec::new(),
            maps,
            images,
            control: Control::new(0, 0, options.enforce),
            policy,
            grace: Grace::new().map_err(KernelError::map("can't make the grace-period maps"))?,
            hz,
            flow_capacity: options.flows,
            cache,
            slots,
            epoch_started: jiff::Timestamp::now(),
            staged: None,
            previous: None,
            closing: None,
            hooked: vec![HookSums::default(); MAX_INTERFACES as usize],
            nic: None,
            parting: None,
        };
        kernel.publish();
        kernel.verify()?;
        Ok(kernel)
    }

    /// Puts the control word in force for every packet that comes after.
    pub(super) fn publish(&mut self) {
        // Release: the images that the word points to were written before it.
        self.maps.control.atomic(0).store(self.control.0, Ordering::Release);
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Whether denied packets are dropped.
    #[must_use]
    pub fn enforces(&self) -> bool {
        self.control.enforce()
    }

    /// Gives an interface the next slot, so that its packets are counted under it.
    #[doc(hidden)] // public for the tests that run packets without attaching
    pub fn register(&mut self, interface: &Interface) -> Result<(), KernelError> {
        let slot = self.interfaces.len() as u32 + 1;
        if slot >= self.slots {
            return Err(KernelError::Interface(format!(
                "{} is one interface too many: at most {} can be told apart, name fewer",
                interface.name,
                self.slots - 1
            )));
        }
        let entry = InterfaceEntry { ifindex: interface.index, slot: slot as u16, link: interface.link as u16 };
        for probe in 0..INTERFACE_PROBES {
            let place = interface.index.wrapping_add(probe) & (INTERFACE_TABLE - 1);
            let there = self.maps.interfaces.get(&place, 0).map_err(KernelError::aya("reading the interface table"))?;
            if there.ifindex == 0 {
                self.maps.interfaces.set(place, entry, 0).map_err(KernelError::aya("writing the interface table"))?;
                self.interfaces.push(interface.clone());
                return Ok(());
            }
        }
        Err(KernelError::Interface(format!(
            "{} (index {}) collides with {INTERFACE_PROBES} others in the interface table: name fewer interfaces",
            interface.name, interface.index
        )))
    }

    /// The reader of alertable flows, once.
    ///
    /// # Errors
    /// A second call; no runtime.
    pub fn events(&mut self) -> Result<EventReader, KernelError> {
        let ring: RingBuf<MapData> = take(&mut self.ebpf, "EVENTS")?;
        EventReader::new(ring).map_err(KernelError::map("can't wait for the ring buffer"))
    }

    /// The kernel part's debug lines (`--kernel-log`), once.
    ///
    /// # Errors
    /// A second call; no runtime.
    pub fn log(&mut self) -> Result<KernelLog, KernelError> {
        KernelLog::new(&mut self.ebpf).map_err(KernelError::map("can't read the kernel part's log"))
    }

    /// The attached program, for BPF_PROG_TEST_RUN in tests and the benchmark.
    ///
    /// # Errors
    /// Never after a successful load.
    pub fn program(&mut self, name: &str) -> Result<&mut SchedClassifier, KernelError> {
        program(&mut self.ebpf, name)
    }
}

/// Places in each half of the table of flows with a further destination, beside so many without: few hosts have many.
pub(super) const fn inner_capacity(flows: u32) -> u32 {
    if flows / 8 > 1024 { flows / 8 } else { 1024 }
}

pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, KernelError> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| KernelError::Load(format!("the object has no program {name}")))?;
    program.try_into().map_err(|error: aya::programs::ProgramError| KernelError::Load(chain(&error)))
}

fn take<T: TryFrom<Map, Error = aya::maps::MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, KernelError> {
    let map = ebpf.take_map(name).ok_or_else(|| KernelError::Load(format!("the object has no map {name}")))?;
    T::try_from(map).map_err(|error| KernelError::Load(format!("map {name}: {error}")))
}

/// The plain data of an array map.
pub(super) fn data(ebpf: &mut Ebpf, name: &str) -> Result<MapData, KernelError> {
    match ebpf.take_map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(KernelError::Load(format!("the object has no array map {name}"))),
    }
}

pub(super) trait FdOf {
    fn fd_of(&self) -> BorrowedFd<'_>;
}

impl FdOf for MapData {
    fn fd_of(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.fd().as_fd()
    }
}

/// An error with its causes in one line; of a verifier log, the end.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.len() {
        0..=6 => lines.join("; "),
        n => format!("{}; …; {}", lines[0], lines[n - 5..].join("; ")),
    }
}
