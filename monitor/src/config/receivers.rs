//! The receivers below `[alerts]` in, specifications of sinks out. Called by [`super::sections`].

use std::path::{Path, PathBuf};

use super::{
    document::{Table, quote},
    error::ValueError,
    keys::{self, Key, Section},
    values,
};
use crate::model::receiver::{Http, Identity, Peers, Place, SinkKind, SinkSpec, SyslogAddress, Url};

/// What makes a sink of a table.
type Make = fn(&Table<'_>, &Path) -> Option<SinkKind>;

/// Each kind, by its section, the key of its name, and what is made of it.
const KINDS: [(&Section, &Key, Make); 4] = [
    (&keys::WEBHOOK, &keys::webhook::NAME, webhook),
    (&keys::ALERTMANAGER, &keys::alertmanager::NAME, alertmanager),
    (&keys::SYSLOG, &keys::syslog::NAME, syslog),
    (&keys::JOURNAL, &keys::journal::NAME, journal),
];

/// Reads all of them.
pub(super) fn read(alerts: Table<'_>, directory: &Path, sinks: &mut Vec<SinkSpec>) {
    for (section, name, make) in KINDS {
        for table in alerts.tables(section) {
            let named = table.required(name).and_then(|value| {
                let name = value.read(values::sink)?;
                if sinks.iter().any(|sink| sink.name == name) {
                    value.report(format!("there is another sink {}: give one of them another name", quote(&name)));
                    return None;
                }
                Some(name)
            });
            if let (Some(name), Some(to)) = (named, make(&table, directory)) {
                sinks.push(SinkSpec { name, to });
            }
        }
    }
}

fn webhook(table: &Table<'_>, directory: &Path) -> Option<SinkKind> {
    use keys::webhook::{FORMAT, SECRET};
    let ndjson = table.read(&FORMAT, values::format).unwrap_or(false);
    let secret = place(table, &SECRET, directory);
    Some(SinkKind::Webhook { at: http(table, &keys::receiver::URL, directory)?, ndjson, secret })
}

fn alertmanager(table: &Table<'_>, directory: &Path) -> Option<SinkKind> {
    http(table, &keys::alertmanager::URL, directory).map(SinkKind::Alertmanager)
}

fn syslog(table: &Table<'_>, directory: &Path) -> Option<SinkKind> {
    use keys::{
        receiver::CA,
        syslog::{CERTIFICATE, KEY, TO},
    };
    let to = table.required(&TO)?.read(|text| SyslogAddress::parse(text).map_err(ValueError))?;
    if !matches!(to, SyslogAddress::Tls(_)) {
        for value in [&CA, &CERTIFICATE, &KEY].into_iter().filter_map(|key| table.get(key)) {
            value.report("it has a meaning over TLS alone: write to = \"tls://HOST:6514\", or remove the key");
        }
    }
    match (table.get(&CERTIFICATE), table.get(&KEY)) {
        (Some(certificate), None) => certificate.report("a certificate needs its key: add key = \"FILE\""),
        (None, Some(key)) => key.report("a key needs its certificate: add certificate = \"FILE\""),
        _ => {}
    }
    let identity = file(table, &CERTIFICATE, directory).zip(place(table, &KEY, directory));
    let identity = identity.map(|(certificate, key)| Identity { certificate, key });
    Some(SinkKind::Syslog { to, peers: Peers { ca: file(table, &CA, directory), identity } })
}

fn journal(table: &Table<'_>, _: &Path) -> Option<SinkKind> {
    let socket = table.read(&keys::journal::SOCKET, values::absolute);
    Some(SinkKind::Journal(socket.unwrap_or_else(|| "/run/systemd/journal/socket".into())))
}

fn http(table: &Table<'_>, url: &Key, directory: &Path) -> Option<Http> {
    use keys::receiver::{CA, TOKEN};
    let url = table.required(url).and_then(|value| value.read(|text| Url::parse(text).map_err(ValueError)));
    let token = place(table, &TOKEN, directory);
    Some(Http { url: url?, token, ca: file(table, &CA, directory) })
}

fn file(table: &Table<'_>, key: &Key, directory: &Path) -> Option<PathBuf> {
    table.get(key).and_then(|value| value.text()).map(|name| directory.join(name))
}

fn place(table: &Table<'_>, key: &Key, directory: &Path) -> Option<Place> {
    table.read(key, |text| Place::parse(text, directory).map_err(ValueError))
}
