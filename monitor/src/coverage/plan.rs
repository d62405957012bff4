//! What is to be watched: devices and the configuration's patterns in, for each device yes or no and why out.

use std::collections::{BTreeSet, HashMap};

use glob::Pattern;

use super::roles::{Attached, Devices, has_slaves, is_tunnel, is_vrf, is_wrapped};
use crate::model::coverage::{Device, Role};

/// What the configuration asks for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    interfaces: Vec<Name>,
    guests: Vec<Name>,
    /// What is not to be watched: as it is written, and what that means.
    left_out: Vec<(String, Name)>,
    auto: bool,
}

/// A name or a glob.
#[derive(Clone, Debug)]
struct Name {
    text: String,
    /// What is no glob was refused where it was read.
    glob: Option<Pattern>,
}

impl Name {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), glob: Pattern::new(text).ok() }
    }

    fn fits(&self, name: &str) -> bool {
        self.text == name || self.glob.as_ref().is_some_and(|glob| glob.matches(name))
    }
}

/// What becomes of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its index.
    pub index: u32,
    /// What it is. A device that is watched in the place of what is beneath it is an edge.
    pub role: Role,
    /// Whether it is to be watched.
    pub watch: bool,
    /// Whether it should be: an edge, or what the configuration asks for.
    pub wanted: bool,
    /// Why it is not watched, or what else there is to say.
    pub why: String,
}

/// What becomes of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Each device, edges first, by index.
    pub devices: Vec<Planned>,
    /// Patterns that come to nothing, and why.
    pub unfit: Vec<(String, String)>,
}

/// Stacks are not higher.
const HIGHEST: u32 = 8;

impl Wanted {
    /// Names, globs and `auto`, and with `!` what is left out; and which guests' devices are watched besides.
    pub fn new(interfaces: &[String], guests: &[String]) -> Self {
        let named = interfaces.iter().filter(|pattern| *pattern != AUTO && !pattern.starts_with('!'));
        let left_out = |pattern: &String| Some((pattern.clone(), Name::new(pattern.strip_prefix('!')?)));
        Self {
            interfaces: named.map(|pattern| Name::new(pattern)).collect(),
            guests: guests.iter().map(|pattern| Name::new(pattern)).collect(),
            left_out: interfaces.iter().filter_map(left_out).collect(),
            auto: interfaces.iter().any(|pattern| pattern == AUTO),
        }
    }

    /// The pattern that leaves a device out.
    fn leaves_out(&self, name: &str) -> Option<&str> {
        self.left_out.iter().find(|(_, left_out)| left_out.fits(name)).map(|(text, _)| text.as_str())
    }

    /// Whether a pattern other than `auto` asks for a device.
    fn names(&self, name: &str, role: Role) -> bool {
        let by_name = self.interfaces.iter().any(|pattern| pattern.fits(name));
        by_name || (role == Role::Guest && self.guests.iter().any(|pattern| pattern.fits(name)))
    }
}

const AUTO: &str = "auto";

struct Planner<'a> {
    devices: Devices<'a>,
    wanted: &'a Wanted,
    attached: &'a Attached,
    roles: HashMap<u32, Role>,
    /// Devices whose stack has no end.
    endless: BTreeSet<u32>,
}

/// Whether a device's stack has no end, or none that can be believed.
fn is_endless(all: &Devices<'_>, device: &Device, height: u32) -> bool {
    height == 0 || all.below(device).into_iter().any(|below| is_endless(all, below, height - 1))
}

impl Planner<'_> {
    fn role(&self, device: &Device) -> Role {
        self.roles.get(&device.index).copied().unwrap_or_default()
    }

    /// Whether the configuration asks for a device, by name or by its role.
    fn asks(&self, device: &Device) -> bool {
        let role = self.role(device);
        let auto = self.wanted.auto && matches!(role, Role::Edge | Role::Inner);
        let asked = auto || self.wanted.names(&device.name, role) || self.stands_for_named(device);
        self.wanted.leaves_out(&device.name).is_none() && asked
    }

    /// Whether a bond or team above a device is named: what its slaves send by themselves does not pass its hook, and they
    /// are watched in its place.
    fn stands_for_named(&self, device: &Device) -> bool {
        let above =
            |device: &&Device| device.master.and_then(|master| self.devices.get(master)).filter(|it| has_slaves(it));
        let mut masters = std::iter::successors(above(&device), above).take(HIGHEST as usize);
        masters.any(|master| {
            let left_out = self.wanted.leaves_out(&master.name).is_some();
            !left_out && self.wanted.names(&master.name, self.role(master))
        })
    }

    /// Whether a device is watched: it is asked for, its hook sees packets, and they are not seen beneath it anyway. One that
    /// is attached to already needs no name.
    fn watches(&self, device: &Device, height: u32) -> bool {
        let can_be = !is_vrf(device) && (!device.odd_name || self.attached.contains_key(&device.index));
        can_be && self.asks(device) && (self.role(device) != Role::Transit || !self.is_seen_below(device, height))
    }

    /// The devices beneath by which packets may leave the host: a bridge's port to a guest is none.
    fn ways_below(&self, device: &Device) -> Vec<&Device> {
        let is_way = |below: &&Device| !matches!(self.role(below), Role::Guest | Role::None);
        self.devices.below(device).into_iter().filter(is_way).collect()
    }

    /// Whether whatever leaves by a device passes one that is watched on its way out, as it is: what it has encrypted is not
    /// seen there.
    fn is_seen_below(&self, device: &Device, height: u32) -> bool {
        let below = self.ways_below(device);
        self.role(device) != Role::Inner
            && !self.endless.contains(&device.index)
            && !below.is_empty()
            && below.iter().all(|below| self.is_seen(below, height))
    }

    fn is_seen(&self, device: &Device, height: u32) -> bool {
        height > 0 && (self.watches(device, height - 1) || self.is_seen_below(device, height - 1))
    }

    fn plan(&self, device: &Device) -> Planned {
        let (role, watch, asked) = (self.role(device), self.watches(device, HIGHEST), self.asks(device));
        let below = self.ways_below(device);
        let names: BTreeSet<&str> = below.iter().map(|one| one.name.as_str()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        // Watched instead of what is beneath it, it is the last that is seen of its packets as they are.
        let instead = role == Role::Transit && !below.is_empty() && !below.iter().any(|one| self.is_seen(one, HIGHEST));
        let before_encrypted = || below.iter().any(|one| self.role(one) == Role::Inner);
        let role = match role {
            Role::Transit if watch && instead => {
                if before_encrypted() {
                    Role::Inner
                } else {
                    Role::Edge
                }
            }
            role => role,
        };
        let seen = self.is_seen_below(device, HIGHEST);
        let left_out = self.wanted.leaves_out(&device.name);
        let why = match left_out {
            _ if watch => match role {
                Role::Transit if below.is_empty() => "counted apart: its packets pass another device".into(),
                Role::Transit => format!("counted apart: some of its packets pass {names}"),
                Role::Inner if is_wrapped(device) => "counted apart, before it is wrapped".into(),
                Role::Inner => "counted apart, before it is encrypted".into(),
                Role::Guest => "counted apart: what leaves the host passes another device".into(),
                Role::Edge | Role::None => String::new(),
            },
            Some(pattern) => format!("'{pattern}' leaves it out"),
            None if is_vrf(device) && asked => {
                format!("no packet passes the hook of a VRF: name its slaves ({names})")
            }
            None if device.odd_name && asked => "its name is not UTF-8: rename it".into(),
            None if has_slaves(device) && asked && seen => format!("its slaves are watched in its place: {names}"),
            None => Self::why_not(device, role, &names, seen),
        };
        let wanted = left_out.is_none() && !seen && !is_vrf(device) && (role == Role::Edge || asked);
        Planned { index: device.index, role, watch, wanted, why }
    }

    fn why_not(device: &Device, role: Role, names: &str, seen: bool) -> String {
        let not_watched = if seen { "" } else { ", which is not watched" };
        match role {
            Role::Edge => "[monitor] interfaces does not name it".into(),
            Role::Inner => "[monitor] interfaces does not name it: what it encrypts or wraps is not seen".into(),
            Role::Guest => {
                "leads to a container or guest; what leaves the host passes an edge ([monitor] guests)".into()
            }
            Role::Transit if names.is_empty() && is_tunnel(device) => "a tunnel: read where it leaves".into(),
            Role::Transit if names.is_empty() => "nothing is beneath it".into(),
            Role::Transit => format!("its packets pass {names}{not_watched}"),
            Role::None => "nothing leaves the host by it".into(),
        }
    }

    /// Why `auto` comes to nothing, if it does.
    fn unfit_auto(&self, devices: &[Device]) -> Option<(String, String)> {
        let any = devices.iter().any(|one| self.role(one) == Role::Edge && self.watches(one, HIGHEST));
        let unfit = self.wanted.auto && !any;
        unfit.then(|| (AUTO.to_owned(), format!("there is no edge to watch: {}", listed(devices))))
    }

    /// Why a name or glob comes to nothing, if it does.
    fn unfit(&self, pattern: &Name, devices: &[Device]) -> Option<(String, String)> {
        let mut fitting = devices.iter().filter(|one| pattern.fits(&one.name)).peekable();
        let why = if fitting.peek().is_none() {
            format!("it does not exist: {}", listed(devices))
        } else {
            self.plan(fitting.find(|one| is_vrf(one) && one.name == pattern.text)?).why
        };
        Some((pattern.text.clone(), why))
    }
}

/// The names of devices, as far as they can be read at a glance.
fn listed(devices: &[Device]) -> String {
    const MOST: usize = 20;
    let names: Vec<&str> = devices.iter().take(MOST).map(|one| one.name.as_str()).collect();
    let more = devices.len().saturating_sub(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("there are {}{more}", names.join(", "))
}

/// What is to become of each device, with what is attached to now.
pub fn plan(devices: &[Device], wanted: &Wanted, attached: &Attached) -> Plan {
    let all = Devices::new(devices, attached);
    let roles = devices.iter().map(|device| (device.index, all.role(device))).collect();
    let endless =
        devices.iter().filter(|device| is_endless(&all, device, HIGHEST)).map(|device| device.index).collect();
    let planner = Planner { devices: all, wanted, attached, roles, endless };
    let mut planned: Vec<Planned> = devices.iter().map(|device| planner.plan(device)).collect();
    planned.sort_by_key(|one| (one.role, one.index));
    let named = wanted.interfaces.iter().filter_map(|pattern| planner.unfit(pattern, devices));
    let unfit = planner.unfit_auto(devices).into_iter().chain(named).collect();
    Plan { devices: planned, unfit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32, name: &str, kind: &str) -> Device {
        let kind = (!kind.is_empty()).then(|| kind.to_owned());
        Device { index, name: name.into(), kind, link_type: 1, ..Device::default() }
    }

    fn card(index: u32, name: &str) -> Device {
        Device { hardware: true, ..device(index, name, "") }
    }

    fn loopback() -> Device {
        Device { link_type: 772, ..device(1, "lo", "") }
    }

    fn wanted(interfaces: &[&str], guests: &[&str]) -> Wanted {
        let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        Wanted::new(&own(interfaces), &own(guests))
    }

    /// Where nothing is attached yet.
    fn plan_of(devices: &[Device], wanted: &Wanted) -> Plan {
        plan(devices, wanted, &Attached::new())
    }

    /// What is watched, by name and role.
    fn watched(devices: &[Device], interfaces: &[&str]) -> Vec<(String, &'static str)> {
        let name = |index| devices.iter().find(|one| one.index == index).expect("planned").name.clone();
        let plan = plan_of(devices, &wanted(interfaces, &[]));
        plan.devices.iter().filter(|one| one.watch).map(|one| (name(one.index), one.role.name())).collect()
    }

    fn why(devices: &[Device], interfaces: &[&str], name: &str) -> String {
        let index = devices.iter().find(|one| one.name == name).expect("there").index;
        let plan = plan_of(devices, &wanted(interfaces, &[]));
        plan.devices.into_iter().find(|one| one.index == index).expect("planned").why
    }

    fn of(names: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
        names.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect()
    }

    /// Two uplinks in a bond, a VLAN on it, a bridge on that with a guest's port, and a tunnel of each kind.
    fn host() -> Vec<Device> {
        vec![
            loopback(),
            Device { master: Some(4), ..card(2, "eth0") },
            Device { master: Some(4), ..card(3, "eth1") },
            device(4, "bond0", "bond"),
            Device { lower: Some(4), master: Some(6), ..device(5, "bond0.5", "vlan") },
            device(6, "br0", "bridge"),
            Device { master: Some(6), ..device(7, "vnet0", "tun") },
            Device { link_type: 0xfffe, ..device(8, "wg0", "wireguard") },
            device(9, "vxlan0", "vxlan"),
            device(10, "veth0", "veth"),
        ]
    }

    #[test]
    fn auto_is_every_edge_and_every_inner_device_and_nothing_else() {
        assert_eq!(watched(&host(), &["auto"]), of(&[("eth0", "edge"), ("eth1", "edge"), ("wg0", "inner")]));
        // In a container.
        let container =
            [loopback(), device(2, "eth0", "veth"), device(3, "net1", "macvlan"), device(4, "br0", "bridge")];
        assert_eq!(watched(&container, &["auto"]), of(&[("eth0", "edge"), ("net1", "edge")]));
    }

    #[test]
    fn what_is_stacked_on_what_is_watched_makes_no_second_row() {
        let expected = of(&[("eth0", "edge"), ("eth1", "edge")]);
        for interfaces in
            [&["eth0", "eth1", "bond0", "br0", "bond0.5"][..], &["eth*", "b*"], &["*", "!v*", "!lo", "!wg0"]]
        {
            assert_eq!(watched(&host(), interfaces), expected, "{interfaces:?}");
        }
        assert_eq!(why(&host(), &["auto"], "bond0"), "its packets pass eth0, eth1");
        assert_eq!(why(&host(), &["auto"], "bond0.5"), "its packets pass bond0");
    }

    #[test]
    fn what_is_watched_instead_of_what_is_beneath_it_is_the_edge() {
        assert_eq!(watched(&host(), &["bond0.5"]), of(&[("bond0.5", "edge")]));
    }

    #[test]
    fn a_bond_or_team_that_is_named_stands_for_its_slaves() {
        let slaves = of(&[("eth0", "edge"), ("eth1", "edge")]);
        for kind in ["bond", "team"] {
            let mut devices = host();
            devices[3].kind = Some(kind.into());
            for interfaces in [&["bond0"][..], &["bond0", "bond0.5"], &["bond0", "eth0"], &["bond*"]] {
                assert_eq!(watched(&devices, interfaces), slaves, "{kind} {interfaces:?}");
            }
            assert_eq!(why(&devices, &["bond0"], "bond0"), "its slaves are watched in its place: eth0, eth1");
            let left_out = watched(&devices, &["bond0", "!eth1"]);
            assert_eq!(left_out, of(&[("eth0", "edge"), ("bond0", "transit")]), "{kind}");
            let why = why(&devices, &["bond0", "!eth1"], "bond0");
            assert_eq!(why, "counted apart: some of its packets pass eth0, eth1");
        }
        // A slave that is a bond itself, and one that is still to come.
        let nested = [
            Device { master: Some(3), ..card(2, "eth0") },
            Device { master: Some(4), ..device(3, "bond1", "bond") },
            device(4, "team0", "team"),
        ];
        assert_eq!(watched(&nested, &["team0"]), of(&[("eth0", "edge")]));
        assert_eq!(watched(&nested[2..], &["team0"]), of(&[("team0", "transit")]));
        // What is no edge is its own business.
        assert_eq!(watched(&nested, &["auto", "!team0", "!eth0"]), []);
    }

    #[test]
    fn a_device_that_is_watched_as_an_edge_is_not_let_go_of_when_a_card_comes() {
        let container = [loopback(), device(2, "eth0", "veth"), device(3, "tap0", "tun"), card(4, "vf0")];
        let of = |attached: &Attached| -> Vec<(u32, Role)> {
            let plan = plan(&container, &wanted(&["auto"], &[]), attached);
            plan.devices.iter().filter(|one| one.watch).map(|one| (one.index, one.role)).collect()
        };
        assert_eq!(of(&Attached::new()), [(4, Role::Edge)]);
        let before = Attached::from([(2, Role::Edge), (3, Role::Edge)]);
        assert_eq!(of(&before), [(2, Role::Edge), (3, Role::Edge), (4, Role::Edge)]);
    }

    #[test]
    fn a_vrf_is_refused_with_the_names_of_its_slaves() {
        let devices = [
            Device { master: Some(4), ..card(2, "eth0") },
            Device { master: Some(4), ..card(3, "eth1") },
            device(4, "blue", "vrf"),
        ];
        let plan = plan_of(&devices, &wanted(&["blue"], &[]));
        assert!(plan.devices.iter().all(|one| !one.watch));
        let refused = "no packet passes the hook of a VRF: name its slaves (eth0, eth1)".to_owned();
        assert_eq!(plan.unfit, [("blue".to_owned(), refused)]);
    }

    #[test]
    fn names_globs_and_exceptions_override_the_roles() {
        assert_eq!(watched(&host(), &["eth0"]), of(&[("eth0", "edge")]));
        assert_eq!(watched(&host(), &["eth*"]), of(&[("eth0", "edge"), ("eth1", "edge")]));
        assert_eq!(watched(&host(), &["auto", "!eth1"]), of(&[("eth0", "edge"), ("wg0", "inner")]));
        assert_eq!(watched(&host(), &["veth0"]), of(&[("veth0", "guest")]));
        assert_eq!(watched(&host(), &["lo", "vxlan0"]), of(&[("vxlan0", "transit"), ("lo", "none")]));
        assert_eq!(why(&host(), &["auto", "!eth1"], "eth1"), "'!eth1' leaves it out");
        assert_eq!(why(&host(), &["eth0"], "eth1"), "[monitor] interfaces does not name it");
    }

    #[test]
    fn what_encrypts_above_a_card_is_watched_besides_and_nothing_on_it_is_seen_by_the_card() {
        for kind in ["macsec", "xfrm"] {
            let devices = [
                card(2, "eth0"),
                Device { lower: Some(2), ..device(3, "crypt0", kind) },
                Device { lower: Some(3), ..device(4, "crypt0.5", "vlan") },
            ];
            assert_eq!(watched(&devices, &["auto"]), of(&[("eth0", "edge"), ("crypt0", "inner")]), "{kind}");
            assert_eq!(why(&devices, &["auto"], "crypt0"), "counted apart, before it is encrypted");
            assert_eq!(why(&devices, &["auto"], "crypt0.5"), "its packets pass crypt0");
            let plan = plan_of(&devices, &wanted(&["auto"], &[]));
            let wanted: Vec<u32> = plan.devices.iter().filter(|one| one.wanted).map(|one| one.index).collect();
            assert_eq!(wanted, [2, 3], "{kind} that cannot be attached to is told when it sends");
            assert_eq!(
                watched(&devices, &["eth0", "crypt0.5"]),
                of(&[("eth0", "edge"), ("crypt0.5", "inner")]),
                "{kind}"
            );
        }
    }

    #[test]
    fn guests_are_watched_where_they_are_named() {
        let plan = plan_of(&host(), &wanted(&["auto"], &["v*"]));
        let watched: Vec<u32> = plan.devices.iter().filter(|one| one.watch).map(|one| one.index).collect();
        assert_eq!(watched, [2, 3, 8, 7, 10], "not the tunnel of the same name");
    }

    #[test]
    fn an_edge_is_wanted_unless_it_is_left_out_and_so_is_what_is_asked_for() {
        let wanted = |interfaces: &[&str]| {
            let plan = plan_of(&host(), &wanted(interfaces, &[]));
            let mut indices: Vec<u32> = plan.devices.iter().filter(|one| one.wanted).map(|one| one.index).collect();
            indices.sort_unstable();
            indices
        };
        assert_eq!(wanted(&["auto"]), [2, 3, 8]);
        assert_eq!(wanted(&["eth0"]), [2, 3]);
        assert_eq!(wanted(&["auto", "!eth1"]), [2, 8]);
        assert_eq!(wanted(&["bond0"]), [2, 3], "what its slaves send by themselves does not pass it");
        assert_eq!(wanted(&["br0"]), [2, 3, 6], "guests' packets do not pass it");
    }

    #[test]
    fn what_fits_nothing_is_named_with_what_there_is() {
        let unfit = |devices: &[Device], interfaces: &[&str]| plan_of(devices, &wanted(interfaces, &[])).unfit;
        let of = |pattern: &str, why: &str| vec![(pattern.to_owned(), why.to_owned())];
        assert_eq!(unfit(&[loopback()], &["auto"]), of("auto", "there is no edge to watch: there are lo"));
        assert_eq!(unfit(&[loopback()], &["eth9", "lo"]), of("eth9", "it does not exist: there are lo"));
        assert_eq!(unfit(&[loopback()], &["wan*"]), of("wan*", "it does not exist: there are lo"));
        assert_eq!(unfit(&host(), &["auto", "!eth9", "w*"]), []);
    }

    #[test]
    fn a_name_that_cannot_be_written_stops_nothing_and_is_said() {
        let mut devices = vec![card(2, "eth0"), Device { odd_name: true, ..card(3, "\u{fffd}") }];
        let plan_with = |attached| plan(&devices, &wanted(&["auto"], &[]), &attached);
        let of = |plan: &Plan| plan.devices.iter().map(|one| (one.watch, one.wanted)).collect::<Vec<_>>();
        let found = plan_with(Attached::new());
        assert_eq!(of(&found), [(true, true), (false, true)]);
        assert_eq!(found.devices[1].why, "its name is not UTF-8: rename it");
        // One that got such a name while it was watched is not let go of.
        assert_eq!(of(&plan_with(Attached::from([(3, Role::Edge)]))), [(true, true); 2]);
        devices[1].odd_name = false;
        assert_eq!(watched(&devices, &["*"]).len(), 2);
    }

    #[test]
    fn devices_that_are_stacked_on_each_other_end() {
        let devices =
            [Device { lower: Some(3), ..device(2, "a", "vlan") }, Device { lower: Some(2), ..device(3, "b", "vlan") }];
        assert_eq!(watched(&devices, &["a", "b"]).len(), 2);
    }
}
