//! The pure core: what a packet is, where it goes, and what the policy makes of it.
//!
//! No input or output and no allocation without the `user` feature, so that the very same code runs in the kernel
//! (`monitor-ebpf`) and in userspace (the daemon, the tests). [`wire`] holds every struct that crosses the kernel
//! border, [`parse`] turns bytes into a flow's key and destinations or a [`parse::Reason`], [`fragments`] gives later
//! fragments what only the first one carries, [`cache`] says where a CPU counts a flow, [`classify`] looks an address
//! up in the compiled policy, [`evaluate`] finds the strictest of all destinations, [`verdict`] decides.

#![cfg_attr(not(feature = "user"), no_std)]
#![forbid(unsafe_op_in_unsafe_fn)]

pub mod bypass;
pub mod cache;
pub mod classify;
pub mod evaluate;
pub mod fragments;
pub mod parse;
pub mod verdict;
pub mod wire;
