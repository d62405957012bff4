//! What every page has at hand: the state to render from, and on the control socket the means to act.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::{
    error::ApiError,
    roles::{Access, Role},
};
use crate::{archive::Archive, engine::EngineHandle, reload::ReloadHandle, store::SharedState};

/// Pages that are rendered at once for each role: one reads all flows at worst. Scrapes: as many.
const RENDERERS: usize = 1;

/// What the handlers need.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) state: SharedState,
    /// On the control socket only.
    pub(super) control: Option<Control>,
    /// Of whom it answers.
    pub(super) role: Option<Role>,
    /// How others get theirs.
    pub(super) access: Arc<Access>,
    pub(super) host: Arc<str>,
    renderers: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
}

/// What only the control socket may ask of.
#[derive(Clone, Debug)]
pub struct Control {
    /// Closes epochs.
    pub epochs: EngineHandle,
    /// Changes the policy.
    pub reloads: ReloadHandle,
    /// What is kept of alerts.
    pub archive: Archive,
}

impl Api {
    pub(super) fn new(
        state: SharedState,
        access: &Arc<Access>,
        role: Option<Role>,
        control: Option<Control>,
        host: &str,
    ) -> Self {
        let places = || Arc::new(Semaphore::new(RENDERERS));
        let access = Arc::clone(access);
        Self { state, control, role, access, host: host.into(), renderers: places(), scrapes: places() }
    }

    /// Closes the epoch if that was asked for and may be.
    pub(super) async fn freshen(&self, fresh: Option<u8>) -> Result<(), ApiError> {
        match (fresh, &self.control) {
            (None | Some(0), _) => Ok(()),
            (Some(1), Some(control)) => control.epochs.close_epoch().await.map_err(|error| {
                let why = format!("the epoch could not be closed: {error}");
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why)
            }),
            (Some(1), None) => Err(ApiError::bad_request("fresh=1 is answered on the control socket only")),
            (Some(_), _) => Err(ApiError::bad_request("fresh is 0 or 1")),
        }
    }

    /// Renders away from the threads that serve.
    pub(super) async fn render<T: Send + 'static>(
        &self,
        make: impl FnOnce(&SharedState) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.render_by(&self.renderers, make).await
    }

    /// The same of what is small and must not wait for what is large.
    pub(super) async fn render_scrape<T: Send + 'static>(
        &self,
        make: impl FnOnce(&SharedState) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.render_by(&self.scrapes, make).await
    }

    async fn render_by<T: Send + 'static>(
        &self,
        renderers: &Arc<Semaphore>,
        make: impl FnOnce(&SharedState) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let failed = || ApiError::internal("the page could not be rendered");
        // Taken along: a client that goes away does not let another renderer start.
        let permit = Arc::clone(renderers).acquire_owned().await.map_err(|_| failed())?;
        let state = self.state.clone();
        let rendered = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            make(&state)
        });
        rendered.await.map_err(|_| failed())
    }
}
