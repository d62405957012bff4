//! What super-packets of an epoch were, by its flows: a device that takes some kinds of them whole and not others counts
//! them so.

use monitor_common::{
    verdict::Verdict,
    wire::{FlowValue, FullKey},
};

use crate::model::readings::{Reading, SuperKind};

/// Adds those that passed to the readings of their interfaces. Of an index that two devices had in the epoch nobody knows
/// whose they were.
pub fn add_supers(readings: &mut [Reading], flows: &[(FullKey, FlowValue)]) {
    let with_supers = flows.iter().filter(|(key, value)| {
        value.counters.segments > value.counters.packets && key.flow.verdict != Verdict::Denied as u8
    });
    for (key, value) in with_supers {
        let mut of = readings.iter_mut().filter(|reading| reading.ifindex == key.flow.ifindex);
        if let (Some(reading), None) = (of.next(), of.next()) {
            reading.supers.add(kind(key), &value.counters);
        }
    }
}

/// What a device takes a flow's super-packets for.
fn kind(key: &FullKey) -> SuperKind {
    let flow = &key.flow;
    match (i32::from(flow.protocol), flow.ip_version) {
        _ if key.inner.exists() => SuperKind::Other,
        (libc::IPPROTO_TCP, 4) => SuperKind::Tcp4,
        (libc::IPPROTO_TCP, _) => SuperKind::Tcp6,
        (libc::IPPROTO_UDP, _) => SuperKind::Udp,
        _ => SuperKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::wire::{Counters, FlowKey, InnerDestination};

    use super::*;
    use crate::model::readings::{Amount, Offloads, Supers, Taken};

    fn flow(ifindex: u32, protocol: i32, ip_version: u8) -> (FullKey, FlowValue) {
        let key = FlowKey { ifindex, protocol: protocol as u8, ip_version, ..FlowKey::default() };
        let counters = Counters { packets: 2, segments: 12, bytes: 10_132, wire_bytes: 10_792 };
        (key.into(), FlowValue { counters, first: 0, last: 0 })
    }

    fn further(supers: &Supers, kind: SuperKind) -> Amount {
        supers.taken(&Offloads::default().with(kind, Taken::Whole), Taken::Whole)
    }

    #[test]
    fn what_passed_is_added_to_its_interface_by_kind() {
        let mut readings = [7, 8].map(|ifindex| Reading { ifindex, ..Reading::default() });
        let mut denied = flow(7, libc::IPPROTO_TCP, 4);
        denied.0.flow.verdict = Verdict::Denied as u8;
        let mut small = flow(7, libc::IPPROTO_TCP, 4);
        small.1.counters.segments = 2;
        let mut tunnel = flow(7, libc::IPPROTO_UDP, 4);
        tunnel.0.inner = InnerDestination { ip_version: 4, ..InnerDestination::default() };
        let of = |protocol, version| flow(7, protocol, version);
        let flows = [
            of(libc::IPPROTO_TCP, 4),
            of(libc::IPPROTO_TCP, 6),
            of(libc::IPPROTO_TCP, 6),
            of(libc::IPPROTO_UDP, 6),
            of(libc::IPPROTO_GRE, 4),
            tunnel,
            denied,
            small,
            flow(9, libc::IPPROTO_TCP, 4),
        ];
        add_supers(&mut readings, &flows);
        let times = |times: u64| Amount { packets: times * 10, bytes: times * 660 };
        for (kind, expected) in [(SuperKind::Tcp4, 1), (SuperKind::Tcp6, 2), (SuperKind::Udp, 1), (SuperKind::Other, 2)]
        {
            assert_eq!(further(&readings[0].supers, kind), times(expected), "{kind:?}");
        }
        assert_eq!(readings[1].supers, Supers::default());
    }

    #[test]
    fn of_an_index_that_two_devices_had_nothing_is_known() {
        let mut readings = [7, 7].map(|ifindex| Reading { ifindex, ..Reading::default() });
        add_supers(&mut readings, &[flow(7, libc::IPPROTO_TCP, 4)]);
        assert!(readings.iter().all(|reading| reading.supers == Supers::default()));
    }
}
