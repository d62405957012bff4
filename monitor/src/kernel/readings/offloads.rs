//! Which super-packets a device takes whole, by its ethtool features.

use crate::model::readings::Offloads;

/// Segmentation that ordinary traffic asks for (netdev_features_strings, net/ethtool/common.c). A device with all of
/// it gets every super-packet whole.
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

/// Sets of features, as words of 32 bits.
#[derive(Debug, Default)]
pub(super) struct Features {
    whole: Vec<u32>,
    any: Vec<u32>,
}

impl Features {
    pub fn named(names: &[String]) -> Self {
        let set = |wanted: &dyn Fn(&str) -> bool| {
            let bits = |words: &[String]| {
                let bits = words.iter().enumerate().filter(|(_, name)| wanted(name));
                bits.fold(0, |word, (bit, _)| word | 1 << bit)
            };
            names.chunks(32).map(bits).collect()
        };
        Self { whole: set(&|name| WHOLE.contains(&name)), any: set(&keeps_whole) }
    }

    pub fn offloads(&self, on: &[u32]) -> Offloads {
        let all = |set: &[u32]| set.iter().zip(on).all(|(set, on)| set & !on == 0) && set.iter().any(|set| *set != 0);
        let none = |set: &[u32]| set.iter().zip(on).all(|(set, on)| set & on == 0);
        if all(&self.whole) {
            Offloads::Everything
        } else if none(&self.any) && !self.any.is_empty() {
            Offloads::Nothing
        } else {
            Offloads::Some
        }
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
        names.splice(0..0, (0..30).map(|number| format!("tx-other-{number}")));
        let features = Features::named(&names);
        let on = |wanted: &dyn Fn(&str) -> bool| -> Offloads {
            let mut words = vec![0; 2];
            for (bit, _) in names.iter().enumerate().filter(|(_, name)| wanted(name)) {
                words[bit / 32] |= 1 << (bit % 32);
            }
            features.offloads(&words)
        };
        assert_eq!(on(&|_| true), Offloads::Everything);
        assert_eq!(on(&|name| WHOLE.contains(&name)), Offloads::Everything);
        assert_eq!(on(&|name| name != "tx-tcp6-segmentation"), Offloads::Some);
        assert_eq!(on(&|name| name == "tx-sctp-segmentation"), Offloads::Some);
        assert_eq!(on(&|name| name == "tx-generic-segmentation" || name.starts_with("rx")), Offloads::Nothing);
        assert_eq!(Features::default().offloads(&[1, 2]), Offloads::Some);
    }
}
