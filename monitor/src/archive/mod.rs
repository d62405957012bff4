//! What is kept of alerts, for whoever reads or acknowledges them: `[paths] state` in, pages of alerts and who has
//! acknowledged what out. Called by the pages of `http`, and by `egress-monitor alerts` where no daemon answers.
//! Reading writes nothing, and waits for nobody.

mod acknowledgements;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use monitor_api::alerts::{Acknowledged, AlertFilter, Alerts, AlertsQuery, Missing, Told, number};
use serde_json::value::RawValue;

pub use self::acknowledgements::Acknowledgements;

use crate::storage::{
    segments::view::{Bounds, Seen, View},
    state::StateDirectory,
};

/// Bytes of the alerts on a page.
const PAGE_BYTES: usize = 4 << 20;
/// Bytes that are looked at for a page: a tenth of a second's work.
const LOOKED: u64 = 16 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub struct Archive {
    state: StateDirectory,
    directory: PathBuf,
    /// Held by who changes what is acknowledged.
    changing: Arc<Mutex<()>>,
}

impl Archive {
    /// Of a state directory.
    pub fn of(state: &StateDirectory) -> Self {
        Self { state: state.clone(), directory: state.alerts(), changing: Arc::default() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A page: `limit` alerts of those that `filter` chooses. `before` is the number after the last one that is on disk
    /// for good; `None`: nobody writes, all that is there counts.
    ///
    /// # Errors
    /// What the system said.
    pub fn page(
        &self,
        query: &AlertsQuery,
        limit: usize,
        filter: &AlertFilter,
        before: Option<u64>,
    ) -> io::Result<Alerts> {
        let view = View::of(&self.directory);
        let latest = before.map_or_else(|| view.last(), |before| Ok(before.saturating_sub(1)))?;
        let after = match (query.after, filter.since) {
            (Some(after), _) => Some(after),
            (None, Some(since)) => view.begin(|line| Told::of(line).is_some_and(|last| last.at() < since))?,
            (None, None) => Some(latest.saturating_sub(limit as u64)),
        };
        let bounds = Bounds { lines: limit, bytes: PAGE_BYTES, looked: LOOKED };
        let mut chosen = Vec::new();
        let wanted = |line: &[u8]| {
            let told = Told::of(line).filter(|told| filter.chooses(told));
            let is_chosen = told.is_some();
            chosen.extend(told);
            is_chosen
        };
        let Seen { lines, next, more, missing } = view.look(after, latest.saturating_add(1), bounds, wanted)?;
        chosen.truncate(lines.len());
        let raw = |line: Vec<u8>| {
            let text = String::from_utf8(line).map_err(io::Error::other)?;
            RawValue::from_string(text).map_err(io::Error::other)
        };
        // Whoever did not say from where misses nothing.
        let missing = missing.into_iter().filter(|_| query.after.is_some());
        Ok(Alerts {
            alerts: lines.into_iter().map(raw).collect::<io::Result<_>>()?,
            next,
            truncated: more,
            latest,
            on_disk: true,
            missing: missing.map(|of| Missing { first: *of.start(), last: *of.end() }).collect(),
            acknowledged: Acknowledgements::read(&self.state).of(&chosen),
            ..Alerts::default()
        })
    }

    /// Keeps that somebody has acknowledged something.
    ///
    /// # Errors
    /// It can't be written.
    pub fn acknowledge(&self, one: Acknowledged) -> io::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = Acknowledgements::read(&self.state);
        record.note(one);
        record.write(&self.state)
    }

    /// The latest alert that is meant by a number, a uid, or a correlation uid.
    ///
    /// # Errors
    /// What the system said.
    pub fn find(&self, id: &str) -> io::Result<Option<Told>> {
        let view = View::of(&self.directory);
        if let Some(number) = number(id) {
            let found = view.look(Some(number - 1), number.saturating_add(1), Bounds::NONE, |_| true)?;
            return Ok(found.lines.first().and_then(|line| Told::of(line)).filter(|told| told.is(id)));
        }
        let mut found = None;
        view.look(None, u64::MAX, Bounds::NONE, |line| {
            // Names are hexadecimal digits and stand as they are; most lines have not this one.
            if memmem(line, id.as_bytes()) {
                found = Told::of(line).filter(|told| told.is(id)).or_else(|| found.take());
            }
            false
        })?;
        Ok(found)
    }
}

/// Whether the bytes are in there.
fn memmem(line: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests;
