//! The record of changes in, the document out: served at `/api/v1/changes`, printed by `egress-monitor changes`.

use monitor_api::changes::{Change, Changes, ChangesQuery};

use super::head;
use crate::{model::rfc3339, store::MonitorState};

/// The document at `now` (UTC nanoseconds since 1970).
pub fn changes(state: &MonitorState, host: &str, query: ChangesQuery, now: i128) -> Changes {
    let since = query.since.map(|seconds| now - i128::from(seconds) * 1_000_000_000);
    let at = |change: &Change| change.time.parse().map_or(0, |at: jiff::Timestamp| at.as_nanosecond());
    let record = &state.changes;
    let is_new = |change: &&Change| since.is_none_or(|since| at(change) >= since);
    let begins = record.all().next().map_or(now, at);
    Changes {
        head: head(state, host),
        since: since.map(rfc3339),
        truncated: record.forgotten() && since.is_none_or(|since| since < begins),
        changes: record.all().filter(is_new).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::changes::ChangeRecord;

    #[test]
    fn a_day_is_what_happened_in_it_and_what_is_forgotten_is_not_passed_over() {
        let hour = |hour: i64| monitor_policy::text::time(hour * 3_600);
        let of = |at: i64| Change { time: hour(at), what: at.to_string(), ..Change::default() };
        let answer = |since: Option<u32>, forgotten: bool| {
            let changes = ChangeRecord::of([1, 30, 47].map(of).into(), forgotten);
            let state = MonitorState { changes, ..MonitorState::default() };
            let page = changes_at(&state, since);
            (page.changes.into_iter().map(|of| of.what).collect::<Vec<_>>().join(" "), page.truncated)
        };
        assert_eq!(answer(None, false), ("1 30 47".into(), false));
        assert_eq!(answer(Some(86_400), false), ("30 47".into(), false));
        assert_eq!(answer(Some(3_600), true), ("47".into(), false));
        assert_eq!(answer(Some(48 * 3_600), true), ("1 30 47".into(), true));
        assert!(answer(None, true).1);
    }

    fn changes_at(state: &MonitorState, since: Option<u32>) -> Changes {
        changes(state, "host", ChangesQuery { since }, 48 * 3_600_000_000_000)
    }
}
