//! The kernel part: probed, loaded, attached, given policies, drained. Policy images and interface names in,
//! what the maps held out; called by the epoch task and by `run`.

mod ask;
mod attach;
mod cache;
mod clock;
mod drain;
mod error;
mod events;
mod image;
mod interfaces;
mod load;
mod log;
pub mod memory;
mod nic;
mod probe;
mod readings;
mod sys;

pub use attach::AttachedProgram;
pub use drain::Switch;
pub use error::KernelError;
pub use events::EventReader;
pub use interfaces::{Interface, resolve};
pub use load::{Kernel, Options};
pub use log::KernelLog;
pub use probe::require;
pub use sys::{boot_ns, tame_allocator, trim_heap};

/// The object that monitor/build.rs compiled.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/egress-monitor-ebpf"));
