//! The HTTP interface: [`MonitorState`](crate::store::MonitorState) in, Prometheus text and JSON out. One table of pages
//! (`routes`) serves TCP (loopback, read-only) and the control socket; only on the latter does `?fresh=1` close the
//! epoch first, so that `status` and `flows` are exact up to the moment of asking, and only there can the policy be
//! changed.

mod api;
pub mod documents;
mod error;
mod pages;
mod routes;
pub mod server;

#[cfg(test)]
mod tests;

pub use self::{api::Control, error::ApiError, routes::router};
