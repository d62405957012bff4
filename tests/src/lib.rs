//! Support for the end-to-end tests, the demonstration and the benchmark: network namespaces that remove
//! themselves, traffic whose amount is known exactly, counting at the receiving end by an independent parser, and
//! the built daemon as a child process. Nothing here knows how the monitor counts: it is what the monitor is
//! compared with.

pub mod background;
mod bpf;
pub mod bypass;
pub mod capture;
pub mod cgroup;
pub mod corpus;
pub mod cycles;
pub mod daemon;
pub mod flood;
pub mod gate;
pub mod helper;
pub mod host;
pub mod leftovers;
pub mod lines;
pub mod map_memory;
pub mod measure;
pub mod monitor;
pub mod netns;
pub mod offload;
pub mod payloads;
pub mod ping;
pub mod stage;
pub mod tag;
pub mod team;
pub mod traffic;
pub mod tun;
pub mod user;
pub mod wire;
