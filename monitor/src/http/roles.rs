//! Who may read what: the one table of roles, for port and control socket. `routes` says of each page which role it takes,
//! `server` asks here which one a connection has.

use std::{fs, path::PathBuf};

/// What somebody may ask for; each has what those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Health and sums.
    Metrics,
    /// Sums, coverage and policy, without the addresses of traffic.
    Auditor,
    /// Everything that can be read.
    Security,
    /// Everything that can be changed, too.
    Root,
}

impl Role {
    /// All, the least first.
    pub const ALL: [Self; 4] = [Self::Metrics, Self::Auditor, Self::Security, Self::Root];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Auditor => "auditor",
            Self::Security => "security",
            Self::Root => "root",
        }
    }

    /// What it may.
    pub const fn may(self) -> &'static str {
        match self {
            Self::Metrics => "read health and sums",
            Self::Auditor => "read the policy and the sums of the last hour; no addresses of traffic",
            Self::Security => "read everything: flows, alerts, addresses",
            Self::Root => "change policy and mode",
        }
    }

    /// Who has it.
    pub const fn who(self) -> &'static str {
        match self {
            Self::Metrics => "whoever can connect to the HTTP port, which is on loopback",
            Self::Auditor => "members of the group `[paths] auditors`, on the control socket",
            Self::Security => "members of the group `[paths] security`, on the control socket",
            Self::Root => "root and the daemon's own user, on the control socket",
        }
    }
}

/// A group of the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name; empty: nobody.
    pub name: String,
    /// Its number, where there is such a group.
    pub id: Option<u32>,
}

impl Group {
    /// The group of a name, by a file such as /etc/group.
    fn find(name: &str, groups: &str) -> Self {
        let id = groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            // name:password:number:members (group(5)).
            (fields.next() == Some(name) && !name.is_empty()).then(|| fields.nth(1)?.parse().ok())?
        });
        Self { name: name.to_owned(), id }
    }
}

/// Who has which role on the control socket, and how others get one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    socket: PathBuf,
    auditors: Group,
    security: Group,
}

impl Access {
    /// By the names of two groups of this host.
    pub fn of(socket: PathBuf, auditors: &str, security: &str) -> Self {
        // Without the file nobody is in a group.
        let groups = fs::read("/etc/group").unwrap_or_default();
        let groups = String::from_utf8_lossy(&groups);
        Self { socket, auditors: Group::find(auditors, &groups), security: Group::find(security, &groups) }
    }

    /// The control socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Whether anybody but root and the daemon's user has business on the control socket.
    pub fn has_members(&self) -> bool {
        self.auditors.id.or(self.security.id).is_some()
    }

    /// The role of a process that is in these groups.
    pub fn role(&self, groups: &[u32]) -> Option<Role> {
        let member = |group: &Group| group.id.is_some_and(|id| groups.contains(&id));
        if member(&self.security) { Some(Role::Security) } else { member(&self.auditors).then_some(Role::Auditor) }
    }

    /// Why somebody is refused `what`, which takes the role `needs`, and how to get it.
    pub fn refusal(&self, what: &str, needs: Role, has: Option<Role>) -> String {
        let own = match has {
            Some(has) => format!("yours is '{}'", has.name()),
            None => "you have none".to_owned(),
        };
        let group = |group: &Group, key: &str| match group {
            Group { name, .. } if name.is_empty() => format!("as root ([paths] {key} names no group)"),
            Group { name, id: Some(_) } => format!("as root or a member of group {name}"),
            Group { name, id: None } => {
                format!("as root (group {name} of [paths] {key} does not exist: make it and restart the daemon)")
            }
        };
        let how = match needs {
            Role::Root => "as root".to_owned(),
            Role::Security => group(&self.security, "security"),
            Role::Metrics | Role::Auditor => group(&self.auditors, "auditors"),
        };
        let socket = self.socket.display();
        format!("{what} takes the role '{}', and {own}: ask by the control socket {socket} {how}", needs.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\negress-auditors:x:990:ann,bob\nbroken\nhalf:x\nnone:x:many:\n\
                          egress-security:x:991:eve\n::7:\n";

    fn access(auditors: &str, security: &str) -> Access {
        let find = |name| Group::find(name, GROUPS);
        Access { socket: "/run/x.sock".into(), auditors: find(auditors), security: find(security) }
    }

    #[test]
    fn members_have_the_role_of_their_group_and_of_both_the_higher() {
        let access = access("egress-auditors", "egress-security");
        assert!(access.has_members());
        for (groups, role) in [
            (&[990, 5][..], Some(Role::Auditor)),
            (&[5, 991], Some(Role::Security)),
            (&[990, 991], Some(Role::Security)),
            (&[0, 7], None),
            (&[], None),
        ] {
            assert_eq!(access.role(groups), role, "{groups:?}");
        }
    }

    #[test]
    fn a_group_that_is_not_there_or_not_named_has_no_members() {
        for name in ["", "nobody-here", "broken", "half", "none"] {
            let access = access(name, name);
            assert!(!access.has_members(), "{name}");
            assert_eq!(access.role(&[0, 7, 990, 991]), None, "{name}");
        }
    }

    #[test]
    fn a_refusal_names_the_role_and_how_to_get_it() {
        let there = access("egress-auditors", "egress-security");
        assert_eq!(
            there.refusal("/api/v1/flows", Role::Security, Some(Role::Metrics)),
            "/api/v1/flows takes the role 'security', and yours is 'metrics': ask by the control socket /run/x.sock as \
             root or a member of group egress-security"
        );
        let none = access("", "ops");
        for (needs, part) in [
            (Role::Root, "and you have none: ask by the control socket /run/x.sock as root"),
            (Role::Auditor, "as root ([paths] auditors names no group)"),
            (Role::Security, "(group ops of [paths] security does not exist: make it and restart the daemon)"),
        ] {
            let text = none.refusal("it", needs, None);
            assert!(text.contains(part), "{text}");
        }
    }
}
