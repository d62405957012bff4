//! The documents of [`monitor_api`] in, text for people out: aligned columns, units, nothing that needs a second look at
//! three in the morning. A file a view; here is what they share.

mod check;
mod clock;
mod coverage;
mod diff;
mod explain;
mod flows;
pub mod geo;
mod mode;
mod needs;
mod outcome;
mod rules;
mod shadow;
mod started;
mod status;
mod summary;

use std::net::IpAddr;

pub use self::{
    check::check,
    clock::clock,
    diff::{diff, effect},
    explain::{explanation, network},
    flows::{Width, flows},
    mode::mode,
    outcome::{confirmed, outcome, tried},
    rules::rules,
    shadow::shadow,
    started::{ended, started},
    status::{status, totals},
    summary::summary,
};
use monitor_api::{flows::FlowRow, status::Sums};
use monitor_policy::{
    protocol::endpoint,
    text::{count, size},
};

/// How far tables stand in.
const INDENT: usize = 2;

/// The four cells of sums.
fn sums(sums: &Sums) -> [String; 4] {
    [count(sums.packets), count(sums.segments), size(sums.bytes), size(sums.wire_bytes)]
}

/// The start of a digest, enough to compare by eye.
fn short(digest: &str) -> String {
    let start: String = digest.chars().take(16).collect();
    if digest.len() > 16 { format!("{start}…") } else { start }
}

fn protocol(row: &FlowRow) -> String {
    row.protocol_name.clone().unwrap_or_else(|| row.protocol.to_string())
}

/// A destination: as [`endpoint`], but ICMP has a type and a code.
fn target(address: IpAddr, port: u16, protocol: u8) -> String {
    match protocol {
        1 | 58 => format!("{address} type {} code {}", port >> 8, port & 0xff),
        _ => endpoint(address, port, protocol),
    }
}

/// `198.51.100.7:4789 → 203.0.113.9:443 (vxlan)`: where it goes, where it ends up and by what; what of it can't be read.
fn destination(row: &FlowRow) -> String {
    let mut text = target(row.destination, row.destination_port, row.protocol);
    let mut arrow = |to: String, via: &str| text += &format!(" → {to} ({via})");
    if let Some(carried) = &row.embedded {
        arrow(carried.destination.to_string(), &carried.via);
    }
    if let Some(further) = &row.inner {
        let to = target(further.destination, further.destination_port, further.protocol);
        arrow(to, &further.via);
        if let Some(carried) = &further.embedded {
            arrow(carried.destination.to_string(), &carried.via);
        }
    }
    if let Some(form) = &row.opaque {
        text += &format!(" [not readable: {form}]");
    }
    text
}
