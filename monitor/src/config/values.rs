//! Text in, single checked values out; an error quotes the value and says what to write instead.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnetwork::IpNetwork;
use monitor_common::wire::Embedded;
use monitor_policy::{
    duration,
    geo::{Country, names, unmapped},
    protocol, region,
    spec::{Action, Mode, PortRange},
    text::is_hidden,
};

use super::{Heal, OnDaemonLoss, Reload, document::quote, error::ValueError};
use crate::model::HookChoice;

/// The shortest and longest epoch.
const EPOCHS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);

/// Names and ids end up as metric labels, in file names and on terminals.
const LONGEST_NAME: usize = 64;

fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, ValueError> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        ValueError(format!("invalid value {}: write {}", quote(text), names.join(" or ")))
    })
}

pub(super) fn mode(text: &str) -> Result<Mode, ValueError> {
    choice(text, &[("observe", Mode::Observe), ("enforce", Mode::Enforce)])
}

pub(super) fn reload(text: &str) -> Result<Reload, ValueError> {
    choice(text, &[("auto", Reload::Auto), ("signal", Reload::Signal)])
}

pub(super) fn hook(text: &str) -> Result<HookChoice, ValueError> {
    choice(text, &[("auto", HookChoice::Auto), ("tcx", HookChoice::Tcx), ("clsact", HookChoice::Clsact)])
}

pub(super) fn on_daemon_loss(text: &str) -> Result<OnDaemonLoss, ValueError> {
    let choices = [("keep", OnDaemonLoss::Keep), ("observe", OnDaemonLoss::Observe), ("open", OnDaemonLoss::Open)];
    choice(text, &choices)
}

pub(super) fn heal(text: &str) -> Result<Heal, ValueError> {
    choice(text, &[("enforce", Heal::Enforce), ("always", Heal::Always), ("never", Heal::Never)])
}

pub(super) fn action(text: &str) -> Result<Action, ValueError> {
    choice(text, &[("allow", Action::Allow), ("deny", Action::Deny)])
}

/// `10s`, `500ms`, `2min`, within [`EPOCHS`].
pub(super) fn epoch(text: &str) -> Result<Duration, ValueError> {
    let Ok(duration) = duration::parse_single(text) else {
        return Err(ValueError(format!("invalid duration {}: add a unit, ms, s or min, such as \"10s\"", quote(text))));
    };
    if !EPOCHS.contains(&duration) {
        return Err(ValueError(format!("epoch {} is out of bounds: write 100ms to 5min", quote(text))));
    }
    Ok(duration)
}

/// A network: an address and a prefix length, or an address alone. IPv4 in the notation of IPv6 is IPv4.
pub(super) fn network(text: &str) -> Result<IpNetwork, ValueError> {
    as_written(text).map(unmapped)
}

fn as_written(text: &str) -> Result<IpNetwork, ValueError> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let example = "write an address and a prefix length, such as 192.0.2.0/24 or 2001:db8::/32";
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(ValueError(format!("{} is no network: {example}", quote(text))));
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix else {
        return IpNetwork::new(address, bits)
            .map_err(|_| ValueError(format!("{} is no network: {example}", quote(text))));
    };
    // `parse` alone would take "+8" and "08".
    let plain = prefix.bytes().all(|byte| byte.is_ascii_digit()) && (prefix.len() == 1 || !prefix.starts_with('0'));
    let network = prefix.parse().ok().filter(|length| plain && *length <= bits);
    let Some(network) = network.and_then(|length: u8| IpNetwork::new(address, length).ok()) else {
        return Err(ValueError(format!("{} has no prefix length of 0 to {bits}: {example}", quote(text))));
    };
    if network.network() != address {
        return Err(ValueError(format!(
            "{} has host bits set: write {}/{}, or {address}/{bits} for the one address",
            quote(text),
            network.network(),
            network.prefix()
        )));
    }
    Ok(network)
}

/// A NAT64 translator's prefix (RFC 6052 2.2).
pub(super) fn nat64(text: &str) -> Result<IpNetwork, ValueError> {
    let network = network(text)?;
    if network.is_ipv4() {
        return Err(ValueError(format!(
            "{} is IPv4: write the IPv6 prefix that the translator answers for, such as 64:ff9b:1::/96",
            quote(text)
        )));
    }
    if Embedded::nat64(network.prefix()).is_none() {
        return Err(ValueError(format!(
            "{} has a length that no translator uses: write the prefix with 32, 40, 48, 56, 64 or 96 bits (RFC 6052)",
            quote(text)
        )));
    }
    Ok(network)
}

/// What a rule covers.
pub(super) enum Destination {
    /// A network.
    Network(IpNetwork),
    /// A country.
    Country(Country),
    /// An autonomous system.
    As(u32),
}

/// A network, `AS64500`, or a country by its code or name.
pub(super) fn destination(text: &str) -> Result<Destination, ValueError> {
    if text.starts_with(|first: char| first.is_ascii_digit()) || text.contains([':', '/']) {
        return network(text).map(Destination::Network);
    }
    if let Some(digits) = text.strip_prefix("AS").or(text.strip_prefix("as"))
        && digits.starts_with(|first: char| first.is_ascii_digit())
    {
        // AS 0 is for what nobody announces (RFC 7607).
        let number = digits.parse().ok().filter(|number| *number != 0 && !digits.starts_with('0'));
        return number.map(Destination::As).ok_or_else(|| {
            ValueError(format!(
                "{} is no autonomous system: write AS1 to AS{}, such as \"AS64500\"",
                quote(text),
                u32::MAX
            ))
        });
    }
    if let Ok(country) = region::country(text) {
        return Ok(Destination::Country(country));
    }
    if let Some(country) = names::named(text) {
        return Ok(Destination::Country(country));
    }
    let hint = match (region::country(text), names::nearest(text)) {
        (Err(region::RegionError::Synonym(_, code)), _) => format!("write \"{code}\""),
        (_, Some(near)) => format!("did you mean \"{near}\"?"),
        _ => "write a network such as 192.0.2.0/24, a country such as \"SG\" or \"Singapore\", or \"AS64500\"".into(),
    };
    Err(ValueError(format!("{} is no network, country or autonomous system: {hint}", quote(text))))
}

/// `200 GiB`, `1 TB`.
pub(super) fn bytes(text: &str) -> Result<u64, ValueError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: Option<u64> = match unit.trim_start() {
        "B" => Some(1),
        "kB" | "KB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "TB" => Some(1_000_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        ValueError(format!(
            "{} is no amount: write a whole number above 0 with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as \
             \"200 GiB\"",
            quote(text)
        ))
    })
}

/// A sink's name, which is part of a file's.
pub(super) fn sink(text: &str) -> Result<String, ValueError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let taken = ["stdout", "file"].contains(&text);
    if !(1..=32).contains(&text.len()) || !text.bytes().all(plain) || taken {
        let what = quote(text);
        return Err(ValueError(format!(
            "{what} is no name of a sink: write 1 to 32 lower-case letters, digits and '-', and neither stdout nor file"
        )));
    }
    Ok(text.to_owned())
}

/// `[[alerts.webhook]] format`: whether it is NDJSON.
pub(super) fn format(text: &str) -> Result<bool, ValueError> {
    match text {
        "json" => Ok(false),
        "ndjson" => Ok(true),
        _ => Err(ValueError(format!("format {} is neither \"json\" nor \"ndjson\"", quote(text)))),
    }
}

/// The same, for what is kept on disk.
pub(super) fn kept(text: &str) -> Result<u64, ValueError> {
    const LEAST: u64 = 256 << 10;
    let refused = || ValueError(format!("{} is too little to keep: write 256 KiB or more", quote(text)));
    bytes(text).and_then(|bytes| if bytes < LEAST { Err(refused()) } else { Ok(bytes) })
}

/// `tcp/443`, `udp/4500-4510`, or a protocol alone.
pub(super) fn ports(text: &str) -> Result<PortRange, ValueError> {
    let example = "write protocol/port, protocol/first-last or a protocol alone, such as \"tcp/443\", \
                   \"udp/4500-4510\" or \"icmp\"";
    let Some((protocol, range)) = text.split_once('/') else {
        return match protocol::parse(text) {
            Some(protocol) => Ok(PortRange { protocol, low: 0, high: u16::MAX }),
            None => Err(ValueError(format!("{} is no port range: {example}", quote(text)))),
        };
    };
    let Some(protocol) = protocol::parse(protocol).filter(|number| protocol::has_ports(*number)) else {
        return Err(ValueError(format!(
            "{} has no protocol with ports that is known: write tcp, udp, sctp, dccp or udplite before the '/'",
            quote(text)
        )));
    };
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (Some(low), Some(high)) = (port(low), port(high)) else {
        return Err(ValueError(format!("{} has no port of 0 to 65535: {example}", quote(text))));
    };
    if low > high {
        return Err(ValueError(format!("{} is reversed: write the lower port first, {high}-{low}", quote(text))));
    }
    Ok(PortRange { protocol, low, high })
}

/// `[http] listen`: loopback, or nothing.
pub(super) fn listen(text: &str) -> Result<Option<SocketAddr>, ValueError> {
    if text.is_empty() {
        return Ok(None);
    }
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err(ValueError(format!(
            "{} is no address and port: write \"127.0.0.1:9477\" or \"[::1]:9477\", or \"\" to turn HTTP off",
            quote(text)
        )));
    };
    if !address.ip().is_loopback() {
        return Err(ValueError(format!(
            "{} is not loopback, and this version has neither TLS nor tokens to protect it: write \
             \"127.0.0.1:{port}\" or \"[::1]:{port}\"",
            quote(text),
            port = address.port()
        )));
    }
    Ok(Some(address))
}

/// A path from '/' on.
pub(super) fn absolute(text: &str) -> Result<PathBuf, ValueError> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(ValueError(format!("path {} is not absolute: write it from '/' on", quote(text))))
    }
}

/// An id or a name.
pub(super) fn name(text: &str) -> Result<String, ValueError> {
    let plain = !text.trim().is_empty() && text.trim() == text && !text.chars().any(is_hidden);
    if !plain || text.chars().count() > LONGEST_NAME {
        return Err(ValueError(format!(
            "{} is no name: write 1 to {LONGEST_NAME} characters without control characters or spaces around them",
            quote(text)
        )));
    }
    Ok(text.to_owned())
}

/// A rule's id: a name that is not what tables write where there is no rule, or more than one.
pub(super) fn rule_id(text: &str) -> Result<String, ValueError> {
    let id = name(text)?;
    if id == "-" || (id.starts_with('(') && id.ends_with(')')) {
        return Err(ValueError(format!(
            "rule id {} is what tables write where there is no rule, or more than one: give the rule another id",
            quote(text)
        )));
    }
    Ok(id)
}

/// A group's name; empty: none.
pub(super) fn group(text: &str) -> Result<String, ValueError> {
    if text.is_empty() {
        return Ok(String::new());
    }
    // As useradd(8) has them.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return name(text);
    }
    Err(ValueError(format!("{} is no group's name: write one of /etc/group, or \"\" for nobody", quote(text))))
}

/// An interface name, or a glob over them, or `auto`.
pub(super) fn interface(text: &str) -> Result<String, ValueError> {
    pattern(text.strip_prefix('!').unwrap_or(text), "a glob such as \"eth*\", or \"auto\"")?;
    Ok(text.trim().to_owned())
}

/// The same of a device that leads to a guest: no `auto`, and nothing to leave out.
pub(super) fn guest(text: &str) -> Result<String, ValueError> {
    pattern(text, "or a glob such as \"veth*\"")
}

/// A control group, as a path below the root.
pub(super) fn control_group(text: &str) -> Result<String, ValueError> {
    let parts = text.strip_prefix('/').map(|rest| rest.split('/'));
    if parts.is_some_and(|mut parts| parts.all(|part| !part.is_empty() && part != ".." && part != ".")) {
        Ok(text.to_owned())
    } else {
        Err(ValueError(format!(
            "{} is no control group: write its path below the root, such as \"/system.slice/capture.service\" (`systemctl show \
             -p ControlGroup NAME`)",
            quote(text)
        )))
    }
}

/// A name or a glob; `else_write`: what may be written instead of one that is none.
fn pattern(text: &str, else_write: &str) -> Result<String, ValueError> {
    let name = name(text)?;
    if let Err(error) = glob::Pattern::new(&name) {
        return Err(ValueError(format!("{} is no glob ({}): write a name, {else_write}", quote(text), error.msg)));
    }
    // IFNAMSIZ is 16 with the end mark; a name can't hold '/' or spaces.
    let glob = name.contains(['*', '?', '[']);
    if name.contains(['/', ' ']) || (!glob && name.len() > 15) {
        return Err(ValueError(format!(
            "{} is no interface name: write 1 to 15 characters without '/' and spaces, {else_write}",
            quote(text)
        )));
    }
    Ok(name)
}
