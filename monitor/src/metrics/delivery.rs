//! What becomes of alerts on their way out.

use std::sync::atomic::Ordering::Relaxed;

use super::{Page, families, gauge};
use crate::store::MonitorState;

pub(super) fn delivery(page: &Page, state: &MonitorState, now: i128) -> prometheus::Result<()> {
    let delivery = &state.delivery;
    page.set(&families::ALERTS_QUEUED, gauge(delivery.queued.load(Relaxed)))?;
    page.count(&families::ALERTS_KEPT, delivery.kept.load(Relaxed))?;
    page.set(&families::ALERTS_ON_DISK, delivery.told().unwritable.is_none().into())?;
    let backlog = page.gauge(&families::SINK_BACKLOG)?;
    let oldest = page.gauge(&families::SINK_OLDEST)?;
    let delivered = page.counter(&families::SINK_DELIVERED)?;
    let retried = page.counter(&families::SINK_RETRIED)?;
    let rejected = page.counter(&families::SINK_REJECTED)?;
    let success = page.gauge(&families::SINK_LAST_SUCCESS)?;
    for sink in delivery.sinks() {
        let of = [sink.name.as_str()];
        backlog.with_label_values(&of).set(gauge(delivery.backlog(sink)));
        oldest.with_label_values(&of).set(gauge(delivery.waits(sink, (now / 1_000_000) as i64)));
        delivered.with_label_values(&of).inc_by(sink.delivered.load(Relaxed));
        retried.with_label_values(&of).inc_by(sink.retried.load(Relaxed));
        rejected.with_label_values(&of).inc_by(sink.rejected.load(Relaxed));
        success.with_label_values(&of).set(sink.last_success.load(Relaxed) / 1_000);
    }
    Ok(())
}
