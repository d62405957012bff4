//! `[alerts]` and the receivers below it.

use super::*;
use crate::model::receiver::{Identity, Peers, Place, SinkKind, SyslogAddress};

#[test]
fn receivers_are_what_they_say_and_files_are_beside_the_configuration() {
    let text = "[alerts]\nkeep = \"2 GiB\"\nstdout = false\nfile = \"alerts.jsonl\"\n\
                [[alerts.webhook]]\nname = \"siem\"\nurl = \"https://siem.example.org/in\"\nformat = \"ndjson\"\n\
                secret = \"credential:siem\"\ntoken = \"token\"\nca = \"/etc/ca.pem\"\n\
                [[alerts.alertmanager]]\nname = \"am\"\nurl = \"http://127.0.0.1:9093/api/v2/alerts\"\n\
                [[alerts.syslog]]\nname = \"loghost\"\nto = \"tcp://loghost:601\"\n\
                [[alerts.syslog]]\nname = \"secret\"\nto = \"tls://loghost:6514\"\nca = \"ca.pem\"\n\
                certificate = \"own.pem\"\nkey = \"env:SYSLOG_KEY\"\n\
                [[alerts.journal]]\nname = \"journal\"\n";
    let config = good(text);
    let directory = config.file.as_deref().and_then(Path::parent).expect("a directory");
    let Alerts { keep, stdout, file, sinks } = &config.alerts;
    assert_eq!((*keep, *stdout, file.as_deref()), (2 << 30, false, Some(&*directory.join("alerts.jsonl"))));
    let names: Vec<_> = sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(names, ["siem", "am", "loghost", "secret", "journal"]);
    let SinkKind::Webhook { at, ndjson, secret } = &sinks[0].to else { panic!("{:?}", sinks[0]) };
    assert_eq!((at.url.host.as_str(), at.url.port, at.url.tls, *ndjson), ("siem.example.org", 443, true, true));
    assert_eq!(secret, &Some(Place::Credential("siem".into())));
    assert_eq!(at.token, Some(Place::File(directory.join("token"))));
    assert_eq!(at.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert!(matches!(&sinks[1].to, SinkKind::Alertmanager(at) if at.url.path == "/api/v2/alerts"));
    let plain = SinkKind::Syslog { to: SyslogAddress::Tcp("loghost:601".into()), peers: Peers::default() };
    assert_eq!(sinks[2].to, plain);
    let identity = Identity { certificate: directory.join("own.pem"), key: Place::Env("SYSLOG_KEY".into()) };
    let peers = Peers { ca: Some(directory.join("ca.pem")), identity: Some(identity) };
    assert_eq!(sinks[3].to, SinkKind::Syslog { to: SyslogAddress::Tls("loghost:6514".into()), peers });
    assert_eq!(sinks[4].to, SinkKind::Journal("/run/systemd/journal/socket".into()));
}

#[test]
fn what_is_wrong_with_a_receiver_is_said_with_its_line() {
    refused("[alerts]\nkeep = \"100 KiB\"", "config.toml:2: '100 KiB' is too little to keep: write 256 KiB or more");
    let webhook = |rest: &str| format!("[[alerts.webhook]]\n{rest}\n");
    refused(
        &webhook("name = \"siem\"\nurl = \"ftp://a/\""),
        "config.toml:3: \"ftp://a/\" is no URL: write one such as \"https://alerts.example.org/in\"",
    );
    refused(
        &webhook("name = \"Siem\"\nurl = \"http://a/\""),
        "config.toml:2: 'Siem' is no name of a sink: write 1 to 32 lower-case letters, digits and '-', and neither stdout \
         nor file",
    );
    refused(
        &(webhook("name = \"siem\"\nurl = \"http://a/\"")
            + "[[alerts.syslog]]\nname = \"siem\"\nto = \"unix:/dev/log\""),
        "config.toml:5: there is another sink 'siem': give one of them another name",
    );
    refused(
        "[[alerts.syslog]]\nname = \"x\"\nto = \"loghost\"",
        "config.toml:3: \"loghost\" is no receiver: write \"unix:/dev/log\", \"udp://HOST:514\", \"tcp://HOST:601\" or \
         \"tls://HOST:6514\"",
    );
    let syslog = |to: &str, rest: &str| format!("[[alerts.syslog]]\nname = \"x\"\nto = \"{to}\"\n{rest}\n");
    refused(
        &syslog("tcp://a:601", "ca = \"ca.pem\""),
        "config.toml:4: it has a meaning over TLS alone: write to = \"tls://HOST:6514\", or remove the key",
    );
    refused(
        &syslog("tls://a:6514", "certificate = \"own.pem\""),
        "config.toml:4: a certificate needs its key: add key = \"FILE\"",
    );
    refused(
        &syslog("tls://a:6514", "key = \"own.key\""),
        "config.toml:4: a key needs its certificate: add certificate = \"FILE\"",
    );
    refused(
        &webhook("name = \"siem\"\nurl = \"http://a/\"\ntoken = \"env:A B\""),
        "config.toml:4: \"env:A B\" names no variable: write \"env:NAME\"",
    );
    refused(
        &webhook("name = \"siem\"\nurl = \"http://a/\"\nformat = \"xml\""),
        "config.toml:4: format 'xml' is neither \"json\" nor \"ndjson\"",
    );
}
