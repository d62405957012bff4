//! What the machine must have, looked at before anything is touched.

use super::KernelError;

/// `uname -r`.
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// Checks privilege and kernel version, in that order: the first complaint is the one to see to first.
///
/// # Errors
/// [`KernelError::NotPermitted`], [`KernelError::Lacks`], [`KernelError::Preemptible`].
pub fn require() -> Result<(), KernelError> {
    let root = rustix::process::geteuid().is_root();
    if !permitted(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), root) {
        return Err(KernelError::NotPermitted);
    }
    let release = release();
    if version(&release).is_some_and(|version| version < (6, 1)) {
        return Err(KernelError::Lacks { release, feature: "what 6.1 brought".into() });
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let built = read("/proc/sys/kernel/version");
    if !one_run_at_a_time(&release, &built, || read(&format!("/boot/config-{release}"))) {
        return Err(KernelError::Preemptible { release });
    }
    Ok(())
}

/// Whether on a CPU one run of the program ends before the next begins, on which all its sums rest (docs/epochs.md, 6).
/// `built` is `uname -v`; `config` is asked for only when the answer is in it. Without it the worse is taken to be true: the
/// option is off by default.
fn one_run_at_a_time(release: &str, built: &str, config: impl FnOnce() -> String) -> bool {
    !built.split_whitespace().any(|word| word == "PREEMPT_RT")
        || version(release).is_some_and(|version| version < (6, 18))
        || config().lines().any(|line| line == "CONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y")
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
    fn a_kernel_that_would_run_two_at_a_time_is_refused() {
        let (rt, usual) = ("#1 SMP PREEMPT_RT Debian 6.18.1-1", "#1 SMP PREEMPT_DYNAMIC @0");
        let locked = || "CONFIG_PREEMPT_RT=y\nCONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y\n".to_owned();
        let unlocked = || "CONFIG_PREEMPT_RT=y\n# CONFIG_PREEMPT_RT_NEEDS_BH_LOCK is not set\n".to_owned();
        assert!(one_run_at_a_time("6.18.1", usual, || panic!("nothing to ask")));
        assert!(one_run_at_a_time("6.12.5-rt", rt, || panic!("before 6.18 there was no such option")));
        assert!(one_run_at_a_time("6.18.1-rt", rt, locked));
        assert!(!one_run_at_a_time("6.18.1-rt", rt, unlocked));
        assert!(!one_run_at_a_time("6.18.1-rt", rt, String::new));
        assert!(!one_run_at_a_time("rolling", rt, String::new));
    }

    #[test]
    fn versions_are_read_from_any_release_string() {
        assert_eq!(version("6.1.0-49-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("5.15"), Some((5, 15)));
        assert_eq!(version("rolling"), None);
    }
}
