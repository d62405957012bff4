//! Exceptions and where more of them are: `[[allow]]`, `[[deny]]`, `[management]`, `[policy]`.

use super::{Absent, Key, Kind, Section};

/// `[[allow]]`.
pub static ALLOW: Section = Section::new(
    "allow",
    "[[allow]]",
    "A permitted transfer, on the record. Of the rules that cover a packet the most specific decides: the longer prefix, \
     then fewer ports, then deny; where they stand is of no account.",
    &[
        rule::ID,
        rule::TO,
        rule::PORTS,
        rule::REASON,
        rule::LEGAL_BASIS,
        rule::OWNER,
        rule::TICKET,
        rule::NOT_BEFORE,
        rule::EXPIRES,
        rule::MAX_BYTES_PER_DAY,
    ],
);

/// `[[deny]]`.
pub static DENY: Section = Section::new(
    "deny",
    "[[deny]]",
    "Denied inside the region too. The keys are those of [[allow]], but for `max_bytes_per_day`, which is refused here.",
    &[
        rule::ID.shown(r#""no-telnet""#),
        rule::TO.shown(r#"["0.0.0.0/0", "::/0", "Singapore"]"#),
        rule::PORTS.shown(r#"["tcp/23"]"#),
        rule::DENY_REASON,
        rule::LEGAL_BASIS.hidden(),
        rule::OWNER.hidden(),
        rule::TICKET.hidden(),
        rule::NOT_BEFORE.hidden(),
        rule::EXPIRES.hidden(),
        rule::MAX_BYTES_PER_DAY.hidden(),
    ],
);

/// The keys of `[[allow]]` and `[[deny]]`.
pub mod rule {
    use super::*;

    /// Its id.
    pub const ID: Key = Key::new(
        "id",
        Kind::NAME,
        Absent::Refused(r#""backup-ch""#),
        "different for each rule; stands in flows, alerts and metrics",
    )
    .shown(r#""migration-sg""#);
    /// What it covers.
    pub const TO: Key = Key::new(
        "to",
        Kind::List {
            whole: r#"what it covers, such as ["10.64.0.0/10", "SG", "AS64500"]"#,
            each: "a network, a country or an autonomous system in quotes",
        },
        Absent::Refused(r#"["NETWORK"], what it covers"#),
        r#"networks, countries, "AS64500" (by [geo] asn)"#,
    )
    .shown(r#"["10.64.8.0/24", "2001:db8:5::/48"]"#);
    /// Its ports, and those of `[management]`.
    pub const PORTS: Key = Key::new(
        "ports",
        Kind::List {
            whole: r#"ports such as ["tcp/443"], or leave the key out for all traffic"#,
            each: "ports in quotes",
        },
        Absent::Means("all traffic"),
        r#""icmp" or "tcp" alone as well"#,
    )
    .shown(r#"["tcp/443", "udp/4500-4510"]"#);
    /// Why this is permitted.
    pub const REASON: Key =
        Key::new("reason", Kind::TEXT, Absent::Refused(r#""why this transfer is permitted""#), "why")
            .shown(r#""user data migration""#);
    /// Why this is forbidden.
    pub const DENY_REASON: Key =
        Key { absent: Absent::Refused(r#""why this is forbidden""#), ..REASON }.shown(r#""nothing here speaks it""#);
    /// For the record.
    pub const LEGAL_BASIS: Key = record("legal_basis", r#""SCC 2021/914, TIA 2026-03""#);
    /// For the record.
    pub const OWNER: Key = record("owner", r#""dpo@example.org""#);
    /// For the record.
    pub const TICKET: Key = record("ticket", r#""CLV-1182""#);
    /// Its beginning.
    pub const NOT_BEFORE: Key = Key::new("not_before", Kind::TIME, Absent::Means("at once"), "from when it applies")
        .shown("2026-01-01T00:00:00Z");
    /// Its end.
    pub const EXPIRES: Key = Key::new(
        "expires",
        Kind::TIME,
        Absent::Means("never"),
        "until when it applies; a rule that has expired holds no more and is warned of: renew or remove it",
    )
    .shown("2099-12-31T00:00:00Z");
    /// Its daily budget.
    pub const MAX_BYTES_PER_DAY: Key = Key::new(
        "max_bytes_per_day",
        Kind::As(r#"an amount in quotes, such as "200 GiB", or a number of bytes"#),
        Absent::Means("no limit"),
        "on the wire; used up, the rule is suspended until midnight UTC",
    )
    .shown(r#""200 GiB""#);

    const fn record(name: &'static str, example: &'static str) -> Key {
        Key::new(name, Kind::TEXT, Absent::Means("none"), "for the record").shown(example)
    }
}

/// `[management]`.
pub static MANAGEMENT: Section = Section::new(
    "management",
    "[management]",
    "What the host is administered from: enforce never drops what goes there. Enforce insists on this table; `networks = []` \
     says that there are none on purpose.",
    &[management::NETWORKS, management::PORTS, management::SOURCE_PORTS, management::TELL_BYTES_PER_DAY],
);

/// The keys of `[management]`.
pub mod management {
    use super::*;

    /// The networks.
    pub const NETWORKS: Key = Key::new(
        "networks",
        Kind::List {
            whole: r#"networks such as ["192.0.2.0/24"], or [] for none on purpose"#,
            each: "a network in quotes",
        },
        Absent::Refused(r#"["NETWORK"], or [] for none on purpose"#),
        "what goes there passes, whatever rules and region say",
    )
    .shown(r#"["198.51.100.192/27"]"#);
    /// The ports there.
    pub const PORTS: Key = Key { help: "those of clients: what a host sends there is mostly answers", ..rule::PORTS }
        .commented(r#"["tcp/1024-65535"]"#);
    /// The ports here.
    pub const SOURCE_PORTS: Key = Key {
        name: "source_ports",
        help: "in place of `ports`: those of the services here that answer, so that nothing else may go there",
        ..rule::PORTS
    }
    .commented(r#"["tcp/22"]"#);
    /// What is not to go untold.
    pub const TELL_BYTES_PER_DAY: Key = Key::new(
        "tell_bytes_per_day",
        Kind::As(r#"an amount in quotes, such as "200 GiB", or a number of bytes"#),
        Absent::Means("never told"),
        "on the wire; more in a UTC day is told (finding `management_volume`), and goes on",
    )
    .shown(r#""10 GiB""#);
}

/// `[policy]`.
pub static POLICY: Section = Section::new(
    "policy",
    "[policy]",
    "More files that the policy is made of, and when they are read.",
    &[policy::ALLOWLISTS, policy::DENYLISTS, policy::RELOAD, policy::SHADOW],
);

/// The keys of `[policy]`.
pub mod policy {
    use super::*;

    /// More rules.
    pub const ALLOWLISTS: Key = Key::new(
        "allowlists",
        Kind::List {
            whole: r#"a list such as ["/etc/egress-monitor/allow.d/*.toml"]"#,
            each: "a file name or glob in quotes",
        },
        Absent::Means("none"),
        "more rules: .toml with [[allow]] and [[deny]] as above; .txt with one network a line and # or ; comments, all of \
         which are ALLOWED by one rule whose id is the file's name. A glob may match nothing",
    )
    .shown(r#"["/etc/egress-monitor/allow.d/*.toml", "/etc/egress-monitor/allow.d/*.txt"]"#);
    /// The same, denied.
    pub const DENYLISTS: Key = Key::new(
        "denylists",
        Kind::List {
            whole: r#"a list such as ["/etc/egress-monitor/deny.d/*.txt"]"#,
            each: "a file name or glob in quotes",
        },
        Absent::Means("none"),
        "the same, but the networks of a .txt are DENIED",
    )
    .shown(r#"["/etc/egress-monitor/deny.d/*.txt"]"#);
    /// When files are read.
    pub const RELOAD: Key = Key::new(
        "reload",
        Kind::As(r#""auto" or "signal""#),
        Absent::Value(r#""auto""#),
        r#"when files that changed are read: "auto", by themselves, or "signal", when told to"#,
    );
    /// The shadow policy.
    pub const SHADOW: Key = Key::new(
        "shadow",
        Kind::FILE,
        Absent::Means("none"),
        "a candidate, a whole configuration: tried on what leaves, never enforced; see `flows --shadow`",
    )
    .commented(r#""candidate.toml""#);
}
