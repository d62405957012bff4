//! Files that decide a policy in, those that somebody else than root and the own user can change out. Called by the daemon
//! and by `geo stage`.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Group and others may write.
const OTHERS: u32 = 0o022;
/// In such a directory nobody replaces what is not theirs.
const STICKY: u32 = 0o1000;

/// Those, each with who and what to do. A file that is not there is nobody's.
pub fn by_others(files: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let own = [rustix::process::geteuid().as_raw()];
    files.iter().filter_map(|file| Some((file.clone(), by_others_than(file, &own)?))).collect()
}

/// Who beside root and these users can change a file, and what to do; `None`: nobody, or it is not there.
pub fn by_others_than(file: &Path, users: &[u32]) -> Option<String> {
    // Where symbolic links lead; who can change those is the same question of their directories.
    let real = fs::canonicalize(file).ok()?;
    let linked = fs::symlink_metadata(file).ok().filter(fs::Metadata::is_symlink).and_then(|_| file.parent());
    let first = loose(&real, 0, users);
    let mut directories = real.ancestors().skip(1).chain(linked.into_iter().flat_map(Path::ancestors));
    first.or_else(|| directories.find_map(|directory| loose(directory, STICKY, users)))
}

/// What is wrong with a file or directory by itself, unless it has one of the bits in `excused`.
fn loose(path: &Path, excused: u32, users: &[u32]) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let shown = path.display();
    if found.uid() != 0 && !users.contains(&found.uid()) {
        return Some(format!("{shown} belongs to user {}: give it to root (`chown root {shown}`)", found.uid()));
    }
    let writable = found.mode() & OTHERS != 0 && found.mode() & excused == 0;
    writable.then(|| format!("take that away (`chmod go-w {shown}`)"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_as_safe_as_it_and_all_directories_above_it_are() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        set(&inner, 0o755);
        let file = inner.join("config.toml");
        fs::write(&file, "").unwrap();
        set(&file, 0o644);
        let link = folder.path().join("link.toml");
        symlink(&file, &link).unwrap();
        let files = [file.clone(), link, folder.path().join("none")];
        assert_eq!(by_others(&files), []);
        for (path, mode) in [(&file, 0o664), (&file, 0o646), (&inner, 0o775), (&inner, 0o757)] {
            let before = fs::metadata(path).unwrap().permissions().mode();
            set(path, mode);
            let found = by_others(&files);
            assert_eq!(found.len(), 2, "{mode:o}: {found:?}");
            let advice = format!("`chmod go-w {}`", fs::canonicalize(path).unwrap().display());
            assert!(found.iter().all(|(_, why)| why.contains(&advice)), "{found:?}");
            set(path, before);
        }
        // As /tmp is.
        set(&inner, 0o1777);
        assert_eq!(by_others(&files), []);
    }
}
