//! A compiled policy against an evaluator of the same policy that is written from the definitions in `docs/policy.md`
//! and looks at everything for every packet. `EGRESS_MONITOR_LOOKUPS` says how many look-ups there are to be (a few
//! hundred thousand without it): `EGRESS_MONITOR_LOOKUPS=10000000 cargo test --release -p monitor-policy oracle`.

use std::net::{IpAddr, Ipv4Addr};

use monitor_common::verdict::{Verdict, decide};

use super::{
    random::{self, BOOT, CLOCK},
    tests::classification,
    *,
};
use crate::spec::Action;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    country: String,
    class: &'static str,
    rule: Option<String>,
    deny: bool,
    alert: bool,
    observe: Verdict,
    enforce: Verdict,
}

/// A packet, and the wall clock when it leaves.
#[derive(Clone, Copy, Debug)]
struct Packet {
    to: IpAddr,
    protocol: u8,
    port: u16,
    now: i64,
}

/// What an address is, without rules.
struct Place {
    v4: bool,
    country: Country,
    class: Class,
    inner: Option<Ipv4Addr>,
    system: Option<u32>,
}

/// A rule that decides.
struct Ruled<'a> {
    id: &'a str,
    /// 1: allows, 2: denies, 3: is management's.
    force: u8,
}

/// What rules are compared by: how specific, how many ports, whether it allows, is a plain list, the id.
type Key<'a> = (i32, u32, bool, bool, &'a str);

struct Naive<'a> {
    spec: &'a Spec,
    knowledge: &'a Knowledge,
}

impl Naive<'_> {
    fn inside(&self, country: Country) -> bool {
        self.spec.zone.inside.contains(&country)
    }

    fn place(&self, address: IpAddr) -> Place {
        let holds = |network: &ipnetwork::IpNetwork| network.contains(address);
        let narrowest = |special: &&Special| special.network.prefix();
        let special = self.knowledge.special.iter().filter(|special| holds(&special.network)).max_by_key(narrowest);
        let site = self.spec.sites.iter().find(|site| site.networks.iter().any(|(network, _)| holds(network)));
        let nat64 = self.spec.zone.nat64.iter().filter(|(prefix, _)| holds(prefix));
        let nat64 = nat64.max_by_key(|(prefix, _)| prefix.prefix());
        let carried = |form: Embedded| match address {
            IpAddr::V6(v6) => form.extract(v6.into()).map(Ipv4Addr::from_bits),
            IpAddr::V4(_) => None,
        };
        let nowhere = |class| Place { v4: address.is_ipv4(), country: Country::NONE, class, inner: None, system: None };
        if let Some(special) = special.filter(|special| special.class.stays()) {
            return nowhere(special.class);
        }
        if let Some((prefix, _)) = nat64 {
            let form = Embedded::nat64(prefix.prefix()).expect("checked");
            return Place { inner: carried(form), ..nowhere(Class::Unknown) };
        }
        let system = self.knowledge.asn.as_ref().and_then(|asn| match address {
            IpAddr::V4(v4) => {
                asn.v4.iter().find(|range| (range.first..=range.last).contains(&v4.to_bits())).map(|r| r.asn)
            }
            IpAddr::V6(v6) => {
                asn.v6.iter().find(|range| (range.first..=range.last).contains(&v6.to_bits())).map(|r| r.asn)
            }
        });
        let system = system.filter(|_| special.is_none());
        if let Some(site) = site {
            let class = if self.inside(site.country) { Class::Inside } else { Class::Outside };
            return Place { v4: address.is_ipv4(), country: site.country, class, inner: None, system };
        }
        if let Some(special) = special {
            let private_inside = special.class == Class::Private && self.spec.zone.inside_private;
            let class = if private_inside { Class::Inside } else { special.class };
            return Place { inner: carried(special.embedded), ..nowhere(class) };
        }
        // Overlays override datasets: all that say something are asked.
        let overlaid: Vec<Country> =
            self.knowledge.overlays.iter().filter_map(|data| data.lookup(address).map(|range| range.country)).collect();
        if overlaid.contains(&Country::UNDETERMINED) {
            return Place {
                v4: address.is_ipv4(),
                country: Country::UNKNOWN,
                class: Class::Unknown,
                inner: None,
                system,
            };
        }
        if let Some(first) = overlaid.first() {
            let inside = overlaid.iter().filter(|country| self.inside(**country)).count();
            let class = match inside {
                0 => Class::Outside,
                all if all == overlaid.len() => Class::Inside,
                _ => Class::Ambiguous,
            };
            return Place { v4: address.is_ipv4(), country: *first, class, inner: None, system };
        }
        let says: Vec<Option<Country>> = self
            .knowledge
            .datasets
            .iter()
            .map(|data| data.lookup(address).map(|range| range.country))
            .map(|country| country.filter(|country| *country != Country::UNKNOWN))
            .collect();
        let class = if says.iter().all(Option::is_none) {
            Class::Unknown
        } else if says.iter().all(|country| country.is_some_and(|country| self.inside(country))) {
            Class::Inside
        } else if says.iter().flatten().any(|country| self.inside(*country)) {
            Class::Ambiguous
        } else {
            Class::Outside
        };
        let country = says.iter().flatten().next().copied().unwrap_or(Country::UNKNOWN);
        Place { v4: address.is_ipv4(), country, class, inner: None, system }
    }

    fn ruled(&self, address: IpAddr, place: &Place, packet: &Packet) -> Option<Ruled<'_>> {
        // The fewest ports of a range that covers the packet.
        let ports = |ports: &[crate::spec::PortRange]| -> Option<u32> {
            if ports.is_empty() {
                return Some(1 << 20);
            }
            let covering = ports.iter().filter(|range| {
                range.protocol == packet.protocol && range.low <= packet.port && packet.port <= range.high
            });
            covering.map(|range| u32::from(range.high) - u32::from(range.low)).min()
        };
        // No packet here says where it comes from.
        let whole = |ports: &[crate::spec::PortRange]| {
            ports.iter().any(|range| range.protocol == packet.protocol && range.whole())
        };
        if let Some(management) = &self.spec.management
            && management.networks.iter().any(|(network, _)| network.contains(address))
            && (management.source_ports.is_empty() || whole(&management.source_ports))
            && (!management.source_ports.is_empty() || ports(&management.ports).is_some())
        {
            return Some(Ruled { id: "management", force: 3 });
        }
        let mut best: Option<(&Rule, Key<'_>)> = None;
        for rule in &self.spec.rules {
            let begun = rule.not_before.is_none_or(|start| start <= packet.now);
            let over = rule.expires.is_some_and(|end| end <= packet.now);
            let prefix = rule.to.iter().filter(|(network, _)| network.contains(address));
            let prefix = prefix.map(|(network, _)| i32::from(network.prefix())).max();
            let system = rule.ases.iter().any(|(asn, _)| Some(*asn) == place.system).then_some(-1);
            let country = rule.countries.iter().any(|(country, _)| *country == place.country).then_some(-2);
            let (Some(specific), Some(width)) = (prefix.or(system).or(country), ports(&rule.ports)) else { continue };
            if !begun || over {
                continue;
            }
            // Greatest: the most specific; least: the ports, then that it allows, that it is a plain list, the id.
            let key = (-specific, width, rule.action == Action::Allow, rule.plain, rule.id.as_str());
            if best.as_ref().is_none_or(|(_, before)| key < *before) {
                best = Some((rule, key));
            }
        }
        best.map(|(rule, _)| Ruled { id: &rule.id, force: if rule.action == Action::Deny { 2 } else { 1 } })
    }

    fn outcome(&self, place: &Place, ruled: Option<Ruled<'_>>) -> Outcome {
        let zone = &self.spec.zone;
        let action = match place.class {
            Class::LinkLocal if place.v4 => zone.on_link_local,
            Class::Inside | Class::Local | Class::LinkLocal => Action::Allow,
            Class::Outside => zone.on_outside,
            Class::Ambiguous => zone.on_ambiguous,
            Class::Unknown => zone.on_unknown,
            Class::Private => zone.on_private,
        };
        let odd = matches!(place.class, Class::Outside | Class::Ambiguous | Class::Unknown);
        let deny = ruled.as_ref().map_or(action == Action::Deny, |rule| rule.force == 2);
        Outcome {
            country: place.country.to_string(),
            class: place.class.name(),
            alert: deny || odd && ruled.is_none(),
            rule: ruled.map(|rule| rule.id.to_owned()),
            deny,
            observe: if deny { Verdict::Observed } else { Verdict::Allowed },
            enforce: if deny { Verdict::Denied } else { Verdict::Allowed },
        }
    }

    fn evaluate(&self, packet: &Packet) -> Outcome {
        let place = self.place(packet.to);
        let ruled = self.ruled(packet.to, &place, packet);
        let force = |ruled: &Option<Ruled<'_>>| ruled.as_ref().map_or(0, |rule| rule.force);
        if let Some(inner) = place.inner {
            let inside = self.place(inner.into());
            let other = self.ruled(inner.into(), &inside, packet);
            if inside.class.stays() {
                let denies = force(&other) == 2 && force(&ruled) < 2;
                return self.outcome(&place, if denies { other } else { ruled });
            }
            let stricter = force(&other) > force(&ruled);
            return self.outcome(&inside, if stricter { other } else { ruled });
        }
        let IpAddr::V6(v6) = packet.to else { return self.outcome(&place, ruled) };
        let kept = force(&ruled) == 3;
        let outcome = self.outcome(&place, ruled);
        let [.., flags, zero, marker, tag, a, b, c, d] = v6.octets();
        if kept || ![0, 2].contains(&flags) || [zero, marker, tag] != [0, 0x5e, 0xfe] {
            return outcome;
        }
        let inner = Ipv4Addr::new(a, b, c, d);
        let inside = self.place(inner.into());
        let inside_outcome = self.outcome(&inside, self.ruled(inner.into(), &inside, packet));
        // Whether a class or a rule denies is the same: then where it goes is reported.
        let rank = |outcome: &Outcome| (outcome.deny, outcome.alert, outcome.rule.is_some() && !outcome.deny);
        if rank(&inside_outcome) > rank(&outcome) { inside_outcome } else { outcome }
    }
}

#[test]
fn a_compiled_policy_agrees_with_a_scan_of_everything_at_and_around_every_boundary() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let wanted = match std::env::var("EGRESS_MONITOR_LOOKUPS") {
        Ok(number) => number.parse().expect("EGRESS_MONITOR_LOOKUPS is a number"),
        Err(_) => 150_000_u64,
    };
    let (mut lookups, mut ruled, mut denied_by_rule) = (0_u64, 0_u64, 0_u64);
    for round in 0.. {
        if lookups >= wanted {
            break;
        }
        let (spec, knowledge) = (random::spec(&mut random), random::knowledge(&mut random));
        let mut policy = compile(&spec, &knowledge, &CLOCK).unwrap_or_else(|error| panic!("{error}, seed {seed}"));
        let naive = Naive { spec: &spec, knowledge: &knowledge };
        for address in random::probes(&mut random, &spec, &knowledge) {
            let now = random.i64(BOOT..random::NOW + 600);
            policy.image.host_boot_ns = (now - BOOT) as u64 * 1_000_000_000;
            for (protocol, port) in [(6, 85), (6, 91), (17, 1), (1, 0)] {
                let found = classification(&policy, address, protocol, port);
                let info = &policy.classes[usize::from(found.class_id)];
                let got = Outcome {
                    country: info.country.to_string(),
                    class: info.class.name(),
                    rule: policy.rule(found.rule).map(|rule| rule.id.clone()),
                    deny: found.deny,
                    alert: found.alert,
                    observe: decide(&found, false),
                    enforce: decide(&found, true),
                };
                let packet = Packet { to: address, protocol, port, now };
                assert_eq!(got, naive.evaluate(&packet), "{packet:?}, round {round}, seed {seed}: {spec:#?}");
                lookups += 1;
                ruled += u64::from(found.rule != 0);
                denied_by_rule += u64::from(found.rule != 0 && found.deny);
            }
        }
    }
    assert!(ruled > wanted / 10 && denied_by_rule > wanted / 50, "the policies say too little: {ruled} of {lookups}");
}
