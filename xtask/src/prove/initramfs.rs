//! Files in, an archive out that a kernel unpacks as its first file system (cpio in the "newc" form, see the
//! kernel's Documentation/driver-api/early-userspace/buffer-format.rst). Called by `kernels`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process::look;

const FOLDER: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

/// The archive while it grows. Everything in it belongs to root and is executable.
#[derive(Debug, Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    paths: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// A folder, with those above it.
    pub fn folder(&mut self, path: &str) {
        let path = Path::new(path.trim_start_matches('/'));
        let mut above: Vec<_> = path.ancestors().filter(|above| !above.as_os_str().is_empty()).collect();
        above.reverse();
        for folder in above {
            if self.paths.insert(folder.to_path_buf()) {
                self.entry(&folder.to_string_lossy(), FOLDER, &[]);
            }
        }
    }

    /// A file with this content. A second one at the same path is left out.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        let path = path.trim_start_matches('/');
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        if self.paths.insert(PathBuf::from(path)) {
            self.entry(path, EXECUTABLE, content);
        }
    }

    /// A copy of a file of this machine.
    ///
    /// # Errors
    /// It can't be read.
    pub fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let content = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.file(path, &content);
        Ok(())
    }

    /// A copy of a program of this machine, with the shared libraries that it is linked to at the paths where it
    /// looks for them.
    ///
    /// # Errors
    /// It or a library can't be read.
    pub fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        self.copy(path, from)?;
        // ldd fails on what is linked statically.
        let libraries = look("ldd", &[&from.to_string_lossy()]).unwrap_or_default();
        for library in libraries.lines() {
            if library.contains("not found") {
                bail!("{} needs a library that is missing: {}", from.display(), library.trim());
            }
            if let Some(file) = library_file(library) {
                self.copy(file, Path::new(file))?;
            }
        }
        Ok(())
    }

    /// The archive, ended.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // Inode, mode, user, group, links, time, size, device twice, special device twice, name's length, checksum.
        let (name_size, size) = (name.len() as u32 + 1, content.len() as u32);
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The file in a line of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x7f…)`, or `/lib64/ld-linux-x86-64.so.2 (0x7f…)`;
/// none for the kernel's own `linux-vdso.so.1 (0x7f…)`.
fn library_file(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{Initramfs, library_file};

    #[test]
    fn an_archive_holds_folders_before_files_and_is_padded_to_four() {
        let mut archive = Initramfs::default();
        archive.file("/a/b", b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let header = |inode: u32, mode: u32, size: u32, name: u32| {
            format!("070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:032x}{name:08x}{0:08x}", 0, 1)
        };
        let folder = format!("{}a\0", header(1, 0o040_755, 0, 2));
        let file = format!("{}a/b\0\0\0hello\0\0\0", header(2, 0o100_755, 5, 4));
        let end = format!("{}TRAILER!!!\0\0\0\0", header(3, 0, 0, 11));
        assert_eq!(text, [folder, file, end].concat());
    }

    #[test]
    fn libraries_are_read_from_each_form_of_ldds_lines() {
        assert_eq!(library_file("\tlibc.so.6 => /lib/libc.so.6 (0x00007f0)"), Some("/lib/libc.so.6"));
        assert_eq!(library_file("\t/lib64/ld-linux-x86-64.so.2 (0x00007f0)"), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library_file("\tlinux-vdso.so.1 (0x00007f0)"), None);
    }
}
