//! Files that are there whole or not at all: bytes in, one atomic replacement out, synced with its directory; and the
//! daemon's own directories. [`state`] is `[paths] state` with its number, [`blobs`] what is kept there by content,
//! [`writable`] says who can change a file. Called by what is kept of policies and modes, by budgets, the control socket
//! and what writes geo data.

pub mod blobs;
pub mod segments;
pub mod state;
pub mod writable;

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::fault::Fault;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner, who is that of the directory: what is kept in `[paths] state`. A command that root runs leaves nothing there
    /// that the daemon's user can't read.
    Owner,
    /// Everybody, as far as the umask allows.
    Everybody,
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o666,
        }
    }
}

/// Makes a directory of the daemon's own, with its parents: for its owner only, who is that of the directory above.
///
/// # Errors
/// What the system said.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    give(&File::open(directory)?, parent(directory))
}

/// The directory that a file is in.
fn parent(file: &Path) -> &Path {
    file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives what root makes to the owner of the directory that it is in. Anybody else's is his own.
fn give(made: &File, directory: &Path) -> io::Result<()> {
    let (owner, now) = (fs::metadata(directory)?, made.metadata()?);
    if now.uid() == 0 && owner.uid() != 0 {
        std::os::unix::fs::fchown(made, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Puts `bytes` in the place of `file`: a reader finds the old content or the new one, also after a crash, a full disk or
/// a power cut. The draft beside it (`.NAME.new`) is locked while it is written, so that of two writers at once one is
/// refused; one that a crash left is used again.
///
/// # Errors
/// What the system said; the old file is then as it was, and no draft is left.
pub fn replace(file: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    replace_by(file, access, |out| out.write_all(bytes))
}

/// As [`replace`], with what `write` writes.
///
/// # Errors
/// As [`replace`], or what `write` says.
pub fn replace_by(file: &Path, access: Access, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    replace_with(file, access, true, write)
}

/// As [`replace`], but nothing waits for the disk: after a power cut the file may be anything.
///
/// # Errors
/// As [`replace`].
pub fn replace_for_this_boot(file: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    replace_with(file, access, false, |out| out.write_all(bytes))
}

fn replace_with(
    file: &Path,
    access: Access,
    sync: bool,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let directory = parent(file);
    let draft = draft_of(file, directory)?;
    let written = (|| {
        let mut out = loop {
            let draft_file = open(&draft, access)?;
            if lock(&draft_file, &draft)? {
                break draft_file;
            }
        };
        out.set_len(0)?;
        if access == Access::Owner {
            give(&out, directory)?;
        }
        write(&mut out)?;
        if sync {
            out.sync_all()?;
        }
        Fault::Save.point();
        fs::rename(&draft, file)?;
        // The rename is on the disk when its directory is.
        if sync { File::open(directory)?.sync_all() } else { Ok(()) }
    })();
    // One that another process writes is not ours to remove.
    if written.as_ref().is_err_and(|error: &io::Error| error.kind() != ErrorKind::WouldBlock) {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Writes over a file that is there, which takes no room on a disk that has none where it is as long already; a process that
/// is killed meanwhile leaves the old bytes or the new ones, a power cut may leave both. No link is followed. Whether it is
/// there.
///
/// # Errors
/// What the system said, or it is no file.
pub fn overwrite(file: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let opened = match options.open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    opened.write_all_at(bytes, 0)?;
    opened.set_len(bytes.len() as u64)?;
    opened.sync_data()?;
    Ok(true)
}

/// Opens a file of the daemon's own to append to it, and makes it where it is not there. No link is followed.
///
/// # Errors
/// What the system said.
pub fn append(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(Access::Owner.mode()).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let opened = options.open(file)?;
    give(&opened, parent(file))?;
    Ok(opened)
}

/// Makes a piece of work ours alone, also among processes, until what is given is closed; `None`: somebody is at it.
///
/// # Errors
/// What the system said.
pub fn only_one(file: &Path) -> io::Result<Option<File>> {
    let opened = open(file, Access::Owner)?;
    give(&opened, parent(file))?;
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// A file of the daemon's own, whole; `None`: it is not there. No link is followed, and no pipe waited for.
///
/// # Errors
/// What the system said; it is no file, or longer than `longest`.
pub fn read(file: &Path, longest: u64) -> io::Result<Option<Vec<u8>>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let opened = match options.open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut bytes = Vec::new();
    opened.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest { Err(io::Error::other("too long")) } else { Ok(Some(bytes)) }
}

fn draft_of(file: &Path, directory: &Path) -> io::Result<PathBuf> {
    let name = file.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "no file name"))?;
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(".new");
    Ok(directory.join(draft))
}

/// The draft. Neither a link is followed nor a pipe waited for.
fn open(draft: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(access.mode());
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(draft)
}

/// Makes the draft ours alone until it is closed. `false`: another writer has put it in its place between the two, and it
/// is the file that readers have by now.
fn lock(file: &File, draft: &Path) -> io::Result<bool> {
    file.try_lock()?;
    let opened = file.metadata()?;
    if !opened.is_file() {
        return Err(io::Error::other("its draft is not a regular file"));
    }
    match fs::symlink_metadata(draft) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_replacement_is_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for content in ["one", "another"] {
            replace(&path, content.as_bytes(), Access::Owner).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        // A folder can't be replaced by a file.
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(replace(&dir.path().join("folder"), b"x", Access::Everybody).is_err());
        assert_eq!(names(dir.path()), ["folder", "x"]);
    }

    #[test]
    fn what_root_leaves_in_a_directory_of_the_daemons_user_is_that_users() {
        if !rustix::process::geteuid().is_root() {
            return assert!(give(&File::open("/").unwrap(), Path::new("/")).is_ok());
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(12_345), Some(54_321)).unwrap();
        let (mine, shared, inner) = (dir.path().join("x"), dir.path().join("y"), dir.path().join("inner"));
        replace(&mine, b"x", Access::Owner).unwrap();
        replace(&shared, b"y", Access::Everybody).unwrap();
        create_directory(&inner).unwrap();
        let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
        assert_eq!([owner(&mine), owner(&shared), owner(&inner)], [(12_345, 54_321), (0, 0), (12_345, 54_321)]);
    }

    #[test]
    fn what_a_crash_left_of_a_draft_is_used_again_and_a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, draft, elsewhere) = (dir.path().join("x"), dir.path().join(".x.new"), dir.path().join("elsewhere"));
        fs::write(&draft, [b'y'; 4096]).unwrap();
        replace(&path, b"one", Access::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        fs::write(&elsewhere, "kept").unwrap();
        symlink(&elsewhere, &draft).unwrap();
        assert!(replace(&path, b"two", Access::Owner).is_err());
        assert_eq!((fs::read(&path).unwrap(), fs::read(&elsewhere).unwrap()), (b"one".into(), b"kept".into()));
        assert_eq!(names(dir.path()), ["elsewhere", "x"]);
    }

    #[test]
    fn of_two_writers_at_once_one_is_refused_and_the_other_is_not_disturbed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let draft = dir.path().join(".x.new");
        let held = open(&draft, Access::Owner).unwrap();
        assert!(lock(&held, &draft).unwrap());
        assert_eq!(replace(&path, b"two", Access::Owner).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(names(dir.path()), [".x.new"]);
        drop(held);
        replace(&path, b"two", Access::Owner).unwrap();
        assert_eq!(names(dir.path()), ["x"]);
    }

    #[test]
    fn a_draft_that_another_writer_renamed_between_opening_and_locking_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, draft) = (dir.path().join("x"), dir.path().join(".x.new"));
        let late = open(&draft, Access::Owner).unwrap();
        replace(&path, b"one", Access::Owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), late.metadata().unwrap().ino(), "it is what readers have");
        assert!(!lock(&late, &draft).unwrap());
        drop(late);
        // The next writer's draft is none of its business either.
        let late = open(&path, Access::Owner).unwrap();
        let next = open(&draft, Access::Owner).unwrap();
        assert!(lock(&next, &draft).unwrap());
        assert!(!lock(&late, &draft).unwrap());
    }

    /// In a process of its own, which may write one MiB less than it has to: a full disk takes a part, and no more.
    #[test]
    fn a_disk_that_takes_a_part_leaves_the_old_file_and_no_draft() {
        const DIRECTORY: &str = "DIRECTORY_OF_A_FULL_DISK";
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            let written = replace(&Path::new(&directory).join("x"), &vec![b'y'; 2 << 20], Access::Owner);
            assert_eq!(written.unwrap_err().kind(), ErrorKind::FileTooLarge);
            assert!(overwrite(&Path::new(&directory).join("x"), b"two").unwrap(), "what is as long takes no room");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        replace(&dir.path().join("x"), b"one", Access::Owner).unwrap();
        let name = "storage::tests::a_disk_that_takes_a_part_leaves_the_old_file_and_no_draft";
        // A signal, unless that is ignored, comes before the error.
        let limited = format!("trap '' XFSZ; ulimit -f 1024; exec \"$0\" --exact {name}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &limited]).arg(std::env::current_exe().unwrap()).env(DIRECTORY, dir.path());
        let ended = shell.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        assert_eq!(fs::read(dir.path().join("x")).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["x"]);
    }

    #[test]
    fn what_is_written_over_is_a_file_that_is_there_and_nothing_of_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("x"), dir.path().join("link"));
        assert!(!overwrite(&path, b"one").unwrap());
        fs::write(&path, "longer").unwrap();
        assert!(overwrite(&path, b"one").unwrap());
        symlink(&path, &link).unwrap();
        assert!(overwrite(&link, b"two").is_err() && overwrite(dir.path(), b"two").is_err());
        assert_eq!((fs::read(&path).unwrap(), names(dir.path())), (b"one".into(), vec!["link".into(), "x".into()]));
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone/x");
        assert_eq!(replace(&gone, b"x", Access::Owner).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(names(dir.path()), Vec::<OsString>::new());
    }
}
