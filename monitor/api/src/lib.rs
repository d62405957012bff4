//! Every document that the daemon serves or a command prints with `--json`, and the blocking client that fetches them
//! over the control socket. Field names are stable; daemon, command line and scripts share these types.
//!
//! What a running daemon serves is fetched with [`client::Client`], as root, as the daemon's user, or as a member of a group
//! that it serves:
//!
//! ```no_run
//! use monitor_api::{client::Client, status::Status};
//!
//! # fn main() -> Result<(), monitor_api::client::ClientError> {
//! let client = Client::new("/run/egress-monitor/control.sock");
//! let status: Status = client.get("/api/v1/status?fresh=1")?;
//! for interface in &status.interfaces {
//!     println!("{}: {} packets, {} dropped", interface.interface, interface.total.packets, interface.dropped.packets);
//! }
//! if let Some(why) = &status.not_ready {
//!     eprintln!("not to be relied on: {why}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `schema` every document has a JSON schema; `docs/schema/` holds them.

pub mod alerts;
pub mod attribution;
pub mod blind_spots;
pub mod changes;
pub mod check;
pub mod client;
pub mod clock;
pub mod diff;
pub mod error;
pub mod explain;
pub mod flows;
pub mod geo;
pub mod head;
pub mod incidents;
pub mod mode;
pub mod needs;
pub mod query;
pub mod reason;
pub mod reload;
pub mod rules;
#[cfg(feature = "schema")]
pub mod schema;
pub mod shadow;
pub mod sinks;
pub mod started;
pub mod status;
mod tamper;
