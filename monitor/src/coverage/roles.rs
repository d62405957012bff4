//! What a device is, as a function of what all devices of the namespace are.

use std::collections::{BTreeMap, HashMap};

use monitor_common::parse::{is_geneve_port, is_vxlan_port};

use crate::model::coverage::{Device, Role};

/// The devices that are attached to, by index, and what each was when it was.
pub type Attached = BTreeMap<u32, Role>;

/// Link layer of the loopback device (include/uapi/linux/if_arp.h).
const ARPHRD_LOOPBACK: u16 = 772;
/// Of tap, veth and most others.
const ARPHRD_ETHER: u16 = 1;
/// Of PPP, which old kernels give no kind.
const ARPHRD_PPP: u16 = 512;

/// Kinds that are stacked on other devices of the namespace, or on none if those are in another one.
const STACKED: [&str; 9] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "dsa", "rmnet", "virt_wifi"];

/// Kinds that have other devices as ports.
const MASTERS: [&str; 7] = ["bond", "team", "bridge", "vrf", "openvswitch", "hsr", "batadv"];

/// Plain tunnels: the parser reads inside them where they leave (`monitor_common::parse`, docs/policy.md).
const TUNNELS: [&str; 10] = ["vxlan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap", "ipip", "ip6tnl", "sit", "gtp"];

/// What wraps packets in a form that the parser does not read: ERSPAN, AMT and PFCP, MPLS or IP in UDP at any port, 6LoWPAN.
/// From outside only the tunnel is seen.
const NOT_READ: [&str; 6] = ["erspan", "ip6erspan", "amt", "bareudp", "pfcp", "lowpan"];

/// Of what is stacked, what encrypts: beneath it nothing can be read.
const MACSEC: &str = "macsec";

/// What encrypts: from outside only the tunnel is seen.
const ENCRYPTED: [&str; 5] = ["wireguard", "xfrm", "ovpn", "vti", "vti6"];

/// Two devices that are each other's IFLA_LINK, mostly in two namespaces.
const PAIRS: [&str; 2] = ["veth", "netkit"];

/// Nothing leaves the host by these, wherever they are.
const NOWHERE: [&str; 6] = ["ifb", "nlmon", "vcan", "vxcan", "vsockmon", "blackhole"];

/// All devices of a namespace, by index.
pub struct Devices<'a> {
    by_index: HashMap<u32, &'a Device>,
    ports: HashMap<u32, Vec<u32>>,
    /// Whether one of them is hardware: then veth and its like lead to guests, and do not leave the host.
    pub have_hardware: bool,
    attached: &'a Attached,
}

impl<'a> Devices<'a> {
    /// Of this list, with what is attached.
    pub fn new(devices: &'a [Device], attached: &'a Attached) -> Self {
        let mut ports: HashMap<u32, Vec<u32>> = HashMap::new();
        for device in devices {
            if let Some(master) = device.master {
                ports.entry(master).or_default().push(device.index);
            }
        }
        Self {
            by_index: devices.iter().map(|device| (device.index, device)).collect(),
            ports,
            have_hardware: devices.iter().any(is_hardware),
            attached,
        }
    }

    /// The device with this index.
    pub fn get(&self, index: u32) -> Option<&'a Device> {
        self.by_index.get(&index).copied()
    }

    /// The devices that a device's packets pass on their way out.
    pub fn below(&self, device: &Device) -> Vec<&'a Device> {
        let ports = self.ports.get(&device.index).into_iter().flatten().copied();
        // The other end of a pair is no device beneath this one.
        let lower = device.lower.filter(|_| !PAIRS.contains(&device.kind.as_deref().unwrap_or_default()));
        ports.chain(lower).filter(|index| *index != device.index).filter_map(|index| self.get(index)).collect()
    }

    /// What a device is.
    pub fn role(&self, device: &Device) -> Role {
        let kind = device.kind.as_deref().unwrap_or_default();
        let lower_is_here = device.lower.is_some_and(|lower| self.by_index.contains_key(&lower));
        if device.link_type == ARPHRD_LOOPBACK || NOWHERE.contains(&kind) {
            return Role::None;
        }
        if MASTERS.contains(&kind) || is_read_outside(device) {
            return Role::Transit;
        }
        if is_tunnel(device) && kind != "tun" {
            return Role::Inner;
        }
        if STACKED.contains(&kind) {
            // In a container the device beneath is another namespace's.
            return match (lower_is_here, kind) {
                (false, _) => Role::Edge,
                (true, MACSEC) => Role::Inner,
                (true, _) => Role::Transit,
            };
        }
        match kind {
            // A container's own, beside a card that was given to it.
            _ if PAIRS.contains(&kind) && device.master.is_none() && device.own_way => Role::Edge,
            _ if PAIRS.contains(&kind) => self.unless_hardware(device, Role::Guest),
            "tun" if device.link_type == ARPHRD_ETHER => self.unless_hardware(device, Role::Guest),
            "tun" => self.unless_hardware(device, Role::Inner),
            "dummy" => self.unless_hardware(device, Role::None),
            // Over a card (PPPoE, PPTP, L2TP) its packets leave by that one, wrapped.
            _ if is_ppp(device) => self.unless_hardware(device, Role::Inner),
            // A card beneath another (a virtual function under the paravirtual card that stands in for it): its packets
            // were judged there, and whoever sends by it directly is judged here.
            "" if is_hardware(device) && self.has_hardware_above(device) => Role::Inner,
            // Hardware, and whatever nobody knows.
            _ => Role::Edge,
        }
    }

    /// What a device is beside hardware. Where it was an edge until a card came it stays one: what left by it does so still.
    fn unless_hardware(&self, device: &Device, role: Role) -> Role {
        let was_edge = self.attached.get(&device.index) == Some(&Role::Edge);
        if self.have_hardware && !was_edge { role } else { Role::Edge }
    }

    fn has_hardware_above(&self, device: &Device) -> bool {
        device
            .master
            .and_then(|master| self.get(master))
            .is_some_and(|above| above.kind.is_none() && is_hardware(above))
    }
}

/// Whether it has to be asked which devices have a [way of their own](Device::own_way): a container may have been given a card
/// beside its veth. In the initial network namespace what is not hardware leads to guests.
pub fn asks_for_own_way(devices: &[Device], in_initial: bool) -> bool {
    let is_end = |one: &Device| one.master.is_none() && PAIRS.contains(&one.kind.as_deref().unwrap_or_default());
    !in_initial && devices.iter().any(is_hardware) && devices.iter().any(is_end)
}

/// Whether packets pass a tunnel on their way: what is in them is another's.
pub fn is_tunnel(device: &Device) -> bool {
    let is_one =
        |kind: &str| [&TUNNELS[..], &NOT_READ, &ENCRYPTED].iter().any(|of| of.contains(&kind)) || kind == "tun";
    device.kind.as_deref().is_some_and(is_one)
}

/// Whether a device is a tunnel that is read inside where it leaves.
fn is_read_outside(device: &Device) -> bool {
    let kind = device.kind.as_deref().unwrap_or_default();
    let is_read = |port| match kind {
        "vxlan" => is_vxlan_port(port),
        "geneve" => is_geneve_port(port),
        // Wrapped once more, in FOU or GUE.
        _ => false,
    };
    TUNNELS.contains(&kind) && device.outer_port.is_none_or(is_read)
}

/// Whether a device is PPP; hardware that speaks it is hardware.
fn is_ppp(device: &Device) -> bool {
    match device.kind.as_deref() {
        Some(kind) => kind == "ppp",
        None => device.link_type == ARPHRD_PPP && !device.hardware,
    }
}

/// The names of PPP devices that may be above a card, as PPPoE is.
pub fn ppp_beside_cards(devices: &[Device]) -> Vec<&str> {
    let any = devices.iter().any(is_hardware);
    devices.iter().filter(|device| any && is_ppp(device)).map(|device| device.name.as_str()).collect()
}

/// Whether what a device sends leaves in a form that is not read, though nothing is encrypted.
pub fn is_wrapped(device: &Device) -> bool {
    is_ppp(device) || device.kind.as_deref().is_some_and(|kind| NOT_READ.contains(&kind) || TUNNELS.contains(&kind))
}

/// Whether a device sends by slaves alone, which a name of it stands for: a bridge's ports lead elsewhere, too.
pub fn has_slaves(device: &Device) -> bool {
    matches!(device.kind.as_deref(), Some("bond" | "team"))
}

/// Whether a device has ports, none of whose packets pass its own hook.
pub fn is_vrf(device: &Device) -> bool {
    device.kind.as_deref() == Some("vrf")
}

/// Whether a device is a card, real or paravirtual. Some kinds of virtual device have a parent, too.
fn is_hardware(device: &Device) -> bool {
    device.hardware && device.kind.as_deref().is_none_or(|kind| !KNOWN.iter().any(|kinds| kinds.contains(&kind)))
}

/// Kinds that are no hardware.
const KNOWN: [&[&str]; 8] =
    [&STACKED, &MASTERS, &TUNNELS, &NOT_READ, &ENCRYPTED, &NOWHERE, &PAIRS, &["tun", "dummy", "ppp"]];

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32, kind: &str) -> Device {
        let kind = (!kind.is_empty()).then(|| kind.to_owned());
        Device { index, name: format!("d{index}"), kind, link_type: ARPHRD_ETHER, ..Device::default() }
    }

    fn card(index: u32) -> Device {
        Device { hardware: true, ..device(index, "") }
    }

    /// The role of the first, beside the others.
    fn role(devices: &[Device]) -> Role {
        Devices::new(devices, &Attached::new()).role(&devices[0])
    }

    #[test]
    fn a_card_is_an_edge_whatever_it_is_part_of() {
        assert_eq!(role(&[card(2)]), Role::Edge);
        for master in ["bond", "team", "bridge", "vrf"] {
            assert_eq!(role(&[Device { master: Some(3), ..card(2) }, device(3, master)]), Role::Edge, "{master}");
        }
        // Kinds of their own, with a bus behind them.
        for kind in ["wwan", "netdevsim", "unheard-of"] {
            assert_eq!(role(&[Device { hardware: true, ..device(2, kind) }]), Role::Edge, "{kind}");
        }
    }

    #[test]
    fn a_card_beneath_another_card_is_counted_apart() {
        let under = Device { master: Some(3), ..card(2) };
        assert_eq!(role(&[under.clone(), card(3)]), Role::Inner);
        assert_eq!(role(&[card(3), under]), Role::Edge);
    }

    #[test]
    fn what_is_stacked_on_a_device_of_the_namespace_is_transit_inner_if_it_encrypts_and_else_an_edge() {
        for kind in STACKED {
            let on = |lower| Device { lower, ..device(2, kind) };
            let here = if kind == MACSEC { Role::Inner } else { Role::Transit };
            assert_eq!(role(&[on(Some(3)), card(3)]), here, "{kind}");
            assert_eq!(role(&[on(Some(3)), device(3, "veth")]), here, "{kind} in a container");
            // The other namespace's index is not read as one of ours.
            assert_eq!(role(&[on(None), device(3, "veth")]), Role::Edge, "{kind} with its parent elsewhere");
            assert_eq!(role(&[on(Some(9)), device(3, "veth")]), Role::Edge, "{kind} with a parent that is gone");
        }
        // Some have a bus behind them all the same.
        assert_eq!(role(&[Device { lower: Some(3), hardware: true, ..device(2, "dsa") }, card(3)]), Role::Transit);
    }

    #[test]
    fn masters_and_plain_tunnels_are_transit_with_and_without_hardware() {
        for kind in MASTERS.into_iter().chain(TUNNELS) {
            assert_eq!(role(&[device(2, kind), card(3)]), Role::Transit, "{kind}");
            assert_eq!(role(&[device(2, kind), device(3, "veth")]), Role::Transit, "{kind}");
        }
    }

    #[test]
    fn what_encrypts_or_is_not_read_is_inner_with_and_without_hardware() {
        for kind in ENCRYPTED.into_iter().chain(NOT_READ) {
            assert_eq!(role(&[device(2, kind), card(3)]), Role::Inner, "{kind}");
            assert_eq!(role(&[device(2, kind), device(3, "veth")]), Role::Inner, "{kind}");
        }
    }

    #[test]
    fn a_tunnel_at_another_port_than_is_read_or_wrapped_once_more_is_inner() {
        let at = |kind: &str, port: u16| role(&[Device { outer_port: Some(port), ..device(2, kind) }, card(3)]);
        for (kind, port) in [("vxlan", 4_789), ("vxlan", 4_790), ("vxlan", 8_472), ("geneve", 6_081)] {
            assert_eq!(at(kind, port), Role::Transit, "{kind} {port}");
        }
        for (kind, port) in [("vxlan", 6_081), ("vxlan", 4_788), ("geneve", 4_789), ("gre", 6_080), ("sit", 5_555)] {
            assert_eq!(at(kind, port), Role::Inner, "{kind} {port}");
        }
    }

    #[test]
    fn ppp_is_an_edge_only_where_there_is_no_hardware_and_hardware_that_speaks_it_always() {
        let old = Device { link_type: ARPHRD_PPP, ..device(2, "") };
        for ppp in [device(2, "ppp"), old.clone()] {
            assert_eq!(role(&[ppp.clone(), card(3)]), Role::Inner, "{ppp:?}");
            assert_eq!(role(&[ppp.clone(), device(3, "veth")]), Role::Edge, "{ppp:?}");
        }
        assert_eq!(ppp_beside_cards(&[device(2, "ppp"), old.clone(), card(3)]), ["d2", "d2"]);
        assert_eq!(ppp_beside_cards(&[device(2, "ppp"), device(3, "veth")]), [""; 0]);
        assert_eq!(role(&[Device { hardware: true, ..old }, card(3)]), Role::Edge);
    }

    #[test]
    fn what_was_an_edge_stays_one_when_a_card_comes() {
        let tun = Device { link_type: 0xfffe, ..device(2, "tun") };
        for one in [device(2, "veth"), device(2, "tun"), tun, device(2, "dummy"), device(2, "ppp")] {
            let devices = [one, card(3)];
            let role = |was| Devices::new(&devices, &Attached::from([(2, was)])).role(&devices[0]);
            assert_eq!(role(Role::Edge), Role::Edge, "{devices:?}");
            // Attached to for another reason.
            assert_ne!(role(Role::Guest), Role::Edge, "{devices:?}");
        }
    }

    #[test]
    fn a_containers_own_veth_beside_a_card_is_an_edge_and_a_port_of_a_bridge_is_none() {
        for kind in PAIRS {
            let own = Device { own_way: true, ..device(2, kind) };
            assert_eq!(role(&[own.clone(), card(3)]), Role::Edge, "{kind}");
            let port = Device { master: Some(4), ..own };
            assert_eq!(role(&[port, card(3), device(4, "bridge")]), Role::Guest, "{kind}");
        }
    }

    #[test]
    fn which_devices_have_a_way_of_their_own_is_asked_where_that_decides() {
        let (veth, port) = (device(2, "veth"), Device { master: Some(4), ..device(5, "veth") });
        assert!(asks_for_own_way(&[veth.clone(), card(3)], false));
        assert!(!asks_for_own_way(&[veth.clone(), card(3)], true), "the host's own namespace");
        assert!(!asks_for_own_way(std::slice::from_ref(&veth), false), "an edge anyway");
        assert!(!asks_for_own_way(&[port, card(3)], false), "a guest anyway");
    }

    #[test]
    fn veth_tap_tun_and_dummy_are_edges_only_where_there_is_no_hardware() {
        let tun = Device { link_type: 0xfffe, ..device(2, "tun") };
        for (one, beside_hardware) in [
            (device(2, "veth"), Role::Guest),
            (device(2, "netkit"), Role::Guest),
            (device(2, "tun"), Role::Guest),
            (tun, Role::Inner),
            (device(2, "dummy"), Role::None),
        ] {
            assert_eq!(role(&[one.clone(), card(3)]), beside_hardware, "{one:?}");
            assert_eq!(role(&[one.clone(), device(3, "bridge")]), Role::Edge, "{one:?}");
            assert_eq!(role(std::slice::from_ref(&one)), Role::Edge, "{one:?}");
        }
    }

    #[test]
    fn loopback_and_what_only_the_host_itself_sees_is_nothing() {
        let loopback = Device { link_type: ARPHRD_LOOPBACK, ..device(1, "") };
        assert_eq!(role(std::slice::from_ref(&loopback)), Role::None);
        for kind in NOWHERE {
            assert_eq!(role(&[device(2, kind), card(3)]), Role::None, "{kind}");
            assert_eq!(role(&[device(2, kind)]), Role::None, "{kind}");
        }
    }

    #[test]
    fn what_nobody_knows_is_an_edge() {
        assert_eq!(role(&[device(2, "made-tomorrow"), card(3)]), Role::Edge);
        assert_eq!(role(&[device(2, ""), card(3)]), Role::Edge);
    }

    #[test]
    fn below_a_device_are_its_ports_and_what_it_is_stacked_on() {
        let devices = [
            device(2, "bridge"),
            Device { master: Some(2), ..card(3) },
            Device { master: Some(2), lower: Some(3), ..device(4, "vlan") },
            Device { lower: Some(2), ..device(5, "vlan") },
            Device { lower: Some(6), ..device(6, "gre") },
        ];
        let attached = Attached::new();
        let all = Devices::new(&devices, &attached);
        let below = |at: usize| all.below(&devices[at]).iter().map(|one| one.index).collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 3, 4].map(below), [vec![3, 4], vec![], vec![3], vec![2], vec![]]);
    }
}
