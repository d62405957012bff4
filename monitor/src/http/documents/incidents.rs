//! The state in, the documents of incidents out.

use monitor_api::{
    flows::Part,
    incidents::{IncidentRow, Incidents, MOST, OneIncident},
};

use super::{
    flows::{Labels, first, flow_row},
    head,
};
use crate::{
    incidents::Membership,
    model::{
        incident::{Incident, IncidentId},
        rfc3339,
    },
    store::{MonitorState, SharedState},
};

/// The document of all that are open.
pub fn incidents(state: &MonitorState, host: &str) -> Incidents {
    let mut open: Vec<&Incident> = state.incidents.values().collect();
    open.sort_by_key(|incident| {
        (std::cmp::Reverse((incident.severity(), incident.totals.wire_bytes)), incident.first, incident.id)
    });
    Incidents {
        head: head(state, host),
        until: state.last.map(|last| rfc3339(last.ended)),
        incidents: open.into_iter().map(row).collect(),
    }
}

/// The document of one, if it is open.
pub fn incident(shared: &SharedState, host: &str, id: IncidentId) -> Option<OneIncident> {
    // In this order: the state is that of the flows then.
    let store = shared.flows();
    let state = shared.read();
    let incident = state.incidents.get(&id)?.clone();
    let of = Membership::of(&incident, &state)?;
    let (labels, document) = (Labels::of(&state), OneIncident { head: head(&state, host), ..OneIncident::default() });
    drop(state);
    let mut rest = Part::default();
    let mut known = Part::default();
    let mut older = false;
    let members = store.iter().filter(|(flow, _)| of.has(flow)).map(|(flow, sums)| {
        older |= sums.first < incident.first;
        known.flows += 1;
        known.sums.add(&sums.counters);
        (flow, 1, *sums)
    });
    let rows = first(MOST, &mut rest, members);
    drop(store);
    // What the store has evicted is in the incident's sums and in no row.
    let whole = Part { flows: incident.flows, sums: (&incident.totals).into() };
    let missing = less(whole, known).filter(|_| !older);
    Some(OneIncident {
        incident: row(&incident),
        flows: rows.iter().map(|(flow, _, sums)| flow_row(flow, sums, &labels)).collect(),
        rest: missing.map(|missing| {
            let mut all = rest;
            all.flows += missing.flows;
            for (sum, more) in [
                (&mut all.sums.packets, missing.sums.packets),
                (&mut all.sums.segments, missing.sums.segments),
                (&mut all.sums.bytes, missing.sums.bytes),
                (&mut all.sums.wire_bytes, missing.sums.wire_bytes),
            ] {
                *sum += more;
            }
            all
        }),
        ..document
    })
}

/// What is in `of` and not in `what`; none where that is more.
fn less(of: Part, what: Part) -> Option<Part> {
    let mut rest = of;
    rest.flows = of.flows.checked_sub(what.flows)?;
    rest.sums.packets = of.sums.packets.checked_sub(what.sums.packets)?;
    rest.sums.segments = of.sums.segments.checked_sub(what.sums.segments)?;
    rest.sums.bytes = of.sums.bytes.checked_sub(what.sums.bytes)?;
    rest.sums.wire_bytes = of.sums.wire_bytes.checked_sub(what.sums.wire_bytes)?;
    Some(rest)
}

fn row(incident: &Incident) -> IncidentRow {
    let (reason, interface) = match &incident.unparsed {
        Some((reason, interface)) => (Some(reason.clone()), Some(interface.clone())),
        None => (None, None),
    };
    IncidentRow {
        id: incident.id.to_string(),
        kind: incident.kind.name().into(),
        severity: incident.severity().name().into(),
        class: incident.class.map(|class| class.name().into()),
        verdict: incident.verdict.name().into(),
        country: incident.country.map(|country| country.to_string()),
        rule: incident.rule.clone(),
        network: incident.network.map(|network| network.to_string()),
        source: incident.source,
        reason,
        interface,
        first_seen: rfc3339(incident.first.into()),
        last_seen: rfc3339(incident.last.into()),
        flows: incident.flows,
        peers: incident.peers.seen.len() as u64,
        more_peers: incident.peers.more,
        attribution: incident.attribution.as_deref().map(Into::into),
        sums: (&incident.totals).into(),
    }
}
