//! Lines to a file, which is opened anew when somebody else is in its place (logrotate), or on SIGHUP. Durable: what was
//! taken is on its disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    About, Failure, Line, Sink,
    stream::{Partial, write},
};
use crate::model::delivery::Promise;

/// See the module.
pub struct AlertsFile {
    about: About,
    path: PathBuf,
    open: Option<File>,
    partial: Partial,
}

impl AlertsFile {
    /// Appended to, readable by its owner only. One that can't be opened is tried again.
    pub fn new(path: &Path) -> Self {
        let about = About { writes_anywhere: true, ..About::local("file", "file", Promise::Durable) };
        Self { about, path: path.to_owned(), open: None, partial: None }
    }

    /// The file that has the name now.
    fn file(&mut self) -> io::Result<&mut File> {
        let is = |file: &File| {
            let (ours, there) = (file.metadata()?, fs::metadata(&self.path)?);
            Ok::<_, io::Error>((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        // Where that can't be said it is opened, which says why not.
        if self.open.as_ref().is_some_and(|file| !is(file).unwrap_or(false)) {
            self.reopen();
        }
        match &mut self.open {
            Some(file) => Ok(file),
            none => {
                // Not waiting: a FIFO that nobody reads must hold up nobody.
                let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
                let mut options = OpenOptions::new();
                let mut file = options.append(true).create(true).mode(0o600).custom_flags(flags).open(&self.path)?;
                if ends_inside_a_line(&file, &self.path) {
                    file.write_all(b"\n")?;
                }
                self.partial = None;
                Ok(none.insert(file))
            }
        }
    }
}

/// Somebody left a part of a line there.
fn ends_inside_a_line(file: &File, path: &Path) -> bool {
    let Ok(there) = file.metadata() else { return false };
    if !there.is_file() || there.len() == 0 {
        return false;
    }
    let mut last = [b'\n'];
    let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    reader.is_ok_and(|reader| reader.read_exact_at(&mut last, there.len() - 1).is_ok()) && last != [b'\n']
}

impl Sink for AlertsFile {
    fn about(&self) -> &About {
        &self.about
    }

    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure> {
        let shown = self.path.display().to_string();
        let later = |taken: usize, error: String| Failure::later(taken, format!("{shown}: {error}"));
        self.file().map_err(|error| later(0, error.to_string()))?;
        let Some(file) = &mut self.open else { return Err(later(0, "not open".to_owned())) };
        let written = write(file, &mut self.partial, lines);
        // A pipe has no disk.
        match file.sync_data() {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EROFS)) => {
                return Err(later(0, error.to_string()));
            }
            _ => {}
        }
        written.map_err(|failure| later(failure.taken, failure.why))?;
        Ok(String::new())
    }

    fn reopen(&mut self) {
        self.open = None;
    }
}
