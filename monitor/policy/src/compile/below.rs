//! An index that can't be built because of networks longer than /64 in, whose most of them are and where they stand out.

use std::path::Path;

use ipnetwork::IpNetwork;
use monitor_common::classify::build::BuildError;

use super::error::PolicyError;
use crate::{
    geo::{Knowledge, Range},
    origin::Origin,
    spec::Spec,
};

/// Of one rule, site or overlay: what it is, how many it has, where the first stands.
struct Holder {
    name: String,
    networks: usize,
    origin: String,
}

/// The error with file, line and name, as far as somebody's networks are the cause.
pub(super) fn explained(error: BuildError, spec: &Spec, knowledge: &Knowledge) -> PolicyError {
    let within = match &error {
        BuildError::TooManyInOne64 { at, .. } => Some(*at),
        BuildError::TooManyLow(_) => None,
        _ => return error.into(),
    };
    let here = |first: u128| within.is_none_or(|at| (first >> 64) as u64 == at);
    let named = |name: String, networks: &[(IpNetwork, Origin)]| {
        let long = |network: &IpNetwork| match network {
            IpNetwork::V6(network) => network.prefix() > 64 && here(network.network().to_bits()),
            IpNetwork::V4(_) => false,
        };
        let mut of = networks.iter().filter(|(network, _)| long(network));
        let (_, origin) = of.next()?;
        Some(Holder { name, networks: 1 + of.count(), origin: origin.to_string() })
    };
    let placed = |name: String, file: Option<&Path>, ranges: &[Range<u128>]| {
        let long =
            |range: &Range<u128>| (range.first as u64 != 0 || range.last as u64 != u64::MAX) && here(range.first);
        let networks = ranges.iter().filter(|range| long(range)).count();
        let origin = file.map_or_else(|| name.clone(), |file| file.display().to_string());
        (networks > 0).then_some(Holder { name, networks, origin })
    };
    let rules = spec.rules.iter().filter_map(|rule| named(format!("rule '{}'", rule.id), &rule.to));
    let sites = spec.sites.iter().filter_map(|site| named(format!("site '{}'", site.name), &site.networks));
    let management = spec.management.iter().filter_map(|of| named("[management]".into(), &of.networks));
    let nat64 = named("[zone] nat64".into(), &spec.zone.nat64);
    let datasets =
        knowledge.datasets.iter().filter_map(|of| placed(format!("source '{}'", of.about.name), None, &of.v6));
    let overlays = knowledge
        .overlays
        .iter()
        .filter_map(|of| placed(format!("overlay '{}'", of.about.name), Some(&of.file), &of.v6));
    let all = rules.chain(sites).chain(management).chain(nat64).chain(datasets).chain(overlays);
    // Of several with as many the first.
    let most = all.reduce(|most, next| if next.networks > most.networks { next } else { most });
    match most {
        Some(Holder { name, networks, origin }) => PolicyError::BelowSixtyFour { origin, error, name, networks },
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ClockMap, compile,
        origin::at_line,
        spec::{Rule, Site},
    };

    /// So many networks of one address each in 2001:db8::/64, no two of them side by side; one a line.
    fn hosts(number: u128) -> Vec<(IpNetwork, Origin)> {
        let host = |at: u128| {
            let address = std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) + at * 4 + 1);
            (IpNetwork::new(address.into(), 128).expect("a network"), at_line("hosts.toml", at as usize + 1))
        };
        (0..number).map(host).collect()
    }

    #[test]
    fn more_networks_below_64_than_fit_are_refused_by_file_line_and_number() {
        let site = Site { name: "lab".into(), networks: hosts(10), country: crate::geo::Country(*b"SG") };
        let rule = |to| Rule { id: "hosts".into(), to, reason: "a test".into(), ..Rule::default() };
        let compiled = |number| {
            let spec = Spec { rules: vec![rule(hosts(number))], sites: vec![site.clone()], ..Spec::default() };
            compile(&spec, &Knowledge::default(), &ClockMap::wall(0))
        };
        // Ten times as many as there could be.
        assert!(compiled(20_480).is_ok());
        assert_eq!(
            compiled(32_768).unwrap_err().to_string(),
            "hosts.toml:1: networks longer than /64 cut 2001:db8::/64 into 65537 intervals, at most 65535 fit: merge \
             some, or widen them to /64; rule 'hosts' has 32768 of them here"
        );
    }
}
