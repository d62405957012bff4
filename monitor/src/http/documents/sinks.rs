//! The state in, the document of sinks out.

use std::sync::atomic::Ordering::Relaxed;

use monitor_api::sinks::{SinkRow, Sinks};

use crate::model::{delivery::Delivery, rfc3339};

/// The document, at this time.
pub fn sinks(delivery: &Delivery, now: i128) -> Sinks {
    let row = |sink: &std::sync::Arc<crate::model::delivery::SinkState>| {
        let success = sink.last_success.load(Relaxed);
        SinkRow {
            name: sink.name.clone(),
            kind: sink.kind.to_owned(),
            promise: sink.promise.name().to_owned(),
            next: sink.next.load(Relaxed),
            backlog: delivery.backlog(sink),
            oldest_seconds: delivery.waits(sink, (now / 1_000_000) as i64),
            delivered: sink.delivered.load(Relaxed),
            retried: sink.retried.load(Relaxed),
            rejected: sink.rejected.load(Relaxed),
            last_success: (success > 0).then(|| rfc3339(i128::from(success) * 1_000_000)),
            answer: sink.answer(),
        }
    };
    Sinks {
        next: delivery.next.load(Relaxed),
        queued: delivery.queued.load(Relaxed),
        unwritable: delivery.told().unwritable.clone(),
        lost: delivery.lost.load(Relaxed),
        gone: delivery.gone.load(Relaxed),
        sinks: delivery.sinks().iter().map(row).collect(),
    }
}
