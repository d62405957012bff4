use std::collections::HashMap;

use super::*;
use crate::wire::{Address, CACHE_WAYS, FlowKey};

const SIZE: Counters = Counters { packets: 1, segments: 3, bytes: 100, wire_bytes: 120 };

fn key(port: u16) -> CacheKey {
    let mut ports = [0xde, 0xad, 0, 0];
    ports[2..].copy_from_slice(&port.to_be_bytes());
    CacheKey {
        addresses: [u64::from_ne_bytes([192, 0, 2, 1, 198, 51, 100, 2]), 0, 0, 0],
        ports: u32::from_ne_bytes(ports),
        ifindex: 7,
        protocol: 6,
        ip_version: 4,
        ..CacheKey::default()
    }
}

/// What [`crate::cache`] is for: counts a packet, and gives the flow that was evicted. `None`: no place.
fn packet(set: &mut CacheSet, key: &CacheKey, now: u32) -> Option<CacheEntry> {
    if let Some(entry) = set.find(key) {
        entry.count(&SIZE, now);
        return Some(CacheEntry::default());
    }
    let entry = set.victim(now)?;
    let gone = *entry;
    entry.begin(key, &SIZE, 1, now);
    Some(gone)
}

#[test]
fn a_cache_key_is_the_same_flow_as_its_flow_key() {
    let v4 = CacheKey { verdict: 1, class_id: 2, rule: 3, flags: 4, ..key(443) };
    let expected = FlowKey {
        source: Address::v4(0xc000_0201),
        destination: Address::v4(0xc633_6402),
        ifindex: 7,
        source_port: 0xdead,
        destination_port: 443,
        protocol: 6,
        ip_version: 4,
        verdict: 1,
        flags: 4,
        class_id: 2,
        rule: 3,
    };
    assert_eq!(FlowKey::from(&v4), expected);
    let v6 = CacheKey { addresses: [1_u64, 2, 3, 4].map(u64::to_be), ip_version: 6, ..v4 };
    let (source, destination) = (Address { high: 1, low: 2 }, Address { high: 3, low: 4 });
    assert_eq!(FlowKey::from(&v6), FlowKey { source, destination, ip_version: 6, ..expected });
}

#[test]
fn a_flow_is_found_by_everything_that_its_packets_have_and_by_nothing_else() {
    let mut set = CacheSet::default();
    let four = key(443);
    let six = CacheKey { addresses: [1, 2, 3, 4], ip_version: 6, ..four };
    packet(&mut set, &four, 10);
    packet(&mut set, &six, 10);
    for of in [four, six] {
        assert!(set.find(&CacheKey { verdict: 2, class_id: 9, rule: 5, ..of }).is_some());
        let mut others = vec![
            CacheKey { ports: of.ports ^ 1, ..of },
            CacheKey { ports: of.ports ^ 1 << 31, ..of },
            CacheKey { ifindex: 8, ..of },
            CacheKey { protocol: 17, ..of },
            CacheKey { flags: 1, ..of },
            CacheKey { ip_version: of.ip_version ^ 2, ..of },
        ];
        for word in 0..if of.ip_version == 4 { 1 } else { 4 } {
            let mut other = of;
            other.addresses[word] ^= 1 << 63;
            others.push(other);
        }
        for other in others {
            assert!(set.find(&other).is_none(), "{other:?}");
        }
    }
}

#[test]
fn an_active_flow_stays_and_the_one_that_is_idle_longest_goes() {
    let mut set = CacheSet::default();
    for way in 0..CACHE_WAYS as u32 {
        assert_eq!(packet(&mut set, &key(way as u16), 100 + way), Some(CacheEntry::default()));
    }
    // All were seen just now.
    assert_eq!(packet(&mut set, &key(4), 100 + IDLE - 1), None);
    packet(&mut set, &key(0), 100 + IDLE);
    let gone = packet(&mut set, &key(4), 101 + IDLE).expect("one is idle");
    assert_eq!((gone.key, gone.counters, gone.first, gone.last, gone.slot), (key(1), SIZE, 101, 101, 1));
    assert_eq!(packet(&mut set, &key(5), 101 + IDLE), None);
    assert_eq!(packet(&mut set, &key(5), 102 + IDLE).expect("another is idle").key, key(2));
    // Jiffies wrap.
    let mut set = CacheSet::default();
    for way in 0..CACHE_WAYS as u32 {
        packet(&mut set, &key(way as u16), u32::MAX - 10 + 3 * way);
    }
    assert_eq!(packet(&mut set, &key(4), IDLE - 12), None);
    assert_eq!(packet(&mut set, &key(4), IDLE - 11).expect("one is idle").key, key(0));
}

#[test]
fn the_policy_is_evaluated_again_while_a_flow_goes_on() {
    let mut set = CacheSet::default();
    let start = u32::MAX - 5;
    packet(&mut set, &key(1), start);
    for after in 0..VERDICT_AGE {
        packet(&mut set, &key(1), start.wrapping_add(after));
        assert!(set.find(&key(1)).is_some_and(|entry| entry.is_fresh(start.wrapping_add(after))));
    }
    assert!(set.find(&key(1)).is_some_and(|entry| !entry.is_fresh(start.wrapping_add(VERDICT_AGE))));
}

#[test]
fn times_become_whole_jiffies_again() {
    let entry = CacheEntry { first: u32::MAX - 1, last: 5, counters: SIZE, ..CacheEntry::default() };
    let now = (3 << 32) + 9;
    let value = entry.value(now);
    assert_eq!((value.counters, value.first, value.last), (SIZE, (3 << 32) - 2, (3 << 32) + 5));
    assert_eq!(entry.value((3 << 32) + 5).last, (3 << 32) + 5);
}

/// Half as many flows as places, in the ways that flows differ in practice: nearly all must find one.
#[test]
fn flows_spread_over_the_sets_whatever_they_differ_in() {
    const SETS: u32 = 16_384;
    const FLOWS: u32 = SETS * CACHE_WAYS as u32 / 2;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let keys: HashKeys = core::array::from_fn(|_| random.u64(..) | 1);
    let six = |number: u32, word: usize, shift: u32| {
        let mut key = CacheKey { ip_version: 6, ..key(443) };
        key.addresses = [0x20, 1, 2, 3];
        key.addresses[word] ^= u64::from(number) << shift;
        key
    };
    let four = |number: u32, shift: u32| {
        let mut key = key(443);
        key.addresses[0] ^= u64::from(number) << shift;
        key
    };
    let kinds: [(&str, &dyn Fn(u32) -> CacheKey); 10] = [
        ("source ports", &|n| CacheKey { ports: n << 1, ..key(0) }),
        ("destination ports", &|n| CacheKey { ports: (n & 0xff) << 24 | (n >> 8) << 16, ifindex: n >> 16, ..key(0) }),
        ("interfaces", &|n| CacheKey { ifindex: n, ..key(0) }),
        ("IPv4 sources", &|n| four(n, 0)),
        ("IPv4 networks", &|n| four(n, 8)),
        ("IPv4 destinations", &|n| four(n, 32)),
        ("IPv4 destination networks", &|n| four(n, 48)),
        ("IPv6 source networks", &|n| six(n, 0, 40)),
        ("IPv6 interface identifiers", &|n| six(n, 3, 48)),
        ("IPv6 destination networks", &|n| six(n, 2, 16)),
    ];
    for (what, flow) in kinds {
        let mut sets: HashMap<u32, u32> = HashMap::new();
        let flows: std::collections::HashSet<CacheKey> = (0..FLOWS).map(flow).collect();
        for key in &flows {
            let set = key.set_index(&keys, SETS);
            assert!(set < SETS);
            *sets.entry(set).or_default() += 1;
        }
        let without: u32 = sets.values().map(|count| count.saturating_sub(CACHE_WAYS as u32)).sum();
        // Chance alone leaves 3.7 % without.
        assert!(without < FLOWS / 20, "{what}: {without} of {} flows have no place, seed {seed}", flows.len());
    }
}
