//! What is kept of alerts, and of the state what goes with it: the page of alerts. Where nothing is on disk, the latest
//! that are in memory.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use monitor_api::alerts::{AlertFilter, Alerts, AlertsQuery, Told};
use monitor_policy::text::escaped_json;
use serde_json::value::RawValue;

use crate::{alerts::ocsf, archive::Archive, store::SharedState};

/// The document.
///
/// # Errors
/// What is kept can't be read.
pub fn alerts(
    state: &SharedState,
    archive: &Archive,
    query: &AlertsQuery,
    filter: &AlertFilter,
    limit: usize,
) -> io::Result<Alerts> {
    let delivery = Arc::clone(&state.read().delivery);
    let page = if delivery.durable.load(Relaxed) {
        archive.page(query, limit, filter, Some(delivery.next.load(Relaxed)))?
    } else {
        in_memory(state, query, filter, limit)?
    };
    Ok(Alerts { lost: delivery.lost.load(Relaxed), written: delivery.kept.load(Relaxed), ..page })
}

fn in_memory(state: &SharedState, query: &AlertsQuery, filter: &AlertFilter, limit: usize) -> io::Result<Alerts> {
    // Encoded when nobody waits for the state any more.
    let (latest, host) = {
        let state = state.read();
        (state.latest_alerts.clone(), state.host.clone())
    };
    let line = |alert| escaped_json(ocsf::document(&host, alert).to_string());
    let chosen = |line: &String| Told::of(line.as_bytes()).is_some_and(|told| filter.chooses(&told));
    let lines: Vec<String> = latest.iter().map(|alert| line(alert)).filter(chosen).collect();
    let first = lines.len().saturating_sub(limit);
    let alerts = lines.into_iter().skip(first).map(RawValue::from_string).collect::<Result<_, _>>()?;
    Ok(Alerts { alerts, next: query.after.unwrap_or(0), ..Alerts::default() })
}
