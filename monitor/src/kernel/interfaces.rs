//! The interfaces that the program is on, and the slots that they are counted in.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    sync::atomic::Ordering,
};

use monitor_common::wire::{HookSums, Hot, INTERFACE_PROBES, INTERFACE_TABLE, InterfaceEntry, Link, MAX_INTERFACES};

use super::{Kernel, KernelError, readings::Nic};
use crate::model::coverage::Device;

/// An interface to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name now.
    pub name: String,
    /// Index.
    pub index: u32,
    /// What its frames begin with.
    pub link: Link,
}

impl Interface {
    /// The one of this name in the calling thread's network namespace.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<Self, KernelError> {
        let found = devices()?.iter().find(|device| device.name == name).map(Self::from);
        found.ok_or_else(|| KernelError::InterfaceGone(name.to_owned()))
    }
}

impl From<&Device> for Interface {
    fn from(device: &Device) -> Self {
        Self { name: device.name.clone(), index: device.index, link: link(device.link_type) }
    }
}

/// The devices of the calling thread's network namespace.
///
/// # Errors
/// They can't be listed.
pub fn devices() -> Result<Vec<Device>, KernelError> {
    let listed = Nic::open().and_then(|mut nic| nic.devices());
    listed.map_err(KernelError::map("can't list the interfaces"))
}

/// The indices of devices that have an address which is good beyond their link, or that a default route leads to.
///
/// # Errors
/// They can't be listed.
pub fn own_ways() -> Result<BTreeSet<u32>, KernelError> {
    let listed = Nic::open().and_then(|mut nic| nic.own_ways());
    listed.map_err(KernelError::map("can't list addresses and routes"))
}

/// The addresses of the calling thread's network namespace.
///
/// # Errors
/// They can't be listed.
pub fn local_addresses() -> Result<BTreeSet<IpAddr>, KernelError> {
    let listed = Nic::open().and_then(|mut nic| nic.local_addresses());
    listed.map_err(KernelError::map("can't list addresses"))
}

/// Whether the calling thread is in the network namespace that the kernel made first. In doubt it is.
pub fn in_initial_namespace() -> bool {
    is_initial(|of_net_core| std::path::Path::new("/proc/sys/net/core").join(of_net_core).exists())
}

/// By what net/core/sysctl_net_core.c has for each namespace, and for the first alone.
fn is_initial(has: impl Fn(&str) -> bool) -> bool {
    !has("somaxconn") || has("dev_weight") || has("netdev_max_backlog")
}

/// The routers with an IPv6 address that default routes name, of all tables.
///
/// # Errors
/// They can't be listed.
pub fn default_gateways() -> Result<BTreeSet<Ipv6Addr>, KernelError> {
    let listed = Nic::open().and_then(|mut nic| nic.default_gateways());
    listed.map_err(KernelError::map("can't list the routes"))
}

/// What a slot is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing: it may be given.
    #[default]
    Free,
    /// This interface's packets.
    Used(Interface),
    /// What is still to be drained of this interface, which the program is off.
    Retired(Interface),
}

impl Slot {
    /// The interface that is counted here.
    pub fn interface(&self) -> Option<&Interface> {
        match self {
            Self::Free => None,
            Self::Used(interface) | Self::Retired(interface) => Some(interface),
        }
    }

    const fn is_retired(&self) -> bool {
        matches!(self, Self::Retired(_))
    }
}

impl Kernel {
    /// Gives an interface a slot, so that its packets are counted under it.
    ///
    /// # Errors
    /// There is none: before the next drain ([`KernelError::AwaitsDrain`]), or at all.
    #[doc(hidden)] // public for the tests that run packets without attaching
    pub fn register(&mut self, interface: &Interface) -> Result<(), KernelError> {
        // Flows are told apart by the index: two that had it one after the other are not of one epoch.
        let had_it =
            |slot: &Slot| slot.is_retired() && slot.interface().is_some_and(|had| had.index == interface.index);
        if self.slots.iter().any(had_it) {
            return Err(KernelError::AwaitsDrain);
        }
        let free = self.slots.iter().position(|slot| *slot == Slot::Free);
        let most = self.interface_slots as usize - 1;
        let at = match free {
            Some(at) => at,
            None if self.slots.len() < most => {
                self.slots.push(Slot::Free);
                self.slots.len() - 1
            }
            None if self.slots.iter().any(Slot::is_retired) => return Err(KernelError::AwaitsDrain),
            None => {
                return Err(KernelError::TooManyInterfaces { interface: interface.name.clone(), most: most as u32 });
            }
        };
        self.place(at as u32 + 1, interface)?;
        self.slots[at] = Slot::Used(interface.clone());
        Ok(())
    }

    /// Has the programs find the slot of an interface.
    fn place(&mut self, slot: u32, interface: &Interface) -> Result<(), KernelError> {
        let entry = InterfaceEntry { ifindex: interface.index, slot: slot as u16, link: interface.link as u16 };
        for probe in 0..INTERFACE_PROBES {
            let place = interface.index.wrapping_add(probe) & (INTERFACE_TABLE - 1);
            if self.maps.written[Hot::word_of_interface(place)] == 0 {
                // First the index, for who finds the slot.
                self.set_ifindex(slot, interface.index);
                self.maps.set(Hot::word_of_interface(place), bytemuck::cast(entry), Ordering::Release);
                return Ok(());
            }
        }
        Err(KernelError::InterfaceCollides { interface: interface.name.clone(), index: interface.index })
    }

    /// Has the programs find all slots, in maps that have none yet.
    pub(super) fn register_all(&mut self) -> Result<(), KernelError> {
        for at in 0..self.slots.len() {
            if let Slot::Used(interface) = self.slots[at].clone() {
                self.place(at as u32 + 1, &interface)?;
            }
        }
        Ok(())
    }

    fn set_ifindex(&mut self, slot: u32, ifindex: u32) {
        let (at, shift) = Hot::word_of_ifindex(slot);
        let others = self.maps.written[at] & !(u64::from(u32::MAX) << shift);
        self.maps.set(at, others | u64::from(ifindex) << shift, Ordering::Relaxed);
    }

    /// The slot of an interface that the program is on; 0: none.
    pub(super) fn slot(&self, ifindex: u32) -> u32 {
        let is = |slot: &Slot| matches!(slot, Slot::Used(interface) if interface.index == ifindex);
        self.slots.iter().position(is).map_or(0, |at| at as u32 + 1)
    }

    /// Nothing more will be counted there when the open epoch is drained: the program is off the interface.
    pub(super) fn retire(&mut self, ifindex: u32) {
        let is = |slot: &&mut Slot| matches!(slot, Slot::Used(interface) if interface.index == ifindex);
        if let Some(slot) = self.slots.iter_mut().find(is)
            && let Slot::Used(interface) = std::mem::take(slot)
        {
            *slot = Slot::Retired(interface);
        }
    }

    /// The slots, by their place, that the epoch which is about to be closed is the last of.
    pub(super) fn retired(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|at| self.slots[*at].is_retired()).collect()
    }

    /// Frees slots of which everything is drained. Nobody looks for their interfaces any more: the programs that did had
    /// ended when the drain began.
    pub(super) fn free(&mut self, retired: &[usize]) {
        for at in retired {
            let Some(interface) = self.slots[*at].interface().cloned() else { continue };
            let slot = *at as u32 + 1;
            for probe in 0..INTERFACE_PROBES {
                let place = interface.index.wrapping_add(probe) & (INTERFACE_TABLE - 1);
                let word = Hot::word_of_interface(place);
                let entry: InterfaceEntry = bytemuck::cast(self.maps.written[word]);
                if entry.ifindex == interface.index && u32::from(entry.slot) == slot {
                    self.maps.set(word, 0, Ordering::Release);
                }
            }
            self.set_ifindex(slot, 0);
            self.hook_drained[slot as usize] = HookSums::default();
            self.slots[*at] = Slot::Free;
        }
    }

    /// An interface has another name now: what it counts from the open epoch on goes by it.
    pub fn rename(&mut self, ifindex: u32, name: &str) {
        for slot in &mut self.slots {
            if let Slot::Used(interface) = slot
                && interface.index == ifindex
            {
                name.clone_into(&mut interface.name);
            }
        }
        for attachment in self.attachments.iter_mut().filter(|one| one.interface.index == ifindex) {
            name.clone_into(&mut attachment.interface.name);
        }
    }
}

/// Slots to make, so that so many interfaces have one, and some that come later. For more, the maps are
/// [replaced](Kernel::make_room).
pub(super) fn slots(interfaces: u32) -> u32 {
    // Slot 0 is for the unregistered.
    (2 * interfaces + 8).min(MAX_INTERFACES)
}

/// The link layer of an `ARPHRD_*` number (include/uapi/linux/if_arp.h).
fn link(arphrd: u16) -> Link {
    match arphrd {
        // ETHER, LOOPBACK
        1 | 772 => Link::Ethernet,
        // RAWIP, PPP, TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE, 6LOWPAN, NONE: nothing before IP on the way out. PPP and 6LoWPAN
        // add their own later.
        519 | 512 | 768 | 769 | 776 | 778 | 823 | 825 | 0xfffe => Link::Ip,
        _ => Link::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_slots_for_some_that_come_later() {
        assert_eq!([0, 1, 20, 300].map(slots), [8, 10, 48, MAX_INTERFACES]);
    }

    #[test]
    fn the_first_namespace_is_told_by_what_it_alone_has_and_taken_for_granted_where_nothing_can_be_read() {
        for (there, initial) in [
            (&["somaxconn", "dev_weight", "netdev_max_backlog"][..], true),
            (&["somaxconn", "optmem_max", "rmem_max"], false),
            (&[], true),
        ] {
            assert_eq!(is_initial(|name| there.contains(&name)), initial, "{there:?}");
        }
    }

    #[test]
    fn what_speaks_ip_alone_begins_with_it() {
        for arphrd in [512, 768, 769, 776, 778, 823, 825, 0xfffe] {
            assert_eq!(link(arphrd), Link::Ip, "{arphrd}");
        }
        assert_eq!([1, 772, 804].map(link), [Link::Ethernet, Link::Ethernet, Link::Other]);
    }

    #[test]
    fn the_loopback_interface_is_found_by_name_and_index() {
        let there = devices().expect("rtnetlink answers");
        let loopback = there.iter().find(|device| device.index == 1).expect("lo");
        assert_eq!((loopback.name.as_str(), loopback.link_type), ("lo", 772));
    }
}
