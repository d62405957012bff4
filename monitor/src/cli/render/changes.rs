//! The record of changes in, the page of `egress-monitor changes` out.

use super::{short, with_short_digests};
use monitor_api::changes::Changes;
use monitor_policy::text::{plain, when};

/// `egress-monitor changes` at `now` (UTC nanoseconds since 1970).
pub fn changes(page: &Changes, now: i128) -> String {
    let since = page.since.as_deref().unwrap_or("the beginning of the record");
    let mut text = format!("Changes since {since}, now {}, policy {}\n", page.head.mode, short(&page.head.policy));
    if page.truncated {
        text += "  the record was full: older ones are forgotten\n";
    }
    if page.changes.is_empty() {
        text += "  none\n";
    }
    for change in &page.changes {
        let when = when(&change.time, now);
        text +=
            &format!("  {when:<WHEN$}  {} ({}): {}\n", change.kind, change.severity, with_short_digests(&change.what));
        text += &change.by.as_ref().map_or_else(String::new, |by| format!("  {:<WHEN$}  by {}\n", "", plain(by)));
    }
    text
}

/// Room for an age.
const WHEN: usize = 7;
