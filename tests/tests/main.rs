//! Every promise of the monitor that takes a kernel, a wire or a second parser to hold, in one program (what is linked
//! once is linked in a thirty-fifth of the time): a module a promise, whose first lines say which.
//!
//! No test is alone: beside it others run, as processes (nextest) or as threads of this one (`cargo test`). So each has
//! namespaces, folders and a daemon of its own, and none changes what the process has only one of (environment, limits,
//! signal handlers, the main thread's namespace). Those that measure time or need both CPUs have the machine to
//! themselves by `.config/nextest.toml`, which also says how long a test may take.
//!
//! What the fast tier leaves out is `#[ignore]`d with the proof that runs it, and both runners name it.

mod adoption;
mod alerts;
mod alerts_command;
mod attach;
mod attribution;
mod bad_input;
mod bench;
mod blows;
mod boards;
mod budget;
mod bypass_sockets;
mod cache;
mod clients;
mod conservation;
mod corpus;
mod cover;
mod coverage;
mod cpus;
mod datapath;
mod devices;
mod documented;
mod enforce;
mod epochs;
mod expiry;
mod fallback;
mod first_minutes;
mod full_table;
mod geo_stage;
mod grace;
mod gso;
mod harness;
mod helper;
mod interfaces;
mod last_good;
mod layout_before;
mod life;
mod limits;
mod management;
mod map;
mod mode;
mod never_open;
mod offloaded_tag;
mod one_owner;
mod opaque;
mod ordinary;
mod parser;
mod policy_change;
mod policy_in_kernel;
mod policy_swap;
mod privileges;
mod reasons;
mod reconcile;
mod reload;
mod replace;
mod room;
mod rules;
mod scale;
mod service_manager;
mod shadow;
mod stress;
mod support;
mod tamper;
mod trial;
mod tun;
