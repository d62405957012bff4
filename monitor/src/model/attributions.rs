//! Who incidents come from, on the way from `attribution`, which finds out, to those who show it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    attribution::{Attribution, Method},
    incident::IncidentId,
};

/// What was found out, for whoever shows it; shared by those who find and those who show.
#[derive(Debug, Default)]
pub struct Attributions {
    /// Since it was taken last.
    found: Mutex<HashMap<IncidentId, Attribution>>,
    /// Incidents so far, by [`Method`].
    counts: [AtomicU64; Method::ALL.len()],
}

impl Attributions {
    /// Takes in who an incident comes from.
    pub fn note(&self, incident: IncidentId, attribution: Attribution) {
        self.counts[attribution.method as usize].fetch_add(1, Relaxed);
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(incident, attribution);
    }

    /// Everything that was noted since the last call.
    pub fn take(&self) -> HashMap<IncidentId, Attribution> {
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Incidents so far, by how it is known.
    pub fn counts(&self) -> [(Method, u64); Method::ALL.len()] {
        Method::ALL.map(|method| (method, self.counts[method as usize].load(Relaxed)))
    }
}
