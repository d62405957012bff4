//! A sequence of frames through the table of fragments, as the kernel program and the tests' `Host` send them, next to
//! a model: a map of datagrams, each with all the intervals that it has sent. The first byte of the input is the
//! device's link layer; then come records of seconds since the frame before (one byte), length (two, big end first) and
//! frame.
//!
//! The model is unbounded but for what it knows of the table: of five datagrams of a set the oldest is forgotten. Where
//! even that is not enough, because one frame began two datagrams of a set at once, the set is not compared any more.

#![no_main]

use std::collections::{HashMap, HashSet};

use libfuzzer_sys::fuzz_target;
use monitor_common::{
    fragments::{FRAGMENT_SETS, FragmentSet, set_index},
    parse::{Fragment, HeaderWalker, MAX_FRAGMENTS, Reason},
    wire::{Address, FlowKey, InnerDestination, Link},
};

const IFINDEX: u32 = 7;
const WAYS: usize = 4;
const SECOND_NS: u64 = 1_000_000_000;
const PATIENCE_NS: u64 = 60 * SECOND_NS;

/// What makes two fragments parts of the same datagram (RFC 791 3.2, RFC 8200 4.5).
type Identity = (Address, Address, u32, u8, u8);

fn identity(fragment: &Fragment) -> Identity {
    (fragment.source, fragment.destination, fragment.id, fragment.ip_version, fragment.protocol)
}

/// A datagram on its way.
#[derive(Debug)]
struct Datagram {
    since_ns: u64,
    /// In units of eight bytes, from and below.
    sent: Vec<(u16, u16)>,
    /// Of the first fragment's packet, if its outermost header is the one that is fragmented.
    key: Option<FlowKey>,
    inner: InnerDestination,
}

#[derive(Default)]
struct Model {
    datagrams: HashMap<Identity, Datagram>,
    not_compared: HashSet<u32>,
}

impl Model {
    fn forget_expired(&mut self, now_ns: u64) {
        self.datagrams.retain(|_, datagram| now_ns - datagram.since_ns < PATIENCE_NS);
    }

    /// What [`FragmentSet::restore`] has to say.
    fn restore(&mut self, fragment: &Fragment) -> Result<InnerDestination, Reason> {
        let known = self.datagrams.get_mut(&identity(fragment));
        match (known, fragment.start) {
            (None, 0) => Ok(InnerDestination::default()),
            (None, _) => Err(Reason::FragmentWithoutFirst),
            (Some(datagram), start) => {
                if datagram.sent.iter().any(|(_, end)| start < *end) {
                    return Err(Reason::FragmentOverlap);
                }
                datagram.sent.push((start, fragment.end));
                let inner = datagram.inner;
                if fragment.more == 0 {
                    self.datagrams.remove(&identity(fragment));
                }
                Ok(inner)
            }
        }
    }

    /// As [`FragmentSet::record`].
    fn record(&mut self, fragment: &Fragment, now_ns: u64, walker: &HeaderWalker, inner: InnerDestination) {
        if fragment.start != 0 {
            return;
        }
        let set = set_index(fragment, IFINDEX);
        let key = (fragment.header == 0).then_some(walker.key);
        let begun = Datagram { since_ns: now_ns, sent: vec![(0, fragment.end)], key, inner };
        if self.datagrams.values().any(|other| other.since_ns == now_ns)
            && self.in_set(set).any(|(_, since_ns)| since_ns == now_ns)
        {
            self.not_compared.insert(set);
        }
        if self.in_set(set).count() >= WAYS
            && let Some((oldest, _)) = self.in_set(set).min_by_key(|(_, since_ns)| *since_ns)
        {
            self.datagrams.remove(&oldest);
        }
        self.datagrams.insert(identity(fragment), begun);
    }

    fn in_set(&self, set: u32) -> impl Iterator<Item = (Identity, u64)> {
        self.datagrams.iter().filter_map(move |(identity, datagram)| {
            let (source, destination, id, ip_version, protocol) = *identity;
            let fragment = Fragment { source, destination, id, ip_version, protocol, ..Fragment::default() };
            (set_index(&fragment, IFINDEX) == set).then_some((*identity, datagram.since_ns))
        })
    }
}

/// The next record: nanoseconds since the one before, and the frame. The last one may be cut short.
fn record<'a>(input: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let ([seconds, high, low], rest) = input.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (frame, rest) = rest.split_at(length);
    *input = rest;
    Some((u64::from(*seconds) * SECOND_NS + 1, frame))
}

fuzz_target!(|data: &[u8]| {
    let Some((link, mut input)) = data.split_first() else { return };
    let link = Link::from_wire(u16::from(*link));
    let mut sets = vec![FragmentSet::default(); FRAGMENT_SETS as usize];
    let mut model = Model::default();
    let mut walker = HeaderWalker::new();
    let mut now_ns = 1;
    let mut number = 0_u16;
    while let Some((later, frame)) = record(&mut input) {
        now_ns += later;
        number = number.wrapping_add(1);
        model.forget_expired(now_ns);
        if walker.walk(frame, link).is_err() {
            continue;
        }
        let fragments: Vec<Fragment> =
            (0..MAX_FRAGMENTS as usize).map_while(|number| walker.fragment_at(number)).collect();
        let mut outcome = Ok(());
        for fragment in &fragments {
            let set = set_index(fragment, IFINDEX);
            let first = model.datagrams.get(&identity(fragment)).and_then(|datagram| datagram.key);
            let expected = model.restore(fragment);
            let restored = sets[set as usize].restore(fragment, IFINDEX, now_ns, &mut walker);
            if model.not_compared.contains(&set) {
                // Not even the model's state is the table's now.
                return;
            }
            assert_eq!(restored, expected, "frame {number}: {fragment:?}");
            if let (Ok(_), Some(first), 0) = (restored, first, fragment.header) {
                assert_eq!(
                    (walker.key.protocol, walker.key.source_port, walker.key.destination_port, walker.key.flags),
                    (first.protocol, first.source_port, first.destination_port, first.flags),
                    "frame {number}: {fragment:?}"
                );
            }
            if let Err(reason) = restored {
                outcome = Err(reason);
                break;
            }
        }
        if outcome.is_ok() {
            let inner = InnerDestination { port: number, ip_version: 4, ..InnerDestination::default() };
            for fragment in &fragments {
                let set = set_index(fragment, IFINDEX);
                sets[set as usize].record(fragment, IFINDEX, now_ns, &walker, &inner);
                model.record(fragment, now_ns, &walker, inner);
            }
        }
    }
});
