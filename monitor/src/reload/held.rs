//! Files that came to less than they were, as a full disk or a fetch that failed leaves them: what each was when it was put in
//! force last in, which of them hold a new policy back out. Called by whoever reads a configuration, and by `reload
//! --accept`.
//!
//! A list of rules that is empty, gone, or cut within its last line is held, and so is a deny list, a dataset or an overlay
//! that lost more than half; a policy without it would let pass what was denied, or deny what somebody was permitted. An allow
//! list that shrinks otherwise is taken at once, since to revoke must work, and told. A list of comments alone is empty on
//! purpose.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use monitor_policy::text::{count, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::storage::{self, writable::by_others};

/// What files were when they were put in force last.
const MANIFEST: &str = "files.json";
/// What somebody took although it was held, by its content.
const ACCEPTED: &str = "accepted.json";
/// Both of them.
pub const FILES: [&str; 2] = [MANIFEST, ACCEPTED];
/// Larger than either gets, with ten thousand files.
const LONGEST: u64 = 4 << 20;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// More rules, or networks that are allowed.
    Allow,
    /// Networks that are denied.
    Deny,
    /// A dataset, an overlay or AS numbers.
    Data,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Which.
    pub file: PathBuf,
    /// What for.
    pub purpose: Purpose,
    /// Rules and networks in it; `None`: its bytes say enough.
    pub entries: Option<u64>,
}

/// What a file was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Item {
    purpose: Purpose,
    entries: Option<u64>,
    bytes: u64,
    /// Whether its last line is whole; `None`: not text.
    whole: Option<bool>,
}

/// What becomes of files that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why they are held; empty: they are not.
    pub held: Vec<String>,
    /// What is told of those that are taken.
    pub shrunk: Vec<String>,
}

/// What is kept of files, in the state directory.
#[derive(Clone, Debug)]
pub struct HeldFiles {
    state: PathBuf,
    /// Where somebody who knows the control socket alone says what is accepted.
    runtime: PathBuf,
}

impl HeldFiles {
    /// Of these directories.
    pub fn new(state: &Path, runtime: &Path) -> Self {
        Self { state: state.to_owned(), runtime: runtime.to_owned() }
    }

    /// Compares files with what they were. `named` says of one that is gone whether it is meant to be there.
    pub fn check(&self, files: &[ReadFile], named: impl Fn(&Path) -> bool) -> Verdict {
        let before: BTreeMap<PathBuf, Item> = read(&self.state.join(MANIFEST));
        let accepted: [BTreeMap<PathBuf, String>; 2] =
            [&self.state, &self.runtime].map(|directory| read(&directory.join(ACCEPTED)));
        let taken = |file: &Path| {
            let mut contents = accepted.iter().filter_map(|accepted| accepted.get(file)).peekable();
            contents.peek().is_some() && {
                let now = fingerprint(file);
                contents.any(|content| *content == now)
            }
        };
        let mut verdict = Verdict::default();
        for of in files {
            let Some(was) = before.get(&of.file).filter(|was| was.purpose == of.purpose) else { continue };
            let Ok(now) = item(of) else { continue };
            if let Some(why) = why_held(was, &now) {
                if !taken(&of.file) {
                    verdict.held.push(message(&of.file, &why));
                }
            } else if size(&now) < size(was) && now.entries.is_some() {
                verdict.shrunk.push(format!("{} has {}", of.file.display(), fewer(was, &now)));
            }
        }
        let gone = before.keys().filter(|file| !files.iter().any(|of| of.file == **file) && named(file));
        for file in gone.filter(|file| !file.exists() && !taken(file)) {
            verdict.held.push(message(file, "it is gone"));
        }
        verdict
    }

    /// The files that are cut or empty, of a configuration that can't be read: what is wrong in it may come of that.
    pub fn cut(&self) -> Vec<String> {
        let before: BTreeMap<PathBuf, Item> = read(&self.state.join(MANIFEST));
        let cut = before.into_iter().filter_map(|(file, was)| {
            let now = item(&ReadFile { file: file.clone(), purpose: was.purpose, entries: was.entries }).ok()?;
            Some(message(&file, &why_held(&was, &now)?))
        });
        cut.collect()
    }

    /// Keeps what files are, for the next comparison. What was accepted by then has had its use.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(&self, files: &[ReadFile]) -> io::Result<()> {
        let items = files.iter().filter_map(|of| Some((of.file.clone(), item(of).ok()?)));
        let items: BTreeMap<PathBuf, Item> = items.collect();
        if items != read(&self.state.join(MANIFEST)) {
            write(&self.state, MANIFEST, &items)?;
        }
        for directory in [&self.state, &self.runtime] {
            match fs::remove_file(directory.join(ACCEPTED)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Has the next comparison take a file as it is now, although it is held. `directory`: the daemon's state or runtime.
///
/// # Errors
/// It can't be written.
pub fn accept(directory: &Path, file: &Path) -> io::Result<()> {
    accept_content(directory, file, fingerprint(file))
}

/// As [`accept`], of a file that is to have this content (SHA-256 in hexadecimal).
///
/// # Errors
/// It can't be written.
pub fn accept_content(directory: &Path, file: &Path, content: String) -> io::Result<()> {
    let mut accepted: BTreeMap<PathBuf, String> = read(&directory.join(ACCEPTED));
    accepted.insert(std::path::absolute(file)?, content);
    write(directory, ACCEPTED, &accepted)
}

fn write(directory: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    storage::create_directory(directory)?;
    storage::replace(&directory.join(name), &serde_json::to_vec(value)?, storage::Access::Owner)
}

fn message(file: &Path, why: &str) -> String {
    let file = file.display();
    format!("{file} is held: {why}. Put it right, or take it with `egress-monitor reload --accept {file}`")
}

/// How much is in it, to compare.
fn size(of: &Item) -> u64 {
    of.entries.unwrap_or(of.bytes)
}

/// `2 rules and networks, of 5 before`.
fn fewer(was: &Item, now: &Item) -> String {
    let what = if now.entries.is_some() { "rules and networks" } else { "bytes" };
    format!("{} {what}, of {} before", count(size(now)), count(size(was)))
}

/// Why a file that was one thing is held as another.
fn why_held(was: &Item, now: &Item) -> Option<String> {
    if now.bytes == 0 && was.bytes > 0 {
        return Some("it is empty".into());
    }
    if now.bytes < was.bytes && was.whole == Some(true) && now.whole == Some(false) {
        return Some("its last line is cut, and it is shorter than it was".into());
    }
    // Comments alone: on purpose.
    let lost = size(now) > 0 && size(now) < size(was).div_ceil(2);
    (lost && now.purpose != Purpose::Allow).then(|| format!("it has {}", fewer(was, now)))
}

/// What a file is.
fn item(of: &ReadFile) -> io::Result<Item> {
    let mut opened = File::open(&of.file)?;
    let bytes = opened.metadata()?.len();
    let mut start = Vec::new();
    opened.by_ref().take(4096).read_to_end(&mut start)?;
    let mut last = [0];
    if bytes > 0 {
        opened.seek(SeekFrom::End(-1))?;
        opened.read_exact(&mut last)?;
    }
    let whole = (!start.contains(&0)).then(|| bytes == 0 || matches!(last[0], b'\n' | b'\r'));
    Ok(Item { purpose: of.purpose, entries: of.entries, bytes, whole })
}

/// SHA-256 of a file's content; of one that can't be read, that.
fn fingerprint(file: &Path) -> String {
    let hashed = || {
        let (mut opened, mut hash) = (File::open(file)?, Sha256::new());
        let mut chunk = vec![0; 1 << 16];
        loop {
            match opened.read(&mut chunk)? {
                0 => return Ok::<_, io::Error>(hex(&hash.finalize())),
                read => hash.update(&chunk[..read]),
            }
        }
    };
    hashed().unwrap_or_else(|_| "gone".into())
}

/// What is kept; nothing where it is none of ours.
fn read<V: serde::de::DeserializeOwned>(file: &Path) -> BTreeMap<PathBuf, V> {
    let long = fs::metadata(file).map_or(true, |about| about.len() > LONGEST);
    // What others can write decides nothing.
    let text = if long || !by_others(&[file.to_owned()]).is_empty() { None } else { fs::read(file).ok() };
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn kept(&self) -> HeldFiles {
            HeldFiles::new(&self.folder.path().join("state"), &self.folder.path().join("run"))
        }

        /// In either of the directories, by turns.
        fn accept(&self, directory: &str, file: &Path) {
            accept(&self.folder.path().join(directory), file).unwrap();
        }

        /// Writes a file; each of its lines is an entry, but for comments.
        fn file(&self, purpose: Purpose, text: &str) -> ReadFile {
            let file = self.folder.path().join("list.txt");
            fs::write(&file, text).unwrap();
            let entries = text.lines().filter(|line| !line.starts_with('#')).count() as u64;
            ReadFile { file, purpose, entries: (purpose != Purpose::Data).then_some(entries) }
        }

        fn becomes(&self, purpose: Purpose, before: &str, after: &str) -> (bool, bool) {
            let was = self.file(purpose, before);
            self.kept().keep(&[was]).unwrap();
            let verdict = self.kept().check(&[self.file(purpose, after)], |_| true);
            (!verdict.held.is_empty(), !verdict.shrunk.is_empty())
        }
    }

    const FIVE: &str = "1\n2\n3\n4\n5\n";

    #[test]
    fn what_is_empty_cut_or_lost_by_half_is_held_and_what_is_revoked_is_not() {
        use Purpose::{Allow, Data, Deny};
        let bench = Bench::new();
        for (purpose, after, held, told) in [
            (Allow, "", true, false),
            (Allow, "1\n2\n3\n4", true, false),
            (Allow, "1\n2\n3\n", false, true),
            (Allow, "1\n", false, true),
            (Allow, "# none\n", false, true),
            (Allow, "1\n2\n3\n4\n5\n6\n", false, false),
            (Allow, FIVE, false, false),
            // Longer, with an editor that ends no line.
            (Allow, "1\n2\n3\n4\n5\n6", false, false),
            (Deny, "", true, false),
            (Deny, "1\n2\n", true, false),
            (Deny, "1\n2\n3\n", false, true),
            (Deny, "# none\n", false, true),
            (Data, "1\n2\n", true, false),
            (Data, "1\n2\n3\n", false, false),
        ] {
            assert_eq!(bench.becomes(purpose, FIVE, after), (held, told), "{purpose:?} {after:?}");
        }
        // One that can't be read for it is told so all the same.
        let was = bench.file(Allow, FIVE);
        bench.kept().keep(std::slice::from_ref(&was)).unwrap();
        assert_eq!(bench.kept().cut(), <[String; 0]>::default());
        fs::write(&was.file, "1\n2\n3").unwrap();
        assert!(bench.kept().cut()[0].contains("list.txt is held: its last line is cut"));
        // One that never ended its last line is not cut because it does not.
        assert_eq!(bench.becomes(Allow, "1\n2\n3", "1\n2"), (false, true));
        // Bytes that are no text end in anything.
        assert_eq!(bench.becomes(Data, "\0abc\nd\ne\n", "\0abc\nd"), (false, false));
        // Nothing is known of it, or it was for something else.
        let bench = Bench::new();
        assert_eq!(bench.kept().check(&[bench.file(Allow, "")], |_| true), Verdict::default());
        bench.kept().keep(&[bench.file(Deny, FIVE)]).unwrap();
        assert_eq!(bench.kept().check(&[bench.file(Allow, "")], |_| true), Verdict::default());
    }

    #[test]
    fn a_file_that_a_glob_meant_and_that_is_gone_is_held_until_it_is_back_or_not_meant_any_more() {
        let bench = Bench::new();
        let file = bench.file(Purpose::Allow, FIVE);
        bench.kept().keep(std::slice::from_ref(&file)).unwrap();
        fs::remove_file(&file.file).unwrap();
        let held = bench.kept().check(&[], |_| true).held;
        let name = file.file.display();
        let expected = format!(
            "{name} is held: it is gone. Put it right, or take it with `egress-monitor reload --accept {name}`"
        );
        assert_eq!(held, [expected]);
        assert_eq!(bench.kept().check(&[], |_| false), Verdict::default());
        bench.file(Purpose::Allow, FIVE);
        assert_eq!(bench.kept().check(&[file], |_| true), Verdict::default());
    }

    #[test]
    fn what_was_accepted_is_taken_as_it_was_then_and_once() {
        let bench = Bench::new();
        bench.kept().keep(&[bench.file(Purpose::Allow, FIVE)]).unwrap();
        let empty = bench.file(Purpose::Allow, "");
        bench.accept("state", &empty.file);
        assert_eq!(bench.kept().check(std::slice::from_ref(&empty), |_| true), Verdict::default());
        // Other content is another question.
        let cut = bench.file(Purpose::Allow, "1\n2");
        assert_eq!(bench.kept().check(&[cut], |_| true).held.len(), 1);
        let empty = bench.file(Purpose::Allow, "");
        bench.kept().keep(&[empty]).unwrap();
        bench.kept().keep(&[bench.file(Purpose::Allow, FIVE)]).unwrap();
        assert_eq!(bench.kept().check(&[bench.file(Purpose::Allow, "")], |_| true).held.len(), 1);
        // A file that is gone is accepted as that.
        let gone = bench.folder.path().join("list.txt");
        fs::remove_file(&gone).unwrap();
        bench.accept("run", &gone);
        assert_eq!(bench.kept().check(&[], |_| true), Verdict::default());
    }

    #[test]
    fn what_is_kept_and_is_none_of_ours_holds_nothing() {
        let bench = Bench::new();
        fs::create_dir(bench.folder.path().join("state")).unwrap();
        for text in ["", "[]", "{\"/a\":1}", "\u{0}"] {
            fs::write(bench.folder.path().join("state").join(MANIFEST), text).unwrap();
            assert_eq!(bench.kept().check(&[bench.file(Purpose::Allow, "")], |_| true), Verdict::default(), "{text}");
        }
    }
}
