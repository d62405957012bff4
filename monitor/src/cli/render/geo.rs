//! The documents of `egress-monitor geo` in, what its commands say out.

use std::fmt::Write as _;

use crate::cli::output::table;
use monitor_api::geo::{Found, Imported, Info, Lookup};
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
    line("digest", &format!("sha256:{}", info.digest));
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

/// `egress-monitor geo lookup`.
pub fn lookup(output: &Lookup) -> String {
    let mut rows = vec![["ADDRESS", "SOURCE", "COUNTRY", "RANGE"].map(String::from).to_vec()];
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
