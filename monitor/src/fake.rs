//! A [`EpochSource`] without a kernel, and snapshots to order: for the tests of everything above the seam.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use monitor_common::{
    classify::build::Image,
    parse::Reason,
    verdict::Verdict,
    wire::{
        Address, Class, ClassRow, Counters, FlowKey, FlowValue, FullKey, InnerDestination, Opaque, ReasonSums, Via,
    },
};

use crate::{
    budgets::keeper::Keeper,
    clock::{TrustedClock, trust::Reading},
    engine::{
        pipeline::Consumer,
        source::{EpochSource, News},
        verdicts::Verdicts,
    },
    incidents::Incidents,
    model::{
        Alert, Attachment, ClosedEpoch, Coverage, Fill, InterfaceCounts, Occupancy, Snapshot,
        flow::Resolver,
        identities::Name,
        in_force::{Fell, PolicyInForce, Trial},
        now,
    },
    storage::state::StateDirectory,
    store::{Traffic, flows::FlowStore, last_hour::Recent, totals::Kept},
};
use monitor_policy::{
    ClassInfo, Origin as Place, Policy, RuleInfo,
    geo::{
        About, Country,
        asn::{AsDataset, AsNames, AsRange},
    },
    spec::Mode,
};

/// The consumers of the daemon itself, for tests of what lies below it.
pub fn consumers(budgets: Keeper) -> Vec<Box<dyn Consumer>> {
    consumers_by(TrustedClock::of(Reading::default), budgets)
}

/// The same by a clock.
pub fn consumers_by(clock: TrustedClock, budgets: Keeper) -> Vec<Box<dyn Consumer>> {
    crate::daemon::consumers(budgets, clock, Verdicts::default(), Incidents::open(StateDirectory::default()), None)
}

/// Class numbers of [`policy`].
pub const UNKNOWN: u16 = 0;
/// Ireland.
pub const INSIDE: u16 = 1;
/// Singapore.
pub const OUTSIDE: u16 = 2;
/// Germany or not.
pub const AMBIGUOUS: u16 = 3;
/// No country.
pub const PRIVATE: u16 = 4;

/// When the fake's epoch 0 began.
pub const START: i128 = 1_800_000_000_000_000_000;

/// Five classes, one rule (`migration-sg`).
pub fn policy() -> Policy {
    let of = |country: &[u8; 2], class| ClassInfo { country: Country(*country), class };
    let classes = vec![
        of(b"ZZ", Class::Unknown),
        of(b"IE", Class::Inside),
        of(b"SG", Class::Outside),
        of(b"DE", Class::Ambiguous),
        of(b"--", Class::Private),
    ];
    let rows = classes
        .iter()
        .map(|info| {
            let deny = u8::from(!matches!(info.class, Class::Inside | Class::Private));
            ClassRow {
                country: info.country.0,
                class: info.class as u8,
                deny,
                alert: deny,
                ..bytemuck::Zeroable::zeroed()
            }
        })
        .collect();
    Policy {
        image: Image { classes: rows, ..Image::default() },
        classes,
        rules: vec![RuleInfo {
            id: "migration-sg".into(),
            origin: Place::new(std::path::Path::new("config.toml"), 9),
            ..RuleInfo::default()
        }],
        digest: "d".repeat(64),
        zone: "eu-user-data".into(),
        ..Policy::default()
    }
}

/// 198.51.100.0/24 is announced by AS64500 (`Example Net`), 203.0.113.0/24 by AS64501, which has no name.
pub fn systems() -> AsDataset {
    let range = |first: u32, asn| AsRange { first, last: first + 255, asn };
    let mut names = AsNames::default();
    names.push(64_500, "Example Net").expect("there is room");
    let v4 = vec![range(0xc633_6400, 64_500), range(0xcb00_7100, 64_501)];
    let about = About { version: "7".into(), ..About::named("as.csv") };
    AsDataset { about, v4, names, ..AsDataset::default() }
}

/// An empty epoch of ten seconds with `eth0` (index 7) and the unregistered interface.
pub fn snapshot(epoch: u32) -> Snapshot {
    let started = START + i128::from(epoch) * 10_000_000_000;
    Snapshot {
        epoch,
        started,
        ended: started + 10_000_000_000,
        policy: Arc::new(policy()),
        interfaces: vec![
            InterfaceCounts { name: "eth0".into(), ifindex: 7, ..InterfaceCounts::default() },
            InterfaceCounts::default(),
        ],
        jiffies: (u64::from(epoch) + 1) * 2_500,
        hz: 250,
        fill: Fill { table: Occupancy { used: 0, capacity: 1_000 }, ..Fill::default() },
        ..Snapshot::default()
    }
}

/// `packets` packets of 100 bytes (104 on the wire).
pub fn sums(packets: u64) -> Counters {
    Counters { packets, segments: packets, bytes: packets * 100, wire_bytes: packets * 104 }
}

/// The key of a TCP flow from 192.0.2.1 to 198.51.100.9, observed unless the class is allowed.
pub fn key(ifindex: u32, class_id: u16, port: u16) -> FlowKey {
    let verdict = if matches!(class_id, INSIDE | PRIVATE) { Verdict::Allowed } else { Verdict::Observed };
    FlowKey {
        source: Address::v4(0xc000_0201),
        destination: Address::v4(0xc633_6409),
        ifindex,
        source_port: 40_000,
        destination_port: port,
        protocol: 6,
        ip_version: 4,
        verdict: verdict as u8,
        flags: Opaque::None as u8,
        class_id,
        rule: 0,
    }
}

/// The flow to 198.51.`third`.9.
pub fn to_network(key: FlowKey, third: u8) -> FlowKey {
    FlowKey { destination: Address::v4(0xc633_0009 | u32::from(third) << 8), ..key }
}

/// The flow with an inner destination: UDP port 53 of 203.0.113.5.
pub fn with_inner(flow: FlowKey, via: Via) -> FullKey {
    let inner = InnerDestination {
        address: Address::v4(0xcb00_7105),
        port: 53,
        protocol: 17,
        ip_version: 4,
        via: via as u8,
        ..InnerDestination::default()
    };
    FullKey { flow, inner }
}

/// Adds a flow and its packets to the hook total. First packet one second, last half a second before the end.
pub fn add_flow(snapshot: &mut Snapshot, ifindex: u32, class_id: u16, port: u16, packets: u64) -> FlowKey {
    let key = key(ifindex, class_id, port);
    add(snapshot, key, packets);
    key
}

/// As [`add_flow`], for any key that the snapshot does not have yet.
pub fn add(snapshot: &mut Snapshot, key: impl Into<FullKey>, packets: u64) {
    let key = key.into();
    let value = FlowValue { counters: sums(packets), first: snapshot.jiffies - 250, last: snapshot.jiffies - 125 };
    snapshot.flows.push((key, value));
    let listed = snapshot.interfaces.iter().position(|interface| interface.ifindex == key.flow.ifindex);
    let at = listed.unwrap_or(snapshot.interfaces.len() - 1);
    snapshot.interfaces[at].hook.add(&value.counters);
    if key.flow.verdict == Verdict::Denied as u8 {
        snapshot.interfaces[at].dropped.add(&value.counters);
    }
}

/// Adds overflow on `eth0`.
pub fn add_overflow(snapshot: &mut Snapshot, class_id: u16, verdict: Verdict, packets: u64) {
    let interface = &mut snapshot.interfaces[0];
    interface.overflow.entry((class_id, verdict)).or_default().add(&sums(packets));
    interface.hook.add(&sums(packets));
    if verdict == Verdict::Denied {
        interface.dropped.add(&sums(packets));
    }
}

/// Adds unparsed packets on `eth0`.
pub fn add_unparsed(snapshot: &mut Snapshot, reason: Reason, passed: u64, dropped: u64) {
    let interface = &mut snapshot.interfaces[0];
    let reason_sums: &mut ReasonSums = interface.unparsed.entry(reason).or_default();
    for (sum, packets) in [(&mut reason_sums.passed, passed), (&mut reason_sums.dropped, dropped)] {
        sum.add(&sums(packets));
        interface.hook.add(&sums(packets));
    }
    interface.dropped.add(&sums(dropped));
}

/// The first alert on an incident of one flow.
pub fn alert() -> Alert {
    let mut snapshot = snapshot(1);
    add_flow(&mut snapshot, 7, OUTSIDE, 443, 1);
    let mut made = crate::incidents::of(&snapshot);
    made.pop().expect("one flow makes one alert")
}

/// An epoch with up to `flows` flows over all classes, verdicts and interfaces, overflow and unparsed packets.
pub fn random_snapshot(random: &mut fastrand::Rng, epoch: u32, flows: usize) -> Snapshot {
    let mut snapshot = snapshot(epoch);
    let mut keys = BTreeMap::new();
    for _ in 0..random.usize(1..=flows) {
        let key = FlowKey {
            verdict: random.u8(0..3),
            rule: random.u16(0..2),
            flags: random.u8(0..6),
            ..key([7, 0, 99][random.usize(0..3)], random.u16(0..6), random.u16(..))
        };
        let key = if random.bool() { key.into() } else { with_inner(key, Via::ALL[random.usize(1..11)]) };
        keys.insert(key, random.u64(1..1_000));
    }
    for (key, packets) in keys {
        add(&mut snapshot, key, packets);
        if let Some((_, value)) = snapshot.flows.last_mut() {
            value.last = snapshot.jiffies - random.u64(0..250);
        }
    }
    for _ in 0..3 {
        add_overflow(&mut snapshot, random.u16(0..5), Verdict::ALL[random.usize(0..3)], random.u64(0..9));
        add_unparsed(
            &mut snapshot,
            Reason::ALL[random.usize(0..Reason::ALL.len())],
            random.u64(0..9),
            random.u64(0..9),
        );
    }
    snapshot
}

/// Merges an epoch whole, as the engine does in steps.
pub fn merge(traffic: &mut Traffic, store: &mut FlowStore, snapshot: &Snapshot) -> Vec<(Name, Counters)> {
    let interfaces = traffic.names(snapshot);
    let resolver = Resolver::new(&mut traffic.identities, &snapshot.policy);
    let identities = Arc::clone(&traffic.identities);
    let epoch = ClosedEpoch::new(snapshot, &interfaces, &resolver, &identities);
    let sums = store.merge(&epoch);
    traffic.kept = Kept::of(store);
    traffic.merge(&epoch, sums);
    epoch.breaches().collect()
}

/// Adds an epoch that was merged to the last hour.
pub fn remember(recent: &mut Recent, traffic: &mut Traffic, snapshot: &Snapshot) {
    let interfaces = traffic.names(snapshot);
    let resolver = Resolver::new(&mut traffic.identities, &snapshot.policy);
    recent.merge(&ClosedEpoch::new(snapshot, &interfaces, &resolver, &traffic.identities));
    recent.add(&traffic.latest);
}

/// What a [`Fake`] is made to do and what it saw, shared with the test.
#[derive(Debug, Default)]
pub struct Script {
    /// What holds.
    in_force: PolicyInForce,
    /// What is to hold from the next flip on.
    next_in_force: Option<PolicyInForce>,
    /// What held in an epoch that could not be drained.
    closed: Option<PolicyInForce>,
    /// Next epochs; when there are none, an empty one. Number, policy and mode are set by the fake.
    pub next: VecDeque<Snapshot>,
    /// When the open epoch began by the wall clock, whatever times snapshots have.
    began: i128,
    /// Flips so far.
    pub flips: u32,
    /// Flips fail while this is set.
    pub broken: bool,
    /// Nothing can be staged while this is set.
    pub refuses: bool,
    /// Digests of the policies that there is room for; `None`: for all.
    pub roomy: Option<Vec<String>>,
    /// Digests of what was staged, with the mode.
    pub staged: Vec<(String, bool)>,
    /// A file that is looked at whenever something is staged.
    pub looks_at: Option<PathBuf>,
    /// What it had each time.
    pub looked: Vec<String>,
    /// What the next checks of a policy in force find.
    pub checks: VecDeque<anyhow::Result<()>>,
    /// Rolled back so often.
    pub rollbacks: u32,
    /// Digest and mode of what comes back by itself, and when.
    pub guarded: Option<(String, Mode, Duration)>,
    /// What the kernel part did by itself before the next flip.
    pub fell: Option<Fell>,
    /// How full the open half is; it is empty after a flip.
    pub fill: Fill,
    /// Whether it was detached.
    pub detached: bool,
    /// What it says of the devices.
    pub coverage: Coverage,
    /// What went, in each survey.
    pub surveys: Vec<BTreeSet<u32>>,
    /// What surveys and covers answer, in this order.
    pub waits: VecDeque<bool>,
    /// Sends news of devices.
    pub news: Option<tokio::sync::mpsc::Sender<BTreeSet<u32>>>,
    /// The name of the interface.
    pub name: Option<String>,
}

/// A source that yields what its script says.
#[derive(Clone, Debug)]
pub struct Fake(pub Arc<Mutex<Script>>);

impl Default for Fake {
    /// With [`policy`] in force.
    fn default() -> Self {
        Self::new(PolicyInForce { policy: policy().into(), ..PolicyInForce::default() })
    }
}

impl Fake {
    /// With this in force.
    pub fn new(in_force: PolicyInForce) -> Self {
        Self(Arc::new(Mutex::new(Script { in_force, began: now(), ..Script::default() })))
    }

    /// The script.
    pub fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EpochSource for Fake {
    fn flip(&mut self) -> anyhow::Result<Snapshot> {
        let mut script = self.script();
        // As the kernel does it: an epoch that can't be drained is closed all the same, and keeps its policy.
        let held = match script.closed.take() {
            Some(held) => held,
            None => {
                script.began = now();
                match script.next_in_force.take() {
                    Some(next) => std::mem::replace(&mut script.in_force, next),
                    None => script.in_force.clone(),
                }
            }
        };
        if script.broken {
            script.closed = Some(held);
            anyhow::bail!("bpf(2) says no");
        }
        script.fill.table.used = 0;
        let epoch = script.flips;
        script.flips = epoch.wrapping_add(1);
        let one = script.next.pop_front().unwrap_or_else(|| snapshot(epoch));
        Ok(Snapshot { epoch, policy: held.policy, mode: held.mode, ..one })
    }

    fn began(&self) -> i128 {
        self.script().began
    }

    fn has_room(&self, next: &PolicyInForce) -> bool {
        let script = self.script();
        script.roomy.as_ref().is_none_or(|roomy| roomy.contains(&next.policy.digest))
    }

    fn make_room(&mut self, next: &PolicyInForce) -> anyhow::Result<()> {
        let mut script = self.script();
        anyhow::ensure!(script.next_in_force.is_none(), "a policy is staged");
        anyhow::ensure!(next.policy.digest != "huge", "memory_max");
        script.roomy.get_or_insert_default().push(next.policy.digest.clone());
        // As the kernel does it: the epoch is closed, and to be drained.
        script.began = now();
        script.closed = Some(script.in_force.clone());
        Ok(())
    }

    fn kernel_memory(&self) -> u64 {
        (1 + self.script().roomy.as_ref().map_or(0, Vec::len) as u64) << 20
    }

    fn stage(&mut self, next: &PolicyInForce) -> anyhow::Result<()> {
        let mut script = self.script();
        if let Some(file) = script.looks_at.clone() {
            script.looked.push(std::fs::read_to_string(file).unwrap_or_default());
        }
        anyhow::ensure!(next.policy.digest != "too large", "it does not fit");
        anyhow::ensure!(!script.refuses, "no room");
        anyhow::ensure!(script.closed.is_none(), "the last epoch is not drained yet");
        script.staged.push((next.policy.digest.clone(), next.mode.enforces()));
        script.next_in_force = Some(next.clone());
        Ok(())
    }

    fn verify(&mut self) -> anyhow::Result<()> {
        self.script().checks.pop_front().unwrap_or(Ok(()))
    }

    fn roll_back(&mut self) -> anyhow::Result<()> {
        self.script().rollbacks += 1;
        Ok(())
    }

    fn guard(&mut self, fallback: Option<&Trial>) -> anyhow::Result<()> {
        let guarded = fallback.map(|trial| (trial.fallback.policy.digest.clone(), trial.fallback.mode, trial.within));
        self.script().guarded = guarded;
        Ok(())
    }

    fn fell(&mut self) -> Option<Fell> {
        self.script().fell.take()
    }

    fn fill(&self) -> Fill {
        self.script().fill
    }

    fn attachments(&self) -> Vec<Attachment> {
        if self.script().detached {
            return Vec::new();
        }
        let name = self.script().name.clone().unwrap_or_else(|| "eth0".into());
        vec![Attachment { interface: name, ifindex: 7, hook: "tcx".into(), since: START }]
    }

    fn news(&mut self) -> Option<News> {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        self.script().news = Some(sender);
        Some(receiver)
    }

    fn survey(&mut self, gone: &BTreeSet<u32>) -> bool {
        let mut script = self.script();
        script.surveys.push(gone.clone());
        script.waits.pop_front().unwrap_or(false)
    }

    fn cover(&mut self) -> bool {
        self.script().waits.pop_front().unwrap_or(false)
    }

    fn coverage(&mut self) -> Coverage {
        self.script().coverage.clone()
    }

    fn detach(&mut self) -> anyhow::Result<()> {
        self.script().detached = true;
        Ok(())
    }
}
