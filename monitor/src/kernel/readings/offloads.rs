//! Which super-packets a device takes whole, by its ethtool features.

use crate::model::readings::{Offloads, SuperKind, Taken};

/// Without these no super-packet is left whole, whatever is on: pieces, and checksums of any protocol or of each.
const PIECES: &str = "tx-scatter-gather";
const SUMS: &str = "tx-checksum-ip-generic";
const SUMS_OF_EACH: [&str; 2] = ["tx-checksum-ipv4", "tx-checksum-ipv6"];

/// What TCP asks for (netdev_features_strings, net/ethtool/common.c): the first always, the second where congestion is
/// answered, and what is forwarded the third, where it came with one IP identification (`SKB_GSO_TCP_FIXEDID`).
const TCP4: [&str; 2] = ["tx-tcp-segmentation", "tx-tcp-ecn-segmentation"];
const FORWARDED: &str = "tx-tcp-mangleid-segmentation";
const TCP6: [&str; 2] = ["tx-tcp6-segmentation", "tx-tcp-ecn-segmentation"];
/// What UDP asks for, and what tunnels over it do at a port that nobody knows.
const UDP: [&str; 3] = ["tx-udp-segmentation", "tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"];
/// What guests ask for, to have one datagram in fragments.
const FRAGMENTS: &str = "tx-udp-fragmentation";

/// Segmentation that ordinary traffic asks for. A device with all of it gets every super-packet whole.
const WHOLE: [&str; 11] = [
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "tx-gre-segmentation",
    "tx-gre-csum-segmentation",
    "tx-ipxip4-segmentation",
    "tx-ipxip6-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
];

/// Whether a feature keeps some super-packet whole. The generic one only says that the kernel may make them.
fn keeps_whole(feature: &str) -> bool {
    feature == "tx-gso-list"
        || (feature.starts_with("tx-") && feature.ends_with("-segmentation") && feature != "tx-generic-segmentation")
}

/// A set of features, as words of 32 bits.
#[derive(Debug, Default)]
struct Set(Vec<u32>);

impl Set {
    fn is_empty(&self) -> bool {
        self.0.iter().all(|set| *set == 0)
    }

    fn all(&self, on: &[u32]) -> bool {
        self.0.iter().zip(on).all(|(set, on)| set & !on == 0) && !self.is_empty()
    }

    fn none(&self, on: &[u32]) -> bool {
        self.0.iter().zip(on).all(|(set, on)| set & on == 0)
    }
}

/// The sets that matter here.
#[derive(Debug, Default)]
pub(super) struct Features {
    whole: Set,
    any: Set,
    pieces: Set,
    sums: Set,
    sums_of_each: Set,
    forwarded: Set,
    /// Of each protocol: without all of the first some are cut up, without any of the second all.
    tcp4: [Set; 2],
    tcp6: [Set; 2],
    udp: [Set; 2],
    /// Without this no plain datagram is left whole.
    datagrams: Set,
}

impl Features {
    pub fn named(names: &[String]) -> Self {
        let set = |wanted: &dyn Fn(&str) -> bool| {
            let bits = |words: &[String]| {
                let bits = words.iter().enumerate().filter(|(_, name)| wanted(name));
                bits.fold(0, |word, (bit, _)| word | 1 << bit)
            };
            Set(names.chunks(32).map(bits).collect())
        };
        let of = |all: &[&str], any: &[&str]| [set(&|name| all.contains(&name)), set(&|name| any.contains(&name))];
        Self {
            whole: set(&|name| WHOLE.contains(&name)),
            any: set(&keeps_whole),
            pieces: set(&|name| name == PIECES),
            sums: set(&|name| name == SUMS),
            sums_of_each: set(&|name| SUMS_OF_EACH.contains(&name)),
            forwarded: set(&|name| name == FORWARDED),
            tcp4: of(&TCP4, &TCP4[..1]),
            tcp6: of(&TCP6, &TCP6[..1]),
            udp: of(&UDP, &[UDP[0], UDP[1], UDP[2], FRAGMENTS]),
            datagrams: set(&|name| name == UDP[0]),
        }
    }

    /// What is taken with these on, on a host that forwards or not.
    pub fn offloads(&self, on: &[u32], forwards: bool) -> Offloads {
        if self.whole.all(on) {
            return Offloads::EVERYTHING;
        }
        if self.any.none(on) && !self.any.is_empty() {
            return Offloads::NOTHING;
        }
        let ready = self.pieces.all(on) && (self.sums.all(on) || self.sums_of_each.all(on));
        let taken = |[all, any]: &[Set; 2], mostly: bool| {
            if any.none(on) && !any.is_empty() {
                Taken::CutUp
            } else if ready && all.all(on) && !mostly {
                Taken::Whole
            } else if ready && mostly {
                Taken::Mostly
            } else {
                Taken::Unknown
            }
        };
        let forwarded = forwards && !self.forwarded.all(on);
        Offloads::default()
            .with(SuperKind::Tcp4, taken(&self.tcp4, forwarded || !self.tcp4[0].all(on)))
            .with(SuperKind::Tcp6, taken(&self.tcp6, !self.tcp6[0].all(on)))
            .with(SuperKind::Udp, taken(&self.udp, !self.udp[0].all(on) && self.datagrams.all(on)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_recognised_by_the_names_of_features() {
        let mut names: Vec<String> = WHOLE.iter().map(|name| (*name).to_owned()).collect();
        names.insert(3, "tx-generic-segmentation".into());
        names.extend(["tx-sctp-segmentation", "rx-gro"].map(String::from));
        names.extend([PIECES, SUMS, SUMS_OF_EACH[0], SUMS_OF_EACH[1]].map(String::from));
        names.splice(0..0, (0..30).map(|number| format!("tx-other-{number}")));
        let features = Features::named(&names);
        let on = |wanted: &dyn Fn(&str) -> bool| -> Offloads {
            let mut words = vec![0; 2];
            for (bit, _) in names.iter().enumerate().filter(|(_, name)| wanted(name)) {
                words[bit / 32] |= 1 << (bit % 32);
            }
            features.offloads(&words, false)
        };
        assert_eq!(on(&|_| true), Offloads::EVERYTHING);
        assert_eq!(on(&|name| WHOLE.contains(&name)), Offloads::EVERYTHING);
        assert_eq!(on(&|name| name == "tx-generic-segmentation" || name.starts_with("rx")), Offloads::NOTHING);
        assert_eq!(Features::default().offloads(&[1, 2], false), Offloads::default());
        let of = |tcp4, tcp6, udp| {
            let kinds = [(SuperKind::Tcp4, tcp4), (SuperKind::Tcp6, tcp6), (SuperKind::Udp, udp)];
            kinds.into_iter().fold(Offloads::default(), |all, (kind, taken)| all.with(kind, taken))
        };
        use Taken::{CutUp, Mostly, Unknown, Whole};
        assert_eq!(on(&|name| name != "tx-tcp6-segmentation"), of(Whole, CutUp, Whole));
        assert_eq!(on(&|name| name != "tx-tcp-ecn-segmentation"), of(Mostly, Mostly, Whole));
        assert_eq!(on(&|name| !name.starts_with("tx-tcp")), of(CutUp, CutUp, Whole));
        assert_eq!(on(&|name| name != "tx-udp-segmentation"), of(Whole, Whole, Unknown));
        assert_eq!(on(&|name| name != "tx-udp_tnl-segmentation"), of(Whole, Whole, Mostly));
        assert_eq!(on(&|name| name == "tx-sctp-segmentation"), of(CutUp, CutUp, CutUp));
        // What UDP asks for may be on without checksums, and is cut up then.
        let no_tcp = |name: &str| !name.starts_with("tx-tcp");
        assert_eq!(on(&|name| no_tcp(name) && name != SUMS), of(CutUp, CutUp, Whole));
        assert_eq!(on(&|name| no_tcp(name) && name != SUMS && name != SUMS_OF_EACH[1]), of(CutUp, CutUp, Unknown));
        assert_eq!(on(&|name| no_tcp(name) && name != PIECES), of(CutUp, CutUp, Unknown));
        // Most cards have all but this.
        assert_eq!(on(&|name| name != FORWARDED), of(Whole, Whole, Whole));
        let mut words = vec![u32::MAX; 2];
        let at = names.iter().position(|name| name == FORWARDED).expect("it is in the list");
        words[at / 32] ^= 1 << (at % 32);
        assert_eq!(features.offloads(&words, true), of(Mostly, Whole, Whole));
    }
}
