//! Who has acknowledged which alerts, in `[paths] state`: `acknowledged.json`, format 1. Bounded: what is oldest is
//! forgotten.

use std::io;

use monitor_api::alerts::{Acknowledged, Told};
use serde::{Deserialize, Serialize};

use crate::storage::state::StateDirectory;

/// Acknowledgements on record.
pub const MOST: usize = 10_000;

const FILE: &str = "acknowledged.json";
const FORMAT: u32 = 1;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    format: u32,
    acknowledged: Vec<Acknowledged>,
}

/// The record, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledgements(Vec<Acknowledged>);

impl Acknowledgements {
    /// As it is kept; of another form, or where nothing is kept, there are none.
    pub fn read(state: &StateDirectory) -> Self {
        let document = state.read::<Document>(FILE).filter(|document| document.format == FORMAT);
        Self(document.map(|document| document.acknowledged).unwrap_or_default())
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, state: &StateDirectory) -> io::Result<()> {
        state.write(FILE, &Document { format: FORMAT, acknowledged: self.0.clone() })
    }

    /// Puts one on record, in place of an earlier one of the same.
    pub fn note(&mut self, one: Acknowledged) {
        self.0.retain(|there| there.id != one.id);
        self.0.push(one);
        let surplus = self.0.len().saturating_sub(MOST);
        self.0.drain(..surplus);
    }

    /// Those that hold of one of these alerts.
    pub fn of(&self, alerts: &[Told]) -> Vec<Acknowledged> {
        let holds = |one: &&Acknowledged| alerts.iter().any(|told| told.uid == one.id || told.correlation == one.id);
        self.0.iter().filter(holds).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str) -> Acknowledged {
        Acknowledged {
            id: id.into(),
            by: "uid 0".into(),
            time: "1970-01-01T00:00:00.000Z".into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_acknowledged_is_kept_once_each_and_what_is_oldest_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path());
        assert_eq!(Acknowledgements::read(&state), Acknowledgements::default());
        let mut record = Acknowledgements::default();
        for number in 0..=MOST {
            record.note(one(&format!("{number:x}")));
        }
        let again = Acknowledged { note: Some("seen again".into()), ..one("7") };
        record.note(again.clone());
        record.write(&state).unwrap();
        let read = Acknowledgements::read(&state);
        assert_eq!((&read, read.0.len()), (&record, MOST));
        assert_eq!((read.0.first(), read.0.last()), (Some(&one("1")), Some(&again)));
        std::fs::write(folder.path().join(FILE), r#"{"format":2,"acknowledged":[]}"#).unwrap();
        assert_eq!(Acknowledgements::read(&state), Acknowledgements::default());
    }

    #[test]
    fn one_of_an_incident_holds_of_all_its_alerts_and_one_of_an_alert_of_that_alone() {
        let told =
            |uid: &str, correlation: &str| Told { uid: uid.into(), correlation: correlation.into(), ..Told::default() };
        let record = Acknowledgements(vec![one("a"), one("i")]);
        let of = |alerts: &[Told]| record.of(alerts).into_iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(of(&[told("b", "i"), told("c", "i")]), ["i"]);
        assert_eq!(of(&[told("a", ""), told("b", "j")]), ["a"]);
        assert_eq!(of(&[told("b", "")]), Vec::<String>::new());
    }
}
