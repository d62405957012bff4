//! Promise: a start takes over what a build with the layouts before has left, as it does what its own build left: without a
//! packet between the two, and with all that was counted. By whichever hook the kernel has.
//!
//! Of that build there is the kernel part, an object in `tests/fixtures`; what its userspace did is done here.

use std::{
    fs::{self, DirBuilder, File},
    io::Read as _,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    sync::Arc,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        links::FdLink,
        tc::{NlOptions, TcAttachOptions, TcHandle, qdisc_add_clsact},
    },
    util::nr_cpus,
};
use egress_monitor_tests::{
    daemon::Home,
    flood::Flood,
    monitor::{
        kernel::{Hook, Interface, Kernel, KernelError, Left, Mode, Options, Pins, Prepared, detach_all},
        policy_of,
    },
    netns,
    stage::{INTERFACE, OUTSIDE, Stage, v4},
    traffic::send_udp,
};
use monitor_common::{
    parse::Reason,
    wire::{CacheRegion, Class, ClassRow, Control, InterfaceEntry, v1},
};

use crate::support::{
    attached::hook,
    lives::{self, detach_from, gap, one, start},
};

/// The kernel part with layouts 1, packed.
const OBJECT: &[u8] = include_bytes!("../fixtures/layout-1.o.zst");

/// What its userspace pinned.
const MAPS: [&str; 13] = [
    "HALVES",
    "UNPARSED",
    "CACHE",
    "LOG",
    "FLOWS_EVEN",
    "FLOWS_ODD",
    "INNER_EVEN",
    "INNER_ODD",
    "OVERFLOW",
    "EVENTS_LOST",
    "HOT",
    "CLASSES",
    "RULES",
];

/// The epoch that is open.
const EPOCH: u32 = 6;

/// Places of a CPU in one half: of the flow cache for IPv4, as many for IPv6, and of the log.
const PLACES: u32 = 1024;

/// Blocks of the cache for them: sets of four, and of IPv6 their rests.
const BLOCKS: [u32; 2] = [PLACES / 4, PLACES / 4 + PLACES / 8];

/// No places.
const NONE: CacheRegion = CacheRegion { base: u32::MAX, shift: 63 };

/// Loads it, with one class of destinations, which is denied, and everything there.
fn load(ifindex: u32) -> Ebpf {
    let mut object = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(OBJECT).unwrap().read_to_end(&mut object).unwrap();
    let cpus = nr_cpus().unwrap() as u32;
    let (blocks, slots) = (cpus * (BLOCKS[0] + BLOCKS[1]), 8);
    let mut loader = EbpfLoader::new();
    loader.override_global("CLASS_CAPACITY", &1_u32, true);
    for (map, entries) in [
        ("CACHE", 2 * blocks),
        ("LOG", 2 * cpus * PLACES),
        ("FLOWS_EVEN", 1024),
        ("FLOWS_ODD", 1024),
        ("INNER_EVEN", 1024),
        ("INNER_ODD", 1024),
        ("OVERFLOW", 2 * slots * 3),
        ("CLASSES", 2),
        ("RULES", 2),
    ] {
        loader.map_max_entries(map, entries);
    }
    let mut ebpf = loader.load(&object).unwrap();

    let mut hot: v1::Hot = bytemuck::Zeroable::zeroed();
    hot.control = Control::new(EPOCH, 0, true).0;
    hot.previous = Control::new(EPOCH - 1, 0, true).0;
    hot.interfaces[(ifindex % v1::INTERFACE_TABLE) as usize] = InterfaceEntry { ifindex, slot: 1, link: 0 };
    hot.ifindexes[1] = ifindex;
    let mut map: Array<&mut MapData, [u8; size_of::<v1::Hot>()]> = ebpf.map_mut("HOT").unwrap().try_into().unwrap();
    map.set(0, <[u8; size_of::<v1::Hot>()]>::try_from(bytemuck::bytes_of(&hot)).unwrap(), 0).unwrap();

    let row = ClassRow { class: Class::Outside as u8, deny: 1, ..bytemuck::Zeroable::zeroed() };
    let mut map: Array<&mut MapData, [u8; size_of::<ClassRow>()]> =
        ebpf.map_mut("CLASSES").unwrap().try_into().unwrap();
    map.set(0, <[u8; size_of::<ClassRow>()]>::try_from(bytemuck::bytes_of(&row)).unwrap(), 0).unwrap();

    let mut map: PerCpuArray<&mut MapData, v1::CpuHalf> = ebpf.map_mut("HALVES").unwrap().try_into().unwrap();
    for parity in 0..2 {
        let base = |cpu: u32| parity * blocks + cpu * (BLOCKS[0] + BLOCKS[1]);
        let half = |cpu: u32| v1::CpuHalf {
            keys: [0x1234_5678_9abc_def1; 6],
            v4: CacheRegion { base: base(cpu), shift: 64 - PLACES.ilog2() },
            v6: CacheRegion { base: base(cpu) + BLOCKS[0], shift: 64 - PLACES.ilog2() },
            v4_reserve: NONE,
            v6_reserve: NONE,
            log_base: (parity * cpus + cpu) * PLACES,
            log_places: PLACES,
            crowded_limit: [u32::MAX; 2],
            ..bytemuck::Zeroable::zeroed()
        };
        map.set(parity, PerCpuValues::try_from((0..cpus).map(half).collect::<Vec<_>>()).unwrap(), 0).unwrap();
    }
    ebpf
}

/// Has it on the stage's interface, to stay, in the calling thread's network namespace. The daemon that did is dead.
fn leave(home: &Home, by: Hook) {
    let ifindex = netns::index(INTERFACE).unwrap();
    let mut ebpf = load(ifindex);
    let before = home.bpffs().join("v1");
    let maps = before.join("maps/1");
    for directory in [before.join("links"), maps.join("in-use")] {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).unwrap();
    }
    for name in MAPS {
        ebpf.map(name).unwrap().pin(maps.join(name)).unwrap();
    }
    let program: &mut SchedClassifier = ebpf.program_mut("egress").unwrap().try_into().unwrap();
    program.load().unwrap();
    let options = match by {
        Hook::Tcx => TcAttachOptions::TcxOrder(LinkOrder::first()),
        Hook::Clsact => {
            qdisc_add_clsact(INTERFACE).unwrap();
            TcAttachOptions::Netlink(NlOptions { priority: 1, handle: TcHandle::new(0x656d, 1), classid: None })
        }
    };
    let link = program.attach_with_options(INTERFACE, TcAttachType::Egress, options).unwrap();
    let link = program.take_link(link).unwrap();
    match by {
        Hook::Tcx => drop(FdLink::try_from(link).unwrap().pin(before.join(format!("links/{ifindex}"))).unwrap()),
        Hook::Clsact => std::mem::forget(link),
    }
}

/// Whether this kernel has TCX.
fn has_tcx() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Egress).is_ok()
}

#[test]
fn what_a_build_with_the_layouts_before_left_is_taken_over_and_nothing_leaves_between() {
    for by in [Hook::Tcx, Hook::Clsact] {
        if by == Hook::Tcx && !has_tcx() {
            continue;
        }
        let stage = Stage::build(false).unwrap();
        let home = Home::outliving().unwrap();
        let before = home.bpffs().join("v1");
        let strict = Arc::new(policy_of(&stage.config("", "")).unwrap());
        let to = SocketAddr::new(v4(OUTSIDE).into(), 9);
        // A flow each.
        let send = |packets: usize| stage.near.run(|| send_udp(stage.from(to), to, &vec![1; packets])).unwrap();
        // Nothing that is IP, and of no protocol that anybody knows.
        let odd = [&[2; 12][..], &[0x12, 0x34], &[0; 46]].concat();
        stage.near.run(|| leave(&home, by));
        let sent = stage.sent().unwrap();
        send(3);
        send(4);
        let odd = stage.near.run(|| Flood::open(INTERFACE).unwrap().send(&[odd.clone(), odd.clone()]).unwrap());
        assert_eq!(odd.sent, 2);

        // A daemon of that build that lives keeps a start away.
        let lock = File::open(&before).unwrap();
        lock.lock().unwrap();
        let refused = Pins::open(home.bpffs()).unwrap_err();
        assert!(matches!(refused, KernelError::PinsInUse { process, .. } if process == Some(std::process::id())));
        drop(lock);

        let pins = Pins::open(home.bpffs()).unwrap();
        let options = Options { mode: Mode::Enforce, ..Options::default() };
        let mut kernel = Kernel::load_to_outlive(Prepared::new(), options, strict, Some(pins)).unwrap();
        send(2);
        stage.near.run(|| kernel.attach(&[Interface::find(INTERFACE).unwrap()], Some(by)).unwrap());
        assert!(kernel.adopts());
        send(5);
        let left = stage.near.run(|| kernel.take_left().unwrap());
        let [Left::Epoch(epoch)] = &left[..] else { panic!("{left:?}") };
        assert_eq!((epoch.epoch, hook(epoch).packets), (EPOCH, 3 + 4 + 2 + 2));
        let [counts] = &epoch.interfaces[..] else { panic!("{:?}", epoch.interfaces) };
        assert_eq!((counts.name.as_str(), counts.dropped.packets), (INTERFACE, 3 + 4 + 2));
        assert_eq!(counts.unparsed.keys().copied().collect::<Vec<_>>(), [Reason::NotIp]);
        let mut flows: Vec<u64> = epoch.flows.iter().map(|(_, value)| value.counters.packets).collect();
        flows.sort_unstable();
        assert_eq!(flows, [2, 3, 4]);
        assert!(!before.exists(), "{:?}", fs::read_dir(&before).map(Iterator::count));

        let epoch = kernel.flip().unwrap();
        assert_eq!((epoch.epoch, hook(&epoch).packets), (EPOCH + 1, 5));
        assert_eq!(stage.sent().unwrap().since(sent).packets, 2, "the odd ones alone");
        drop(kernel);
        let removed = stage.near.run(|| detach_all(home.bpffs()).unwrap());
        assert!(removed[0].starts_with("the program on interface "), "{removed:?}");
    }
}

#[test]
fn a_daemon_tells_what_a_build_with_the_layouts_before_had_counted_and_goes_on() {
    let stage = Stage::build(false).unwrap();
    let (by, name) = if has_tcx() { (Hook::Tcx, "tcx") } else { (Hook::Clsact, "clsact") };
    let home = lives::home(&stage);
    stage.near.run(|| leave(&home, by));
    assert!(!stage.leaves(lives::outside(), 3).unwrap());
    let daemon = start(&stage, home, name);
    // Of one byte each.
    assert_eq!(gap(&daemon), [3, 3 * 43, 3, 3 * 43]);
    assert_eq!(lives::attached(&stage), one(name));
    assert!(!stage.leaves(lives::outside(), 2).unwrap());
    detach_from(&stage, daemon);
    assert_eq!(lives::attached(&stage), (0, 0));
}
