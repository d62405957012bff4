//! The HTTP interface: [`MonitorState`](crate::store::MonitorState) in, Prometheus text and JSON out. One table of pages
//! (`routes`) and one of roles (`roles`) serve TCP (loopback, health and sums) and the control socket; only on the latter
//! does `?fresh=1` close the epoch first, so that `status` and `flows` are exact up to the moment of asking, and only
//! there can the policy be changed.

mod acceptor;
mod api;
mod connections;
pub mod documents;
mod error;
pub mod listeners;
mod pages;
mod peer;
mod roles;
mod routes;
pub mod server;
mod sources;

#[cfg(test)]
mod tests;

pub use self::{api::Control, error::ApiError, roles::Access};
