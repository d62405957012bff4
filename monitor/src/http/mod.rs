//! The HTTP interface: [`MonitorState`](crate::store::MonitorState) in, Prometheus text and JSON out. Read-only. One router
//! serves TCP (loopback) and the control socket; only on the latter does `?fresh=1` close the epoch first, so that
//! `status` and `flows` are exact up to the moment of asking, and only there can the policy be changed ([`policy`]).

pub mod documents;
mod policy;
pub mod server;

#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use monitor_api::{flows::FlowsQuery, shadow::ShadowQuery};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    alerts::ocsf,
    engine::EngineHandle,
    metrics,
    model::{Host, now},
    reload,
    store::SharedState,
};

/// Pages that are rendered at once: each reads all flows at worst.
const RENDERERS: usize = 2;

/// What the handlers need.
#[derive(Clone)]
struct Api {
    facts: SharedState,
    /// On the control socket only.
    control: Option<Control>,
    host: Arc<str>,
    renderers: Arc<Semaphore>,
}

/// What only the control socket may ask of.
#[derive(Clone, Debug)]
pub struct Control {
    /// Closes epochs.
    pub epochs: EngineHandle,
    /// Changes the policy.
    pub reloads: reload::ReloadHandle,
}

/// The router. With `control` it takes `fresh=1` and reloads; without, it only reads.
pub fn router(facts: SharedState, control: Option<Control>, host: &str) -> Router {
    let reloads = if control.is_some() { policy::routes() } else { Router::new() };
    let api = Api { facts, control, host: host.into(), renderers: Arc::new(Semaphore::new(RENDERERS)) };
    reloads
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/status", get(status_page))
        .route("/api/v1/flows", get(flows_page))
        .route("/api/v1/rules", get(rules_page))
        .route("/api/v1/policy/shadow", get(shadow_page))
        .route("/api/v1/alerts", get(alerts_page))
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "no such page; see /metrics, /api/v1/status, /api/v1/flows, /api/v1/rules")
        })
        .with_state(api)
}

/// A refusal as JSON.
fn problem(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({ "error": why.into() }))).into_response()
}

impl Api {
    /// Closes the epoch if that was asked for and may be.
    async fn freshen(&self, fresh: Option<u8>) -> Result<(), Box<Response>> {
        let refuse = |status, why: &str| Err(Box::new(problem(status, why)));
        match (fresh, &self.control) {
            (None | Some(0), _) => Ok(()),
            (Some(1), Some(control)) => match control.epochs.close_epoch().await {
                Ok(()) => Ok(()),
                Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, &format!("the epoch could not be closed: {why}")),
            },
            (Some(1), None) => refuse(StatusCode::BAD_REQUEST, "fresh=1 is answered on the control socket only"),
            (Some(_), _) => refuse(StatusCode::BAD_REQUEST, "fresh is 0 or 1"),
        }
    }

    /// Renders away from the threads that serve.
    async fn render<T: Send + 'static>(
        &self,
        make: impl FnOnce(&SharedState) -> T + Send + 'static,
    ) -> Result<T, Box<Response>> {
        let failed = || Box::new(problem(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered"));
        // Taken along: a client that goes away does not let another renderer start.
        let permit = Arc::clone(&self.renderers).acquire_owned().await.map_err(|_| failed())?;
        let facts = self.facts.clone();
        let rendered = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            make(&facts)
        });
        rendered.await.map_err(|_| failed())
    }
}

/// A page without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    fresh: Option<u8>,
}

fn checked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Box<Response>> {
    query.map(|Query(query)| query).map_err(|error| Box::new(problem(StatusCode::BAD_REQUEST, error.body_text())))
}

type Page = Result<Response, Box<Response>>;

fn page(result: Page) -> Response {
    result.unwrap_or_else(|refusal| *refusal)
}

async fn metrics_page(State(api): State<Api>, query: Result<Query<NoQuery>, QueryRejection>) -> Response {
    let answer = async {
        checked(query)?;
        match api.render(|facts| metrics::render(&facts.read(), now())).await? {
            Ok(text) => Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()),
            Err(error) => Ok(problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        }
    };
    page(answer.await)
}

/// Alive: the process serves.
async fn healthz() -> Response {
    (StatusCode::OK, "ok\n").into_response()
}

/// Ready: attached, and epochs are being closed.
async fn readyz(State(api): State<Api>) -> Response {
    match api.facts.read().not_ready(now()) {
        None => (StatusCode::OK, "ready\n".to_owned()).into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

async fn status_page(State(api): State<Api>, query: Result<Query<StatusQuery>, QueryRejection>) -> Response {
    let answer = async {
        let query = checked(query)?;
        api.freshen(query.fresh).await?;
        let host = Arc::clone(&api.host);
        let status = api.render(move |facts| documents::status::status(&facts.read(), &host, now())).await?;
        Ok(Json(status).into_response())
    };
    page(answer.await)
}

async fn flows_page(State(api): State<Api>, query: Result<Query<FlowsQuery>, QueryRejection>) -> Response {
    let answer = async {
        let query = checked(query)?;
        query.check().map_err(|why| Box::new(problem(StatusCode::BAD_REQUEST, why)))?;
        api.freshen(query.fresh).await?;
        // As text already: a hundred thousand rows are not for the threads that serve.
        match api.render(move |facts| serde_json::to_vec(&documents::flows::flows(facts, &query))).await? {
            Ok(text) => Ok(([(CONTENT_TYPE, "application/json")], text).into_response()),
            Err(error) => Ok(problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        }
    };
    page(answer.await)
}

async fn rules_page(State(api): State<Api>, query: Result<Query<StatusQuery>, QueryRejection>) -> Response {
    let answer = async {
        let query = checked(query)?;
        api.freshen(query.fresh).await?;
        let rules = api.render(|facts| documents::rules::rules(&facts.read(), now())).await?;
        Ok(Json(rules).into_response())
    };
    page(answer.await)
}

async fn shadow_page(State(api): State<Api>, query: Result<Query<ShadowQuery>, QueryRejection>) -> Response {
    let answer = async {
        let query = checked(query)?;
        query.check().map_err(|why| Box::new(problem(StatusCode::BAD_REQUEST, why)))?;
        api.freshen(query.fresh).await?;
        Ok(Json(api.render(move |facts| documents::shadow::shadow(facts, &query)).await?).into_response())
    };
    page(answer.await)
}

/// The latest alerts, oldest first, as they were written.
async fn alerts_page(State(api): State<Api>, query: Result<Query<NoQuery>, QueryRejection>) -> Response {
    let answer = async {
        checked(query)?;
        let name = api.host.to_string();
        let value = api
            .render(|state| {
                // Encoded when nobody waits for the state any more.
                let (latest, boot_id, sinks) = {
                    let state = state.read();
                    (state.latest_alerts.clone(), state.boot_id.clone(), Arc::clone(&state.sinks))
                };
                let host = Host { name, boot_id };
                let alerts: Vec<Value> = latest.iter().map(|alert| ocsf::document(&host, alert)).collect();
                json!({
                    "alerts": alerts,
                    "written": sinks.written.load(Relaxed),
                    "lost": sinks.lost(),
                })
            })
            .await?;
        Ok(Json(value).into_response())
    };
    page(answer.await)
}
