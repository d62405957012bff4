//! What is in place and what is to come in; what changes, and what of that is more than data that is fetched every day
//! changes by itself, out. Called by `super::stage`.

use std::path::Path;

use monitor_api::geo::{DataChange, DestinationsChange, FamilyChange};
use monitor_policy::{
    diff::{Border, Moved},
    geo::{self, About, GeoError, Progress, asn, overlay},
    text::{count, counted, time},
};

use crate::config::Config;

/// A file's date may be so far ahead, in seconds: one without a time means a day, somewhere on earth.
const AHEAD: i64 = 86_400;
/// How many ranges more or less, as a part of those before.
const SIZE_PART: usize = 10;
/// How much of the smaller side of the border may move, in thousandths.
const BORDER: u128 = 10;

/// What a file holds, as far as it is compared by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) built: Option<i64>,
    pub(super) v4: usize,
    pub(super) v6: usize,
    /// Text whose last line has no end.
    pub(super) cut: bool,
}

/// What the content of a file holds, read as the daemon reads it.
pub(super) fn content(config: &Config, file: &Path, bytes: &[u8]) -> Result<Content, GeoError> {
    let of = |about: &About, v4, v6| Content { built: about.built, v4, v6, cut: is_cut(bytes) };
    if config.geo.asn.as_deref().is_some_and(|asn| Path::new(asn) == file) {
        let read = asn::open_bytes(file, bytes)?;
        return Ok(of(&read.about, read.v4.len(), read.v6.len()));
    }
    if config.geo.overlays.iter().any(|overlay| overlay == file) {
        let read = overlay::read_bytes(file, bytes, &Progress::default())?;
        return Ok(of(&read.about, read.v4.len(), read.v6.len()));
    }
    let read = geo::open_bytes(file, bytes)?.dataset;
    Ok(of(&read.about, read.v4.len(), read.v6.len()))
}

fn is_cut(bytes: &[u8]) -> bool {
    let text = !bytes.iter().take(4096).any(|byte| *byte == 0);
    text && !matches!(bytes.last(), None | Some(b'\n' | b'\r' | b'}' | b']'))
}

/// What speaks against a file by itself, beside what is in place.
pub(super) fn by_itself(now: i64, before: &Content, fresh: &Content) -> Vec<String> {
    let mut reasons = Vec::new();
    match (fresh.built, before.built) {
        (None, _) => reasons.push(
            "it has no date inside, so that an old one can't be told from it: add a line `# built: 2026-06-01`, or import \
             it with `geo import --built`"
                .into(),
        ),
        (Some(built), _) if built > now.saturating_add(AHEAD) => {
            reasons.push(format!("it says that it was built {}, which is to come", time(built)));
        }
        (Some(built), Some(before)) if built < before => {
            reasons.push(format!("it was built {}, and what is in place later, {}", time(built), time(before)));
        }
        _ => {}
    }
    if fresh.cut && !before.cut {
        reasons.push("its last line has no end, as of a file that is cut".into());
    }
    for (family, before, now) in [("IPv4", before.v4, fresh.v4), ("IPv6", before.v6, fresh.v6)] {
        if before.abs_diff(now).saturating_mul(SIZE_PART) > before {
            let now = counted(now, &format!("{family} range"));
            reasons.push(format!("it has {now}, and what is in place {}: more than 10 % off", count(before as u128)));
        }
    }
    reasons
}

/// What speaks against what it changes.
pub(super) fn by_border(border: &Border, traffic: Option<&DestinationsChange>) -> Vec<String> {
    let mut reasons = Vec::new();
    for (family, moved) in [("IPv4", &border.v4), ("IPv6", &border.v6)] {
        if moved.is_beyond(BORDER) {
            reasons.push(format!(
                "{} addresses of {family} change sides of the border, whose smaller side has {}: more than 1 %",
                count(moved.moved),
                count(moved.smaller_side())
            ));
        }
    }
    if let Some(traffic) =
        traffic.filter(|traffic| u128::from(traffic.moved) * 1_000 > u128::from(traffic.judged) * BORDER)
    {
        let examples: Vec<String> = traffic.examples.iter().map(ToString::to_string).collect();
        reasons.push(format!(
            "{} of the last hour's {} destinations change sides of the border ({}): more than 1 %",
            count(traffic.moved),
            count(traffic.judged),
            examples.join(", ")
        ));
    }
    reasons
}

/// The same as a document.
pub(super) fn change(
    (before, fresh): (&Content, &Content),
    border: &Border,
    traffic: Option<DestinationsChange>,
) -> DataChange {
    let of = |ranges_before, ranges, moved: &Moved| FamilyChange {
        ranges_before,
        ranges,
        moved: moved.moved.to_string(),
        smaller_side: moved.smaller_side().to_string(),
    };
    DataChange { ipv4: of(before.v4, fresh.v4, &border.v4), ipv6: of(before.v6, fresh.v6, &border.v6), traffic }
}
