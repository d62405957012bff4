//! The kernel part: checked for, loaded, attached, given policies, drained. Policy images and interface names in,
//! what the maps held out; called by the engine and by `daemon`.

mod beside;
mod bypass;
mod cache;
mod cgroups;
mod clock;
mod closing;
mod counts;
mod devices;
mod diag;
mod drain;
mod error;
mod events;
mod fallback;
mod flow_socket;
mod flows;
mod halves;
mod holder;
mod interfaces;
mod kept;
mod links;
mod load;
mod log;
pub mod memory;
mod object;
mod open_sockets;
mod options;
mod owner;
mod pin_directory;
mod pins;
mod policy_slots;
mod predecessor;
mod readings;
mod replace;
mod requirements;
mod rolling;
mod self_test;
mod socket_table;
mod sys;
mod watch;

pub use beside::{Beside, beside};
pub use cgroups::ControlGroups;
pub use clock::{boot_ns, is_clock_synchronised};
pub use devices::DeviceNews;
pub use error::KernelError;
pub use events::EventReader;
pub use flow_socket::{FlowSocket, interface_index, socket_of};
pub use interfaces::{Interface, default_gateways, devices, in_initial_namespace, local_addresses, own_ways};
pub use links::AttachedProgram;
pub use load::{Kernel, Prepared};
pub use log::KernelLog;
pub use open_sockets::open_sockets;
pub use options::{Guess, Options};
pub use pins::{Pins, can_pin_on, detach_all, is_bpf_file_system};
pub use policy_slots::{Switch, tables};
pub use predecessor::Left;
pub use requirements::require;
pub use socket_table::{ESTABLISHED, LISTENS, SocketRow, sockets};
pub use sys::{
    ProgramInfo, inherited_sockets, peer, peer_groups, program_info, survive_file_size_limit, tame_allocator,
    trim_heap, unshare_directory,
};
pub use watch::Look;
