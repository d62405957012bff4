//! What an epoch, a flow, an interface, the policy in force, a finding, an alert are: plain values, made by the kernel
//! part and the daemon, read by everything else.

pub mod alert;
pub mod attachment;
pub mod attribution;
pub mod attributions;
pub mod budget;
pub mod changes;
pub mod clock;
pub mod coverage;
pub mod delivery;
pub mod epoch;
pub mod finding;
pub mod flow;
pub mod host;
pub mod identities;
pub mod in_force;
pub mod incident;
pub mod inner;
pub mod interface_account;
pub mod neighbours;
pub mod open_sockets;
pub mod policy_change;
pub mod readings;
pub mod receiver;
pub mod refresh;
pub mod severity;
pub mod shadow;
pub mod sighting;
pub mod snapshot;
pub mod succession;
pub mod tamper;

/// Places in the flow table where the configuration does not say.
pub const DEFAULT_FLOWS: u32 = 16_384;

pub use self::{
    alert::Alert,
    attachment::{Attachment, Hook, HookChoice},
    attributions::Attributions,
    budget::{BudgetUse, BudgetUses},
    clock::{Moment, now, rfc3339, seconds},
    coverage::Coverage,
    epoch::ClosedEpoch,
    finding::FindingKind,
    host::Host,
    in_force::PolicyInForce,
    interface_account::InterfaceAccount,
    neighbours::Neighbours,
    open_sockets::OpenSockets,
    shadow::ShadowReport,
    snapshot::{BypassReport, Fill, InterfaceCounts, Occupancy, Snapshot},
    succession::Succession,
    tamper::TamperReport,
};
