//! Where alerts go: `[alerts]` and the receivers in it.

use super::{Absent, Key, Kind, Section};

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

/// `[attribution]`.
pub static ATTRIBUTION: Section = Section::new(
    "attribution",
    "[attribution]",
    "Whether alerts say who sends: process, unit, container, user. A change needs a restart.",
    &[attribution::ENABLED, attribution::COMMAND_LINE],
);

/// The keys of `[attribution]`.
pub mod attribution {
    use super::*;

    /// Everything.
    pub const ENABLED: Key = Key::new(
        "enabled",
        Kind::As("true or false"),
        Absent::Value("true"),
        "whether it is looked up who sends what is alerted on",
    );
    /// Command lines.
    pub const COMMAND_LINE: Key = Key::new(
        "command_line",
        Kind::As("true or false"),
        Absent::Value("true"),
        "whether command lines are part of it: people put secrets there",
    );
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
    &[syslog::NAME, syslog::TO, receiver::CA, syslog::CERTIFICATE, syslog::KEY],
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
    /// Where something is that only we and the receiver know.
    pub const fn secret(name: &'static str, absent: &'static str, help: &'static str, example: &'static str) -> Key {
        let kind = Kind::As(r#"a file name, "credential:NAME" or "env:NAME" in quotes"#);
        Key::new(name, kind, Absent::Means(absent), help).commented(example)
    }
    /// A bearer token.
    pub const TOKEN: Key = secret(
        "token",
        "none",
        "where the bearer token is: a file that not everybody may read, a credential of the service's, or a variable of its \
         environment",
        r#""credential:siem-token""#,
    );
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
    pub const SECRET: Key = receiver::secret(
        "secret",
        "requests are not signed",
        "where the secret of the Standard Webhooks is (whsec_ and base64)",
        r#""credential:siem-secret""#,
    );
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
        Kind::As(r#""unix:/dev/log", "udp://HOST:PORT", "tcp://HOST:PORT" or "tls://HOST:PORT""#),
        Absent::Refused(r#""unix:/dev/log""#),
        "a socket of this host, datagrams, or octet-counted over TCP or TLS 1.3",
    )
    .shown(r#""tls://loghost.example.org:6514""#);
    /// Who we are.
    pub const CERTIFICATE: Key = Key::new(
        "certificate",
        Kind::FILE,
        Absent::Means("none is shown"),
        "over TLS: the certificate (PEM) that a receiver gets which asks for one, with those between it and its CA",
    )
    .commented(r#""enclave-1.pem""#);
    /// Its key.
    pub const KEY: Key = receiver::secret(
        "key",
        "none, as there is no certificate",
        "over TLS: where the certificate's key is (PEM)",
        r#""credential:syslog-key""#,
    );
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
