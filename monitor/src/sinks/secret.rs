//! What only we and a receiver know: read from a file, from the service manager's credentials or from the
//! environment, never shown.

use std::{fmt, path::PathBuf};

use crate::{model::receiver::Place, storage};

/// No secret is longer.
const LONGEST: u64 = 64 << 10;

/// Bytes that nobody sees.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// These bytes.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text; what is none is of no use in a header.
    ///
    /// # Errors
    /// It is no text.
    pub fn text(&self) -> Result<&str, String> {
        std::str::from_utf8(&self.0).map_err(|_| "the secret is no text".to_owned())
    }
}

/// Reads a secret; white space at its ends is none of it.
///
/// # Errors
/// It is not there, others may read it, or it is empty.
pub fn read(place: &Place) -> Result<Secret, String> {
    let file = match place {
        Place::File(file) => file.clone(),
        Place::Env(name) => {
            let text = std::env::var_os(name).ok_or_else(|| format!("the environment has no {name}"))?;
            return trimmed(text.as_encoded_bytes()).ok_or_else(|| format!("{name} in the environment is empty"));
        }
        Place::Credential(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY")
                .ok_or_else(|| format!("no credential {name:?}: LoadCredential={name}:FILE in the unit has it"))?;
            PathBuf::from(directory).join(name)
        }
    };
    let wrong = |why: &dyn fmt::Display| format!("{}: {why}", file.display());
    let text = storage::read(&file, LONGEST).map_err(|error| wrong(&error))?;
    let text = text.ok_or_else(|| wrong(&"it is not there"))?;
    let mode = std::fs::metadata(&file).map_err(|error| wrong(&error))?;
    if std::os::unix::fs::MetadataExt::mode(&mode) & 0o007 != 0 {
        return Err(wrong(&"everybody may read it: chmod o= it"));
    }
    trimmed(&text).ok_or_else(|| wrong(&"it is empty"))
}

fn trimmed(text: &[u8]) -> Option<Secret> {
    let text = text.trim_ascii();
    (!text.is_empty()).then(|| Secret(text.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_secret_of_the_environment_is_there_or_named_as_missing() {
        let read = |name: &str| read(&Place::Env(name.into()));
        // Cargo sets it for whoever is tested.
        assert_eq!(read("CARGO_PKG_NAME").unwrap().text(), Ok("egress-monitor"));
        assert_eq!(read("NOBODY_SETS_THIS").unwrap_err(), "the environment has no NOBODY_SETS_THIS");
    }

    #[test]
    fn a_secret_is_read_without_its_line_end_from_what_others_cant_read_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let place = Place::File(file.clone());
        assert!(read(&place).unwrap_err().contains("it is not there"));
        fs::write(&file, "\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read(&place).unwrap_err().contains("it is empty"));
        fs::write(&file, "s3cret\n").unwrap();
        let secret = read(&place).unwrap();
        assert_eq!((secret.bytes(), secret.text()), (&b"s3cret"[..], Ok("s3cret")));
        assert!(!format!("{secret:?} {place:?}").contains("s3cret"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&place).unwrap_err().contains("everybody may read it"));
    }
}
