//! What becomes of fragments in every order, and of datagrams for which there is no room.

use super::*;
use crate::{parse::Transport, wire::Opaque};

const SECOND_NS: u64 = 1_000_000_000;

fn first(id: u32) -> Fragment {
    Fragment {
        source: Address::v4(1),
        destination: Address::v4(2),
        id,
        start: 0,
        end: 10,
        ip_version: 4,
        protocol: 17,
        header: 0,
        more: 1,
    }
}

fn later(id: u32, start: u16, end: u16, more: u8) -> Fragment {
    Fragment { start, end, more, ..first(id) }
}

fn inner_destination(port: u16) -> InnerDestination {
    InnerDestination { port, ip_version: 4, ..InnerDestination::default() }
}

/// A set and the clock.
#[derive(Default)]
struct Table {
    set: FragmentSet,
    now_ns: u64,
}

impl Table {
    /// A fragment one second later, the first of a datagram with its identification as port.
    fn see(&mut self, fragment: &Fragment) -> Result<InnerDestination, Reason> {
        self.now_ns += SECOND_NS;
        let mut walker = HeaderWalker::new();
        walker.set_transport(u32::from(fragment.header), 17, 5, fragment.id as u16);
        let restored = self.set.restore(fragment, 3, self.now_ns, &mut walker)?;
        self.set.record(fragment, 3, self.now_ns, &walker, &inner_destination(fragment.id as u16));
        Ok(restored)
    }
}

#[test]
fn a_later_fragment_has_all_that_the_first_had() {
    let mut set = FragmentSet::default();
    let mut walker = HeaderWalker::new();
    walker.set_transport(0, 17, 5, 53);
    walker.key.flags = Opaque::WireGuard as u8;
    assert_eq!(set.restore(&first(1), 3, 1, &mut walker), Ok(InnerDestination::default()));
    set.record(&first(1), 3, 1, &walker, &inner_destination(9));
    let mut walker = HeaderWalker::new();
    assert_eq!(set.restore(&later(1, 10, 20, 1), 3, 2, &mut walker), Ok(inner_destination(9)));
    let key = walker.key;
    assert_eq!((key.protocol, key.source_port, key.destination_port, key.flags), (17, 5, 53, Opaque::WireGuard as u8));
    assert_eq!(walker.headers[0], Transport { port: 53, protocol: 17 });
}

#[test]
fn a_fragment_in_a_tunnel_never_touches_the_outermost_ports() {
    let inner = |fragment: Fragment| Fragment { header: 2, ..fragment };
    let mut set = FragmentSet::default();
    let mut walker = HeaderWalker::new();
    walker.set_transport(0, 17, 1, 4789);
    walker.set_transport(2, 6, 7, 443);
    set.record(&inner(first(1)), 3, 1, &walker, &inner_destination(9));
    let mut walker = HeaderWalker::new();
    walker.set_transport(0, 17, 2, 4789);
    assert_eq!(set.restore(&inner(later(1, 10, 20, 0)), 3, 2, &mut walker), Ok(inner_destination(9)));
    assert_eq!((walker.key.protocol, walker.key.source_port, walker.key.destination_port), (17, 2, 4789));
    assert_eq!(walker.headers[2], Transport { port: 443, protocol: 6 });
}

#[test]
fn fragments_in_order_pass_with_gaps_and_no_others_do() {
    let mut table = Table::default();
    assert_eq!(table.see(&later(1, 10, 20, 1)), Err(Reason::FragmentWithoutFirst));
    assert_eq!(table.see(&first(1)), Ok(InnerDestination::default()));
    assert_eq!(table.see(&first(1)), Err(Reason::FragmentOverlap), "repeated");
    assert_eq!(table.see(&later(1, 9, 20, 1)), Err(Reason::FragmentOverlap), "one unit too early");
    assert_eq!(table.see(&later(1, 10, 20, 1)), Ok(inner_destination(1)));
    assert_eq!(table.see(&later(1, 10, 20, 1)), Err(Reason::FragmentOverlap), "repeated");
    assert_eq!(table.see(&later(1, 30, 40, 1)), Ok(inner_destination(1)), "a gap");
    assert_eq!(table.see(&later(1, 20, 30, 1)), Err(Reason::FragmentOverlap), "out of order");
    assert_eq!(table.see(&later(1, 40, 41, 0)), Ok(inner_destination(1)), "the end");
    assert_eq!(table.see(&later(1, 41, 42, 1)), Err(Reason::FragmentWithoutFirst), "after the end");
    assert_eq!(table.see(&first(1)), Ok(InnerDestination::default()), "the identification is free again");
}

#[test]
fn everything_in_the_identity_tells_datagrams_apart() {
    let other = [
        Fragment { source: Address::v4(9), ..later(1, 10, 20, 1) },
        Fragment { destination: Address::v4(9), ..later(1, 10, 20, 1) },
        Fragment { ip_version: 6, ..later(1, 10, 20, 1) },
        Fragment { protocol: 6, ..later(1, 10, 20, 1) },
        later(2, 10, 20, 1),
    ];
    let mut table = Table::default();
    assert_eq!(table.see(&first(1)), Ok(InnerDestination::default()));
    for fragment in &other {
        assert_eq!(table.see(fragment), Err(Reason::FragmentWithoutFirst), "{fragment:?}");
    }
    let restored = table.set.restore(&later(1, 10, 20, 1), 4, table.now_ns, &mut HeaderWalker::new());
    assert_eq!(restored, Err(Reason::FragmentWithoutFirst), "another interface");
    assert_eq!(table.see(&later(1, 10, 20, 1)), Ok(inner_destination(1)));
}

#[test]
fn of_five_datagrams_the_oldest_goes() {
    for ended in [None, Some(3)] {
        let mut table = Table::default();
        for id in 1..=4 {
            assert_eq!(table.see(&first(id)), Ok(InnerDestination::default()));
        }
        // Being used makes it no younger.
        assert_eq!(table.see(&later(1, 10, 20, 1)), Ok(inner_destination(1)));
        if let Some(id) = ended {
            assert_eq!(table.see(&later(id, 10, 20, 0)), Ok(inner_destination(3)));
        }
        assert_eq!(table.see(&first(5)), Ok(InnerDestination::default()));
        // The free place goes first.
        let gone = ended.unwrap_or(1);
        for id in 1..=5 {
            let expected =
                if id == gone { Err(Reason::FragmentWithoutFirst) } else { Ok(inner_destination(id as u16)) };
            assert_eq!(table.see(&later(id, 20, 30, 1)), expected, "{id}, ended {ended:?}");
        }
    }
}

#[test]
fn the_rest_is_waited_for_a_minute_from_the_first() {
    let mut set = FragmentSet::default();
    let mut walker = HeaderWalker::new();
    let begin = 5 * SECOND_NS;
    set.record(&first(1), 3, begin, &walker, &inner_destination(1));
    let last = begin + 60 * SECOND_NS - 1;
    assert_eq!(set.restore(&later(1, 10, 20, 1), 3, last, &mut walker), Ok(inner_destination(1)));
    assert_eq!(set.restore(&first(1), 3, last, &mut walker), Err(Reason::FragmentOverlap));
    assert_eq!(set.restore(&later(1, 20, 30, 1), 3, last + 1, &mut walker), Err(Reason::FragmentWithoutFirst));
    assert_eq!(set.restore(&first(1), 3, last + 1, &mut walker), Ok(InnerDestination::default()));
}

#[test]
fn sets_fill_evenly() {
    let load = |fragments: &mut dyn Iterator<Item = Fragment>| {
        let mut load = [0_usize; FRAGMENT_SETS as usize];
        for fragment in fragments {
            load[set_index(&fragment, 3) as usize] += 1;
        }
        (load.iter().min().copied().unwrap_or(0), load.iter().max().copied().unwrap_or(0))
    };
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    // Six standard deviations.
    let mean = if cfg!(miri) { 16_u32 } else { 400 };
    let (count, slack) = (mean * FRAGMENT_SETS, 6 * mean.isqrt());
    let even = |(least, most): (usize, usize)| {
        assert!(
            (mean.saturating_sub(slack) as usize) <= least && most <= (mean + slack) as usize,
            "{least} to {most}, seed {seed}"
        );
    };
    even(load(&mut (0..count).map(|_| Fragment {
        source: Address { high: random.u64(..), low: random.u64(..) },
        destination: Address { high: random.u64(..), low: random.u64(..) },
        ..first(random.u32(..))
    })));
    // What one host sends to one other, of which only the identification differs, by one each time; and to many.
    even(load(&mut (0..count).map(first)));
    even(load(&mut (0..count).map(|to| Fragment { destination: Address::v4(to), ..first(1) })));
    // As many datagrams in a row as there are sets: none takes another's place.
    let (_, most) = load(&mut (0..FRAGMENT_SETS).map(first));
    assert!(most <= WAYS, "{most}");
}
