//! What the machine must have, asked before anything is touched.

use super::{KernelError, sys};

/// `uname -r`.
#[must_use]
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// Checks privilege and kernel version, in that order: the first complaint is the one to mend first.
///
/// # Errors
/// [`KernelError::NotPermitted`], [`KernelError::Lacks`].
pub fn require() -> Result<(), KernelError> {
    if !permitted(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), sys::is_root()) {
        return Err(KernelError::NotPermitted);
    }
    let release = release();
    if version(&release).is_some_and(|version| version < (6, 1)) {
        return Err(KernelError::Lacks { release, feature: "what 6.1 brought".into() });
    }
    Ok(())
}

/// Whether `/proc/self/status` shows CAP_NET_ADMIN (12), CAP_PERFMON (38) and CAP_BPF (39), or CAP_SYS_ADMIN (21)
/// with CAP_NET_ADMIN.
fn permitted(status: &str, root: bool) -> bool {
    let Some(effective) = status.lines().find_map(|line| line.strip_prefix("CapEff:")) else { return root };
    let Ok(effective) = u64::from_str_radix(effective.trim(), 16) else { return root };
    let has = |bit: u32| effective >> bit & 1 == 1;
    has(12) && (has(21) || (has(38) && has(39)))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_decide_not_the_user_id() {
        let status = |caps: u64| format!("Name:\tx\nCapEff:\t{caps:016x}\n");
        assert!(permitted(&status(1 << 12 | 1 << 38 | 1 << 39), false));
        assert!(permitted(&status(1 << 12 | 1 << 21), false));
        assert!(!permitted(&status(1 << 38 | 1 << 39), true));
        assert!(!permitted(&status(0), true));
        assert!(permitted("", true));
    }

    #[test]
    fn versions_are_read_from_any_release_string() {
        assert_eq!(version("6.1.0-49-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("5.15"), Some((5, 15)));
        assert_eq!(version("rolling"), None);
    }
}
