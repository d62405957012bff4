//! Who is at the other end of the control socket, in words: what he changes is told with his name. A process in, what /proc
//! says of it out.

use std::{fs, sync::Arc};

/// Who asks, as far as it is known; of every request on the control socket.
#[derive(Clone, Debug)]
pub(super) struct Peer(pub(super) Arc<str>);

/// A user without a login, such as a service (`AUDIT_UID_UNSET`, include/uapi/linux/audit.h).
const NO_LOGIN: u32 = u32::MAX;

/// A user by number, whom he logged in as, and what he runs.
pub(super) fn named(uid: u32, pid: Option<i32>) -> String {
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", pid?)).ok();
    let login = of("loginuid").and_then(|text| text.trim().parse().ok());
    let command = of("cmdline").map(|text| text.replace('\0', " "));
    said(uid, login, command.as_deref())
}

fn said(uid: u32, login: Option<u32>, command: Option<&str>) -> String {
    /// Characters of a command line that are shown.
    const SHOWN: usize = 120;
    let login = match login {
        Some(NO_LOGIN) => " (no login)".to_owned(),
        Some(login) if login != uid => format!(" (logged in as uid {login})"),
        Some(_) => String::new(),
        None => " (login unknown)".to_owned(),
    };
    let command: String = command.unwrap_or_default().trim().chars().take(SHOWN).collect();
    let command = if command.is_empty() { String::new() } else { format!(", `{command}`") };
    format!("uid {uid}{login}{command}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_user_a_login_and_a_command() {
        assert_eq!(
            said(0, Some(1000), Some("egress-monitor confirm ")),
            "uid 0 (logged in as uid 1000), `egress-monitor confirm`"
        );
        assert_eq!(said(0, Some(0), Some("curl")), "uid 0, `curl`");
        assert_eq!(said(0, Some(NO_LOGIN), None), "uid 0 (no login)");
        assert_eq!(said(7, None, Some("")), "uid 7 (login unknown)");
        assert!(said(0, None, Some(&"x".repeat(500))).len() < 200);
    }

    #[test]
    fn this_process_is_known() {
        let own = named(0, i32::try_from(std::process::id()).ok());
        assert!(own.starts_with("uid 0") && own.contains(", `"), "{own}");
    }
}
