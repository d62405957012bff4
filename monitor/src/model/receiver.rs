//! Where alerts are sent, as it is configured: what is wrong with it is said when the configuration is read. No connection
//! and no secret is here.

use std::path::PathBuf;

use monitor_policy::text::excerpt;

/// Where a receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is asked over TLS.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Url {
    /// An `http` or `https` URL without user and password.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is no URL: write one such as \"https://alerts.example.org/in\"", excerpt(url));
        let uri: hyper::Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let behind = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if host.is_empty() || (!behind.is_empty() && authority.port_u16().is_none()) {
            return Err(wrong());
        }
        Ok(Self { tls, host, port, path })
    }

    /// As the `Host` header has it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

/// Where a syslog receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A datagram socket.
    Unix(PathBuf),
    /// Host and port.
    Udp(String),
    /// Host and port.
    Tcp(String),
    /// Host and port.
    Tls(String),
}

impl SyslogAddress {
    /// `unix:/dev/log`, `udp://HOST:PORT`, `tcp://HOST:PORT`, `tls://HOST:PORT`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{:?} is no receiver: write \"unix:/dev/log\", \"udp://HOST:514\", \"tcp://HOST:601\" or \
                 \"tls://HOST:6514\"",
                excerpt(text)
            )
        };
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        let (scheme, at) = text.split_once("://").ok_or_else(wrong)?;
        let (host, port) = at.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        match scheme {
            "udp" => Ok(Self::Udp(at.to_owned())),
            "tcp" => Ok(Self::Tcp(at.to_owned())),
            "tls" => Ok(Self::Tls(at.to_owned())),
            _ => Err(wrong()),
        }
    }
}

/// Whom we believe a receiver to be, over TLS, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Certificates that are believed, instead of the system's.
    pub ca: Option<PathBuf>,
    /// What is shown to a receiver that asks.
    pub identity: Option<Identity>,
}

/// A certificate, with those between it and whoever vouches for it, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: Place,
}

/// Where a secret is: a file, `credential:NAME`, or `env:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of its owner's.
    File(PathBuf),
    /// In `$CREDENTIALS_DIRECTORY` (systemd's LoadCredential).
    Credential(String),
    /// A variable of the daemon's environment.
    Env(String),
}

impl Place {
    /// `credential:NAME`, `env:NAME`, or a file, beside the configuration where its name does not begin with `/`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str, directory: &std::path::Path) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return match name.bytes().next() {
                Some(first) if fits && !first.is_ascii_digit() => Ok(Self::Env(name.to_owned())),
                _ => Err(format!("{:?} names no variable: write \"env:NAME\"", excerpt(text))),
            };
        }
        match text.strip_prefix("credential:") {
            Some(name) if !name.is_empty() && !name.contains('/') && name != ".." => {
                Ok(Self::Credential(name.to_owned()))
            }
            Some(_) => Err(format!("{:?} names no credential: write \"credential:NAME\"", excerpt(text))),
            None if text.is_empty() => {
                Err("it is empty: write a file name, \"credential:NAME\" or \"env:NAME\"".to_owned())
            }
            None => Ok(Self::File(directory.join(text))),
        }
    }
}

/// A sink that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSpec {
    /// Its name.
    pub name: String,
    /// What it is.
    pub to: SinkKind,
}

/// See [`SinkSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// An HTTP receiver.
    Webhook {
        /// Where.
        at: Http,
        /// Many alerts a request, one a line.
        ndjson: bool,
        /// The secret of the Standard Webhooks.
        secret: Option<Place>,
    },
    /// Prometheus Alertmanager.
    Alertmanager(Http),
    /// A syslog receiver.
    Syslog {
        /// Where.
        to: SyslogAddress,
        /// Over TLS, who is there.
        peers: Peers,
    },
    /// journald, at this socket.
    Journal(PathBuf),
}

/// An HTTP receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Its URL.
    pub url: Url,
    /// A bearer token.
    pub token: Option<Place>,
    /// Certificates that are believed, instead of the system's.
    pub ca: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_host_port_and_path_and_no_user() {
        let parsed = |url: &str| Url::parse(url).map(|at| (at.tls, at.authority(), at.port, at.path)).ok();
        assert_eq!(parsed("https://a.example"), Some((true, "a.example".into(), 443, "/".into())));
        assert_eq!(parsed("http://[::1]:9093/x?y=1"), Some((false, "[::1]:9093".into(), 9093, "/x?y=1".into())));
        assert_eq!(parsed("http://192.0.2.1:80/"), Some((false, "192.0.2.1".into(), 80, "/".into())));
        for url in ["a.example", "ftp://a.example/", "https://user:secret@a.example/", "https://", "http://a:99999/"] {
            let error = Url::parse(url).unwrap_err();
            assert!(error.contains("is no URL"), "{error}");
        }
    }

    #[test]
    fn addresses_are_one_of_four() {
        assert_eq!(SyslogAddress::parse("unix:/dev/log"), Ok(SyslogAddress::Unix("/dev/log".into())));
        assert_eq!(SyslogAddress::parse("udp://[::1]:514"), Ok(SyslogAddress::Udp("[::1]:514".into())));
        assert_eq!(SyslogAddress::parse("tcp://a.example:601"), Ok(SyslogAddress::Tcp("a.example:601".into())));
        assert_eq!(SyslogAddress::parse("tls://a.example:6514"), Ok(SyslogAddress::Tls("a.example:6514".into())));
        for wrong in ["", "unix:x", "ssl://a:1", "tls://a", "tcp://a", "tcp://:1", "udp://a:x"] {
            assert!(SyslogAddress::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_a_file_a_credential_or_a_variable() {
        let place = |text: &str| Place::parse(text, std::path::Path::new("/etc/x"));
        assert_eq!(place("credential:siem"), Ok(Place::Credential("siem".into())));
        assert_eq!(place("siem.secret"), Ok(Place::File("/etc/x/siem.secret".into())));
        assert_eq!(place("/run/s"), Ok(Place::File("/run/s".into())));
        assert_eq!(place("env:SIEM_KEY2"), Ok(Place::Env("SIEM_KEY2".into())));
        for wrong in ["", "env:", "env:2A", "env:A=B", "credential:", "credential:../x", "credential:.."] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
