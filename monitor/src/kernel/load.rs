//! Object and first policy in, a loaded program with all its maps out.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::SchedClassifier,
};
use monitor_common::{
    classify::build::Image,
    parse::Reason,
    wire::{Clock, Control, HookSums, Hot, MAX_INTERFACES},
};
use monitor_policy::{Policy, spec::Mode};

use super::{
    AttachedProgram, EventReader, KernelError, KernelLog, Switch,
    bypass::Refusal,
    cache::Cache,
    clock,
    closing::ClosingEpoch,
    counts::{Counts, Shape, inner_capacity},
    error::with_causes,
    fallback::{self, Guard},
    interfaces::Slot,
    object::{self, OBJECT, map},
    options::{Guess, Options, Room},
    pins::Pins,
    policy_slots::PolicySlots,
    predecessor::{Left, Predecessor},
    readings::{Nic, Sample},
    sys::{GracePeriod, MappedArray},
};
use crate::model::{in_force::Fell, tamper::Sighting};

/// The loaded kernel part. Dropping it detaches everything, unless it [is to outlive](Kernel::load_to_outlive) the process.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) attachments: Vec<AttachedProgram>,
    /// Slot `n` is `slots[n - 1]`.
    pub(super) slots: Vec<Slot>,
    pub(super) maps: Maps,
    pub(super) policy_slots: PolicySlots,
    pub(super) control: Control,
    pub(super) policy: Arc<Policy>,
    pub(super) grace_period: GracePeriod,
    pub(super) hz: u32,
    pub(super) counts: Counts,
    /// Slots that [`Counts::overflow`] has place for.
    pub(super) interface_slots: u32,
    pub(super) epoch_started: jiff::Timestamp,
    pub(super) staged: Option<Switch>,
    /// What held before the last switch: whole in the other slot until the next policy is written there.
    pub(super) previous: Option<Switch>,
    pub(super) closing: Option<ClosingEpoch>,
    /// What that was counted in, where it was [replaced](Kernel::make_room) since.
    pub(super) replaced: Option<Box<Counts>>,
    /// What passed each slot's hook in all epochs drained so far.
    pub(super) hook_drained: Vec<HookSums>,
    pub(super) nic: Option<Nic>,
    /// What was read of interfaces before they were detached.
    pub(super) last_samples: Vec<Sample>,
    /// Where what outlives the daemon is pinned; `None`: nothing does.
    pub(super) pins: Option<Pins>,
    pub(super) options: Options,
    /// What is to hold by itself from some time on.
    pub(super) guard: Option<Guard>,
    /// What was, before a policy was staged.
    pub(super) guard_before: Option<Guard>,
    pub(super) fell: Option<Fell>,
    /// Sockets that would send past the hook are refused.
    pub(super) bypass: Option<Refusal>,
    /// What was not ours where it was written anew.
    pub(super) noted: Vec<Sighting>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // However the daemon ends: what is to stay stays.
        self.leave();
    }
}

pub(super) struct Maps {
    /// The words of [`Hot`]; written by [`Maps::set`] alone.
    pub hot: MappedArray<u64>,
    /// What was written there last.
    pub written: Vec<u64>,
    pub clock: Array<MapData, Clock>,
    // Kept open: the mapping alone would keep it too, but names it nowhere.
    _hot: MapData,
}

impl Maps {
    fn of(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let hot = object::data(ebpf, "HOT")?;
        Ok(Self {
            hot: MappedArray::new(object::fd(&hot), size_of::<Hot>() / 8)
                .map_err(KernelError::map("can't map the control word"))?,
            written: vec![0; size_of::<Hot>() / 8],
            clock: map(ebpf, "CLOCK")?,
            _hot: hot,
        })
    }
}

impl Maps {
    /// Writes a word of [`Hot`], and remembers it.
    pub fn set(&mut self, word: usize, value: u64, order: Ordering) {
        self.written[word] = value;
        self.hot.atomic(word).store(value, order);
    }
}

/// What a load begins with.
pub struct Prepared(Beginning);

enum Beginning {
    /// The kernel's types, which are the same for each load. To read them takes a tenth of a second.
    Types(Box<EbpfLoader<'static>>),
    /// All of it, on a guess.
    Loaded(Box<Loaded>, Guess),
}

impl Prepared {
    /// Reads the kernel's types.
    #[must_use]
    pub fn new() -> Self {
        Self(Beginning::Types(Box::new(EbpfLoader::new())))
    }

    /// Loads what is likely to be needed. Where that can't be done, whoever loads it is told why.
    #[must_use]
    pub fn on(guess: Option<Guess>) -> Self {
        let loaded = guess.and_then(|guess| {
            let loaded = Loaded::load(EbpfLoader::new(), guess.options()?, guess.room).ok()?;
            Some(Beginning::Loaded(Box::new(loaded), guess))
        });
        loaded.map_or_else(Self::new, Self)
    }

    /// Whether what was made on a guess is as good as what is needed.
    pub fn serves(&self, options: &Options, image: &Image) -> bool {
        matches!(&self.0, Beginning::Loaded(_, guess) if guess.serves(options, image))
    }
}

impl Default for Prepared {
    fn default() -> Self {
        Self::new()
    }
}

/// What one load of the object makes.
pub(super) struct Loaded {
    pub ebpf: Ebpf,
    /// Maps that are pinned where programs are to outlive the process.
    to_outlive: Vec<(&'static str, OwnedFd)>,
    pub maps: Maps,
    pub counts: Counts,
    pub policy_slots: PolicySlots,
    pub interface_slots: u32,
    /// Jiffies a second.
    pub hz: u32,
}

impl Loaded {
    /// Maps with so much room, pinned where they are to be, and programs accepted by the verifier. No policy is in them.
    pub fn new(options: Options, room: Room, pins: Option<&mut Pins>) -> Result<Self, KernelError> {
        Self::load(EbpfLoader::new(), options, room)?.kept(pins)
    }

    /// The same with what is prepared, if that serves.
    fn of(prepared: Prepared, options: Options, image: &Image, pins: Option<&mut Pins>) -> Result<Self, KernelError> {
        let serves = prepared.serves(&options, image);
        let loader = match prepared.0 {
            Beginning::Loaded(loaded, _) if serves => return loaded.kept(pins),
            Beginning::Types(loader) => *loader,
            Beginning::Loaded(loaded, _) => {
                // Before there are others: together they may be too much.
                drop(loaded);
                EbpfLoader::new()
            }
        };
        Self::load(loader, options, Room::of(&options, image))?.kept(pins)
    }

    /// Pinned, where it is to be.
    fn kept(mut self, pins: Option<&mut Pins>) -> Result<Self, KernelError> {
        if let Some(pins) = pins {
            pins.keep(std::mem::take(&mut self.to_outlive))?;
        }
        Ok(self)
    }

    fn load(loader: EbpfLoader<'static>, options: Options, room: Room) -> Result<Self, KernelError> {
        let cache = Cache::of(options.cache, options.flows)?;
        let classes = room.policy.classes;
        let overflow = 2 * room.interfaces * classes * 3;
        let mut ebpf = load_object(loader, options, room, &cache, overflow)?;
        let outlive = Counts::MAPS.into_iter().chain(["HOT", "CLASSES", "RULES"]);
        let to_outlive = outlive.map(|name| object::another_fd(&ebpf, name)).collect::<Result<_, _>>()?;
        let maps = Maps::of(&mut ebpf)?;
        accept(&mut ebpf, object::CLOCK)?;
        // Between the two readings the verifier is at work.
        let first = clock::read(object::program(&mut ebpf, object::CLOCK)?, &maps.clock)?;
        accept(&mut ebpf, object::EGRESS)?;
        accept(&mut ebpf, object::PROBE)?;
        let clock_program = object::program(&mut ebpf, object::CLOCK)?;
        let hz = clock::measure_hz(first, || clock::read(clock_program, &maps.clock))?;
        let shape = Shape { flows: options.flows, classes, overflow };
        let mut counts = Counts::of(|name| object::data(&mut ebpf, name), cache, shape)?;
        for parity in [0, 1] {
            counts.give_halves(parity)?;
        }
        let policy_slots = PolicySlots::new(&mut ebpf, room.policy)?;
        Ok(Self { ebpf, to_outlive, maps, counts, policy_slots, interface_slots: room.interfaces, hz })
    }
}

impl Kernel {
    /// Loads the object with room for `policy` and some growth, and puts the policy in force. Nothing is attached.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn load(options: Options, policy: Arc<Policy>) -> Result<Self, KernelError> {
        Self::load_to_outlive(Prepared::new(), options, policy, None)
    }

    /// The same, and what is attached and counted outlives the process: pinned there.
    ///
    /// # Errors
    /// The same, or it can't be pinned.
    pub fn load_to_outlive(
        prepared: Prepared,
        options: Options,
        policy: Arc<Policy>,
        mut pins: Option<Pins>,
    ) -> Result<Self, KernelError> {
        let Loaded { ebpf, maps, counts, mut policy_slots, interface_slots, hz, .. } =
            Loaded::of(prepared, options, &policy.image, pins.as_mut())?;
        let lease_until = options.lease.map(fallback::lease_until);
        policy_slots.write(0, &policy, lease_until)?;
        policy_slots.check(0, &policy)?;
        let mut kernel = Self {
            ebpf,
            attachments: Vec::new(),
            slots: Vec::new(),
            maps,
            policy_slots,
            // The epochs of the start before went so far.
            control: Control::new(pins.as_ref().map_or(0, Pins::next_epoch), 0, options.mode.enforces()),
            policy,
            grace_period: GracePeriod::new().map_err(KernelError::map("can't make the grace-period maps"))?,
            hz,
            counts,
            interface_slots,
            epoch_started: jiff::Timestamp::now(),
            staged: None,
            previous: None,
            closing: None,
            replaced: None,
            hook_drained: vec![HookSums::default(); MAX_INTERFACES as usize],
            nic: None,
            last_samples: Vec::new(),
            pins,
            options,
            guard: None,
            guard_before: None,
            fell: None,
            bypass: None,
            noted: Vec::new(),
        };
        kernel.publish();
        kernel.verify()?;
        Ok(kernel)
    }

    /// Puts the control word in force for every packet that comes after.
    pub(super) fn publish(&mut self) {
        // Release: the policy that the word points to was written before it.
        self.maps.set(Hot::CONTROL, self.control.0, Ordering::Release);
    }

    /// Whether an earlier start has left programs and counters, and ours take them over.
    pub fn adopts(&self) -> bool {
        !self.attachments.is_empty() && self.pins.as_ref().is_some_and(|pins| pins.earlier().next().is_some())
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The mode in force.
    pub fn mode(&self) -> Mode {
        Mode::enforcing(self.control.enforce())
    }

    /// The reader of alertable flows, once.
    ///
    /// # Errors
    /// A second call; no runtime.
    pub fn events(&mut self) -> Result<EventReader, KernelError> {
        let (events, pressure) = (map(&mut self.ebpf, "EVENTS")?, map(&mut self.ebpf, "PRESSURE")?);
        EventReader::new(events, pressure).map_err(KernelError::map("can't wait for the ring buffer"))
    }

    /// The kernel part's debug lines (`--kernel-log`), once.
    ///
    /// # Errors
    /// A second call; no runtime.
    pub fn log(&mut self) -> Result<KernelLog, KernelError> {
        KernelLog::new(&mut self.ebpf).map_err(KernelError::map("can't read the kernel part's log"))
    }

    /// What the programs of earlier starts have counted and nobody has taken, once ours are in their place: epochs like any
    /// other, the oldest first. Theirs are off every interface that is not watched any more. Where none of ours is anywhere,
    /// theirs go on, and are left to a later start.
    ///
    /// # Errors
    /// They may still run: later.
    pub fn take_left(&mut self) -> Result<Vec<Left>, KernelError> {
        if self.attachments.is_empty() {
            return Ok(Vec::new());
        }
        let twice = if self.options.exclusive { self.remove_leftovers() } else { Vec::new() };
        let Some(pins) = &mut self.pins else { return Ok(Vec::new()) };
        self.grace_period.wait().map_err(KernelError::map("can't wait for a grace period"))?;
        let clock = clock::read(object::program(&mut self.ebpf, object::CLOCK)?, &self.maps.clock)?;
        let left = pins.earlier().flat_map(|maps| match Predecessor::open(maps, &self.policy) {
            Ok(predecessor) => predecessor.take(clock, self.hz),
            Err(error) => vec![Left::Unreadable(error.to_string())],
        });
        let left = left.chain(twice.into_iter().map(Left::Twice)).collect();
        pins.forget_earlier();
        Ok(left)
    }

    /// A program of the object, for BPF_PROG_TEST_RUN in tests and the benchmark.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn program(&mut self, name: &str) -> Result<&mut SchedClassifier, KernelError> {
        object::program(&mut self.ebpf, name)
    }
}

/// Maps made with their sizes.
fn load_object(
    loader: EbpfLoader<'static>,
    options: Options,
    room: Room,
    cache: &Cache,
    overflow: u32,
) -> Result<Ebpf, KernelError> {
    let Room { policy: capacity, interfaces } = room;
    let inner = inner_capacity(options.flows);
    // aya-log's levels are those of `log`; 0 is off.
    let mut loader: EbpfLoader<'_> = loader;
    let log_level = if options.debug_log { ::log::Level::Debug as u8 } else { 0 };
    loader
        .override_global("CLASS_CAPACITY", &capacity.classes, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("CACHE", cache.all_blocks())
        .map_max_entries("LOG", cache.all_log_places())
        .map_max_entries("FLOWS_EVEN", options.flows)
        .map_max_entries("FLOWS_ODD", options.flows)
        .map_max_entries("INNER_EVEN", inner)
        .map_max_entries("INNER_ODD", inner)
        .map_max_entries("OVERFLOW", overflow)
        .map_max_entries("UNPARSED", 2 * interfaces * Reason::COUNT)
        .map_max_entries("V4_NODES", 2 * capacity.v4_nodes)
        .map_max_entries("V6_NODES", 2 * capacity.v6_nodes)
        .map_max_entries("V6_LOW", 2 * capacity.v6_low)
        .map_max_entries("CLASSES", 2 * capacity.classes)
        .map_max_entries("RULES", 2 * capacity.rules);
    loader.load(OBJECT).map_err(|error| KernelError::Load(with_causes(&error)))
}

/// Has the verifier accept a program.
fn accept(ebpf: &mut Ebpf, name: &str) -> Result<(), KernelError> {
    object::program(ebpf, name)?.load().map_err(|error| KernelError::Load(with_causes(&error)))
}
