//! Files in, whether their contents have changed out. Called by `super::reloader`, which reads them anew then.
//!
//! The files are looked at once a second (device, inode, size, times of content and inode) rather than watched with
//! inotify: that works the same for a file that an editor renames into place, for symbolic links that are pointed
//! elsewhere (Kubernetes' `..data`), for a file that is deleted and comes back, and on file systems where another
//! machine writes (NFS, 9p, overlays); it needs no dependency and nothing that a limit of the system can refuse. A
//! hundred files cost a tenth of a millisecond a second.
//!
//! What changed is taken only when two looks agree, so that a file that is being written is not read half; and only if
//! the contents differ, so that a `touch` changes nothing. Of a directory that a glob names, the list of its
//! files is the content, without hidden ones and what editors leave. A file that is gone has to be so for [`GONE`] looks: some editors delete
//! before they write.

use std::{path::PathBuf, time::Duration};

use super::{
    Files,
    stamps::{FileStamps, Stamp, contents},
};

/// Between two looks.
pub const EVERY: Duration = Duration::from_secs(1);
/// Looks that must agree.
const AGREE: u32 = 2;
/// The same where a file is gone.
pub const GONE: u32 = 4;

/// What the policy in force, or the one refused last, was read from.
#[derive(Debug)]
pub struct Watch {
    on: bool,
    stamps: FileStamps,
    /// `None`: not known, the files changed while they were read.
    contents: Option<[u8; 32]>,
    /// Whether the next change will show in the stamps.
    settled: bool,
    /// They were refused: then even a change of what stands beside the content, such as who may write, counts.
    refused: bool,
    /// What was seen since, and how often in a row.
    differs: Option<(FileStamps, u32)>,
    /// The files that were there when the policy was read from them.
    read: Vec<PathBuf>,
}

impl Watch {
    /// Files that were read.
    pub fn new(files: Files, refused: bool) -> Self {
        let on = files.watch.unwrap_or(false);
        let (stamps, read) = (FileStamps::default(), Vec::new());
        let mut watch = Self { on, stamps, contents: None, settled: false, refused, differs: None, read };
        watch.take(&files.inputs, &files.stamps);
        watch.read = watch.stamps.there();
        watch
    }

    /// The files were read anew, and perhaps refused.
    pub fn taken(&mut self, files: Files, refused: bool) {
        let Files { mut inputs, stamps, watch, .. } = files;
        self.refused = refused;
        let is_known = watch.is_some();
        if !is_known {
            // A configuration that could not be read names none: those of the one before are looked at.
            inputs.extend(self.stamps.files());
        }
        self.on = watch.unwrap_or(self.on);
        // A file system that hangs holds up nobody else.
        tokio::task::block_in_place(|| self.take(&inputs, &stamps));
        if is_known {
            self.read = self.stamps.there();
        }
    }

    fn take(&mut self, files: &[PathBuf], before: &FileStamps) {
        self.differs = None;
        self.contents = None;
        self.settled = false;
        self.stamps = FileStamps::look(files);
        if !self.on {
            return;
        }
        let same = |(file, stamp): (&PathBuf, &Option<Stamp>)| before.0.get(file).is_none_or(|before| before == stamp);
        if self.stamps.0.iter().all(same) {
            let (files, old) = (self.stamps.files(), self.stamps.is_old());
            let hash = contents(&files);
            if FileStamps::look(&files) == self.stamps {
                (self.contents, self.settled) = (Some(hash), old);
            }
        }
    }

    /// Has the files read anew, as they are.
    pub fn read_again(&mut self) {
        (self.contents, self.settled) = (None, false);
    }

    /// Looks; true if the files are to be read anew.
    pub fn changed(&mut self) -> bool {
        // As above.
        self.on && tokio::task::block_in_place(|| self.look())
    }

    /// A file that the policy was read from and that is not there any more, however it was named: nobody removes rules by
    /// themselves. Then what changed is left alone until it changes again.
    pub fn leave_for_gone(&mut self) -> Option<PathBuf> {
        tokio::task::block_in_place(|| {
            let now = FileStamps::look(&self.stamps.files());
            let there = FileStamps::look(&self.read);
            let gone = self.read.iter().find(|file| there.is_missing(file))?.clone();
            (self.contents, self.settled) = (Some(contents(&now.files())), now.is_old());
            (self.stamps, self.differs) = (now, None);
            Some(gone)
        })
    }

    fn look(&mut self) -> bool {
        let files = self.stamps.files();
        let now = FileStamps::look(&files);
        if now == self.stamps && self.settled && self.contents.is_some() {
            self.differs = None;
            return false;
        }
        let times = match self.differs.take() {
            Some((before, times)) if before == now => times + 1,
            _ => 1,
        };
        let enough = if now.lacks_one_of(&self.stamps) { GONE } else { AGREE };
        if times < enough || !now.is_old() {
            self.differs = Some((now, times));
            return false;
        }
        let hash = contents(&files);
        if FileStamps::look(&files) != now {
            return false;
        }
        if self.contents == Some(hash) {
            let changed = self.refused && self.stamps != now;
            (self.stamps, self.settled) = (now, true);
            return changed;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path, time::Instant};

    use super::*;

    /// A watch on what `folder` has: the configuration and a directory with allowlists.
    fn watch(files: &[PathBuf]) -> Watch {
        Watch::new(
            Files { inputs: files.to_vec(), stamps: FileStamps::look(files), watch: Some(true), ..Files::default() },
            false,
        )
    }

    /// Looks until the watch has decided whether it wants the files read.
    fn decides(watch: &mut Watch) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if watch.look() {
                return true;
            }
            if watch.differs.is_none() && watch.settled {
                return false;
            }
            assert!(Instant::now() < deadline, "it never decides");
            std::thread::yield_now();
        }
    }

    fn replace(file: &Path, text: &str) {
        let draft = file.with_extension("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, file).unwrap();
    }

    #[test]
    fn other_contents_are_read_however_they_come_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "one").unwrap();
        let ways: [(&str, &dyn Fn()); 5] = [
            ("written in place", &|| fs::write(&file, "two").unwrap()),
            ("of the same length", &|| fs::write(&file, "six").unwrap()),
            ("renamed into place", &|| replace(&file, "three")),
            ("moved away, written, and the old one removed", &|| {
                let away = folder.path().join("config.toml~");
                fs::rename(&file, &away).unwrap();
                fs::write(&file, "four").unwrap();
                fs::remove_file(&away).unwrap();
            }),
            ("deleted", &|| fs::remove_file(&file).unwrap()),
        ];
        let files = [file.clone()];
        for (way, change) in ways {
            let mut watch = watch(&files);
            assert!(!decides(&mut watch), "{way}: nothing changed yet");
            change();
            assert!(decides(&mut watch), "{way}");
            watch.take(&files, &FileStamps::look(&files));
            assert!(!decides(&mut watch), "{way}: it was read");
        }
        let mut watch = watch(&files);
        assert!(!decides(&mut watch), "it is still gone");
        fs::write(&file, "five").unwrap();
        assert!(decides(&mut watch), "it came back");
    }

    #[test]
    fn a_link_that_is_pointed_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two"), ("v3", "two")] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("config.toml"), text).unwrap();
        }
        let point = |version: &str| {
            symlink(version, path("..draft")).unwrap();
            fs::rename(path("..draft"), path("..data")).unwrap();
        };
        point("v1");
        symlink("..data/config.toml", path("config.toml")).unwrap();
        let files = [path("config.toml")];
        let mut watch = watch(&files);
        assert!(!decides(&mut watch));
        point("v2");
        assert!(decides(&mut watch));
        watch.take(&files, &FileStamps::look(&files));
        point("v3");
        assert!(!decides(&mut watch), "another file with the same contents");
    }

    #[test]
    fn the_same_contents_are_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "one").unwrap();
        let files = [file.clone(), folder.path().to_owned()];
        let mut watch = watch(&files);
        assert!(!decides(&mut watch));
        for same in [&|| fs::write(&file, "one").unwrap(), &|| replace(&file, "one")] as [&dyn Fn(); 2] {
            same();
            assert!(!decides(&mut watch));
        }
        // What an editor leaves beside it is no allowlist.
        fs::write(folder.path().join(".config.toml.swp"), "x").unwrap();
        assert!(!decides(&mut watch));
        for more in ["more.txt", "more.toml"] {
            fs::write(folder.path().join(more), "192.0.2.0/24\n").unwrap();
            assert!(decides(&mut watch), "{more}");
            watch.take(&files, &FileStamps::look(&files));
            assert!(!decides(&mut watch), "{more}: it was read");
        }
    }

    #[test]
    fn a_change_takes_two_looks_and_a_file_that_went_four() {
        let folder = tempfile::tempdir().unwrap();
        // One that was never there is not gone.
        let files = [folder.path().join("config.toml"), folder.path().join("none.toml")];
        fs::write(&files[0], "one").unwrap();
        let mut watch = watch(&files);
        assert!(!decides(&mut watch));
        replace(&files[0], "two");
        while !FileStamps::look(&files).is_old() {
            std::thread::yield_now();
        }
        assert_eq!([watch.look(), watch.look()], [false, true]);
        watch.take(&files, &FileStamps::look(&files));
        assert!(!decides(&mut watch));
        fs::remove_file(&files[0]).unwrap();
        assert_eq!([(); 4].map(|()| watch.look()), [false, false, false, true]);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_leaves_what_is_watched_and_whether() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one.toml", "two.toml"].map(|name| folder.path().join(name));
        for file in [&one, &two] {
            fs::write(file, "one").unwrap();
        }
        let of = |files: &[&PathBuf], watch| {
            let inputs: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
            Files { stamps: FileStamps::look(&inputs), inputs, watch, ..Files::default() }
        };
        let mut watch = Watch::new(of(&[&one], None), false);
        assert!(!watch.on, "not known, so not");
        watch.taken(of(&[&two], None), true);
        assert_eq!((watch.on, watch.stamps.files()), (false, vec![one.clone(), two]));
        watch.taken(of(&[&one], Some(true)), true);
        assert_eq!((watch.on, watch.stamps.files()), (true, vec![one.clone()]));
        watch.taken(of(&[], None), true);
        assert_eq!((watch.on, watch.stamps.files()), (true, vec![one.clone()]));
        assert!(!decides(&mut watch));
        replace(&one, "two");
        assert!(decides(&mut watch));
    }

    #[test]
    fn of_a_file_that_was_seen_twice_the_earlier_look_holds() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one.toml", "two.toml"].map(|name| folder.path().join(name));
        fs::write(&one, "one").unwrap();
        let earlier = FileStamps::look(std::slice::from_ref(&one));
        replace(&one, "two");
        let later = FileStamps::look(&[one.clone(), two.clone()]);
        assert_ne!(later.0[&one], earlier.0[&one]);
        let both = later.after(earlier.clone());
        assert_eq!(both, FileStamps(BTreeMap::from([(one.clone(), earlier.0[&one]), (two, None)])));
    }

    #[test]
    fn what_is_being_written_is_left_alone_until_two_looks_agree() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "one").unwrap();
        let mut watch = watch(std::slice::from_ref(&file));
        assert!(!decides(&mut watch));
        for part in 0..20 {
            fs::write(&file, "x".repeat(part + 10)).unwrap();
            assert!(!watch.look(), "part {part}");
        }
        assert!(decides(&mut watch));
    }

    #[test]
    fn what_changed_while_it_was_read_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "one").unwrap();
        let files = [file.clone()];
        let before = FileStamps::look(&files);
        replace(&file, "two");
        let mut watch =
            Watch::new(Files { inputs: files.to_vec(), stamps: before, watch: Some(true), ..Files::default() }, false);
        assert!(decides(&mut watch));
        watch.take(&files, &FileStamps::look(&files));
        assert!(!decides(&mut watch));
    }

    #[test]
    fn where_a_signal_is_wanted_it_looks_at_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "one").unwrap();
        let files = std::slice::from_ref(&file);
        let mut watch = Watch::new(
            Files { inputs: files.to_vec(), stamps: FileStamps::look(files), watch: Some(false), ..Files::default() },
            false,
        );
        replace(&file, "two");
        for _ in 0..10 {
            assert!(!watch.changed());
        }
    }
}
