//! A fresh file's content in, what vouches for it out: the signature of a key (minisign), a SHA-256 that was given or stands
//! beside it, or that nobody else could have written it. Called by `super::stage`.
//!
//! The content was read once, before; what is checked is what is put in place.

use std::{
    ffi::OsString,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use minisign_verify::{PublicKey, Signature};
use monitor_policy::fs::open_regular;

use super::sha256;
use crate::storage::writable;

/// Longer than a key, a signature or a checksum gets.
const LONGEST: u64 = 16 << 10;

/// What has to vouch for a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Its SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// Public keys, one of which has to have signed it.
    pub keys: Vec<PathBuf>,
    /// With neither, a SHA-256 has to stand beside it.
    pub needed: bool,
}

impl Proof {
    /// What vouches for the content of a file; `None`: only that nobody else can have written it.
    ///
    /// # Errors
    /// Why nothing does.
    pub(super) fn check(&self, file: &Path, bytes: &[u8], state: &Path) -> Result<Option<&'static str>, String> {
        let found = sha256(bytes);
        if let Some(wanted) = &self.sha256 {
            same(&found, wanted, "the one that was given")?;
        }
        if !self.keys.is_empty() {
            signed(file, bytes, &self.keys, state)?;
            return Ok(Some("minisign"));
        }
        if self.sha256.is_some() {
            return Ok(Some("sha256"));
        }
        let beside = beside(file, ".sha256");
        for file in [file, &beside] {
            if let Some(why) = others(file, state) {
                let file = file.display();
                return Err(format!(
                    "{file} can be written by others, and nothing else vouches for it: {why}; or have it signed ([geo] \
                     keys)"
                ));
            }
        }
        match read(&beside) {
            Ok(Some(text)) => {
                let wanted = text.split_whitespace().next().unwrap_or_default();
                same(&found, wanted, &beside.display().to_string())?;
                Ok(Some("sha256"))
            }
            Ok(None) if self.needed => Err(format!(
                "nothing vouches for it: write its checksum beside it (`sha256sum {file} > {beside}`, last of all), or have \
                 it signed ([geo] keys)",
                file = file.display(),
                beside = beside.display()
            )),
            Ok(None) => Ok(None),
            Err(why) => Err(why),
        }
    }
}

fn same(found: &str, wanted: &str, whose: &str) -> Result<(), String> {
    if found.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(format!("its SHA-256 is {found}, which is not {whose}: it is cut, damaged, or another file; fetch it again"))
}

/// Whether one of the keys has signed it.
fn signed(file: &Path, bytes: &[u8], keys: &[PathBuf], state: &Path) -> Result<(), String> {
    let beside = beside(file, ".minisig");
    let shown = beside.display();
    let text =
        read(&beside)?.ok_or_else(|| format!("{shown} is not there: drop the publisher's signature beside it"))?;
    let signature = Signature::decode(&text).map_err(|error| format!("{shown}: no signature of minisign: {error}"))?;
    let mut why = String::new();
    for key in keys {
        let shown = key.display();
        if let Some(loose) = others(key, state) {
            return Err(format!("{shown}: the key can be written by others: {loose}"));
        }
        let text = read(key)?.ok_or_else(|| format!("{shown}: no such file: put the publisher's public key there"))?;
        // As minisign writes it, or the key alone.
        let public = PublicKey::decode(&text).or_else(|_| PublicKey::from_base64(text.trim()));
        let public = public.map_err(|error| format!("{shown}: no public key of minisign: {error}"))?;
        match public.verify(bytes, &signature, false) {
            Ok(()) => return Ok(()),
            Err(error) => why = format!("{shown}: {error}"),
        }
    }
    Err(format!("the signature does not hold ({why}): it is cut, damaged, or not the publisher's; fetch it again"))
}

/// Who beside root, us and the daemon's user can write a file.
fn others(file: &Path, state: &Path) -> Option<String> {
    let daemon = std::fs::metadata(state).map(|found| found.uid()).unwrap_or_default();
    writable::by_others_than(file, &[rustix::process::geteuid().as_raw(), daemon])
}

/// `country.mmdb.minisig` of `country.mmdb`.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}

/// A small file; `None`: it is not there.
fn read(file: &Path) -> Result<Option<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let opened = match open_regular(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("{}: longer than a key, a signature or a checksum is", file.display()));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| format!("{}: no text", file.display()))
}
