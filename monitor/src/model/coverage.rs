//! The devices of this network namespace, what packets leave by, and which of it is watched: for status, metrics and
//! findings. The kernel part reads the devices, `coverage` says what each of them is, the daemon puts both together.

use std::{collections::BTreeSet, net::IpAddr};

use super::readings::Amount;

/// A network device, as rtnetlink describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that rtnetlink tells on its own")]
pub struct Device {
    /// Index: who it is, as long as it is there.
    pub index: u32,
    /// Name now.
    pub name: String,
    /// Whether its name is no UTF-8; `name` shows what can be shown of it.
    pub odd_name: bool,
    /// `ARPHRD_*`.
    pub link_type: u16,
    /// Its kind, such as `veth` or `bridge` (IFLA_INFO_KIND); most hardware has none.
    pub kind: Option<String>,
    /// Whether there is a bus behind it (IFLA_PARENT_DEV_NAME).
    pub hardware: bool,
    /// The device of this namespace that it is stacked on (IFLA_LINK).
    pub lower: Option<u32>,
    /// The device of which it is a port or slave (IFLA_MASTER).
    pub master: Option<u32>,
    /// Of a tunnel in UDP, the port that it sends to (IFLA_INFO_DATA): VXLAN, Geneve, and what FOU or GUE wraps.
    pub outer_port: Option<u16>,
    /// Whether it has an address that is good beyond its link, or a default route. Asked for only where that decides what
    /// it is: of one end of a pair outside the initial network namespace.
    pub own_way: bool,
    /// Whether it is up.
    pub up: bool,
    /// What it has sent since it was made.
    pub sent: Amount,
}

/// What a device is to those who ask what leaves the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Packets leave the host by it. The sum is over these.
    #[default]
    Edge,
    /// Packets pass it before they are encrypted, or wrapped in a form that is not read: judged here, counted apart.
    Inner,
    /// It leads to a container or guest of this host.
    Guest,
    /// What it sends passes another device beneath it.
    Transit,
    /// Nothing leaves by it.
    None,
}

impl Role {
    /// All.
    pub const ALL: [Self; 5] = [Self::Edge, Self::Inner, Self::Guest, Self::Transit, Self::None];

    /// The name in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Inner => "inner",
            Self::Guest => "guest",
            Self::Transit => "transit",
            Self::None => "none",
        }
    }

    /// Whether packets on such a device are seen on an edge besides, as they are: what they come to is charged there.
    pub const fn is_seen_again(self) -> bool {
        matches!(self, Self::Guest | Self::Transit | Self::None)
    }
}

/// A device, and whether it is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// What it is.
    pub role: Role,
    /// Its kind; hardware mostly has none.
    pub kind: Option<String>,
    /// Whether it is up.
    pub up: bool,
    /// Watched since when, UTC nanoseconds since 1970.
    pub since: Option<i128>,
    /// Why not, or what there is to say.
    pub why: String,
    /// Whether the kernel refused to have it watched.
    pub refused: bool,
    /// Whether it is to be watched: an edge, or what the configuration asks for.
    pub wanted: bool,
    /// What it sent before it was watched; while it is not, since it was found.
    pub unwatched: Amount,
}

impl Covered {
    /// What there is to say of a device that sends without being watched.
    pub fn leak(&self) -> String {
        let Self { name, role, unwatched, why, .. } = self;
        let Amount { packets, bytes } = unwatched;
        let role = role.name();
        format!("{name} ({role}) sent {packets} packets, {bytes} bytes and is not watched: {why}")
    }
}

/// What is watched and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Every device of the namespace, edges first.
    pub devices: Vec<Covered>,
    /// What the configuration asks for and can't have: the pattern, and why.
    pub unfit: Vec<(String, String)>,
    /// Devices that are to be watched and for which there is no slot.
    pub no_slot: Vec<String>,
    /// Why the devices can't be listed, while they can't.
    pub error: Option<String>,
    /// The addresses of this host, in its network namespace.
    pub local: BTreeSet<IpAddr>,
}

impl Coverage {
    /// The name of the device with this index; of index 0 that it is none.
    pub fn name(&self, index: u32) -> String {
        let device = self.devices.iter().find(|device| device.index == index);
        match (index, device) {
            (0, _) => "no interface".into(),
            (_, Some(device)) => device.name.clone(),
            (_, None) => format!("interface {index}"),
        }
    }

    /// What the device with this index is, if it is known.
    pub fn role(&self, index: u32) -> Option<Role> {
        self.devices.iter().find(|device| device.index == index).map(|device| device.role)
    }

    /// The devices that send without being watched, though they are to be.
    pub fn leaking(&self) -> impl Iterator<Item = &Covered> {
        let leaks = |device: &&Covered| device.since.is_none() && device.wanted && device.unwatched.packets > 0;
        self.devices.iter().filter(leaks)
    }
}
