//! What an epoch, a flow, an interface, the policy in force are: plain values, made by the kernel part and the daemon,
//! read by everything else.

pub mod attachment;
pub mod clock;
pub mod in_force;
pub mod inner;
pub mod names;
pub mod snapshot;

/// Places in the flow table where the configuration does not say.
pub const DEFAULT_FLOWS: u32 = 49_152;

pub use self::{
    attachment::{Attachment, Hook, HookChoice},
    clock::{Moment, now, rfc3339},
    in_force::PolicyInForce,
    snapshot::{Fill, InterfaceCounts, Places, Snapshot},
};
