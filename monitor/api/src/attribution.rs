//! Who sends, as alerts (`unmapped.attribution`) and the documents of incidents have it.

use serde::{Deserialize, Serialize};

/// Characters of a command line that a sentence has.
const SHOWN: usize = 80;

/// Who sends. What is not known is missing: nothing of it is a guess.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attribution {
    /// How it is known: `scan`, the flow's socket was looked up after its first packet, and who has it open; `forwarded`, the
    /// source is no address of this host; `none`, nothing is known.
    pub method: String,
    /// The user whose the socket is.
    pub user: Option<u32>,
    /// The control group in which the socket was made, as a path below the root.
    pub cgroup: Option<String>,
    /// The systemd unit that is of: a service or scope; what is in none, its slice.
    pub unit: Option<String>,
    /// The unit of a user's own service manager, within that.
    pub user_unit: Option<String>,
    /// The container: its id, or name.
    pub container: Option<String>,
    /// What runs the container, where that is told.
    pub runtime: Option<String>,
    /// Processes that have the socket open, by id, 8 at most.
    pub processes: Vec<Process>,
    /// Whether there may be more of them.
    pub more: bool,
    /// What could not be found out, and why.
    pub missing: Option<String>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it began, RFC 3339: with the id, who it is.
    pub started_at: String,
    /// What it calls itself, which may be anything.
    pub name: String,
    /// The file that it runs; of a thread of the kernel, its name in brackets.
    pub executable: String,
    /// How it was called, or says that it was, 1 KiB at most; none with `[attribution] command_line = false`.
    pub command: Option<String>,
    /// Its effective user.
    pub user: u32,
    /// The user who logged in, whoever it has become since.
    pub login: Option<u32>,
    /// The process that began it, or has that one's place.
    pub parent: u32,
    /// Its control group.
    pub cgroup: String,
}

impl Attribution {
    /// For a person: `billing-sync.service, pid 4121 (/usr/bin/python3 sync.py), user 991`. None: nothing is known.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let container = self.container.as_ref().map(|id| {
            let runtime = self.runtime.as_deref().unwrap_or("unknown runtime");
            format!("container {} ({runtime})", id.get(..12).unwrap_or(id))
        });
        let process = self.processes.first().map(|process| {
            let others = match (self.processes.len() - 1, self.more) {
                (0, false) => String::new(),
                (0, true) => " and maybe others".to_owned(),
                (others, false) => format!(" and {others} more that have its socket"),
                (others, true) => format!(" and at least {others} more that have its socket"),
            };
            let called = process.command.as_deref().filter(|command| !command.is_empty());
            format!("pid {} ({}){others}", process.pid, cut(called.unwrap_or(&process.executable)))
        });
        // The socket's: a process may have become another user since.
        let user = self.user.map(|user| format!("user {user}"));
        let unit = self.user_unit.as_ref().or(self.unit.as_ref()).cloned();
        let parts: Vec<String> = [unit, container, process, user].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_has_what_is_known_and_nothing_else() {
        let process = |pid, command: Option<&str>| Process {
            pid,
            executable: "/usr/bin/python3.11".into(),
            command: command.map(Into::into),
            ..Process::default()
        };
        let mut of = Attribution { method: "scan".into(), ..Attribution::default() };
        assert_eq!(of.sentence(), None);
        (of.unit, of.user) = (Some("billing-sync.service".into()), Some(991));
        assert_eq!(of.sentence().unwrap(), "billing-sync.service, user 991");
        of.processes = vec![process(4_121, Some("/usr/bin/python3 sync.py"))];
        assert_eq!(of.sentence().unwrap(), "billing-sync.service, pid 4121 (/usr/bin/python3 sync.py), user 991");
        of.processes = vec![process(7, None), process(8, None), process(9, None)];
        of.container = Some("0123456789abcdef".repeat(4));
        of.runtime = Some("docker".into());
        assert_eq!(
            of.sentence().unwrap(),
            "billing-sync.service, container 0123456789ab (docker), pid 7 (/usr/bin/python3.11) and 2 more that have its \
             socket, user 991"
        );
        let long = Attribution { processes: vec![process(7, Some(&"é".repeat(81)))], more: true, ..of.clone() };
        let text = long.sentence().unwrap();
        assert!(text.contains(&format!("pid 7 ({}…) and maybe others, user 991", "é".repeat(80))), "{text}");
        let user_unit = Attribution { user_unit: Some("sync.service".into()), ..of };
        assert!(user_unit.sentence().unwrap().starts_with("sync.service, "));
    }
}
