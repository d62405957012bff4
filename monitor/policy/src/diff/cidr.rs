//! A range of addresses in, the fewest networks that are exactly it out. Called by `diff`.

use std::{
    cmp::Ordering,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// A network. The larger one is less, then the one that begins earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    first: u128,
    prefix: u8,
    v4: bool,
}

impl Ord for Cidr {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.prefix, self.first, self.v4).cmp(&(other.prefix, other.first, other.v4))
    }
}

impl PartialOrd for Cidr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v4 {
            write!(f, "{}/{}", Ipv4Addr::from_bits(self.first as u32), self.prefix)
        } else {
            write!(f, "{}/{}", Ipv6Addr::from_bits(self.first), self.prefix)
        }
    }
}

/// The networks of `first..=last`, ascending.
pub(crate) fn cidrs(first: u128, last: u128, v4: bool) -> impl Iterator<Item = Cidr> {
    let bits: u32 = if v4 { 32 } else { 128 };
    let mut next = (first <= last).then_some(first);
    std::iter::from_fn(move || {
        let at = next?;
        // As large as its first address is aligned, and as there is room for.
        let aligned = if at == 0 { bits } else { at.trailing_zeros().min(bits) };
        let room = match (last - at).checked_add(1) {
            Some(room) => room.ilog2(),
            None => 128,
        };
        let size = aligned.min(room);
        let end = if size == 128 { u128::MAX } else { at + ((1 << size) - 1) };
        next = if end == last { None } else { Some(end + 1) };
        Some(Cidr { first: at, prefix: (bits - size) as u8, v4 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(first: u128, last: u128, v4: bool) -> Vec<String> {
        cidrs(first, last, v4).map(|cidr| cidr.to_string()).collect()
    }

    #[test]
    fn a_range_is_exactly_its_networks_up_to_both_ends_of_the_space() {
        assert_eq!(shown(0, u32::MAX.into(), true), ["0.0.0.0/0"]);
        assert_eq!(shown(0, u128::MAX, false), ["::/0"]);
        assert_eq!(shown(u128::MAX, u128::MAX, false), ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"]);
        assert_eq!(shown(1, 6, true), ["0.0.0.1/32", "0.0.0.2/31", "0.0.0.4/31", "0.0.0.6/32"]);
        assert_eq!(shown(0xffff_fffe, 0xffff_ffff, true), ["255.255.255.254/31"]);
    }

    #[test]
    fn random_ranges_are_covered_once_without_a_gap() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2_000 {
            let (a, b) = (random.u32(..) >> random.u32(0..32), random.u32(..) >> random.u32(0..32));
            let (first, last) = (u128::from(a.min(b)), u128::from(a.max(b)));
            let mut at = first;
            for cidr in cidrs(first, last, true) {
                assert_eq!(cidr.first, at, "{first} to {last}");
                let size = 1_u128 << (32 - cidr.prefix);
                assert_eq!(cidr.first % size, 0);
                at += size;
            }
            assert_eq!(at, last + 1, "{first} to {last}");
        }
    }
}
