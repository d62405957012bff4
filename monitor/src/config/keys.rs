//! Every configuration key, declared once: name, type, default, one line of help, an example. In one file, however long, so
//! that whoever looks for a key looks in one place.
//!
//! `super::document` hands out a value only for a [`Key`] and refuses every key that its [`Section`] does not
//! declare. The example file and `docs/configuration.md` are made from the same declarations (`tests::declared`).

use std::{fmt, ops::RangeInclusive};

use monitor_common::{parse::Reason, wire::Opaque};

/// What people write for a key. Its `Display` completes "write …".
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// As these words say.
    As(&'static str),
    /// A list.
    List {
        /// An example of the whole.
        whole: &'static str,
        /// What each element is.
        each: &'static str,
    },
    /// A whole number within bounds.
    Number(i64, i64),
    /// A table or an array of tables.
    Table(&'static Section),
}

impl Kind {
    const NAME: Self = Self::As("a name in quotes");
    const ACTION: Self = Self::As(r#""allow" or "deny""#);
    const TEXT: Self = Self::As("text in quotes");
    const FILE: Self = Self::As("a file name in quotes");
    const PATH: Self = Self::As("a path in quotes");
    const TIME: Self = Self::As("a time without quotes, such as 2026-12-31T00:00:00Z");

    /// The kind of a list's elements; of anything else, itself.
    #[must_use]
    pub const fn element(self) -> Self {
        match self {
            Self::List { each, .. } => Self::As(each),
            other => other,
        }
    }

    /// The bounds of a number.
    pub const fn bounds(self) -> RangeInclusive<i64> {
        match self {
            Self::Number(least, most) => least..=most,
            _ => i64::MIN..=i64::MAX,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As(words) | Self::List { whole: words, .. } => f.write_str(words),
            Self::Number(least, most) => write!(f, "a number of {least} to {most}"),
            Self::Table(section) => write!(f, "a table headed {}", section.heading),
        }
    }
}

/// What holds when a key is left out.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// The same as this value, written as in a file.
    Value(&'static str),
    /// What these words say.
    Means(&'static str),
    /// It must be there; with what to add. A value that decides something stands for itself, in capitals: no hint decides it.
    Refused(&'static str),
}

/// How a key appears in the example file.
#[derive(Clone, Copy, Debug)]
pub enum Example {
    /// With this value.
    Shown(&'static str),
    /// With this value, behind a comment sign.
    Commented(&'static str),
    /// Not at all.
    Hidden,
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What people write.
    pub kind: Kind,
    /// What holds without it.
    pub absent: Absent,
    /// What it is, in one line without a full stop.
    pub help: &'static str,
    /// How the example file has it.
    pub example: Example,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, absent: Absent, help: &'static str) -> Self {
        let example = match absent {
            Absent::Value(value) => Example::Shown(value),
            Absent::Means(_) | Absent::Refused(_) => Example::Hidden,
        };
        Self { name, kind, absent, help, example }
    }

    const fn table(section: &'static Section) -> Self {
        Self::new(section.name, Kind::Table(section), Absent::Means("none"), section.about)
    }

    const fn shown(self, value: &'static str) -> Self {
        Self { example: Example::Shown(value), ..self }
    }

    const fn commented(self, value: &'static str) -> Self {
        Self { example: Example::Commented(value), ..self }
    }

    const fn hidden(self) -> Self {
        Self { example: Example::Hidden, ..self }
    }
}

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// Its key in the table around it.
    pub name: &'static str,
    /// As people head it.
    pub heading: &'static str,
    /// What it is for, in whole sentences.
    pub about: &'static str,
    /// Its keys, in the order in which messages and documents list them.
    pub keys: &'static [Key],
    /// Keys of later versions, which are refused rather than ignored, and what to do about them.
    pub planned: &'static [(&'static str, &'static str)],
    /// What the example file has after the keys.
    pub more: &'static str,
}

impl Section {
    const fn new(name: &'static str, heading: &'static str, about: &'static str, keys: &'static [Key]) -> Self {
        Self { name, heading, about, keys, planned: &[], more: "" }
    }
}

/// The configuration file.
pub static FILE: Section = Section::new(
    "",
    "the file",
    "Every key may be left out, unless it says that it is required. File names are taken from the directory of this file \
     on, unless they begin with '/'.",
    &[
        Key::table(&MONITOR),
        Key::table(&ZONE),
        Key::table(&GEO),
        Key::table(&SITE),
        Key::table(&ALLOW),
        Key::table(&DENY),
        Key::table(&MANAGEMENT),
        Key::table(&HTTP),
        Key::table(&ALERTS),
        Key::table(&PATHS),
        Key::table(&POLICY),
    ],
);

/// An allowlist: a file that `[policy] allowlists` names.
pub static ALLOWLIST: Section = Section::new("", "the file", "Rules only.", &[Key::table(&ALLOW), Key::table(&DENY)]);

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

/// `[zone]`.
pub static ZONE: Section = Section::new(
    "zone",
    "[zone]",
    "What counts as inside, and what enforce does with each kind of destination.",
    &[
        zone::NAME,
        zone::INSIDE,
        zone::ON_OUTSIDE,
        zone::ON_AMBIGUOUS,
        zone::ON_UNKNOWN,
        zone::ON_PRIVATE,
        zone::ON_LINK_LOCAL,
        zone::ON_OPAQUE,
        Key::table(&OPAQUE),
        zone::ON_UNDECODABLE,
        Key::table(&UNDECODABLE),
        zone::NAT64,
    ],
);

/// The keys of `[zone]`.
pub mod zone {
    use super::*;

    /// Its name.
    pub const NAME: Key = Key::new("name", Kind::NAME, Absent::Value(r#""eea""#), "stands in metrics and alerts")
        .shown(r#""eu-user-data""#);
    /// The region.
    pub const INSIDE: Key = Key::new(
        "inside",
        Kind::As(r#"countries and regions in quotes, such as "EEA + CH""#),
        Absent::Value(r#""EEA""#),
        "ISO 3166-1 codes or names of countries, EU, EEA, EFTA, ADEQUATE, private; + and -",
    )
    .shown(r#""EEA + CH + GB""#);
    /// What every source that knows it places outside.
    pub const ON_OUTSIDE: Key =
        on("on_outside", r#""deny""#, "every source that knows the destination places it outside");
    /// What the sources disagree about.
    pub const ON_AMBIGUOUS: Key =
        on("on_ambiguous", r#""deny""#, "not every source places the destination inside, though one does");
    /// What no source places.
    pub const ON_UNKNOWN: Key =
        on("on_unknown", r#""deny""#, "no source places the destination, or it is a special range without a [[site]]");
    /// Private networks.
    pub const ON_PRIVATE: Key =
        on("on_private", r#""allow""#, "private networks (RFC 1918, fc00::/7) that no [[site]] places");
    /// IPv4 that no router should forward.
    pub const ON_LINK_LOCAL: Key =
        on("on_link_local", r#""deny""#, "169.254.0.0/16, which some gateways forward; fe80::/10 is always allowed");
    /// Content that cannot be read.
    pub const ON_OPAQUE: Key = on(
        "on_opaque",
        r#""allow""#,
        "flows whose content cannot be read (ESP, WireGuard, QUIC…): \"allow\" goes by their destination, \"deny\" denies them unless a rule allows them",
    );
    /// What could not be read.
    pub const ON_UNDECODABLE: Key =
        on("on_undecodable", r#""deny""#, "unparsed packets, which could not be read to their end");
    /// Translators.
    pub const NAT64: Key = Key::new(
        "nat64",
        Kind::List {
            whole: r#"prefixes such as ["64:ff9b:1::/96"], or leave the key out"#,
            each: "a prefix in quotes",
        },
        Absent::Means("none"),
        "prefixes of NAT64 translators besides 64:ff9b::/96: what goes there goes to the IPv4 address inside",
    )
    .shown(r#"["2001:db8:64::/96"]"#);

    const fn on(name: &'static str, absent: &'static str, help: &'static str) -> Key {
        Key::new(name, Kind::ACTION, Absent::Value(absent), help)
    }
}

/// `[zone.opaque]`.
pub static OPAQUE: Section = Section {
    more: "wireguard = \"allow\"\n",
    ..Section::new(
        "opaque",
        "[zone.opaque]",
        "Another action for single kinds of content that cannot be read.",
        &opaque::KEYS,
    )
};

/// The keys of `[zone.opaque]`.
pub mod opaque {
    use super::*;

    /// One for each mark, in their order.
    pub static KEYS: [Key; Opaque::MARKS.len()] = {
        let mut keys = [zone::ON_OPAQUE.hidden(); Opaque::MARKS.len()];
        let mut at = 0;
        while at < keys.len() {
            let (mark, name) = Opaque::MARKS[at];
            keys[at].name = name;
            keys[at].help = mark.meaning();
            keys[at].absent = Absent::Means("as `on_opaque`");
            at += 1;
        }
        keys
    };
}

/// `[zone.undecodable]`.
pub static UNDECODABLE: Section = Section {
    more: "macsec = \"deny\"\n",
    ..Section::new(
        "undecodable",
        "[zone.undecodable]",
        "Another action for single reasons why a packet could not be read.",
        &undecodable::KEYS,
    )
};

/// The keys of `[zone.undecodable]`.
pub mod undecodable {
    use super::*;

    /// One for each reason, in the order of the reasons.
    pub static KEYS: [Key; Reason::ALL.len()] = {
        let mut keys = [zone::ON_UNDECODABLE.hidden(); Reason::ALL.len()];
        let mut at = 0;
        while at < keys.len() {
            let reason = Reason::ALL[at];
            keys[at].name = reason.name();
            keys[at].help = reason.meaning();
            keys[at].absent = Absent::Means(if reason.always_passes() {
                "always passes"
            } else if reason.passes_by_default() {
                "`\"allow\"`, and the finding of that name"
            } else {
                "as `on_undecodable`"
            });
            at += 1;
        }
        keys
    };
}

/// `[geo]`.
pub static GEO: Section = Section::new(
    "geo",
    "[geo]",
    "What says where an address is.",
    &[geo::SOURCES, geo::OVERLAYS, geo::ASN, geo::INCOMING, geo::KEYS],
);

/// The keys of `[geo]`.
pub mod geo {
    use super::*;

    /// Datasets.
    pub const SOURCES: Key = Key::new(
        "sources",
        Kind::List { whole: r#"a list such as ["embedded"]"#, each: r#""embedded" or a file name in quotes"# },
        Absent::Value(r#"["embedded"]"#),
        r#""embedded" is two datasets; files: .mmdb, .csv, .egm. Inside is what all of them place inside"#,
    );
    /// Lists that know better.
    pub const OVERLAYS: Key = Key::new(
        "overlays",
        Kind::List { whole: r#"a list such as ["geo/aws.json"]"#, each: "a file name or glob in quotes" },
        Absent::Means("none"),
        "lists that know better than the sources: region lists, geofeeds, anycast. A glob may match nothing",
    )
    .commented(r#"["geo/aws.json"]"#);
    /// Autonomous systems.
    pub const ASN: Key = Key::new(
        "asn",
        Kind::FILE,
        Absent::Means("none"),
        "who announces which network, for rules on AS numbers and for alerts",
    )
    .commented(r#""geo/asn.csv""#);
    /// Where fresh files are dropped.
    pub const INCOMING: Key = Key::new(
        "incoming",
        Kind::PATH,
        Absent::Means("none"),
        "where your fetcher drops fresh files for `geo stage`, each under the name of the file that it is to replace",
    )
    .commented(r#""/srv/geo""#);
    /// Who signs fresh files.
    pub const KEYS: Key = Key::new(
        "keys",
        Kind::List { whole: r#"a list such as ["geo/publisher.pub"]"#, each: "a file name in quotes" },
        Absent::Means("none: NAME.sha256 beside each file"),
        "minisign public keys: `geo stage` takes what one of them has signed (NAME.minisig)",
    )
    .commented(r#"["geo/publisher.pub"]"#);
}

/// `[[site]]`.
pub static SITE: Section = Section {
    more: r#"
[[site]]
name = "singapore"
country = "SG"
networks = ["10.64.0.0/10"]
"#,
    ..Section::new(
        "site",
        "[[site]]",
        "Where networks of your own are: private ones, and public ones that the datasets get wrong. Overrides the \
         datasets.",
        &[site::NAME, site::COUNTRY, site::NETWORKS],
    )
};

/// The keys of `[[site]]`.
pub mod site {
    use super::*;

    /// Its name.
    pub const NAME: Key =
        Key::new("name", Kind::NAME, Absent::Refused(r#""dublin-1""#), "different for each site").shown(r#""dublin""#);
    /// Where it is.
    pub const COUNTRY: Key = Key::new(
        "country",
        Kind::As("an ISO 3166-1 code in quotes"),
        Absent::Refused(r#""CODE", the ISO 3166-1 code of where its networks are"#),
        "where it is",
    )
    .shown(r#""IE""#);
    /// Its networks.
    pub const NETWORKS: Key = Key::new(
        "networks",
        Kind::List { whole: r#"networks such as ["10.64.0.0/10", "2001:db8:5::/48"]"#, each: "a network in quotes" },
        Absent::Refused(r#"["NETWORK"], which are those of the site"#),
        "no network may be in two sites",
    )
    .shown(r#"["10.32.0.0/12", "2001:db8:1::/48"]"#);
}

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

/// `[alerts]`.
pub static ALERTS: Section = Section::new(
    "alerts",
    "[alerts]",
    "How much of the alerts is kept, and where they go: every alert is on disk, under `[paths] state`/alerts, before it goes \
     anywhere. A change needs a restart.",
    &[
        alerts::KEEP,
        alerts::STDOUT,
        alerts::FILE,
        Key::table(&WEBHOOK),
        Key::table(&ALERTMANAGER),
        Key::table(&SYSLOG),
        Key::table(&JOURNAL),
    ],
);

/// The keys of `[alerts]`.
pub mod alerts {
    use super::*;

    /// The bound on what is kept.
    pub const KEEP: Key = Key::new(
        "keep",
        Kind::As(r#"an amount in quotes, such as "512 MiB""#),
        Absent::Value(r#""512 MiB""#),
        "how much of the disk kept alerts take, 256 KiB or more; then the oldest go, taken or not",
    );
    /// Standard output.
    pub const STDOUT: Key =
        Key::new("stdout", Kind::As("true or false"), Absent::Value("true"), "whether alerts go to standard output");
    /// A file.
    pub const FILE: Key = Key::new(
        "file",
        Kind::FILE,
        Absent::Means("none"),
        "a file that alerts are appended to; opened anew when another is in its place, and on SIGHUP",
    )
    .commented(r#""/var/log/egress-monitor/alerts.jsonl""#);
}

/// `[[alerts.webhook]]`.
pub static WEBHOOK: Section = Section::new(
    "webhook",
    "[[alerts.webhook]]",
    "An HTTP receiver whose answer is the receipt; may be given several times.",
    &[webhook::NAME, receiver::URL, webhook::FORMAT, webhook::SECRET, receiver::TOKEN, receiver::CA],
);

/// `[[alerts.alertmanager]]`.
pub static ALERTMANAGER: Section = Section::new(
    "alertmanager",
    "[[alerts.alertmanager]]",
    "Prometheus Alertmanager, API v2; may be given several times.",
    &[alertmanager::NAME, alertmanager::URL, receiver::TOKEN, receiver::CA],
);

/// `[[alerts.syslog]]`.
pub static SYSLOG: Section = Section::new(
    "syslog",
    "[[alerts.syslog]]",
    "A syslog receiver (RFC 5424); may be given several times.",
    &[syslog::NAME, syslog::TO],
);

/// `[[alerts.journal]]`.
pub static JOURNAL: Section = Section::new(
    "journal",
    "[[alerts.journal]]",
    "journald, with fields of its own for what people filter by.",
    &[journal::NAME, journal::SOCKET],
);

/// The keys that receivers share.
pub mod receiver {
    use super::*;

    /// Its name.
    pub const fn name(example: &'static str) -> Key {
        Key::new(
            "name",
            Kind::NAME,
            Absent::Refused(example),
            "stands in metrics and findings; lower-case letters, digits and '-', at most 32",
        )
        .shown(example)
    }
    /// Where it is.
    pub const URL: Key = Key::new(
        "url",
        Kind::As("a URL in quotes"),
        Absent::Refused(r#""https://siem.example.org/alerts""#),
        "http or https, without user and password",
    )
    .shown(r#""https://siem.example.org/alerts""#);
    /// A bearer token.
    pub const TOKEN: Key = Key::new(
        "token",
        Kind::As(r#"a file name or "credential:NAME" in quotes"#),
        Absent::Means("none"),
        "where the bearer token is: a file that not everybody may read, or a credential of the service's",
    )
    .commented(r#""credential:siem-token""#);
    /// Whom it is believed to be.
    pub const CA: Key = Key::new(
        "ca",
        Kind::FILE,
        Absent::Means("those that the system trusts"),
        "certificates (PEM) of whoever may vouch for the receiver",
    )
    .commented(r#""siem-ca.pem""#);
}

/// The keys of `[[alerts.webhook]]` alone.
pub mod webhook {
    use super::*;

    /// Its name.
    pub const NAME: Key = receiver::name(r#""siem""#);
    /// What a request has.
    pub const FORMAT: Key = Key::new(
        "format",
        Kind::As(r#""json" or "ndjson""#),
        Absent::Value(r#""json""#),
        r#"one alert a request; "ndjson": many, one a line (Vector, Fluent Bit, Logstash)"#,
    )
    .commented(r#""json""#);
    /// What it is signed with.
    pub const SECRET: Key = Key::new(
        "secret",
        Kind::As(r#"a file name or "credential:NAME" in quotes"#),
        Absent::Means("requests are not signed"),
        "where the secret of the Standard Webhooks is (whsec_ and base64)",
    )
    .commented(r#""credential:siem-secret""#);
}

/// The keys of `[[alerts.alertmanager]]` alone.
pub mod alertmanager {
    use super::*;

    /// Its name.
    pub const NAME: Key = receiver::name(r#""alertmanager""#);
    /// Where it is.
    pub const URL: Key = Key::new(
        "url",
        Kind::As("a URL in quotes"),
        Absent::Refused(r#""http://127.0.0.1:9093/api/v2/alerts""#),
        "of the API's alerts: http or https, without user and password",
    )
    .shown(r#""http://127.0.0.1:9093/api/v2/alerts""#);
}

/// The keys of `[[alerts.syslog]]` alone.
pub mod syslog {
    use super::*;

    /// Its name.
    pub const NAME: Key = receiver::name(r#""loghost""#);
    /// Where it is.
    pub const TO: Key = Key::new(
        "to",
        Kind::As(r#""unix:/dev/log", "udp://HOST:PORT" or "tcp://HOST:PORT""#),
        Absent::Refused(r#""unix:/dev/log""#),
        "a socket of this host, datagrams, or TCP with octet counting",
    )
    .shown(r#""unix:/dev/log""#);
}

/// The keys of `[[alerts.journal]]` alone.
pub mod journal {
    use super::*;

    /// Its name.
    pub const NAME: Key = receiver::name(r#""journal""#);
    /// Where it listens.
    pub const SOCKET: Key =
        Key::new("socket", Kind::PATH, Absent::Value(r#""/run/systemd/journal/socket""#), "journald's own socket")
            .commented(r#""/run/systemd/journal/socket""#);
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
