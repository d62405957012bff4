//! What passed the hooks, by where it goes and what became of it.

use std::sync::atomic::Ordering::Relaxed;

use monitor_common::{verdict::Verdict, wire::Class};

use super::{Page, families};
use crate::{model::flow::Group, store::MonitorState};

pub(super) fn traffic(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    flows(page, state)?;
    hook(page, state)?;
    let lost = page.counter(&families::EVENTS_LOST)?;
    lost.with_label_values(&["ring"]).inc_by(state.traffic.totals.events_lost);
    lost.with_label_values(&["queue"]).inc_by(state.delivery.lost.load(Relaxed));
    lost.with_label_values(&["sink"]).inc_by(state.delivery.gone.load(Relaxed));
    Ok(())
}

fn flows(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let totals = &state.traffic.totals;
    let interfaces = &state.traffic.identities.interfaces;
    let left = page.counter(&families::LEFT_PACKETS)?;
    for class in Class::ALL {
        for verdict in Verdict::ALL {
            left.with_label_values(&[class.name(), verdict.name()]);
        }
    }
    let packets = page.counter(&families::PACKETS)?;
    let segments = page.counter(&families::SEGMENTS)?;
    let bytes = page.counter(&families::BYTES)?;
    let wire_bytes = page.counter(&families::WIRE_BYTES)?;
    let overflow = page.counter(&families::OVERFLOW_PACKETS)?;
    let of = |group: &Group| (interfaces.get(group.interface), group.country.to_string());
    for (group, sums) in &totals.groups {
        let (interface, country) = of(group);
        let values = [interface, &country, group.class.name(), group.verdict.name()];
        left.with_label_values(&values[2..]).inc_by(sums.packets);
        packets.with_label_values(&values).inc_by(sums.packets);
        segments.with_label_values(&values).inc_by(sums.segments);
        bytes.with_label_values(&values).inc_by(sums.bytes);
        wire_bytes.with_label_values(&values).inc_by(sums.wire_bytes);
    }
    for (group, sums) in &totals.overflow {
        let (interface, country) = of(group);
        let values = [interface, &country, group.class.name(), group.verdict.name()];
        overflow.with_label_values(&values).inc_by(sums.packets);
    }
    let opaque_packets = page.counter(&families::OPAQUE_PACKETS)?;
    let opaque_bytes = page.counter(&families::OPAQUE_BYTES)?;
    for ((name, form, verdict), sums) in &totals.opaque {
        let values = [interfaces.get(*name), form.name().unwrap_or_default(), verdict.name()];
        opaque_packets.with_label_values(&values).inc_by(sums.packets);
        opaque_bytes.with_label_values(&values).inc_by(sums.bytes);
    }
    let inner = page.counter(&families::INNER_PACKETS)?;
    for ((name, via, verdict), sums) in &totals.inner {
        inner.with_label_values(&[interfaces.get(*name), *via, verdict.name()]).inc_by(sums.packets);
    }
    let unparsed = page.counter(&families::UNPARSED_PACKETS)?;
    for ((name, reason), reason_sums) in &totals.unparsed {
        for (fate, packets) in [("passed", reason_sums.passed.packets), ("dropped", reason_sums.dropped.packets)] {
            if packets > 0 {
                unparsed.with_label_values(&[interfaces.get(*name), reason.name(), fate]).inc_by(packets);
            }
        }
    }
    Ok(())
}

fn hook(page: &Page, state: &MonitorState) -> prometheus::Result<()> {
    let totals = &state.traffic.totals;
    let interfaces = &state.traffic.identities.interfaces;
    let packets = page.counter(&families::HOOK_PACKETS)?;
    let segments = page.counter(&families::HOOK_SEGMENTS)?;
    let bytes = page.counter(&families::HOOK_BYTES)?;
    let wire_bytes = page.counter(&families::HOOK_WIRE_BYTES)?;
    let dropped = page.counter(&families::HOOK_DROPPED_PACKETS)?;
    let residual = page.counter(&families::RESIDUAL_PACKETS)?;
    // Before the first epoch, too.
    for one in &state.attachments {
        for series in [&packets, &segments, &bytes, &wire_bytes, &dropped, &residual] {
            series.with_label_values(&[one.interface.as_str()]);
        }
    }
    for (name, sums) in &totals.hook {
        let values = [interfaces.get(*name)];
        packets.with_label_values(&values).inc_by(sums.packets);
        segments.with_label_values(&values).inc_by(sums.segments);
        bytes.with_label_values(&values).inc_by(sums.bytes);
        wire_bytes.with_label_values(&values).inc_by(sums.wire_bytes);
    }
    for (name, sums) in &totals.dropped {
        dropped.with_label_values(&[interfaces.get(*name)]).inc_by(sums.packets);
    }
    for (name, sums) in &totals.residual {
        residual.with_label_values(&[interfaces.get(*name)]).inc_by(sums.packets);
    }
    Ok(())
}
