//! A cable between two namespaces: a veth pair with addresses of both families, neighbours that are known already
//! (so that no ARP or neighbour discovery is mixed into what a test counts), and offloads as wanted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use crate::{
    netns::{Namespace, ip},
    offload,
};

/// One end of a [`Wire`].
#[derive(Clone, Debug)]
pub struct End {
    /// Interface name.
    pub interface: String,
    /// Its IPv4 address, in a /24.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, in a /64.
    pub v6: Ipv6Addr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// The two ends.
#[derive(Clone, Debug)]
pub struct Wire {
    /// In the first namespace: host number 1 of both networks.
    pub near: End,
    /// In the second: host number 2.
    pub far: End,
}

/// What a wire is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Networks {
    /// The /24: its last byte is ignored.
    pub v4: Ipv4Addr,
    /// The /64: its last half is ignored.
    pub v6: Ipv6Addr,
    /// Whether segmentation offloads stay on, so that the wire carries super-packets.
    pub offloads: bool,
}

impl Networks {
    /// The `number`th pair of networks of the ranges set aside for benchmarks and documentation:
    /// `198.18.NUMBER.0/24` and `2001:db8:NUMBER::/64` (the same digits read in decimal), offloads off.
    #[must_use]
    pub const fn number(number: u8) -> Self {
        // 49 is written 49 in both, which makes output easier to read.
        let group = (number / 100) as u16 * 0x100 + (number / 10 % 10) as u16 * 0x10 + (number % 10) as u16;
        Self {
            v4: Ipv4Addr::new(198, 18, number, 0),
            v6: Ipv6Addr::new(0x2001, 0xdb8, group, 0, 0, 0, 0, 0),
            offloads: false,
        }
    }

    /// Host `number` of both networks.
    #[must_use]
    pub const fn host(&self, number: u8) -> (Ipv4Addr, Ipv6Addr) {
        let v4 = Ipv4Addr::from_bits(self.v4.to_bits() & 0xffff_ff00 | number as u32);
        let v6 = Ipv6Addr::from_bits(self.v6.to_bits() & !(u64::MAX as u128) | number as u128);
        (v4, v6)
    }
}

impl Wire {
    /// Lays a cable: `near_name` in `near`, `far_name` in `far`.
    ///
    /// # Errors
    /// The kernel has no veth, or a name is taken.
    pub fn lay(near: &Namespace, near_name: &str, far: &Namespace, far_name: &str, on: Networks) -> Result<Self> {
        let _: String = ip(&[
            "link",
            "add",
            near_name,
            "netns",
            near.name(),
            "type",
            "veth",
            "peer",
            "name",
            far_name,
            "netns",
            far.name(),
        ])?;
        let (a, b) = (bring_up(near, near_name, on, 1)?, bring_up(far, far_name, on, 2)?);
        let wire = Self { near: a, far: b };
        for (namespace, own, other) in [(near, &wire.near, &wire.far), (far, &wire.far, &wire.near)] {
            for address in [IpAddr::V4(other.v4), IpAddr::V6(other.v6)] {
                know(namespace, &own.interface, address, other.mac)?;
            }
        }
        Ok(wire)
    }

    /// Gives the far end one more address of each family (host `number`) that the near end knows.
    ///
    /// # Errors
    /// The address is taken.
    pub fn add_far_host(
        &self,
        near: &Namespace,
        far: &Namespace,
        on: Networks,
        number: u8,
    ) -> Result<(Ipv4Addr, Ipv6Addr)> {
        let (v4, v6) = on.host(number);
        add_address(far, &self.far.interface, v4, v6)?;
        for address in [IpAddr::V4(v4), IpAddr::V6(v6)] {
            know(near, &self.near.interface, address, self.far.mac)?;
        }
        Ok((v4, v6))
    }
}

fn bring_up(namespace: &Namespace, interface: &str, on: Networks, number: u8) -> Result<End> {
    let (v4, v6) = on.host(number);
    // Made after the namespace's defaults were set, so it has them.
    offload::set(namespace, interface, on.offloads)?;
    // Without ARP the kernel resolves nothing and, as it needs no solicited-node group, reports no membership of
    // one: a wire without traffic is silent.
    namespace.ip(&["link", "set", interface, "arp", "off", "up"])?;
    add_address(namespace, interface, v4, v6)?;
    Ok(End { interface: interface.to_owned(), v4, v6, mac: mac(namespace, interface)? })
}

fn add_address(namespace: &Namespace, interface: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
    namespace.ip(&["address", "add", &format!("{v4}/24"), "dev", interface])?;
    namespace.ip(&["address", "add", &format!("{v6}/64"), "dev", interface, "nodad"])?;
    Ok(())
}

/// Makes `address` a permanent neighbour.
fn know(namespace: &Namespace, interface: &str, address: IpAddr, mac: [u8; 6]) -> Result<()> {
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let (address, mac) = (address.to_string(), mac.join(":"));
    namespace.ip(&["neighbour", "replace", &address, "lladdr", &mac, "dev", interface, "nud", "permanent"])?;
    Ok(())
}

fn mac(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let text = namespace.ip(&["-j", "link", "show", "dev", interface])?;
    let json: serde_json::Value = serde_json::from_str(&text).context("`ip -j` printed no JSON")?;
    let text = json.pointer("/0/address").and_then(serde_json::Value::as_str).unwrap_or_default();
    let bytes: Vec<u8> = text.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.try_into().ok().with_context(|| format!("{interface} has no Ethernet address but `{text}`"))
}
