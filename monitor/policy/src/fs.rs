//! Files of the operator's, opened with care: by the time that one is read, its path may name anything. Called by whatever
//! reads configuration and datasets.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Opens a regular file for reading. A pipe or a device could block or never end, so the path is checked before it is
/// opened, and what was opened is checked again.
///
/// # Errors
/// What the system says; [`io::ErrorKind::Other`] if it is no regular file.
pub fn open_regular(file: &Path) -> io::Result<File> {
    let regular = |is: bool| if is { Ok(()) } else { Err(io::Error::other("not a regular file")) };
    regular(std::fs::metadata(file)?.is_file())?;
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    regular(opened.metadata()?.is_file())?;
    Ok(opened)
}

/// Whether a file's name says that it is what an editor or a file manager leaves beside others (`.#partner.txt`,
/// `._partner.txt`, `partner.txt~`): no glob means it.
pub fn is_leftover(name: &str) -> bool {
    name.starts_with(['.', '#']) || name.ends_with(['~', '#'])
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_a_pipe_makes_nobody_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        std::fs::write(&file, "text").unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut text = String::new();
        open_regular(&file).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        for other in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            assert_eq!(open_regular(other).unwrap_err().to_string(), "not a regular file", "{}", other.display());
        }
        assert_eq!(open_regular(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
