//! Which policy was confirmed last and which one awaits confirmation, kept over restarts as *sources*: `confirmed.json` and
//! `trial.json` in `[paths] state` name each file that the policy was compiled from with its copy in `blobs`. Called by
//! `super::pending`, by the start and by `check`.
//!
//! A file of 0.3.0 or earlier has digest and mode alone, and is read: what it names is known, but can't be compiled anew.
//! Those versions read these files the same way.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use monitor_policy::{PolicyRef, fs::open_regular};
use serde::{Deserialize, Serialize};

use super::{
    NotKept,
    stamps::{FileStamps, Stamp},
};
use crate::{
    model::{now, seconds},
    storage::state::StateDirectory,
};

/// What was confirmed.
const CONFIRMED: &str = "confirmed.json";
/// What was not, or not yet.
const PENDING: &str = "trial.json";

/// What a policy was compiled from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompiledFrom {
    /// The configuration file; `None`: the built-in configuration.
    pub config: Option<PathBuf>,
    /// Every file, as it was before it was read.
    pub stamps: FileStamps,
    /// What the configuration said; `None`: it is built in, or not known any more.
    pub text: Option<Arc<str>>,
    /// That is not what its file holds.
    pub handed_in: bool,
}

/// A policy that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPolicy {
    /// Which.
    #[serde(flatten)]
    pub policy: PolicyRef,
    /// When it was kept, in seconds since 1970.
    #[serde(default)]
    pub since: i64,
    /// The configuration file; `None`: the built-in configuration.
    #[serde(default)]
    config: Option<PathBuf>,
    /// The copy of each file that it was compiled from; `None`: not kept.
    #[serde(default)]
    sources: Option<BTreeMap<PathBuf, String>>,
}

impl KeptPolicy {
    /// The configuration file; `None`: the built-in configuration.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Whether it can be compiled anew.
    pub const fn has_files(&self) -> bool {
        self.sources.is_some()
    }

    /// Whether it is the same, whenever it was kept.
    fn is(&self, other: &Self) -> bool {
        *self == Self { since: self.since, ..other.clone() }
    }
}

/// A policy that was to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unconfirmed {
    policy: KeptPolicy,
    within_seconds: u64,
}

/// The files, and what they held.
#[derive(Clone, Debug, Default)]
pub struct ConfirmationStore {
    state: StateDirectory,
    confirmed: Option<KeptPolicy>,
    pending: Option<Unconfirmed>,
}

impl ConfirmationStore {
    /// Reads what was confirmed before. A file that is not there, or is none of ours, says that nothing was.
    pub fn open(state: StateDirectory) -> Self {
        Self { confirmed: state.read(CONFIRMED), pending: state.read(PENDING), state }
    }

    /// Where it is kept.
    pub const fn state(&self) -> &StateDirectory {
        &self.state
    }

    /// What was confirmed, or put in force for good.
    pub const fn confirmed(&self) -> Option<&KeptPolicy> {
        self.confirmed.as_ref()
    }

    /// Both that are kept.
    pub fn all(&self) -> impl Iterator<Item = &KeptPolicy> {
        self.confirmed.iter().chain(self.pending.iter().map(|pending| &pending.policy))
    }

    /// Whether this is what was confirmed.
    pub fn is_confirmed(&self, policy: &PolicyRef) -> bool {
        self.confirmed.as_ref().is_some_and(|confirmed| confirmed.policy == *policy)
    }

    /// What was on trial last, and nobody has confirmed.
    pub fn on_trial(&self) -> Option<&PolicyRef> {
        self.pending.as_ref().map(|pending| &pending.policy.policy).filter(|policy| !self.is_confirmed(policy))
    }

    /// How long this one was to be confirmed in, where nobody has.
    pub fn pending(&self, policy: &PolicyRef) -> Option<Duration> {
        let pending =
            self.pending.as_ref().filter(|pending| pending.policy.policy == *policy && !self.is_confirmed(policy))?;
        Some(Duration::from_secs(pending.within_seconds))
    }

    /// Where the copies of a policy's files are, each whole.
    ///
    /// # Errors
    /// One is not there, or damaged.
    pub fn copies(&self, of: &KeptPolicy) -> Result<BTreeMap<PathBuf, PathBuf>, String> {
        let sources = of.sources.as_ref().ok_or("an earlier version kept its digest alone")?;
        let blobs = self.state.blobs();
        let copy = |(file, name): (&PathBuf, &String)| match blobs.verified(name) {
            Ok(copy) => Ok((file.clone(), copy)),
            Err(error) => Err(format!("the copy of {} ({name}) can't be read: {error}", file.display())),
        };
        sources.iter().map(copy).collect()
    }

    /// Notes that a policy is to be confirmed. The note stays when it was not: a restart must not put it in force for
    /// good.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_pending(&mut self, policy: &PolicyRef, within: Duration, from: &CompiledFrom) -> Result<(), NotKept> {
        // The note is of more weight than what would compile it anew.
        let (policy, kept) = match self.kept(policy, from) {
            Ok(policy) => (policy, Ok(())),
            Err(why) => (bare(policy), Err(why)),
        };
        let pending = Unconfirmed { policy, within_seconds: within.as_secs().max(1) };
        let same =
            |before: &Unconfirmed| before.policy.is(&pending.policy) && before.within_seconds == pending.within_seconds;
        if !self.pending.as_ref().is_some_and(same) {
            self.write(PENDING, &pending)?;
            self.pending = Some(pending);
            self.collect();
        }
        kept
    }

    /// Forgets what awaited confirmation: it was confirmed, or another one counts as such.
    pub fn forget_pending(&mut self) {
        if self.pending.take().is_some() {
            // One that stays says something of a policy that is not in force.
            let _ = self.state.remove(PENDING);
            self.collect();
        }
    }

    /// Keeps what was confirmed.
    ///
    /// # Errors
    /// It can't be written. What was kept before still is.
    pub fn keep_confirmed(&mut self, policy: &PolicyRef, from: &CompiledFrom) -> Result<(), NotKept> {
        let trial = self.pending.as_ref().map(|pending| &pending.policy);
        // Its files may be others by the time that somebody confirms it.
        let kept = match trial.filter(|trial| trial.policy == *policy && trial.sources.is_some()) {
            Some(trial) => KeptPolicy { since: seconds(now()), ..trial.clone() },
            None => self.kept(policy, from)?,
        };
        if self.confirmed.as_ref().is_some_and(|before| before.is(&kept)) {
            return Ok(());
        }
        self.write(CONFIRMED, &kept)?;
        self.confirmed = Some(kept);
        self.collect();
        Ok(())
    }

    /// A policy with copies of its files.
    fn kept(&self, policy: &PolicyRef, from: &CompiledFrom) -> Result<KeptPolicy, NotKept> {
        if self.state.path().as_os_str().is_empty() {
            // Made by default, for tests: nothing outlives the process.
            return Ok(bare(policy));
        }
        let not_kept = |file: &Path, why: String| NotKept { file: file.to_owned(), why };
        self.state.prepare().map_err(|error| not_kept(self.state.path(), error.to_string()))?;
        let blobs = self.state.blobs();
        let mut sources = BTreeMap::new();
        let instead = from.config.as_ref().zip(from.text.as_ref()).filter(|_| from.handed_in);
        if let Some((file, text)) = instead {
            let failed = |error: std::io::Error| not_kept(self.state.path(), format!("{}: {error}", file.display()));
            sources.insert(file.clone(), blobs.add_bytes(text.as_bytes()).map_err(failed)?);
        }
        for (file, stamp) in from.stamps.0.iter().filter_map(|(file, stamp)| Some((file, stamp.as_ref()?))) {
            if file.is_dir() || instead.is_some_and(|(config, _)| config == file) {
                continue;
            }
            let failed = |error: std::io::Error| not_kept(self.state.path(), format!("{}: {error}", file.display()));
            let mut opened = open_regular(file).map_err(failed)?;
            let name = blobs.add(&mut opened).map_err(failed)?;
            // After it was copied: what is kept is what was compiled.
            if Stamp::of(&opened.metadata().map_err(failed)?) != *stamp {
                return Err(not_kept(self.state.path(), format!("{} has changed since it was read", file.display())));
            }
            sources.insert(file.clone(), name);
        }
        let (policy, config) = (policy.clone(), from.config.clone());
        Ok(KeptPolicy { policy, since: seconds(now()), config, sources: Some(sources) })
    }

    /// Removes the copies that nothing names. One that stays takes room, and no more.
    fn collect(&self) {
        if self.state.path().as_os_str().is_empty() || self.state.refused().is_some() {
            return;
        }
        let named: BTreeSet<&str> = self
            .all()
            .filter_map(|kept| kept.sources.as_ref())
            .flat_map(BTreeMap::values)
            .map(String::as_str)
            .collect();
        if let Err(error) = self.state.blobs().retain(&named) {
            tracing::warn!(%error, "copies of files that nobody needs any more can't be removed");
        }
    }

    /// Replaces a file in one step.
    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), NotKept> {
        let not_kept = |error: std::io::Error| NotKept { file: self.state.path().join(name), why: error.to_string() };
        self.state.write(name, value).map_err(not_kept)
    }
}

/// A policy without its files.
fn bare(policy: &PolicyRef) -> KeptPolicy {
    KeptPolicy { policy: policy.clone(), since: seconds(now()), config: None, sources: None }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use monitor_policy::spec::Mode;

    use super::*;

    fn named(digest: &str, mode: &str) -> PolicyRef {
        PolicyRef { digest: digest.into(), mode: Mode::enforcing(mode == "enforce") }
    }

    fn open(state: &Path) -> ConfirmationStore {
        ConfirmationStore::open(StateDirectory::open(state))
    }

    fn from(files: &[&PathBuf]) -> CompiledFrom {
        let files: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
        CompiledFrom { config: files.first().cloned(), stamps: FileStamps::look(&files), ..CompiledFrom::default() }
    }

    fn blobs(state: &Path) -> usize {
        fs::read_dir(state.join("blobs")).map_or(0, Iterator::count)
    }

    #[test]
    fn what_was_kept_is_known_after_a_restart_and_nothing_else_is() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("new");
        let none = CompiledFrom::default();
        let mut store = open(&state);
        assert!(!store.is_confirmed(&named("", "")));
        assert_eq!(store.keep_confirmed(&named("a", "enforce"), &none), Ok(()));
        let again = open(&state);
        assert!(again.is_confirmed(&named("a", "enforce")));
        let minute = Duration::from_secs(60);
        assert_eq!(store.keep_pending(&named("b", "enforce"), minute, &none), Ok(()));
        assert_eq!(open(&state).pending(&named("b", "enforce")), Some(minute));
        assert_eq!(open(&state).pending(&named("c", "enforce")), None);
        store.forget_pending();
        assert_eq!(open(&state).pending(&named("b", "enforce")), None);
        assert!(!again.is_confirmed(&named("a", "observe")) && !again.is_confirmed(&named("b", "enforce")));
        // Less than a second is one; what was confirmed awaits nothing any more.
        assert_eq!(store.keep_pending(&named("b", "enforce"), Duration::from_millis(150), &none), Ok(()));
        assert_eq!(open(&state).pending(&named("b", "enforce")), Some(Duration::from_secs(1)));
        assert_eq!(store.keep_confirmed(&named("b", "enforce"), &none), Ok(()));
        assert_eq!(open(&state).pending(&named("b", "enforce")), None);
    }

    #[test]
    fn a_policy_is_kept_with_its_files_as_they_were_compiled_and_shares_what_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let [config, list, gone] = ["config.toml", "list.txt", "gone.txt"].map(|name| folder.path().join(name));
        fs::write(&config, "one").unwrap();
        fs::write(&list, "a list").unwrap();
        let mut store = open(&state);
        let text = |store: &ConfirmationStore, kept: &KeptPolicy, file: &Path| {
            store.copies(kept).map(|copies| fs::read_to_string(&copies[file]).unwrap())
        };
        // A directory and a file that is not there have no content.
        let of = from(&[&config, &list, &gone, &folder.path().to_owned()]);
        store.keep_confirmed(&named("a", "enforce"), &of).unwrap();
        assert_eq!(blobs(&state), 2);
        fs::write(&config, "two, longer").unwrap();
        let trial = from(&[&config, &list]);
        store.keep_pending(&named("b", "enforce"), Duration::from_secs(60), &trial).unwrap();
        assert_eq!(blobs(&state), 3, "the list is there once");
        let again = open(&state);
        let [confirmed, pending] = again.all().collect::<Vec<_>>()[..] else { panic!("two are kept") };
        assert_eq!((confirmed.config(), confirmed.policy.clone()), (Some(&*config), named("a", "enforce")));
        assert_eq!(again.copies(confirmed).unwrap().keys().collect::<Vec<_>>(), [&config, &list]);
        assert_eq!(text(&again, confirmed, &config), Ok("one".into()));
        assert_eq!(text(&again, pending, &config), Ok("two, longer".into()));
        // Confirmed, it is kept as it was tried, whatever its files hold by then.
        fs::write(&config, "three, longer still").unwrap();
        store.keep_confirmed(&named("b", "enforce"), &trial).unwrap();
        store.forget_pending();
        let again = open(&state);
        assert_eq!(text(&again, again.confirmed().unwrap(), &config), Ok("two, longer".into()));
        assert_eq!(blobs(&state), 2, "what nobody names is gone");
        // What changed after it was read is not what was compiled: what is kept stays.
        let why = store.keep_confirmed(&named("c", "enforce"), &trial).unwrap_err().to_string();
        assert!(why.contains("config.toml has changed since it was read"), "{why}");
        assert!(open(&state).is_confirmed(&named("b", "enforce")));
        // A trial is noted all the same.
        store.keep_pending(&named("c", "enforce"), Duration::from_secs(60), &trial).unwrap_err();
        assert_eq!(open(&state).pending(&named("c", "enforce")), Some(Duration::from_secs(60)));
        let again = open(&state);
        assert!(text(&again, again.all().last().unwrap(), &config).unwrap_err().contains("its digest alone"));
        // A copy that somebody changed is none.
        for blob in fs::read_dir(state.join("blobs")).unwrap() {
            fs::write(blob.unwrap().path(), "damaged").unwrap();
        }
        assert!(text(&again, again.confirmed().unwrap(), &config).unwrap_err().contains("not what its name says"));
    }

    #[test]
    fn what_an_earlier_version_kept_is_known_and_it_knows_what_this_one_keeps() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Before {
            policy: PolicyRef,
            within_seconds: u64,
        }
        let state = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(state.path().join(name), text).unwrap();
        write(CONFIRMED, r#"{"digest":"a","mode":"enforce"}"#);
        write(PENDING, r#"{"policy":{"digest":"b","mode":"enforce"},"within_seconds":60}"#);
        let mut store = open(state.path());
        assert!(store.is_confirmed(&named("a", "enforce")) && store.state().refused().is_none());
        assert_eq!(store.pending(&named("b", "enforce")), Some(Duration::from_secs(60)));
        let confirmed = store.confirmed().cloned().unwrap();
        assert!(!confirmed.has_files() && store.copies(&confirmed).is_err());
        // Put in force again by this one, it is whole.
        let file = state.path().join("config.toml");
        fs::write(&file, "x").unwrap();
        store.keep_confirmed(&named("a", "enforce"), &from(&[&file])).unwrap();
        store.keep_pending(&named("b", "enforce"), Duration::from_secs(9), &from(&[&file])).unwrap();
        assert!(open(state.path()).confirmed().unwrap().has_files());
        let text = |name: &str| fs::read_to_string(state.path().join(name)).unwrap();
        assert_eq!(serde_json::from_str::<PolicyRef>(&text(CONFIRMED)).unwrap(), named("a", "enforce"));
        let trial: Before = serde_json::from_str(&text(PENDING)).unwrap();
        assert_eq!(trial, Before { policy: named("b", "enforce"), within_seconds: 9 });
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_as_good_as_none_and_one_that_cannot_be_written_is_reported() {
        let state = tempfile::tempdir().unwrap();
        let none = CompiledFrom::default();
        for text in [&b"{"[..], b"[1]", &[0xff; 5000]] {
            fs::write(state.path().join(CONFIRMED), text).unwrap();
            assert!(!open(state.path()).is_confirmed(&named("a", "enforce")));
        }
        let mut store = open(&state.path().join("there").join(CONFIRMED));
        fs::write(state.path().join("there"), "a file").unwrap();
        let why = store.keep_confirmed(&named("a", "enforce"), &none).unwrap_err().to_string();
        assert!(why.contains("confirmed.json can't be written") && why.contains("[paths] state"), "{why}");
        assert!(!store.is_confirmed(&named("a", "enforce")));
    }

    #[test]
    fn what_a_later_version_keeps_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        open(state.path()).keep_confirmed(&named("a", "enforce"), &CompiledFrom::default()).unwrap();
        fs::write(state.path().join("FORMAT"), "2\n").unwrap();
        let mut store = open(state.path());
        assert!(store.confirmed().is_none());
        let why = store.keep_confirmed(&named("b", "enforce"), &CompiledFrom::default()).unwrap_err().to_string();
        assert!(why.contains("FORMAT says"), "{why}");
        fs::write(state.path().join("FORMAT"), "1\n").unwrap();
        assert!(open(state.path()).is_confirmed(&named("a", "enforce")));
    }
}
