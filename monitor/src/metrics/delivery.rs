//! What becomes of alerts on their way out.

use std::sync::atomic::Ordering::Relaxed;

use super::{Page, gauge};
use crate::store::MonitorState;

pub(super) fn delivery(page: &Page, state: &MonitorState, now: i128) -> prometheus::Result<()> {
    let delivery = &state.delivery;
    let none: [&str; 0] = [];
    let queued = page.gauge("alerts_queued", "Alerts that wait to be written to disk", &none)?;
    queued.with_label_values(&none).set(gauge(delivery.queued.load(Relaxed)));
    let kept = page.counter("alerts_kept_total", "Alerts written to disk", &none)?;
    kept.with_label_values(&none).inc_by(delivery.kept.load(Relaxed));
    let on_disk =
        page.gauge("alerts_on_disk", "1: alerts are kept on disk; 0: in memory, or they wait for room", &none)?;
    on_disk.with_label_values(&none).set(delivery.told().unwritable.is_none().into());
    let label = ["sink"];
    let backlog = page.gauge("alert_sink_backlog", "Alerts that are kept and not taken yet", &label)?;
    let oldest = page.gauge("alert_sink_oldest_seconds", "For how long the oldest of these has waited", &label)?;
    let delivered = page.counter("alert_sink_delivered_total", "Alerts taken", &label)?;
    let retried =
        page.counter("alert_sink_retried_total", "Times that alerts were not taken and tried again", &label)?;
    let rejected = page.counter("alert_sink_rejected_total", "Alerts that the receiver refused for good", &label)?;
    let success =
        page.gauge("alert_sink_last_success_timestamp_seconds", "When the sink took an alert last", &label)?;
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
