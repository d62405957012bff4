//! What changes the policy or hands all of it out, over the control socket alone: `POST /api/v1/policy/reload` and
//! `/confirm` for the commands of the same names, `GET /api/v1/policy/image` for `diff --running`. The HTTP port has no
//! such pages.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;

use super::{Api, NoQuery, checked, page, problem};
use crate::{
    kernel,
    reload::{self, LONGEST},
    store::SharedState,
};
use monitor_api::reload::Outcome;
use monitor_policy::diff::Side;

/// The pages.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/policy/reload", post(reload))
        .route("/api/v1/policy/confirm", post(confirm))
        .route("/api/v1/policy/image", get(image))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    /// Seconds in which it is to be confirmed.
    confirm: Option<u64>,
}

async fn reload(State(api): State<Api>, query: Result<Query<ReloadQuery>, QueryRejection>) -> Response {
    let answer = async {
        let within = match checked(query)?.confirm {
            Some(seconds) if seconds == 0 || seconds > LONGEST.as_secs() => {
                let why = format!("confirm={seconds}: from 1 to {} seconds", LONGEST.as_secs());
                return Err(Box::new(problem(StatusCode::BAD_REQUEST, why)));
            }
            seconds => seconds.map(Duration::from_secs),
        };
        outcome(reloads(&api)?.reload(within).await)
    };
    page(answer.await)
}

async fn confirm(State(api): State<Api>, query: Result<Query<NoQuery>, QueryRejection>) -> Response {
    let answer = async {
        checked(query)?;
        outcome(reloads(&api)?.confirm().await)
    };
    page(answer.await)
}

async fn image(State(api): State<Api>, query: Result<Query<NoQuery>, QueryRejection>) -> Response {
    let answer = async {
        checked(query)?;
        let make = |facts: &SharedState| {
            let in_force = facts.read().in_force.clone();
            Side { boot_ns: kernel::boot_ns(), ..Side::of(&in_force.policy, in_force.mode) }.encode()
        };
        match api.render(make).await? {
            Ok(bytes) => Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()),
            Err(why) => Err(Box::new(problem(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()))),
        }
    };
    page(answer.await)
}

fn reloads(api: &Api) -> Result<&reload::ReloadHandle, Box<Response>> {
    let refused = || Box::new(problem(StatusCode::FORBIDDEN, "the policy is changed by the control socket only"));
    api.control.as_ref().map(|control| &control.reloads).ok_or_else(refused)
}

fn outcome(result: Result<Outcome, String>) -> Result<Response, Box<Response>> {
    match result {
        Ok(outcome) => Ok(Json(outcome).into_response()),
        Err(why) => Err(Box::new(problem(StatusCode::CONFLICT, why))),
    }
}
