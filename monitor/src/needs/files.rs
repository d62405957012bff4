//! What the host's own configuration says of whom it needs: resolver, time servers, package mirrors. A file's text in, needs
//! out; a line that is not understood is left out. Called by its parent.

use super::{Need, Peer, TCP, UDP, peer};

/// Reads a file's text; the second is its name.
type Reader = fn(&str, &str) -> Vec<Need>;

/// The files, or a directory's with this ending.
pub(super) const KNOWN: [(Reader, &str); 13] = [
    (resolvers, "/etc/resolv.conf"),
    (resolvers, "/run/systemd/resolve/resolv.conf"),
    (servers, "/etc/chrony/chrony.conf"),
    (servers, "/etc/chrony/conf.d/*.conf"),
    (servers, "/etc/chrony/sources.d/*.sources"),
    (servers, "/etc/chrony.conf"),
    (servers, "/etc/ntp.conf"),
    (servers, "/etc/ntpsec/ntp.conf"),
    (timesyncd, "/etc/systemd/timesyncd.conf"),
    (timesyncd, "/etc/systemd/timesyncd.conf.d/*.conf"),
    (mirrors, "/etc/apt/sources.list"),
    (mirrors, "/etc/apt/sources.list.d/*.list"),
    (mirrors, "/etc/apt/sources.list.d/*.sources"),
];

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().take_while(|word| !word.starts_with(['#', ';', '!', '%']))
}

fn need(what: &'static str, by: &str, (peer, port): (Peer, u16), protocol: u8) -> Need {
    Need { what, by: by.into(), peer, protocol, port, source_port: None }
}

/// resolv.conf(5). Answers that do not fit go by TCP, and are judged alike but for a rule on ports.
pub(super) fn resolvers(text: &str, by: &str) -> Vec<Need> {
    let of = |line: &str| {
        let mut words = words(line);
        (words.next()? == "nameserver").then_some(())?;
        Some(need("resolver", by, peer(words.next()?, 53)?, UDP))
    };
    text.lines().filter_map(of).collect()
}

/// chrony.conf(5), ntp.conf(5).
pub(super) fn servers(text: &str, by: &str) -> Vec<Need> {
    let of = |line: &str| {
        let mut words = words(line);
        ["server", "pool", "peer"].contains(&words.next()?).then_some(())?;
        // ntp.conf has -4 and -6 before the name.
        Some(need("time server", by, peer(words.find(|word| !word.starts_with('-'))?, 123)?, UDP))
    };
    text.lines().filter_map(of).collect()
}

/// timesyncd.conf(5).
pub(super) fn timesyncd(text: &str, by: &str) -> Vec<Need> {
    let of = |line: &str| {
        let (key, servers) = line.trim().split_once('=')?;
        let is_ours = ["NTP", "FallbackNTP"].contains(&key.trim());
        is_ours.then(|| servers.split_whitespace().filter_map(|server| peer(server, 123)).collect::<Vec<_>>())
    };
    text.lines().filter_map(of).flatten().map(|peer| need("time server", by, peer, UDP)).collect()
}

/// sources.list(5), in both of its forms.
pub(super) fn mirrors(text: &str, by: &str) -> Vec<Need> {
    let of = |word: &str| {
        let (scheme, rest) = word.split_once("://")?;
        let port = match scheme.rsplit('+').next()? {
            "http" => 80,
            "https" => 443,
            "ftp" => 21,
            _ => return None,
        };
        let host = rest.split('/').next()?;
        peer(host.rsplit('@').next()?, port)
    };
    let is_source = |line: &&str| {
        let first = words(line).next().unwrap_or_default();
        // What goes on from the line before begins with a blank.
        ["deb", "deb-src", "URIs:"].contains(&first) || line.starts_with(' ')
    };
    let peers = text.lines().filter(is_source).flat_map(words).filter_map(of);
    peers.map(|peer| need("package mirror", by, peer, TCP)).collect()
}
