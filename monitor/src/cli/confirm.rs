//! `egress-monitor confirm`: keeps what is on trial (`try`, `reload --confirm`, `run --confirm`). What was handed in by `try`
//! is saved as the daemon's configuration: by this command, since the daemon's user can't.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use super::args::Daemon;
use crate::{cli::render, error::CliError};
use monitor_api::reload::{Candidate, Outcome, TRIAL, Trial};

/// Confirm the policy on trial
///
/// A configuration that `egress-monitor try` put on trial is saved as the daemon's; the one before stays beside it, with
/// `.before` at the end of its name. Fails where nothing is on trial any more, and says since when.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  egress-monitor try candidate.toml --for 5min\n  egress-monitor confirm")]
pub struct Args {
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command.
///
/// # Errors
/// No daemon answers, nothing is on trial any more, or its configuration can't be saved.
pub fn run(args: &Args) -> Result<(), CliError> {
    let client = args.daemon.client()?;
    let trial: Trial = client.get(TRIAL)?;
    // A disk that is full, or a user who may not, is found out while it is still on trial.
    let draft = trial.candidate.map(|candidate| {
        is_configuration(&candidate.file, &args.daemon.place())?;
        Draft::write(&candidate).map_err(|error| {
            let file = candidate.file.display();
            CliError::Unavailable(format!("{file} can't be saved: {error}: it is still on trial"))
        })
    });
    let draft = draft.transpose()?;
    let outcome: Outcome = client.post(&format!("/api/v1/policy/confirm?policy={}", trial.policy.digest))?;
    let saved = draft.map(Draft::save).transpose().map_err(|(file, error)| {
        let (file, text) = (file.display(), "is confirmed and in force, but a restart has the old file");
        CliError::Unavailable(format!("{file} can't be saved: {error}: what was on trial {text}"))
    })?;
    args.daemon.shape.print(&outcome, |outcome, _| render::confirmed(outcome, saved.as_ref()))
}

/// Root writes nowhere but where the daemon's configuration is by his own word: the daemon's user is not he.
fn is_configuration(file: &Path, place: &Path) -> Result<(), CliError> {
    let real = |file: &Path| fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if real(file) == real(place) {
        return Ok(());
    }
    let (file, place) = (file.display(), place.display());
    Err(CliError::Usage(format!(
        "the daemon has it that its configuration is {file}, and not {place}: if that is so, `egress-monitor confirm --config \
         {file}`; it is still on trial"
    )))
}

/// A configuration beside the file in whose place it is to be. Removed where it is not put there.
struct Draft {
    draft: PathBuf,
    file: PathBuf,
}

/// Where a configuration was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The file.
    pub file: PathBuf,
    /// The one before it, where there was one.
    pub before: Option<PathBuf>,
}

impl Draft {
    fn write(candidate: &Candidate) -> io::Result<Self> {
        // A link stays one.
        let file = fs::canonicalize(&candidate.file).unwrap_or_else(|_| candidate.file.clone());
        fs::create_dir_all(folder(&file))?;
        let made = Self { draft: beside(&file, ".new"), file };
        let mut out = File::create(&made.draft)?;
        out.write_all(candidate.text.as_bytes())?;
        if let Ok(there) = fs::metadata(&made.file) {
            out.set_permissions(there.permissions())?;
            fchown(&out, Some(there.uid()), Some(there.gid()))?;
        }
        out.sync_all()?;
        Ok(made)
    }

    fn save(self) -> Result<Saved, (PathBuf, io::Error)> {
        let saved = (|| {
            let before = beside(&self.file, ".before");
            let _ = fs::remove_file(&before);
            let is_new =
                matches!(fs::hard_link(&self.file, &before), Err(error) if error.kind() == io::ErrorKind::NotFound);
            fs::rename(&self.draft, &self.file)?;
            File::open(folder(&self.file))?.sync_all()?;
            Ok(Saved { file: self.file.clone(), before: (!is_new).then_some(before) })
        })();
        saved.map_err(|error| (self.file.clone(), error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone, where it was put in its place.
        let _ = fs::remove_file(&self.draft);
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name beside the file's.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_file_is_replaced_whole_and_the_one_before_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/config.toml");
        let of = |text: &str| Candidate { file: file.clone(), text: text.into() };
        let saved = Draft::write(&of("one")).unwrap().save().unwrap();
        assert_eq!(saved, Saved { file: file.clone(), before: None });
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        for (text, old) in [("two", "one"), ("three", "two")] {
            let Saved { before, .. } = Draft::write(&of(text)).unwrap().save().unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert_eq!(fs::read_to_string(before.unwrap()).unwrap(), old);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        }
        // One that is not put there leaves nothing behind.
        drop(Draft::write(&of("four")).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "three");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 2);
        // What a link leads to is replaced.
        let link = folder.path().join("link.toml");
        symlink(&file, &link).unwrap();
        Draft::write(&Candidate { file: link.clone(), text: "five".into() }).unwrap().save().unwrap();
        assert!(link.is_symlink() && fs::read_to_string(&file).unwrap() == "five");
    }

    #[test]
    fn a_daemon_does_not_say_where_root_writes() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("config.toml");
        assert!(is_configuration(&place, &place).is_ok());
        fs::write(&place, "").unwrap();
        let link = folder.path().join("link.toml");
        symlink(&place, &link).unwrap();
        assert!(is_configuration(&link, &place).is_ok() && is_configuration(&place, &link).is_ok());
        let refused = is_configuration(Path::new("/etc/cron.d/any"), &place).unwrap_err().to_string();
        assert!(refused.contains("its configuration is /etc/cron.d/any, and not ") && refused.contains("on trial"));
    }

    #[test]
    fn a_place_that_takes_nothing_is_found_out_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Draft::write(&Candidate { file: file.join("config.toml"), text: "x".into() }).is_err());
    }
}
