//! What a device's counters are worth beside its hook, by its kind (IFLA_INFO_KIND).

use crate::model::readings::Comparison;

/// Kinds that count what never passes their own hook, or a packet several times.
const APART: [(&str, &str); 6] = [
    (
        "bond",
        "it counts what its slaves send: LACP, ARP probes, a broadcast once for each. They are compared themselves",
    ),
    ("team", "it counts what its ports send: LACP, a broadcast once for each. They are compared themselves"),
    ("hsr", "it counts supervision frames, which it makes itself. Its ports are compared themselves"),
    ("wireguard", "it counts keepalives, which it makes itself"),
    ("vxlan", "it counts a packet to several remotes once for each. The devices beneath are compared themselves"),
    ("amt", "it counts a packet to several gateways once for each. The devices beneath are compared themselves"),
];

/// Kinds that count a packet as sent or as dropped, and never as both, and none before it comes to the hook
/// (`ndo_start_xmit` of drivers/net/{veth,tun,netkit,dummy,macvlan}.c, drivers/net/ipvlan and net/8021q; macvtap counts
/// what a program wrote that is no packet).
const ONCE: [&str; 7] = ["veth", "tun", "netkit", "dummy", "vlan", "macvlan", "ipvlan"];

/// Of a device of this kind.
pub(super) fn of(kind: Option<&str>) -> Comparison {
    let kind = kind.unwrap_or_default();
    match APART.iter().find(|(apart, _)| *apart == kind) {
        Some((_, why)) => Comparison::None(why),
        None if ONCE.contains(&kind) => Comparison::SentAndDropped,
        None => Comparison::Sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sends_frames_past_its_own_hook_is_not_compared_and_hardware_may_count_drops_twice() {
        for (kind, _) in APART {
            assert!(matches!(of(Some(kind)), Comparison::None(_)), "{kind}");
        }
        for kind in ["veth", "tun", "vlan"] {
            assert_eq!(of(Some(kind)), Comparison::SentAndDropped, "{kind}");
        }
        // Hardware has no kind; what nobody knows is held against its hook.
        for kind in [None, Some("wwan"), Some("macvtap"), Some("made-tomorrow")] {
            assert_eq!(of(kind), Comparison::Sent, "{kind:?}");
        }
    }
}
