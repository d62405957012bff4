//! What answers at each page: parameters in, a document or a refusal out. Who may ask is in the table of `routes`.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    body::Body,
    extract::{FromRequestParts, Query, State},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use monitor_api::{
    alerts::{Acknowledged, Alerts, AlertsQuery, MAX_NOTE, Told},
    changes::{Changes, ChangesQuery},
    clock::{ClockReset, ClockStatus},
    flows::FlowsQuery,
    incidents::{IncidentQuery, Incidents, OneIncident},
    mode::{ModeChange, ModeStatus, To},
    reload::{Candidate, Outcome, Trial},
    rules::Rules,
    shadow::{ShadowPage, ShadowQuery},
    sinks::{SinkRow, Sinks},
    status::Status,
};
use monitor_policy::{
    diff::Side,
    spec::Mode,
    text::{excerpt, plain},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    api::{Api, Control},
    connections::Place,
    documents::{self, flows::Page},
    error::ApiError,
    peer::Peer,
    roles::Role,
};
use crate::{
    kernel,
    model::{FindingKind, finding::Detail, now, rfc3339},
    reload::{LONGEST, ReloadHandle, Wanted},
};

/// Rows that the port gives at once: whoever may connect to it asks, and may never read the answer.
const MAX_TOP_ON_PORT: usize = 1_000;

/// For a sink to take a test.
const TESTED: Duration = Duration::from_secs(15);

/// The parameters of a page; whatever is not of them is refused.
pub(super) struct Parameters<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(ApiError::bad_request(error.body_text())),
        }
    }
}

/// A page without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fresh {
    /// 1: close the epoch first.
    fresh: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmation {
    /// Seconds in which it is to be confirmed.
    confirm: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TryFor {
    /// Seconds in which it is to be confirmed.
    seconds: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmed {
    /// Only this policy, by its digest.
    policy: Option<String>,
}

pub(super) async fn metrics(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Response, ApiError> {
    let text = api.render_scrape(|state| crate::metrics::render(&state.read(), now())).await?;
    let text = text.map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Alive: the process serves.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: attached, and epochs are being closed.
pub(super) async fn readyz(State(api): State<Api>) -> (StatusCode, String) {
    match api.state.read().not_ready(Instant::now()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

pub(super) async fn status(
    State(api): State<Api>,
    Parameters(query): Parameters<Fresh>,
) -> Result<Json<Status>, ApiError> {
    api.freshen(query.fresh).await?;
    let host = Arc::clone(&api.host);
    let mut status = api.render(move |state| documents::status::status(&state.read(), &host, now())).await?;
    if api.role < Some(Role::Auditor) {
        documents::status::without_policy(&mut status);
    }
    Ok(Json(status))
}

/// Sums of flows by what is no address.
pub(super) async fn totals(
    State(api): State<Api>,
    Extension(place): Extension<Place>,
    Parameters(query): Parameters<FlowsQuery>,
) -> Result<Response, ApiError> {
    if api.control.is_none() && query.top.is_some_and(|top| top > MAX_TOP_ON_PORT) {
        let why = format!(
            "top: at most {MAX_TOP_ON_PORT} on the port; `egress-monitor flows` gives more, by the control socket"
        );
        return Err(ApiError::bad_request(why));
    }
    if !query.by.is_some_and(|by| by.is_total()) {
        return Err(ApiError::bad_request("by is country, class or rule; /api/v1/flows has the rest"));
    }
    // Whoever could choose flows by address would read addresses.
    if !query.filter().map_err(ApiError::bad_request)?.is_total() {
        return Err(ApiError::bad_request(
            "sums are chosen by verdict, country, class and rule; /api/v1/flows has the rest",
        ));
    }
    rows(api, place, query).await
}

pub(super) async fn flows(
    State(api): State<Api>,
    Extension(place): Extension<Place>,
    Parameters(query): Parameters<FlowsQuery>,
) -> Result<Response, ApiError> {
    rows(api, place, query).await
}

/// A hundred thousand rows are not made at once: they are held as the store has them, and become text as the client reads.
async fn rows(api: Api, place: Place, query: FlowsQuery) -> Result<Response, ApiError> {
    query.check().map_err(ApiError::bad_request)?;
    api.freshen(query.fresh).await?;
    let host = Arc::clone(&api.host);
    let page = api
        .render(move |state| {
            let page = Page::of(state, &host, &query).map_err(ApiError::bad_request)?;
            if place.hold(page.size()) { Ok(page) } else { Err(ApiError::no_room()) }
        })
        .await??;
    let body = page.body().map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, "application/json")], Body::new(body)).into_response())
}

pub(super) async fn rules(
    State(api): State<Api>,
    Parameters(query): Parameters<Fresh>,
) -> Result<Json<Rules>, ApiError> {
    api.freshen(query.fresh).await?;
    let host = Arc::clone(&api.host);
    api.render(move |state| documents::rules::rules(&state.read(), &host, now())).await.map(Json)
}

pub(super) async fn shadow(
    State(api): State<Api>,
    Parameters(query): Parameters<ShadowQuery>,
) -> Result<Json<ShadowPage>, ApiError> {
    query.check().map_err(ApiError::bad_request)?;
    api.freshen(query.fresh).await?;
    api.render(move |state| documents::shadow::shadow(state, &query)).await.map(Json)
}

/// Alerts that are kept, by number.
pub(super) async fn alerts(
    State(api): State<Api>,
    Extension(place): Extension<Place>,
    Parameters(query): Parameters<AlertsQuery>,
) -> Result<Json<Alerts>, ApiError> {
    let now = i64::try_from(now() / 1_000_000).unwrap_or(i64::MAX);
    let filter = query.filter(now).map_err(ApiError::bad_request)?;
    let limit = query.limit().map_err(ApiError::bad_request)?;
    let archive = control(&api)?.archive.clone();
    let page = api.render(move |state| documents::alerts::alerts(state, &archive, &query, &filter, limit));
    let page = page.await?.map_err(|error| unreadable(&api, &error))?;
    let size = page.alerts.iter().map(|alert| alert.get().len()).sum();
    if place.hold(size) { Ok(Json(page)) } else { Err(ApiError::no_room()) }
}

fn unreadable(api: &Api, error: &std::io::Error) -> ApiError {
    let archive = control(api).map(|control| control.archive.directory().display().to_string()).unwrap_or_default();
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("{archive}: {error}"))
}

fn control(api: &Api) -> Result<&Control, ApiError> {
    api.control.as_ref().ok_or_else(|| ApiError::internal("what the control socket has alone was let through"))
}

/// Which alert is acknowledged, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meant {
    id: String,
    note: Option<String>,
}

/// Puts on record that somebody has seen an alert, for `egress-monitor alerts ack`.
pub(super) async fn acknowledge(
    State(api): State<Api>,
    by: Option<Extension<Peer>>,
    Parameters(Meant { id, note }): Parameters<Meant>,
) -> Result<Json<Acknowledged>, ApiError> {
    let note = note.map(|note| plain(note.trim())).filter(|note| !note.is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > MAX_NOTE) {
        return Err(ApiError::bad_request(format!("note: at most {MAX_NOTE} characters")));
    }
    let Control { epochs, archive, .. } = control(&api)?.clone();
    let (of, wanted) = (archive.clone(), id.clone());
    let found = api.render(move |_| of.find(&wanted)).await?.map_err(|error| unreadable(&api, &error))?;
    let Some(found) = found else {
        let why = format!("no alert {:?} is kept: `egress-monitor alerts` has their numbers", excerpt(&id));
        return Err(ApiError::new(StatusCode::NOT_FOUND, why));
    };
    let by = by.map_or_else(|| "somebody unknown".to_owned(), |Extension(Peer(by))| by.to_string());
    let Told { sequence, uid, correlation, kind, message, .. } = found;
    // By its number it is this one; by the name of what it belongs to, all of that.
    let one = Acknowledged {
        id: if correlation == id { correlation } else { uid },
        sequence,
        kind,
        message,
        note,
        by,
        time: rfc3339(now()),
    };
    let (of, kept) = (archive.clone(), one.clone());
    api.render(move |_| of.acknowledge(kept)).await?.map_err(|error| unreadable(&api, &error))?;
    let Acknowledged { kind, message, note, by, .. } = &one;
    let note = note.as_ref().map_or_else(String::new, |note| format!("; note: {note}"));
    let text = format!("alert {sequence} ({kind}: {message}){note}; by {by}");
    epochs.noticed(FindingKind::AlertAcknowledged, Detail { by: by.clone(), ..text.into() }).await;
    Ok(Json(one))
}

/// Incidents that are open.
pub(super) async fn incidents(
    State(api): State<Api>,
    Parameters(query): Parameters<Fresh>,
) -> Result<Json<Incidents>, ApiError> {
    api.freshen(query.fresh).await?;
    let host = Arc::clone(&api.host);
    api.render(move |state| documents::incidents::incidents(&state.read(), &host)).await.map(Json)
}

/// One of them, with its largest flows.
pub(super) async fn incident(
    State(api): State<Api>,
    Parameters(query): Parameters<IncidentQuery>,
) -> Result<Json<OneIncident>, ApiError> {
    let Ok(id) = query.id.parse() else {
        let why = format!("id={}: 32 hexadecimal digits, as in metadata.correlation_uid", excerpt(&query.id));
        return Err(ApiError::bad_request(why));
    };
    api.freshen(query.fresh).await?;
    let host = Arc::clone(&api.host);
    let found = api.render(move |state| documents::incidents::incident(state, &host, id)).await?;
    found.map(Json).ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("no incident {id} is open")))
}

/// Where alerts go.
pub(super) async fn sinks(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<Sinks>, ApiError> {
    let delivery = Arc::clone(&api.state.read().delivery);
    Ok(Json(documents::sinks::sinks(&delivery, now())))
}

/// Which sink is tested.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tested {
    sink: String,
}

/// Makes an alert and waits until a sink has taken it, for `egress-monitor sinks test`.
pub(super) async fn test_sink(
    State(api): State<Api>,
    Parameters(Tested { sink }): Parameters<Tested>,
) -> Result<Json<SinkRow>, ApiError> {
    let epochs = &api.control.as_ref().ok_or_else(|| ApiError::internal("a change was let through"))?.epochs;
    let delivery = Arc::clone(&api.state.read().delivery);
    let Some(tested) = delivery.sinks().iter().find(|known| known.name == sink) else {
        let names: Vec<&str> = delivery.sinks().iter().map(|known| known.name.as_str()).collect();
        let why = format!("no sink {:?}; there are {}", excerpt(&sink), names.join(", "));
        return Err(ApiError::new(StatusCode::NOT_FOUND, why));
    };
    epochs.noticed(FindingKind::SinkTest, format!("of {sink}, asked for by root").into()).await;
    // It is made before this is answered.
    let _ = epochs.close_epoch().await;
    let wanted = delivery.next.load(Relaxed) + delivery.queued.load(Relaxed);
    let deadline = Instant::now() + TESTED;
    while tested.next.load(Relaxed) < wanted {
        if Instant::now() >= deadline {
            let (answer, seconds) = (tested.answer(), TESTED.as_secs());
            let said = if answer.is_empty() { "it says nothing" } else { &answer };
            let why = format!("{sink} has not taken it within {seconds} s, and is tried on: {said}");
            return Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, why));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let row = documents::sinks::sinks(&delivery, now()).sinks.into_iter().find(|row| row.name == sink);
    row.map(Json).ok_or_else(|| ApiError::internal("a sink is gone"))
}

/// Reads configuration and policy anew, for `egress-monitor reload`.
pub(super) async fn reload_policy(
    State(api): State<Api>,
    by: Option<Extension<Peer>>,
    Parameters(query): Parameters<Confirmation>,
) -> Result<Json<Outcome>, ApiError> {
    let within = query.confirm.map(|seconds| within("confirm", seconds)).transpose()?;
    reloads(&api, by)?.reload(within).await.map(Json).map_err(ApiError::conflict)
}

/// Puts a configuration on trial that is in no file yet, for `egress-monitor try`.
pub(super) async fn try_policy(
    State(api): State<Api>,
    by: Option<Extension<Peer>>,
    Parameters(query): Parameters<TryFor>,
    text: String,
) -> Result<Json<Outcome>, ApiError> {
    let within = within("seconds", query.seconds)?;
    reloads(&api, by)?.attempt(text.into(), within).await.map(Json).map_err(ApiError::conflict)
}

/// A time to confirm in.
fn within(name: &str, seconds: u64) -> Result<Duration, ApiError> {
    if seconds == 0 || seconds > LONGEST.as_secs() {
        return Err(ApiError::bad_request(format!("{name}={seconds}: from 1 to {} seconds", LONGEST.as_secs())));
    }
    Ok(Duration::from_secs(seconds))
}

/// What is on trial.
pub(super) async fn trial(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<Trial>, ApiError> {
    let document = api.render(|state| {
        let state = state.read();
        let pending = state.unconfirmed.as_ref();
        Trial {
            policy: state.in_force.reference(),
            unconfirmed: pending.map(|pending| pending.status(now())),
            candidate: pending
                .and_then(|pending| pending.candidate.as_ref())
                .map(|(file, text)| Candidate { file: file.clone(), text: text.to_string() }),
        }
    });
    document.await.map(Json)
}

/// Keeps the policy in force, for `egress-monitor confirm`.
pub(super) async fn confirm_policy(
    State(api): State<Api>,
    by: Option<Extension<Peer>>,
    Parameters(Confirmed { policy }): Parameters<Confirmed>,
) -> Result<Json<Outcome>, ApiError> {
    reloads(&api, by)?.confirm(policy).await.map(Json).map_err(ApiError::conflict)
}

/// The mode, and who set it.
pub(super) async fn mode(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<ModeStatus>, ApiError> {
    api.render_scrape(|state| state.read().in_force.mode_status(now())).await.map(Json)
}

/// Sets the mode by hand, or gives it back to the configuration, for `egress-monitor mode`.
pub(super) async fn set_mode(
    State(api): State<Api>,
    by: Option<Extension<Peer>>,
    Parameters(change): Parameters<ModeChange>,
) -> Result<Json<ModeStatus>, ApiError> {
    change.check().map_err(ApiError::bad_request)?;
    let ModeChange { mode, seconds, reason } = change;
    let mode = match mode {
        To::Observe => Some(Mode::Observe),
        To::Enforce => Some(Mode::Enforce),
        To::File => None,
    };
    let reason = reason.unwrap_or_default().trim().to_owned();
    let wanted = mode.map(|mode| Wanted { mode, lasts: seconds.map(Duration::from_secs), reason });
    reloads(&api, by)?.set_mode(wanted).await.map(Json).map_err(ApiError::conflict)
}

/// What changed of policy and mode, and who did it.
pub(super) async fn changes(
    State(api): State<Api>,
    Parameters(query): Parameters<ChangesQuery>,
) -> Result<Json<Changes>, ApiError> {
    let host = Arc::clone(&api.host);
    api.render(move |state| documents::changes::changes(&state.read(), &host, query, now())).await.map(Json)
}

/// How the clocks stand.
pub(super) async fn clock(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Json<ClockStatus>, ApiError> {
    api.render_scrape(|state| state.read().clock.document()).await.map(Json)
}

/// Has the time that was remembered forgotten, for `egress-monitor clock reset`.
pub(super) async fn reset_clock(
    State(api): State<Api>,
    by: Option<Extension<Peer>>,
    Parameters(reset): Parameters<ClockReset>,
) -> Result<Json<ClockStatus>, ApiError> {
    let reason = reset.reason().map_err(ApiError::bad_request)?.to_owned();
    reloads(&api, by)?.reset_clock(reason).await.map(Json).map_err(ApiError::conflict)
}

/// All of the policy in force, for `egress-monitor diff --running`.
pub(super) async fn policy_image(
    State(api): State<Api>,
    Parameters(Nothing {}): Parameters<Nothing>,
) -> Result<Response, ApiError> {
    let image = api.render(|state| {
        let in_force = state.read().in_force.clone();
        Side { boot_ns: kernel::boot_ns(), ..Side::of(&in_force.policy, in_force.mode) }.encode()
    });
    let bytes = image.await?.map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

fn reloads(api: &Api, by: Option<Extension<Peer>>) -> Result<ReloadHandle, ApiError> {
    let root = api.control.as_ref().filter(|_| api.role == Some(Role::Root));
    let reloads = root.map(|control| &control.reloads).ok_or_else(|| ApiError::internal("a change was let through"))?;
    Ok(by.map_or_else(|| reloads.clone(), |Extension(Peer(by))| reloads.by(by)))
}
