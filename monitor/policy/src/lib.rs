//! What the configuration means: a checked [`Spec`] and what is known of addresses ([`Knowledge`]) in, a compiled
//! [`Policy`] out, with everything that explains it ([`mod@explain`]), compares it ([`diff`]) and checks its rules
//! ([`lint`]).
//!
//! No file format but the geo data's, no network, no kernel: the daemon reads configuration into a [`Spec`], and loads
//! the compiled image into the kernel's maps.

pub mod clock;
pub mod compile;
pub mod diff;
pub mod duration;
pub mod explain;
pub mod fs;
pub mod geo;
pub mod lint;
pub mod origin;
pub mod perimeter;
mod policy;
mod precedence;
pub mod protocol;
pub mod region;
pub mod spec;
pub mod text;
pub mod times;

pub use self::{
    clock::ClockMap,
    compile::{PolicyError, compile},
    explain::{ExplainInputs, Explanation, explain, target::Target},
    geo::Knowledge,
    lint::RuleNote,
    origin::Origin,
    policy::{Asked, ClassInfo, Extent, ImageAt, Policy, PolicyRef, RuleInfo, Summary},
    spec::Spec,
};
