//! The pure core: what a packet is, where it goes, what is to happen to it.
//!
//! No input or output and no allocation without the `user` feature, so that the very same code runs in the
//! kernel (`monitor-ebpf`) and in userspace (`monitor`, the tests). [`wire`] holds every struct that crosses
//! the kernel border, [`parse`] turns bytes into a flow's key and destinations or a [`parse::Reason`], [`fragments`] gives
//! later fragments what the first one told, [`cache`] says where a CPU counts a flow, [`classify`] looks an address up in
//! the compiled policy, [`judge`] finds the strictest of all destinations, [`verdict`] decides.

#![cfg_attr(not(feature = "user"), no_std)]
#![forbid(unsafe_op_in_unsafe_fn)]

pub mod cache;
pub mod classify;
pub mod fragments;
pub mod judge;
pub mod parse;
pub mod verdict;
pub mod wire;
