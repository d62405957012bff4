//! What the host needs and the policy would cut off: gateways, resolvers, time servers, package mirrors, and whoever has a
//! connection open now. What the host says of itself in, destinations that would be dropped out. Called by `check` and by the
//! start of `run`, after everything is attached.
//!
//! It is help for the operator, no promise: what the host needs at other times is in no file.

mod files;
mod sessions;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use monitor_api::needs::CutOff;
use monitor_common::{
    classify::{Destination, classify_packet},
    parse::Reason,
    wire::Address,
};
use monitor_policy::{ImageAt, Policy};

use crate::{coverage, kernel};

/// IANA protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// A file is read so far: those that matter are short, and a table of connections has no end.
const LONGEST: u64 = 4 << 20;

/// How long names may take to be resolved, all in all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Somebody whom the host talks to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    /// What for, such as *resolver*.
    what: &'static str,
    /// Where it is named.
    by: String,
    /// Who: an address, or a name.
    peer: Peer,
    protocol: u8,
    /// Of what is sent there.
    port: u16,
    /// Its own port here, where it has one.
    source_port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    At(IpAddr),
    Named(String),
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What would be dropped.
    pub cut_off: Vec<CutOff>,
    /// Names that have no address, or were not asked for.
    pub unresolved: BTreeSet<String>,
}

/// Looks at this host and asks the policy. `names`: whether names are resolved, which asks the resolver of the host.
#[must_use]
pub fn find(policy: &Policy, boot_ns: u64, names: bool) -> Found {
    let mut needs = of_host();
    let unresolved = resolve(&mut needs, names);
    Found { cut_off: judge(&needs, policy, boot_ns), unresolved }
}

/// What enforce would do to PPPoE, where a device may be one and the policy has its frames dropped.
#[must_use]
pub fn pppoe(policy: &Policy) -> Option<String> {
    let devices = kernel::devices().unwrap_or_default();
    pppoe_of(&coverage::ppp_beside_cards(&devices), policy.image.drop_reasons)
}

fn pppoe_of(devices: &[&str], drop_reasons: u64) -> Option<String> {
    let cut_off = !devices.is_empty() && drop_reasons & Reason::Pppoe.bit() != 0;
    cut_off.then(|| {
        format!(
            "{}: if that is PPPoE, enforce mode cuts it off, since it drops frames of PPPoE at the card. What is in them is \
             judged before, on this device: [zone.undecodable] pppoe = \"allow\" lets the frames through",
            devices.join(", ")
        )
    })
}

/// Whatever can't be read is not there.
fn of_host() -> BTreeSet<Need> {
    let mut needs = BTreeSet::new();
    for (read, file) in files::KNOWN {
        for file in expand(file) {
            needs.extend(read(&text(&file), &file.display().to_string()));
        }
    }
    for (file, protocol) in sessions::TABLES {
        needs.extend(sessions::read(&text(Path::new(file)), protocol));
    }
    let gateway = |gateway| Need {
        what: "gateway",
        by: "a default route".into(),
        peer: Peer::At(gateway),
        // Neighbour solicitations go to its address when it has not been heard for a while (RFC 4861 7.3.3).
        protocol: ICMPV6,
        port: 0,
        source_port: None,
    };
    needs.extend(kernel::default_gateways().unwrap_or_default().into_iter().map(|v6| gateway(v6.into())));
    needs
}

fn text(file: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(opened) = File::open(file) {
        let _ = opened.take(LONGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The files of a directory, where the name ends with `/*` and more.
fn expand(file: &str) -> Vec<PathBuf> {
    let Some((folder, ending)) = file.split_once("/*") else { return vec![file.into()] };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|file| file.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

/// Puts addresses in the place of names; gives the names that are left.
fn resolve(needs: &mut BTreeSet<Need>, ask: bool) -> BTreeSet<String> {
    let named = |need: &Need| match &need.peer {
        Peer::Named(name) => Some(name.clone()),
        Peer::At(_) => None,
    };
    let mut left: BTreeSet<String> = needs.iter().filter_map(named).collect();
    let (sender, answers) = mpsc::channel();
    for name in left.iter().filter(|_| ask) {
        let (name, sender) = (name.clone(), sender.clone());
        // One that hangs ends with the process.
        thread::spawn(move || {
            let found: Vec<IpAddr> =
                (name.as_str(), 0).to_socket_addrs().map(|all| all.map(|at| at.ip()).collect()).unwrap_or_default();
            // Nobody waits any more.
            let _ = sender.send((name, found));
        });
    }
    drop(sender);
    let (deadline, mut found) = (Instant::now() + PATIENCE, BTreeMap::new());
    while let Ok((name, addresses)) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if !addresses.is_empty() {
            left.remove(&name);
            found.insert(name, addresses);
        }
    }
    *needs = std::mem::take(needs)
        .into_iter()
        .flat_map(|need| {
            let addresses = match &need.peer {
                Peer::At(address) => vec![*address],
                Peer::Named(name) => found.get(name).cloned().unwrap_or_default(),
            };
            let by = |name: &str| format!("{name} in {}", need.by);
            let by = if let Peer::Named(name) = &need.peer { by(name) } else { need.by.clone() };
            addresses.into_iter().map(move |at| Need { peer: Peer::At(at), by: by.clone(), ..need.clone() })
        })
        .collect();
    left
}

/// What of it the policy denies.
fn judge(needs: &BTreeSet<Need>, policy: &Policy, boot_ns: u64) -> Vec<CutOff> {
    let image = ImageAt { image: &policy.image, boot_ns };
    let of = |need: &Need| {
        let Peer::At(address) = need.peer else { return None };
        let address = address.to_canonical();
        let (ip_version, wire) = match address {
            IpAddr::V4(v4) => (4, Address::v4(v4.to_bits())),
            IpAddr::V6(v6) => (6, Address::from(v6)),
        };
        let to = Destination {
            address: wire,
            ip_version,
            protocol: need.protocol,
            port: need.port,
            source_port: need.source_port.map_or(Destination::NO_SOURCE, u32::from),
            flags: 0,
        };
        let found = classify_packet(&image, &to).filter(|found| found.deny && !address.is_loopback())?;
        let class = policy.classes.get(usize::from(found.class_id));
        Some(CutOff {
            what: need.what.into(),
            by: need.by.clone(),
            address,
            protocol: need.protocol,
            class: class.map_or("unknown", |of| of.class.name()).into(),
            country: class.map_or_else(String::new, |of| of.country.to_string()),
        })
    };
    // Many connections of one program are one line.
    needs.iter().filter_map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Of a peer as it is written in a file: an address, perhaps with a port, or a name.
fn peer(written: &str, port: u16) -> Option<(Peer, u16)> {
    let written = written.split('%').next().unwrap_or_default();
    if let Ok(at) = written.parse::<SocketAddr>() {
        return Some((Peer::At(at.ip()), at.port()));
    }
    let bare = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some((Peer::At(address), port));
    }
    let (name, port) = match written.rsplit_once(':') {
        Some((name, number)) => (name, number.parse().ok()?),
        None => (written, port),
    };
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    (!name.is_empty() && name.chars().all(is_name)).then(|| (Peer::Named(name.to_owned()), port))
}

#[cfg(test)]
mod tests;
