//! How many incidents are open, and whether there is a place for another: so many of a class, verdict and country, and
//! within these so many of one source and one wide network that others have theirs. Called by the book.

use std::collections::HashMap;

use super::key::{ANY, Group, Key, Network, Source};

/// How many incidents may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one class, verdict and country.
    pub group: u32,
    /// Of these, for sources and wide networks that have none.
    pub reserved: u32,
    /// Of one source and one wide network in a group.
    pub wide: u32,
    /// In all; then each group may still have as many as are reserved in it.
    pub all: u32,
    /// In all, whatever groups they are of.
    pub most: u32,
    /// Of packets without a flow, by reason, interface and fate; then by reason and fate.
    pub unparsed: u32,
}

/// Those of the product.
pub const LIMITS: Limits = Limits { group: 64, reserved: 8, wide: 32, all: 4_096, most: 8_192, unparsed: 512 };

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Places {
    all: u32,
    unparsed: u32,
    groups: HashMap<Group, u32>,
    wide: HashMap<(Group, Source, Network), u32>,
}

impl Places {
    /// Where flows of this key go that have no incident yet: to one of their own, or to that of the others.
    pub fn place(&self, key: Key, limits: &Limits) -> Key {
        if let Key::Unparsed { reason, dropped, .. } = key {
            let there_is = self.unparsed < limits.unparsed;
            return if there_is { key } else { Key::Unparsed { reason, interface: ANY, dropped } };
        }
        let Key::Egress { group, network, source, .. } = key else { return key };
        let others = Key::Others { class: group.class, verdict: group.verdict, country: Some(group.country) };
        let in_any = Key::Others { class: group.class, verdict: group.verdict, country: None };
        let of_group = self.groups.get(&group).copied().unwrap_or(0);
        let of_wide = self.wide.get(&(group, source, network.wide())).copied().unwrap_or(0);
        let open = limits.group.saturating_sub(limits.reserved);
        if self.all >= limits.most || (self.all >= limits.all && of_group >= limits.reserved) {
            in_any
        } else if of_group >= limits.group || of_wide >= limits.wide || (of_group >= open && of_wide > 0) {
            others
        } else {
            key
        }
    }

    /// One is open.
    pub fn take(&mut self, key: &Key) {
        self.all += 1;
        self.unparsed += u32::from(matches!(key, Key::Unparsed { .. }));
        if let Key::Egress { group, network, source, .. } = *key {
            *self.groups.entry(group).or_default() += 1;
            *self.wide.entry((group, source, network.wide())).or_default() += 1;
        }
    }

    /// One is over.
    pub fn give_back(&mut self, key: &Key) {
        self.all = self.all.saturating_sub(1);
        self.unparsed = self.unparsed.saturating_sub(u32::from(matches!(key, Key::Unparsed { .. })));
        if let Key::Egress { group, network, source, .. } = *key {
            less(&mut self.groups, &group);
            less(&mut self.wide, &(group, source, network.wide()));
        }
    }
}

fn less<K: Eq + std::hash::Hash>(of: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = of.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            of.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::{parse::Reason, verdict::Verdict, wire::Class};
    use monitor_policy::geo::Country;

    use super::*;
    use crate::model::identities::RuleName;

    fn key(country: &[u8; 2], source: Source, network: [u8; 3]) -> Key {
        let group = Group { class: Class::Outside, verdict: Verdict::Observed, country: Country(*country) };
        let [a, b, c] = network;
        let network = Network::of(std::net::IpAddr::from([a, b, c, 0]));
        Key::Egress { group, rule: RuleName::NONE, network, source }
    }

    /// Takes what there is a place for; how many had none.
    fn fill(places: &mut Places, keys: impl IntoIterator<Item = Key>) -> usize {
        keys.into_iter()
            .filter(|key| {
                let place = places.place(*key, &LIMITS);
                if place == *key {
                    places.take(key);
                }
                place != *key
            })
            .count()
    }

    #[test]
    fn a_flood_to_one_wide_network_leaves_places_to_others_in_its_country_and_all_to_other_countries() {
        let mut places = Places::default();
        let flood = (0..=255).map(|third| key(b"SG", Source::Local, [198, 18, third]));
        assert_eq!(fill(&mut places, flood), 256 - 32);
        let others = (0..20).map(|second| key(b"SG", Source::Local, [10, second, 0]));
        assert_eq!(fill(&mut places, others), 0);
        let countries = (b'A'..b'U').map(|letter| key(&[b'X', letter], Source::Local, [198, 51, 100]));
        assert_eq!(fill(&mut places, countries), 0);
        assert_eq!(places.all, 72);
    }

    #[test]
    fn the_last_places_of_a_country_are_for_whoever_has_none_there() {
        let mut places = Places::default();
        let floods =
            (0..2).flat_map(|second| (0..=255).map(move |third| key(b"SG", Source::Local, [11, second, third])));
        assert_eq!(fill(&mut places, floods), 512 - 56);
        let other = |at: u8| key(b"SG", Source::Forwarded([192, 0, 2, at].into()), [11, 0, 0]);
        assert_eq!(
            fill(&mut places, [key(b"SG", Source::Local, [12, 0, 0]), key(b"SG", Source::Local, [12, 0, 1])]),
            1
        );
        assert_eq!(fill(&mut places, (0..9).map(other)), 2);
    }

    #[test]
    fn beyond_all_places_each_country_has_a_few_and_in_the_end_none() {
        let limits = Limits { group: 64, reserved: 8, wide: 32, all: 100, most: 110, unparsed: 9 };
        let mut places = Places::default();
        let mut placed = |key: Key| {
            let place = places.place(key, &limits);
            places.take(&place);
            place
        };
        let group = |country: u8| (0..50).map(move |second| key(&[b'A', country], Source::Local, [12, second, 0]));
        assert_eq!(group(b'A').chain(group(b'B')).filter(|key| placed(*key) == *key).count(), 100);
        let in_any = Key::Others { class: Class::Outside, verdict: Verdict::Observed, country: None };
        assert_eq!(placed(key(b"AA", Source::Local, [99, 0, 0])), in_any);
        let of_third: Vec<_> = group(b'C').map(|key| placed(key) == key).collect();
        assert_eq!(of_third.iter().filter(|own| **own).count(), 8);
        assert_eq!(placed(key(b"AD", Source::Local, [99, 0, 0])), in_any);
    }

    #[test]
    fn who_makes_interfaces_all_day_has_one_incident_for_many() {
        let limits = Limits { unparsed: 9, ..LIMITS };
        let key = |interface| Key::Unparsed { reason: Reason::Mpls, interface, dropped: false };
        let mut places = Places::default();
        (1..=9).for_each(|interface| {
            assert_eq!(places.place(key(interface), &limits), key(interface));
            places.take(&key(interface));
        });
        assert_eq!(places.place(key(10), &limits), key(ANY));
        places.give_back(&key(3));
        assert_eq!(places.place(key(10), &limits), key(10));
    }

    #[test]
    fn what_is_over_gives_its_place_back() {
        let mut places = Places::default();
        let keys: Vec<Key> = (0..=255).map(|third| key(b"SG", Source::Local, [198, 18, third])).collect();
        fill(&mut places, keys.iter().copied());
        keys.iter().take(32).for_each(|key| places.give_back(key));
        assert_eq!((places.all, places.groups.len(), places.wide.len()), (0, 0, 0));
    }
}
