//! The host whose alerts these are: read once, at the start; and the zone that it is in, which a reload may change. For
//! whoever writes down whose something is.

use std::{
    fmt, fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use hmac::{Hmac, Mac as _};
use monitor_policy::text::hex;
use sha2::Sha256;

/// What is derived from for us alone: another application's is another, and none leads back to the machine's own id.
const APPLICATION: [u8; 16] = 0x9d0f_2c61_5b7e_4a38_8e14_63f0_a7c2_d95b_u128.to_be_bytes();

/// The machine's id (`man 5 machine-id`).
const MACHINE_ID: &str = "/etc/machine-id";

/// What an alert says of the host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// `/proc/sys/kernel/random/boot_id`: makes jiffies, and so `metadata.uid`, unique.
    pub boot_id: String,
    /// The same over restarts, renames and reinstallations of the monitor: 128 bits in hexadecimal, derived from the
    /// machine's id. None where that is not there.
    pub uid: Option<String>,
    /// The zone that it is in.
    pub zone: Zone,
}

impl Host {
    /// This host.
    pub fn read() -> Self {
        let line = |path| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            name: line("/proc/sys/kernel/hostname"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            uid: uid(Path::new(MACHINE_ID)),
            zone: Zone::default(),
        }
    }

    /// Logs what its alerts will lack.
    pub fn warn(&self) {
        if self.uid.is_none() {
            tracing::warn!(
                file = MACHINE_ID,
                "no machine id: alerts and status have no device uid; `systemd-machine-id-setup` makes one"
            );
        }
    }
}

/// `zone.name` of the policy in force, shared by all copies of a [`Host`].
#[derive(Clone, Default)]
pub struct Zone(Arc<Mutex<Arc<str>>>);

impl Zone {
    /// Its name; empty before any policy is in force.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A policy is in force that says so.
    pub fn set(&self, name: &str) {
        let mut zone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if **zone != *name {
            *zone = name.into();
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

/// As `sd_id128_get_machine_app_specific` does it: HMAC-SHA256 of the application's id by the machine's, cut to 128 bits
/// in the form of a UUID of version 4.
fn uid(machine_id: &Path) -> Option<String> {
    let text = fs::read_to_string(machine_id).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    // An image that was not booted yet has `uninitialized`; all zeros are nobody's.
    if text.len() != 32 || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let id = u128::from_str_radix(text, 16).ok().filter(|id| *id != 0)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&id.to_be_bytes()).ok()?;
    mac.update(&APPLICATION);
    let digest = mac.finalize().into_bytes();
    let mut uid: [u8; 16] = std::array::from_fn(|at| digest[at]);
    uid[6] = uid[6] & 0x0f | 0x40;
    uid[8] = uid[8] & 0x3f | 0x80;
    Some(hex(&uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_derived_from_the_machines_id_as_systemd_does_and_from_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("machine-id");
        assert_eq!(uid(&file), None, "there is none");
        let of = |text: &str| {
            fs::write(&file, text).unwrap();
            uid(&file)
        };
        // By `systemd-id128 --app-specific=9d0f2c615b7e4a388e1463f0a7c2d95b machine-id`, and by Python's hmac.
        let known = "fde228ded4d340938184c14cffabd238";
        assert_eq!(of("0123456789abcdef0123456789abcdef\n").as_deref(), Some(known));
        assert_eq!(of("0123456789abcdef0123456789abcdef").as_deref(), Some(known));
        assert_ne!(of("0123456789abcdef0123456789abcdee\n").as_deref(), Some(known));
        for text in ["", "uninitialized\n", &"0".repeat(32), "0123456789ABCDEF0123456789ABCDEF\n", "0123\n", "é"] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }

    #[test]
    fn all_copies_of_a_host_are_in_the_zone_that_was_set_last() {
        let host = Host::default();
        let copy = host.clone();
        assert_eq!(&*copy.zone.name(), "");
        host.zone.set("enclave");
        assert_eq!((&*copy.zone.name(), format!("{:?}", copy.zone)), ("enclave", "\"enclave\"".to_owned()));
    }
}
