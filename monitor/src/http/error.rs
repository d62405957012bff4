//! Why a page is refused: as HTTP says it, with the document of every refusal.

use std::fmt::Display;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use monitor_api::error::ErrorDocument;

/// A refusal: HTTP's number for it, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ApiError {
    status: StatusCode,
    why: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, why: impl Display) -> Self {
        Self { status, why: why.to_string() }
    }

    /// The question is no good.
    pub(super) fn bad_request(why: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    /// What is asked for does not go with how things stand.
    pub(super) fn conflict(why: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, why)
    }

    /// Too much is under way.
    pub(super) fn no_room() -> Self {
        let why = "there is no room for this answer, others are being given: ask again, or for less (top)";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    /// A defect of ours.
    pub(super) fn internal(why: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorDocument { error: self.why })).into_response()
    }
}
