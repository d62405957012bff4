//! How the daemon runs: `[monitor]`, `[http]`, `[paths]`.

use super::{Absent, Key, Kind, Section};

/// `[monitor]`.
pub static MONITOR: Section = Section::new(
    "monitor",
    "[monitor]",
    "What is measured, and how. Only `mode` can be changed by a reload; the rest needs a restart.",
    &[
        monitor::MODE,
        monitor::INTERFACES,
        monitor::GUESTS,
        monitor::EPOCH,
        monitor::FLOWS,
        monitor::CACHE,
        monitor::MEMORY_MAX,
        monitor::HOOK,
        monitor::ON_DAEMON_LOSS,
        monitor::BYPASS,
        monitor::HEAL,
        monitor::HEAL_ORDER,
    ],
);

/// The keys of `[monitor]`.
pub mod monitor {
    use super::*;

    /// Observe or enforce.
    pub const MODE: Key = Key::new(
        "mode",
        Kind::As(r#""observe" or "enforce""#),
        Absent::Value(r#""observe""#),
        r#"count and alert; "enforce" also drops what the policy denies"#,
    );
    /// What to attach to.
    pub const INTERFACES: Key = Key::new(
        "interfaces",
        Kind::List { whole: r#"a list such as ["auto"]"#, each: "names in quotes" },
        Absent::Value(r#"["auto"]"#),
        r#"names, globs such as "eth*", "auto": whatever packets leave the host by; "!name" leaves one out"#,
    );
    /// What leads to guests and is watched all the same.
    pub const GUESTS: Key = Key::new(
        "guests",
        Kind::List { whole: r#"a list such as ["veth*"]"#, each: "names in quotes" },
        Absent::Means("none"),
        "devices into containers or guests that are watched besides, by name or glob; counted apart",
    )
    .shown(r#"["veth*"]"#);
    /// The length of an epoch.
    pub const EPOCH: Key = Key::new(
        "epoch",
        Kind::As(r#"a duration in quotes, such as "10s""#),
        Absent::Value(r#""10s""#),
        "how often counters are collected, 100ms to 5min; sooner if flows fill up",
    );
    /// The size of the flow table.
    pub const FLOWS: Key = Key::new(
        "flows",
        Kind::Number(1024, 4_194_304),
        Absent::Value("16384"),
        "places in the flow table, 1024 to 4194304",
    );
    /// The most of the flow cache that a CPU gets.
    pub const CACHE: Key = Key::new(
        "cache",
        Kind::Number(128, 1_048_576),
        Absent::Means(
            "131072 for all CPUs and both IP versions together, or 4096 a CPU, given to those that need them",
        ),
        "places that a CPU's flow cache has at most, for IPv4 and for IPv6, 128 to 1048576",
    )
    .shown("65536");
    /// The most memory of the kernel part.
    pub const MEMORY_MAX: Key = Key::new(
        "memory_max",
        Kind::Number(64, 65_536),
        Absent::Value("1024"),
        "MiB that the kernel part's maps may take while larger ones take their place, for a policy or interfaces that need more room; 64 to 65536",
    );
    /// How to attach.
    pub const HOOK: Key = Key::new(
        "hook",
        Kind::As(r#""auto", "tcx" or "clsact""#),
        Absent::Value(r#""auto""#),
        r#""tcx" (kernel 6.6 or later), "clsact", or whichever works"#,
    );
    /// What the kernel part does alone.
    pub const ON_DAEMON_LOSS: Key = Key::new(
        "on_daemon_loss",
        Kind::As(r#""keep", "observe" or "open""#),
        Absent::Value(r#""keep""#),
        r#"what the kernel part does when the daemon has closed no epoch for the time of three (at least 10 s): "keep" goes on enforcing, "observe" lets everything pass and counts it; "open" is the same for a daemon that stands still, and nothing outlives one that has ended, as with --ephemeral"#,
    );
    /// Who may send past the hook.
    pub const BYPASS: Key = Key::new(
        "bypass",
        Kind::List { whole: r#"a list such as ["/system.slice/capture.service"]"#, each: "paths in quotes" },
        Absent::Means("none"),
        "control groups whose programs may send past the hook in enforce mode (PACKET_QDISC_BYPASS, AF_XDP), as paths below the root of cgroup v2; each alone, not those below it",
    )
    .hidden();
    /// When tampering is undone.
    pub const HEAL: Key = Key::new(
        "heal",
        Kind::As(r#""enforce", "always" or "never""#),
        Absent::Value(r#""enforce""#),
        "in which mode programs, pins and maps that somebody changed in the kernel are put right, at most three times each in 10 minutes; what was changed is told in any case",
    );
    /// Whether programs ahead are overtaken.
    pub const HEAL_ORDER: Key = Key::new(
        "heal_order",
        Kind::As("true or false"),
        Absent::Value("false"),
        "whether the monitor goes first again where somebody puts a program ahead of it, and it puts things right",
    );
}

/// `[http]`.
pub static HTTP: Section = Section {
    planned: &[
        ("tls_cert", "remove the key"),
        ("tls_key", "remove the key"),
        ("token_file", "remove the key"),
        ("client_ca", "remove the key"),
    ],
    ..Section::new("http", "[http]", "Metrics and the read-only API.", &[http::LISTEN])
};

/// The keys of `[http]`.
pub mod http {
    use super::*;

    /// Where to listen.
    pub const LISTEN: Key = Key::new(
        "listen",
        Kind::As("an address and port in quotes"),
        Absent::Value(r#""127.0.0.1:9477""#),
        r#"loopback only; "" turns it off"#,
    );
}

/// `[paths]`.
pub static PATHS: Section = Section::new(
    "paths",
    "[paths]",
    "Directories of this instance, of which a second one sets its own, and who may read what it knows.",
    &[paths::CONFIG_DIR, paths::STATE, paths::RUNTIME, paths::BPFFS, paths::HELPER, paths::AUDITORS, paths::SECURITY],
);

/// The keys of `[paths]`.
pub mod paths {
    use super::*;

    /// Configuration.
    pub const CONFIG_DIR: Key = path("config_dir", r#""/etc/egress-monitor""#, "reserved: nothing uses it yet");
    /// What is kept over restarts.
    pub const STATE: Key = path(
        "state",
        r#""/var/lib/egress-monitor""#,
        "what outlives a restart: the last good policy with its files, what was confirmed, a mode set by hand, the day's \
         budgets, and what files were in force",
    );
    /// The control socket.
    pub const RUNTIME: Key = path("runtime", r#""/run/egress-monitor""#, "where the control socket is, control.sock");
    /// Pinned objects.
    pub const BPFFS: Key = path(
        "bpffs",
        r#""/run/egress-monitor-bpf""#,
        "a BPF file system, or a folder on one, for what outlives the daemon",
    );
    /// The helper's socket.
    pub const HELPER: Key = path(
        "helper",
        r#""/run/egress-monitor-helper.sock""#,
        "the socket of the helper, which answers what the daemon has no privileges for; where nobody answers, that reads \
         `unknown (no helper)`",
    );

    /// Who reads the policy.
    pub const AUDITORS: Key = group(
        "auditors",
        r#""egress-auditors""#,
        "group in /etc/group that may read sums and policy on the control socket, no addresses; \"\": nobody",
    );
    /// Who reads everything.
    pub const SECURITY: Key = group(
        "security",
        r#""egress-security""#,
        "group in /etc/group that may read everything on the control socket; \"\": nobody",
    );

    const fn path(name: &'static str, absent: &'static str, help: &'static str) -> Key {
        Key::new(name, Kind::PATH, Absent::Value(absent), help)
    }

    const fn group(name: &'static str, absent: &'static str, help: &'static str) -> Key {
        Key::new(name, Kind::As("a group's name in quotes"), Absent::Value(absent), help)
    }
}
