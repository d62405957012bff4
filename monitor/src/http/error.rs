//! Why a page is refused: as HTTP says it, with the document of every refusal.

use std::fmt::Display;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use monitor_api::error::ErrorDocument;

/// A refusal: what kind, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The question is no good.
    #[error("{0}")]
    BadRequest(String),
    /// Not on this listener.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such page.
    #[error("{0}")]
    NotFound(String),
    /// What is asked for does not go with how things stand.
    #[error("{0}")]
    Conflict(String),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    pub(super) fn bad_request(why: impl Display) -> Self {
        Self::BadRequest(why.to_string())
    }

    pub(super) fn conflict(why: impl Display) -> Self {
        Self::Conflict(why.to_string())
    }

    pub(super) fn internal(why: impl Display) -> Self {
        Self::Internal(why.to_string())
    }

    /// HTTP's number for it.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), Json(ErrorDocument { error: self.to_string() })).into_response()
    }
}
