//! The helper process, which has the privileges that the daemon does without: four fixed questions about programs and
//! processes beside the daemon and the BPF file system in, answers out. The daemon asks as a [`Helper`]; [`run`] is the
//! process that answers, started by its socket as root, without network.

mod client;
mod mount;
mod processes;
mod protocol;
mod server;
#[cfg(test)]
pub mod testing;

pub use self::{
    client::{Helper, NoAnswer},
    processes::started,
    protocol::{Answer, Holders, Malformed, NO_LOGIN, Process, Program, Question, Text, Why},
    server::{Options, run},
};
