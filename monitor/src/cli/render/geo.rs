//! The documents of `egress-monitor geo` in, what its commands say out.

use std::fmt::Write as _;

use crate::cli::output::table;
use monitor_api::geo::{FamilyChange, Found, Imported, Info, Lookup, RolledBack, Staged};
use monitor_policy::{
    geo::STALE_AFTER_DAYS,
    text::{count, counted, plain},
};

/// A paragraph of `egress-monitor geo info`.
pub fn info(info: &Info) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {name:<11} {value}");
        }
    };
    line("version", &info.version);
    line(
        "built",
        &match (&info.built, info.age_days) {
            (Some(built), Some(days)) if info.stale => format!(
                "{built} ({days} days old: older than {STALE_AFTER_DAYS} days, import a fresh one with `egress-monitor geo import`)"
            ),
            (Some(built), Some(days)) => format!("{built} ({days} days old)"),
            _ => "the source does not say".into(),
        },
    );
    line(
        "IPv4",
        &format!("{}, {}", counted(info.ipv4.ranges, "range"), share(&info.ipv4.addresses, 32, "the IPv4 space")),
    );
    // 2000::/3 is all that is assigned for global use.
    line("IPv6", &format!("{}, {}", counted(info.ipv6.ranges, "range"), share(&info.ipv6.addresses, 125, "2000::/3")));
    match info.names {
        Some(names) => line("names", &count(names as u128)),
        None => line("countries", &info.countries.to_string()),
    }
    if info.contradictions > 0 {
        line("unknown", &format!("{} ranges that the file says two things of", info.contradictions));
    }
    line("left out", &info.rejected.summary());
    line("format", info.format);
    line("made from", &info.provenance);
    line("sha256", &info.digest);
    line("licence", &info.attribution);
    let place = info.file.as_deref().filter(|file| *file != info.name).map(|file| format!(" ({file})"));
    format!("{}{}\n{out}", info.name, place.unwrap_or_default())
}

/// `3,704,123,456 addresses (86.24 % of the IPv4 space)`.
fn share(addresses: &str, bits: u32, of: &str) -> String {
    let percent = addresses.parse::<f64>().unwrap_or(0.0) / 2_f64.powi(bits as i32) * 100.0;
    if bits == 32 {
        format!("{} addresses ({percent:.2} % of {of})", count(addresses.parse::<u128>().unwrap_or(0)))
    } else {
        format!("{percent:.2} % of {of}")
    }
}

/// `egress-monitor geo import`.
pub fn imported(written: &Imported) -> String {
    let mut text = format!(
        "{}: {} {} with {} IPv4 and {} IPv6 ranges, {:.1} KiB, digest sha256:{}\n",
        written.file,
        written.kind,
        written.name,
        written.ipv4_ranges,
        written.ipv6_ranges,
        written.bytes as f64 / 1024.0,
        written.digest
    );
    text += &match (&written.built, written.age_days) {
        (Some(built), Some(days)) => {
            let hint = if written.stale {
                format!(": older than {STALE_AFTER_DAYS} days, fetch a fresh one")
            } else {
                String::new()
            };
            format!("built {built}, {days} days ago{hint}\n")
        }
        _ => "no date in it: give --built, so that its age can be told\n".into(),
    };
    if written.contradictions > 0 {
        text +=
            &format!("{} ranges have two meanings in the input and were taken as unknown\n", written.contradictions);
    }
    if written.rejected.count > 0 {
        text += &format!("{}\n", written.rejected.summary());
        for example in written.rejected.kinds.values().flat_map(|kind| &kind.examples) {
            text += &format!("  {}\n", plain(example));
        }
    }
    text
}

/// `egress-monitor geo stage`.
pub fn staged(staged: &[Staged]) -> String {
    staged.iter().map(one_staged).collect()
}

fn one_staged(of: &Staged) -> String {
    let mut text = format!("{}: ", of.file);
    text += &match of.outcome {
        "taken" => format!("taken{}", read_by(of.read_by_itself)),
        "in_place" => "the same is in place".into(),
        "nothing" => "no fresh file".into(),
        "taken_back" => format!(
            "not taken: it was in place and was taken back. `egress-monitor geo stage FRESH --for {} --accept` takes it again",
            of.file
        ),
        "held" => "HELD: what is in place stays".into(),
        other => format!("{}: what is in place stays", other.to_uppercase()),
    };
    text.push('\n');
    let built = |built: &Option<String>| built.clone().unwrap_or_else(|| "no date".into());
    if let Some(change) = &of.change {
        text += &format!("  built {}, before {}", built(&of.built), built(&of.built_before));
        text += &of.proof.map_or_else(String::new, |proof| format!("; vouched for by {proof}"));
        text += &format!("\n  IPv4: {}\n  IPv6: {}\n", family(&change.ipv4), family(&change.ipv6));
        if let Some(traffic) = &change.traffic {
            let (moved, judged) = (count(traffic.moved), count(traffic.judged));
            text += &format!("  last hour: {moved} of {judged} destinations change sides\n");
        }
    }
    for reason in &of.reasons {
        text += &format!("  - {}\n", plain(reason));
    }
    if of.outcome == "held" {
        text += &format!("  to take it all the same: egress-monitor geo stage --for {} --accept\n", of.file);
    }
    text
}

fn read_by(itself: bool) -> &'static str {
    if itself { "; a running daemon reads it by itself" } else { "; read by the next `egress-monitor reload`" }
}

/// `1,000 ranges, 1,010 before; 12 addresses change sides (0.0012 % of the smaller side)`.
fn family(of: &FamilyChange) -> String {
    let number = |text: &str| text.parse::<u128>().unwrap_or(0);
    let (moved, side) = (number(&of.moved), number(&of.smaller_side));
    let share = if side == 0 { 0.0 } else { moved as f64 / side as f64 * 100.0 };
    format!(
        "{}, {} before; {} addresses change sides ({share:.4} % of the smaller side)",
        counted(of.ranges, "range"),
        count(of.ranges_before as u128),
        count(moved)
    )
}

/// `egress-monitor geo rollback`.
pub fn rolled_back(done: &RolledBack) -> String {
    format!(
        "{}: what was there before is in place again{}\n  taken back, and not taken again by itself: sha256:{}\n",
        done.file,
        read_by(done.read_by_itself),
        done.taken_back
    )
}

/// `egress-monitor geo lookup`.
pub fn lookup(output: &Lookup) -> String {
    let mut rows = vec![["address", "source", "country", "range"].map(String::from).to_vec()];
    for found in &output.results {
        push_rows(&mut rows, found, found.address.to_string());
    }
    let mut out = table(0, &rows, &[]);
    if !output.attributions.is_empty() {
        out.push('\n');
    }
    for attribution in &output.attributions {
        out.push_str(attribution);
        out.push('\n');
    }
    out
}

fn push_rows(rows: &mut Vec<Vec<String>>, found: &Found, label: String) {
    let mut label = Some(label);
    let mut push = |source: String, country: String, range: String| {
        rows.push(vec![label.take().unwrap_or_default(), source, country, range]);
    };
    match &found.special {
        // What datasets say of a special range counts for nothing, and is nonsense more often than not.
        Some(special) => {
            push(
                "registry".into(),
                special.kind.into(),
                format!("{} {}, {}", special.network, special.name, special.reference),
            );
        }
        None => {
            for answer in &found.sources {
                let range = match (answer.first, answer.last) {
                    (Some(first), Some(last)) => format!("{first} - {last}"),
                    _ => String::new(),
                };
                push(answer.source.clone(), answer.country.clone().unwrap_or_else(|| "unknown".into()), range);
            }
        }
    }
    if let Some(inner) = &found.embedded {
        push_rows(rows, inner, format!("  {}", inner.address));
    }
}
