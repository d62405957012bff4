//! What is kept of closed epochs: flows since the start, the last hour, totals, and the state that everything shown is
//! rendered from.

pub mod cut;
pub mod flows;
pub mod last_hour;
pub mod state;
pub mod table;
pub mod totals;

pub use self::{
    state::{MonitorState, SharedState},
    totals::Traffic,
};
