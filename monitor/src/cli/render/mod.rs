//! The documents of [`monitor_api`] in, text for people out: aligned columns, units, nothing that needs a second look at
//! three in the morning. A file a view; here is what they share.

mod alerts;
mod changes;
mod check;
mod clock;
mod coverage;
mod diff;
mod explain;
mod flows;
pub mod geo;
#[cfg(test)]
mod golden;
mod incident;
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
    alerts::{acknowledged, alerts},
    changes::changes,
    check::check,
    clock::clock,
    diff::{diff, effect},
    explain::{explanation, network},
    flows::flows,
    incident::incident,
    mode::mode,
    outcome::{confirmed, outcome, tried},
    rules::rules,
    shadow::shadow,
    started::{ended, started},
    status::{status, totals},
    summary::summary,
};
pub use super::output::Width;
use monitor_api::{flows::FlowRow, status::Sums};
use monitor_policy::{
    protocol::endpoint,
    text::{count, plain, size},
};

/// Characters of a digest that are shown.
const DIGEST: usize = 16;

/// How far tables stand in.
const INDENT: usize = 2;

/// The cells of sums, as they fit.
fn sums(width: Width, of: &Sums) -> Vec<String> {
    let all = [count(of.packets), count(of.segments), size(of.bytes), size(of.wire_bytes)];
    match width {
        Width::Short => all.into_iter().step_by(3).collect(),
        Width::Wide => all.into(),
    }
}

/// What stands above them.
fn sums_heading(width: Width) -> &'static [&'static str] {
    match width {
        Width::Short => &["packets", "on wire"],
        Width::Wide => &["packets", "segments", "bytes", "on wire"],
    }
}

/// A time (RFC 3339) without what is less than a second.
fn second(at: &str) -> String {
    at.parse::<jiff::Timestamp>().map_or_else(|_| at.to_owned(), |at| monitor_policy::text::time(at.as_second()))
}

/// The rule that decided, by its name.
fn rule(of: Option<&str>) -> String {
    of.filter(|id| *id != "-").unwrap_or("zone default").to_owned()
}

/// The start of a digest, enough to compare by eye.
fn short(digest: &str) -> String {
    let start: String = digest.chars().take(DIGEST).collect();
    if digest.chars().count() > DIGEST { format!("{start}…") } else { start }
}

/// Text in which digests of policies are shortened, and nothing is that a terminal would obey.
fn with_short_digests(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |word: &str| if is_digest(word) { short(word) } else { plain(word) };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
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
    target(row.destination, row.destination_port, row.protocol) + &beyond(row)
}

/// The same without where it goes at first.
fn beyond(row: &FlowRow) -> String {
    let mut text = String::new();
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
