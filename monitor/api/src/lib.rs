//! Every document that the daemon serves or a command prints with `--json`, and the blocking client that fetches them
//! over the control socket. Field names are stable; daemon, command line and scripts share these types.

pub mod client;
pub mod flows;
pub mod reload;
pub mod rules;
pub mod shadow;
pub mod status;
