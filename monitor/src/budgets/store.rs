//! The day's sums in a file of the state directory: read at the start, replaced whole after epochs that changed them,
//! so that neither a crash nor a full disk leaves half a file. Called by the daemon's start and by the engine.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Budgets;
use crate::{
    model::budget::Day,
    storage::{self, Access},
};

/// The file's name.
pub const FILE: &str = "budgets.json";
/// What such a file says it is.
const FORMAT: &str = "egress-monitor budgets 1";
/// Bytes that are read at most: far more than as many rules as there can be have.
const MAX_FILE: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    /// UTC.
    day: String,
    /// Bytes on the wire by rule.
    used: BTreeMap<String, u64>,
}

/// Why the file is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is ignored, and replaced by the next [`Store::save`].
    #[error("{}: {why}: today's budgets begin anew; the file is replaced", file.display())]
    NotRead {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What was there before is still there.
    #[error(
        "{}: {why}: after a restart today's budgets would begin anew; make room, or set [paths] state to a directory \
         that can be written",
        file.display()
    )]
    NotWritten {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// Where the sums are kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// In this directory, which is made with the first [`Store::save`].
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// The sums of `today`: none if the file is not there or of an earlier day.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(&self, today: Day) -> Result<Budgets, StoreError> {
        let path = self.path();
        let wrong = |why: &dyn Display| StoreError::NotRead { file: path.clone(), why: why.to_string() };
        let Some(text) = storage::read(&path, MAX_FILE).map_err(|error| wrong(&error))? else {
            return Ok(Budgets::new(today));
        };
        let document: Document = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        if document.format != FORMAT {
            return Err(wrong(&format!("its format is {:?}, not {FORMAT:?}", document.format)));
        }
        let day = document.day.parse::<jiff::civil::Date>().map_err(|error| wrong(&error))?;
        let epoch = jiff::civil::Date::constant(1970, 1, 1);
        let day = Day(day.since(epoch).map_err(|error| wrong(&error))?.get_days().into());
        match day.cmp(&today) {
            std::cmp::Ordering::Less => Ok(Budgets::new(today)),
            std::cmp::Ordering::Equal => Ok(Budgets::with(day, document.used)),
            std::cmp::Ordering::Greater => {
                Err(wrong(&format!("it is of {}, and today is {}", document.day, today.text())))
            }
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// Why not.
    pub fn save(&self, budgets: &Budgets) -> Result<(), StoreError> {
        let document = Document { format: FORMAT.into(), day: budgets.day.text(), used: budgets.used.clone() };
        let saved = serde_json::to_vec(&document).map_err(io::Error::from).and_then(|text| {
            storage::create_directory(&self.directory)?;
            storage::replace(&self.path(), &text, Access::Owner)
        });
        saved.map_err(|error| StoreError::NotWritten { file: self.path(), why: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Day = Day(20_779);

    fn budgets() -> Budgets {
        Budgets::with(TODAY, [("a".to_owned(), 7), ("b \"c\"".to_owned(), u64::MAX)].into())
    }

    #[test]
    fn sums_survive_a_restart_within_the_day_and_not_the_night() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::new(&directory.path().join("state"));
        assert_eq!(store.load(TODAY), Ok(Budgets::new(TODAY)));
        for _ in 0..2 {
            assert_eq!(store.save(&budgets()), Ok(()));
            assert_eq!(store.load(TODAY), Ok(budgets()));
        }
        assert_eq!(store.load(Day(TODAY.0 + 1)), Ok(Budgets::new(Day(TODAY.0 + 1))));
        let files = std::fs::read_dir(directory.path().join("state")).expect("there").count();
        assert_eq!(files, 1, "no draft is left");
    }

    #[test]
    fn a_file_that_is_not_ours_or_not_whole_is_reported_and_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::new(directory.path());
        let good = format!(r#"{{"format":"{FORMAT}","day":"2026-11-22","used":{{}}}}"#);
        for (text, why) in [
            ("", "EOF while parsing"),
            (&good[..good.len() - 3], "EOF while parsing"),
            ("{\"format\":\"egress-monitor budgets 9\",\"day\":\"2026-11-22\",\"used\":{}}", "its format is"),
            (&good.replace("22", "23"), "it is of 2026-11-23, and today is 2026-11-22"),
            (&good.replace("22", "99"), "day"),
            (&good.replace("{}", "{\"a\":-1}"), "invalid value"),
            (&good.replace("\"day\"", "\"dya\""), "unknown field"),
        ] {
            std::fs::write(store.path(), text).expect("written");
            let reported = store.load(TODAY).expect_err(text).to_string();
            assert!(reported.contains(why) && reported.contains("budgets.json"), "{reported}");
            assert_eq!(reported.lines().count(), 1);
        }
        std::fs::write(store.path(), good).expect("written");
        assert_eq!(store.load(TODAY), Ok(Budgets::new(TODAY)));
        std::fs::remove_file(store.path()).expect("there");
        let elsewhere = directory.path().join("elsewhere");
        std::fs::write(&elsewhere, "x").expect("written");
        std::os::unix::fs::symlink(&elsewhere, store.path()).expect("a link");
        assert!(store.load(TODAY).is_err());
        assert_eq!(store.save(&budgets()), Ok(()));
        assert_eq!(store.load(TODAY), Ok(budgets()));
        assert_eq!(std::fs::read(elsewhere).expect("there"), b"x");
    }

    #[test]
    fn a_disk_that_takes_nothing_is_reported_with_the_file_and_the_mend() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("written");
        // As root every directory can be written, but none is below a file.
        let reported = Store::new(&file.join("state")).save(&budgets()).expect_err("must fail").to_string();
        assert!(reported.contains("budgets.json") && reported.contains("[paths] state"), "{reported}");
    }

    #[test]
    fn what_lies_at_the_file_or_the_draft_is_neither_followed_nor_waited_for_nor_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let state = path("state");
        let store = Store::new(&state);
        assert_eq!(store.save(&budgets()), Ok(()));
        // A good file, but by a link.
        std::fs::rename(store.path(), path("good")).expect("there");
        std::os::unix::fs::symlink(path("good"), store.path()).expect("a link");
        assert!(store.load(TODAY).is_err_and(|reported| reported.to_string().contains("budgets.json")));
        std::fs::remove_file(store.path()).expect("there");
        assert!(std::process::Command::new("mkfifo").arg(store.path()).status().expect("runs").success());
        assert!(store.load(TODAY).is_err_and(|reported| reported.to_string().contains("not a file")));
        // What a crash left of a draft, longer than the new one; then a link.
        let draft = state.join(".budgets.json.new");
        std::fs::write(&draft, [b'x'; 4096]).expect("written");
        assert_eq!(store.save(&budgets()), Ok(()));
        assert_eq!(store.load(TODAY), Ok(budgets()));
        std::fs::write(path("elsewhere"), "x").expect("written");
        std::os::unix::fs::symlink(path("elsewhere"), &draft).expect("a link");
        assert!(store.save(&Budgets::new(TODAY)).is_err());
        assert_eq!(std::fs::read(path("elsewhere")).expect("there"), b"x");
        assert!(!draft.is_symlink(), "no draft is left");
        assert_eq!(store.load(TODAY), Ok(budgets()), "what was there is still there");
    }

    #[test]
    fn nobody_else_reads_it_and_one_that_is_too_long_is_not_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let store = Store::new(&state);
        assert_eq!(store.save(&budgets()), Ok(()));
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!([mode(&state), mode(&store.path())], [0o700, 0o600]);
        let mut text = std::fs::read_to_string(store.path()).expect("there");
        text.extend(std::iter::repeat_n(' ', MAX_FILE as usize - text.len()));
        std::fs::write(store.path(), &text).expect("written");
        assert_eq!(store.load(TODAY), Ok(budgets()));
        text.push(' ');
        std::fs::write(store.path(), &text).expect("written");
        assert!(store.load(TODAY).is_err_and(|reported| reported.to_string().contains("too long")));
    }
}
