//! Two policies in, how many addresses are on the other side of the border under the second out. Called by `geo stage`,
//! which takes no data by itself that moves more than a little.

use std::collections::HashMap;

use monitor_common::wire::{Class, Embedded};

use super::{gather::Groups, overlay, pair, side::Side};
use crate::geo::Space;

/// Addresses of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// On the other side under the new policy, or allowed under the one and denied under the other.
    pub moved: u128,
    /// Inside under the old one.
    pub inside: u128,
    /// Placed by it somewhere else: outside or ambiguous.
    pub outside: u128,
}

impl Moved {
    /// The smaller side of the border under the old policy: what a movement is measured by, so that the border of a small
    /// country counts as much as that of a continent.
    pub fn smaller_side(&self) -> u128 {
        self.inside.min(self.outside)
    }

    /// Whether more than a share of the smaller side has moved, in thousandths.
    pub fn is_beyond(&self, thousandths: u128) -> bool {
        // In steps of a thousandth, so that no IPv6 number runs over.
        self.moved > self.smaller_side() / 1_000 * thousandths + self.smaller_side() % 1_000 * thousandths / 1_000
    }
}

/// What moves, IPv4 and IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Border {
    /// IPv4.
    pub v4: Moved,
    /// IPv6; prefixes that only carry IPv4 addresses are not in it.
    pub v6: Moved,
}

/// Compares two policies.
pub fn border(old: &Side, new: &Side) -> Border {
    let mut groups = Groups::default();
    let mut pairs: HashMap<(u32, u32), bool> = HashMap::new();
    let mut moves = |from, to| {
        *pairs.entry((from, to)).or_insert_with(|| {
            let inside = |class| class == Some(Class::Inside);
            let changes = pair(old, new, from, to, &mut groups).changes;
            inside(place(old, from)) != inside(place(new, to))
                || changes.iter().map(|number| &groups.changes[*number]).any(|of| of.old.verdict != of.new.verdict)
        })
    };
    let v4 = family(old, &old.image.v4_intervals(), &new.image.v4_intervals(), &mut moves);
    let v6 = family(old, &old.image.v6_intervals(), &new.image.v6_intervals(), &mut moves);
    Border { v4, v6 }
}

/// Where a class row is of the border; `None` where an IPv4 address inside decides.
fn place(side: &Side, class_id: u32) -> Option<Class> {
    let row = side.class_row(class_id);
    (row.embedded == Embedded::None as u8).then(|| Class::from_wire(row.class))
}

/// Sums up intervals of one family; `moves` says of two classes whether what goes from the one to the other has moved.
fn family<A: Space>(
    old: &Side,
    before: &[(A, u32)],
    after: &[(A, u32)],
    moves: &mut impl FnMut(u32, u32) -> bool,
) -> Moved {
    let mut sums = Moved::default();
    overlay(before, after, |first, last, from, to| {
        let addresses = (last.number() - first.number()).saturating_add(1);
        match place(old, from) {
            Some(Class::Inside) => sums.inside = sums.inside.saturating_add(addresses),
            Some(Class::Outside | Class::Ambiguous) => sums.outside = sums.outside.saturating_add(addresses),
            _ => {}
        }
        if moves(from, to) {
            sums.moved = sums.moved.saturating_add(addresses);
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ClockMap, Knowledge, Spec, compile,
        geo::{About, Country, Dataset, Range},
        spec::{Mode, Rule},
    };

    const DE: Country = Country(*b"DE");
    const US: Country = Country(*b"US");

    fn side(v4: &[(u32, u32, Country)], v6: &[(u128, u128, Country)], rules: Vec<Rule>) -> Side {
        let dataset = Dataset {
            about: About::named("t"),
            v4: v4.iter().map(|of| Range::from(*of)).collect(),
            v6: v6.iter().map(|of| Range::from(*of)).collect(),
        };
        let spec = Spec { rules, ..Spec::default() };
        let knowledge = Knowledge { datasets: vec![dataset], ..Knowledge::default() };
        Side::of(&compile(&spec, &knowledge, &ClockMap::wall(0)).unwrap(), Mode::Observe)
    }

    #[test]
    fn every_address_that_changes_sides_is_counted_and_no_other() {
        let at = 0x0500_0000;
        let v6 = 0x2a00_u128 << 112;
        let old = side(
            &[(at, at + 999, DE), (at + 1_000, at + 5_999, US)],
            &[(v6, v6 + 9, DE), (v6 + 10, v6 + 19, US)],
            vec![],
        );
        let size = |moved| Moved { moved, inside: 1_000, outside: 5_000 };
        let still = Moved { moved: 0, inside: 10, outside: 10 };
        assert_eq!(border(&old, &old), Border { v4: size(0), v6: still });
        // Another country on the same side, and an end of what is known outside, are no movement.
        let other = [(at, at + 999, Country(*b"FR")), (at + 1_000, at + 1_499, Country(*b"CN"))];
        let new = side(&other, &[(v6, v6 + 9, DE), (v6 + 10, v6 + 19, US)], vec![]);
        assert_eq!(border(&old, &new), Border { v4: size(0), v6: still });
        // Ten that come in, seven that nobody places any more, and of IPv6 one that goes out.
        let new = side(
            &[(at + 7, at + 1_009, DE), (at + 1_010, at + 5_999, US)],
            &[(v6, v6 + 8, DE), (v6 + 9, v6 + 19, US)],
            vec![],
        );
        let found = border(&old, &new);
        assert_eq!(found, Border { v4: size(17), v6: Moved { moved: 1, ..still } });
        assert_eq!(found.v4.smaller_side(), 1_000);
    }

    #[test]
    fn a_rule_that_decides_more_moves_it_too() {
        let at = 0x0500_0000;
        let data = [(at, at + 999, DE), (at + 1_000, at + 1_999, US)];
        let rule = Rule {
            id: "r".into(),
            to: vec![("5.0.3.232/29".parse().unwrap(), crate::Origin::default())],
            ..Rule::default()
        };
        let found = border(&side(&data, &[], vec![]), &side(&data, &[], vec![rule]));
        assert_eq!(found.v4, Moved { moved: 8, inside: 1_000, outside: 1_000 });
    }

    #[test]
    fn a_share_is_exact_to_the_address() {
        let of = |moved, inside| Moved { moved, inside, outside: u128::MAX };
        assert_eq!([9, 10, 11].map(|moved| of(moved, 1_000).is_beyond(10)), [false, false, true]);
        assert_eq!([0, 1].map(|moved| of(moved, 99).is_beyond(10)), [false, true]);
        assert_eq!([0, 1].map(|moved| of(moved, 0).is_beyond(10)), [false, true]);
        assert!(of(u128::MAX, u128::MAX).is_beyond(10) && !of(u128::MAX / 101, u128::MAX).is_beyond(10));
    }
}
