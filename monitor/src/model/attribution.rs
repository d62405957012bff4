//! Who sends: a process with its control group, and how that is known. Made by `attribution`, shown by alerts and documents.

use monitor_api::attribution as document;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339;

/// How it is known who sends. Nothing of it is a guess: what could not be found out is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The flow's socket was looked up in the kernel's tables after its first packet, and /proc searched for who has it open.
    Scan,
    /// The source is no address of this host: it forwards the packets, or somebody here who may write whole packets wrote it.
    Forwarded,
    /// Nothing is known: no socket of the flow was there when it was looked for.
    #[default]
    None,
}

impl Method {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Scan, Self::Forwarded, Self::None];

    /// As it is written everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Forwarded => "forwarded",
            Self::None => "none",
        }
    }
}

/// A process that has the socket open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Its id.
    pub pid: u32,
    /// When it began, UTC nanoseconds since 1970: with the id, who it is.
    pub started: i64,
    /// What it calls itself.
    pub name: String,
    /// The file that it runs; of a thread of the kernel, its name in brackets.
    pub executable: String,
    /// How it was called, 1 KiB at most; `None`: not asked for, or it has none any more.
    pub command: Option<String>,
    /// Its effective user.
    pub user: u32,
    /// The user who logged in, whoever it has become since (audit).
    pub login: Option<u32>,
    /// The process that began it, or who has that one's place.
    pub parent: u32,
    /// Its control group: not always that of its socket.
    pub cgroup: String,
}

/// Who sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    /// How it is known.
    pub method: Method,
    /// The user whose the socket is.
    pub user: Option<u32>,
    /// The control group in which the socket was made, as a path below the root.
    pub cgroup: Option<String>,
    /// Processes that have it open, by id, 8 at most.
    pub senders: Vec<Sender>,
    /// Whether there may be more of them.
    pub more: bool,
    /// What could not be found out, and why.
    pub missing: Option<String>,
}

impl Attribution {
    /// Of packets that are not this host's own.
    #[must_use]
    pub fn forwarded() -> Self {
        Self { method: Method::Forwarded, ..Self::default() }
    }

    /// Of what has no socket, and why.
    #[must_use]
    pub fn none(why: impl Into<String>) -> Self {
        Self { missing: Some(why.into()), ..Self::default() }
    }

    /// Where in the tree of control groups: of the socket, or of a process that has it where that is not known.
    #[must_use]
    pub fn place(&self) -> Place<'_> {
        let of_process = || self.senders.first().map(|sender| sender.cgroup.as_str());
        Place::of(self.cgroup.as_deref().or_else(of_process).unwrap_or_default())
    }
}

impl From<&Attribution> for document::Attribution {
    fn from(of: &Attribution) -> Self {
        let Place { unit, user_unit, container } = of.place();
        Self {
            method: of.method.name().to_owned(),
            user: of.user,
            cgroup: of.cgroup.clone(),
            unit: unit.map(str::to_owned),
            user_unit: user_unit.map(str::to_owned),
            container: container.map(|container| container.id.to_owned()),
            runtime: container.and_then(|container| container.runtime).map(str::to_owned),
            processes: of.senders.iter().map(Into::into).collect(),
            more: of.more,
            missing: of.missing.clone(),
        }
    }
}

impl From<&Sender> for document::Process {
    fn from(of: &Sender) -> Self {
        Self {
            pid: of.pid,
            started_at: rfc3339(of.started.into()),
            name: of.name.clone(),
            executable: of.executable.clone(),
            command: of.command.clone(),
            user: of.user,
            login: of.login,
            parent: of.parent,
            cgroup: of.cgroup.clone(),
        }
    }
}

/// What the path of a control group says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The unit of the system's service manager: a service or scope; what is in none, its slice (systemd.slice(5)).
    pub unit: Option<&'a str>,
    /// The unit of the user's own service manager, within that.
    pub user_unit: Option<&'a str>,
    /// A container.
    pub container: Option<Container<'a>>,
}

/// A container, by the name that its runtime gives to its control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container<'a> {
    /// Its id: 64 hexadecimal digits, or a name.
    pub id: &'a str,
    /// What runs it, where that is told.
    pub runtime: Option<&'static str>,
}

/// What runtimes put before the id, and which they are.
const RUNTIMES: [(&str, &str); 6] = [
    ("docker-", "docker"),
    ("libpod-conmon-", "podman"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
    ("crio-conmon-", "cri-o"),
    ("crio-", "cri-o"),
];

impl<'a> Place<'a> {
    /// Of a path below the root.
    #[must_use]
    pub fn of(path: &'a str) -> Self {
        let parts = || path.split('/').filter(|part| !part.is_empty());
        let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
        let unit = parts().find(is_unit);
        let slice = parts().take_while(|part| part.ends_with(".slice")).last();
        // A user's service manager is a service itself, and has its own below.
        let user_unit = unit.filter(|unit| unit.starts_with("user@")).and_then(|_| parts().filter(is_unit).nth(1));
        let mut before = None;
        let mut container = None;
        for part in parts() {
            container = Container::of(part, before).or(container);
            before = Some(part);
        }
        Self { unit: unit.or(slice), user_unit, container }
    }
}

impl<'a> Container<'a> {
    fn of(part: &'a str, before: Option<&str>) -> Option<Self> {
        let bare = part.strip_suffix(".scope").unwrap_or(part);
        let known = RUNTIMES.into_iter().find_map(|(prefix, runtime)| Some((bare.strip_prefix(prefix)?, runtime)));
        let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (known, before) {
            (Some((id, runtime)), _) if is_id(id) => Some(Self { id, runtime: Some(runtime) }),
            (None, Some("docker")) if is_id(bare) => Some(Self { id: bare, runtime: Some("docker") }),
            (None, _) if is_id(bare) => Some(Self { id: bare, runtime: None }),
            _ => {
                let nspawn = bare.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service"));
                let machine = (before == Some("machine.slice")).then(|| bare.strip_prefix("machine-")).flatten();
                let lxc = bare.strip_prefix("lxc.payload.").or_else(|| (before == Some("lxc")).then_some(bare));
                let named = |id: Option<&'a str>, runtime| Some(Self { id: id?, runtime });
                named(nspawn, Some("systemd-nspawn"))
                    .or_else(|| named(machine, None))
                    .or_else(|| named(lxc, Some("lxc")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_from_control_groups_as_systemd_names_them() {
        let of = |path| {
            let Place { unit, user_unit, .. } = Place::of(path);
            (unit.unwrap_or("-"), user_unit.unwrap_or("-"))
        };
        for (path, unit, user_unit) in [
            ("/system.slice/billing-sync.service", "billing-sync.service", "-"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", "-"),
            ("/system.slice/billing-sync.service/worker", "billing-sync.service", "-"),
            ("/user.slice/user-1000.slice/session-7.scope", "session-7.scope", "-"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service",
                "user@1000.service",
                "sync.service",
            ),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service", "init.scope"),
            ("/init.scope", "init.scope", "-"),
            ("/user.slice/user-1000.slice", "user-1000.slice", "-"),
            ("/", "-", "-"),
            ("", "-", "-"),
            ("/tasks/build", "-", "-"),
            // Whoever may make groups below may name them as he likes: the first that is one is the manager's.
            ("/user.slice/user-9.slice/session-1.scope/ssh.service", "session-1.scope", "-"),
        ] {
            assert_eq!(of(path), (unit, user_unit), "{path}");
        }
    }

    #[test]
    fn containers_are_read_from_control_groups_as_runtimes_name_them() {
        let id = "0123456789abcdef".repeat(4);
        let of = |path: &str| {
            Place::of(path).container.map(|container| (container.id.to_owned(), container.runtime.unwrap_or("-")))
        };
        for (path, runtime) in [
            (format!("/system.slice/docker-{id}.scope"), "docker"),
            (format!("/docker/{id}"), "docker"),
            (format!("/machine.slice/libpod-{id}.scope/container"), "podman"),
            (format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"), "podman"),
            (
                format!("/kubepods.slice/kubepods-burstable.slice/kubepods-pod7.slice/cri-containerd-{id}.scope"),
                "containerd",
            ),
            (format!("/kubepods.slice/kubepods-pod7.slice/crio-{id}.scope"), "cri-o"),
            (format!("/kubepods/burstable/pod7/{id}"), "-"),
            // One in another: the inner one sends.
            (format!("/docker/{}/docker/{id}", "f".repeat(64)), "docker"),
        ] {
            assert_eq!(of(&path), Some((id.clone(), runtime)), "{path}");
        }
        let named = |path: &str| of(path).map(|(id, runtime)| format!("{id} {runtime}"));
        assert_eq!(named("/machine.slice/systemd-nspawn@web.service/payload").unwrap(), "web systemd-nspawn");
        assert_eq!(named("/machine.slice/machine-web.scope").unwrap(), "web -");
        assert_eq!(named("/lxc.payload.web/system.slice/nginx.service").unwrap(), "web lxc");
        assert_eq!(named("/lxc/web").unwrap(), "web lxc");
        for path in
            ["", "/system.slice/docker.service", "/docker/abc", "/system.slice/docker-abc.scope", "/lxc.monitor.web"]
        {
            assert_eq!(named(path), None, "{path}");
        }
    }
}
