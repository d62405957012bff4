//! Devices as rtnetlink tells of them, and the news that one came, went or changed. Read attribute by attribute: what a
//! device is called or made of must not keep the others from being seen.

use std::{collections::BTreeSet, io};

use netlink_packet_core::NlasIterator;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::unix::AsyncFd;

use super::sys;
use crate::model::{coverage::Device, readings::Amount};

/// Message types, flags and attributes of include/uapi/linux/rtnetlink.h and if_link.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTNLGRP_LINK: u32 = 1;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_GSO_MAX_SEGS: u16 = 40;
const IFLA_GSO_MAX_SIZE: u16 = 41;
const IFLA_PARENT_DEV_NAME: u16 = 56;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_GENEVE_PORT: u16 = 5;
/// Of GRE in all its forms (include/uapi/linux/if_tunnel.h).
const GRE_ENCAP: Encap = Encap { kind: 14, port: 17 };
/// Of IPIP, sit and ip6tnl.
const IPTUN_ENCAP: Encap = Encap { kind: 15, port: 18 };
/// FOU and GUE.
const ENCAP_IN_UDP: [u16; 2] = [1, 2];

/// The attributes that say how a tunnel is wrapped once more, and the port.
struct Encap {
    kind: u16,
    port: u16,
}

/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

/// What an RTM_NEWLINK says, as far as anybody here asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkNews {
    pub device: Device,
    pub qdisc: String,
    pub queue_length: u32,
    /// `tx_dropped` and `tx_errors`.
    pub dropped: u64,
    /// Whether it takes super-packets that are shorter than the kernel makes them by default.
    pub short: bool,
}

/// What a super-packet has at most by default (`GSO_MAX_SEGS`, `GSO_LEGACY_MAX_SIZE`, linux/netdevice.h).
const SEGMENTS: u32 = 65_535;
const SIZE: u32 = 65_536;

/// Reads a message's payload; `None`: it is none of a device, but of a bridge's port or the like.
pub(super) fn link(kind: u16, payload: &[u8]) -> Option<LinkNews> {
    let (header, attributes) = payload.split_at_checked(IFINFOMSG)?;
    if kind != RTM_NEWLINK || header[0] != libc::AF_UNSPEC as u8 {
        return None;
    }
    let number = |bytes: &[u8]| Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?));
    let mut news = LinkNews::default();
    let device = &mut news.device;
    device.link_type = u16::from_ne_bytes([header[2], header[3]]);
    device.index = number(&header[4..])?;
    device.up = number(&header[8..])? & IFF_UP != 0;
    let mut elsewhere = false;
    for attribute in NlasIterator::new(attributes).flatten() {
        let value = attribute.value();
        match attribute.kind() {
            IFLA_IFNAME => {
                let name = text(value);
                device.odd_name = name.is_err();
                device.name = name.unwrap_or_else(|lossy| lossy);
            }
            IFLA_LINK => device.lower = number(value).filter(|index| *index != 0),
            IFLA_QDISC => news.qdisc = text(value).unwrap_or_default(),
            IFLA_MASTER => device.master = number(value).filter(|index| *index != 0),
            IFLA_TXQLEN => news.queue_length = number(value).unwrap_or(0),
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_PARENT_DEV_NAME => device.hardware = true,
            IFLA_LINKINFO => {
                device.kind = find(value, IFLA_INFO_KIND, |kind| text(kind).ok());
                let kind = device.kind.as_deref().unwrap_or_default();
                device.outer_port = find(value, IFLA_INFO_DATA, |data| outer_port(kind, data));
            }
            IFLA_GSO_MAX_SEGS => news.short |= number(value).is_some_and(|most| most < SEGMENTS),
            IFLA_GSO_MAX_SIZE => news.short |= number(value).is_some_and(|most| most < SIZE),
            IFLA_STATS64 => (device.sent, news.dropped) = sent(value).unwrap_or_default(),
            _ => {}
        }
    }
    if elsewhere {
        device.lower = None;
    }
    Some(news)
}

/// What is read of the attribute of this kind.
fn find<T>(attributes: &[u8], kind: u16, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let found = NlasIterator::new(attributes).flatten().find(|attribute| attribute.kind() == kind)?;
    read(found.value())
}

/// The UDP port that a tunnel sends to, if it is one in UDP.
fn outer_port(kind: &str, data: &[u8]) -> Option<u16> {
    let port = |attribute| find(data, attribute, |port| Some(u16::from_be_bytes(port.try_into().ok()?)));
    let encap = match kind {
        "vxlan" => return port(IFLA_VXLAN_PORT),
        "geneve" => return port(IFLA_GENEVE_PORT),
        "gre" | "gretap" | "ip6gre" | "ip6gretap" => GRE_ENCAP,
        "ipip" | "sit" | "ip6tnl" => IPTUN_ENCAP,
        _ => return None,
    };
    let how = find(data, encap.kind, |how| Some(u16::from_ne_bytes(how.try_into().ok()?)))?;
    if ENCAP_IN_UDP.contains(&how) { port(encap.port) } else { None }
}

/// A string that ends with its attribute or a NUL. One that is no UTF-8 comes as what can be shown of it.
fn text(value: &[u8]) -> Result<String, String> {
    let bytes = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).map_err(|_| String::from_utf8_lossy(bytes).into_owned())
}

/// `tx_packets`, `tx_bytes`, and `tx_errors` with `tx_dropped`, of `struct rtnl_link_stats64`.
fn sent(value: &[u8]) -> Option<(Amount, u64)> {
    let number = |at: usize| Some(u64::from_ne_bytes(value.get(8 * at..8 * at + 8)?.try_into().ok()?));
    Some((Amount { packets: number(1)?, bytes: number(3)? }, number(5)?.saturating_add(number(7)?)))
}

/// News of devices of one network namespace.
pub struct DeviceNews(AsyncFd<Socket>);

/// Room for the news of some thousand devices that are made at once.
const NEWS: usize = 4 << 20;

impl DeviceNews {
    /// Of the calling thread's namespace. Called within the runtime.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        // More than the system allows is cut down.
        socket.set_rx_buf_sz(NEWS as libc::c_int)?;
        socket.add_membership(RTNLGRP_LINK)?;
        socket.set_non_blocking(true)?;
        Ok(Self(sys::async_fd(socket)?))
    }

    /// Waits until something has changed; gives the indices of devices that went, whatever has them now. Where news were
    /// lost none are given, and who looks at all devices misses nothing but one that went and came back meanwhile.
    ///
    /// # Errors
    /// The runtime's, or the socket's.
    pub async fn next(&mut self) -> io::Result<BTreeSet<u32>> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let (mut gone, mut any) = (BTreeSet::new(), false);
            loop {
                match ready.get_inner().recv_from_full() {
                    Ok((datagram, _)) => {
                        any = true;
                        for (kind, payload) in messages(&datagram) {
                            if kind == RTM_DELLINK && payload.first() == Some(&(libc::AF_UNSPEC as u8)) {
                                gone.extend(
                                    payload.get(4..8).and_then(|index| index.try_into().ok()).map(u32::from_ne_bytes),
                                );
                            }
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready();
                        break;
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                    Err(error) => return Err(error),
                }
            }
            if any {
                return Ok(gone);
            }
        }
    }
}

/// The messages of a datagram: type and payload.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const HEADER: usize = 16;
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([message[4], message[5]]), &message[HEADER..]))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An attribute as rtnetlink has it.
    pub(in crate::kernel) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn header(family: u8, index: u32, flags: u32) -> Vec<u8> {
        let mut bytes = vec![family, 0, 1, 0];
        bytes.extend(index.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn a_device_is_read_attribute_by_attribute() {
        let mut stats = [0_u64; 24];
        (stats[1], stats[3], stats[5], stats[7]) = (7, 700, 1, 2);
        let stats: Vec<u8> = stats.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let payload = [
            header(0, 9, 1),
            attribute(IFLA_IFNAME, b"eth0.5\0"),
            attribute(IFLA_LINK, &2_u32.to_ne_bytes()),
            attribute(IFLA_MASTER, &3_u32.to_ne_bytes()),
            attribute(IFLA_QDISC, b"fq\0"),
            attribute(IFLA_TXQLEN, &500_u32.to_ne_bytes()),
            attribute(IFLA_GSO_MAX_SEGS, &SEGMENTS.to_ne_bytes()),
            attribute(IFLA_GSO_MAX_SIZE, &(SIZE - 1).to_ne_bytes()),
            // Nested, with data that nobody here reads.
            attribute(IFLA_LINKINFO | 0x8000, &[attribute(2, &[1, 2, 3]), attribute(IFLA_INFO_KIND, b"vlan")].concat()),
            attribute(IFLA_STATS64, &stats),
        ]
        .concat();
        let expected = Device {
            index: 9,
            name: "eth0.5".into(),
            link_type: 1,
            kind: Some("vlan".into()),
            lower: Some(2),
            master: Some(3),
            up: true,
            sent: Amount { packets: 7, bytes: 700 },
            ..Device::default()
        };
        let read = link(RTM_NEWLINK, &payload).expect("a device");
        assert_eq!((read.device, read.qdisc.as_str(), read.queue_length), (expected, "fq", 500));
        assert_eq!((read.dropped, read.short), (3, true));
    }

    #[test]
    fn a_tunnel_in_udp_says_at_which_port() {
        let of = |kind: &str, data: &[Vec<u8>]| {
            let info = [attribute(IFLA_INFO_KIND, kind.as_bytes()), attribute(IFLA_INFO_DATA, &data.concat())];
            let payload = [header(0, 9, 1), attribute(IFLA_LINKINFO, &info.concat())].concat();
            link(RTM_NEWLINK, &payload).expect("a device").device.outer_port
        };
        let port = |kind, port: u16| attribute(kind, &port.to_be_bytes());
        let how = |kind, how: u16| attribute(kind, &how.to_ne_bytes());
        let id = attribute(1, &7_u32.to_ne_bytes());
        assert_eq!(of("vxlan", &[id.clone(), port(15, 4_789)]), Some(4_789));
        assert_eq!(of("geneve", &[id.clone(), port(5, 6_081)]), Some(6_081));
        assert_eq!(of("gretap", &[id.clone(), how(14, 0), port(17, 5_555)]), None, "plain");
        assert_eq!(of("gretap", &[id.clone(), how(14, 1), port(17, 5_555)]), Some(5_555));
        assert_eq!(of("sit", &[id.clone(), how(15, 2), port(18, 6_080)]), Some(6_080));
        assert_eq!(of("ipip", &[id.clone(), how(15, 3), port(18, 0)]), None, "MPLS is followed");
        assert_eq!(of("veth", &[port(15, 4_789)]), None);
        for cut in [vec![3, 0, 15, 0], vec![200, 0, 15, 0], vec![5, 0, 15, 0, 1], Vec::new()] {
            assert_eq!(of("vxlan", std::slice::from_ref(&cut)), None, "{cut:?}");
        }
    }

    #[test]
    fn what_is_beneath_in_another_namespace_is_not_beneath_here() {
        let link_to = attribute(IFLA_LINK, &2_u32.to_ne_bytes());
        let id = attribute(IFLA_LINK_NETNSID, &0_u32.to_ne_bytes());
        for payload in
            [[header(0, 9, 0), link_to.clone(), id.clone()].concat(), [header(0, 9, 0), id, link_to].concat()]
        {
            assert_eq!(link(RTM_NEWLINK, &payload).expect("a device").device.lower, None);
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_shown_as_far_as_it_goes() {
        let payload = [header(0, 9, 0), attribute(IFLA_IFNAME, b"eth\xff\0")].concat();
        let device = link(RTM_NEWLINK, &payload).expect("a device").device;
        assert_eq!((device.name.as_str(), device.odd_name), ("eth\u{fffd}", true));
    }

    #[test]
    fn what_is_said_of_a_bridges_port_or_cut_off_is_no_device() {
        assert_eq!(link(RTM_NEWLINK, &header(libc::AF_BRIDGE as u8, 9, 0)), None);
        assert_eq!(link(RTM_DELLINK, &header(0, 9, 0)), None);
        assert_eq!(link(RTM_NEWLINK, &header(0, 9, 0)[..15]), None);
        let cut = [header(0, 9, 0), attribute(IFLA_STATS64, &[1; 9]), vec![200, 0, 3, 0]].concat();
        assert_eq!(link(RTM_NEWLINK, &cut).expect("a device").device.sent, Amount::default());
    }

    #[test]
    fn messages_of_any_length_are_gone_through_to_the_end() {
        let message = |kind: u16, payload: &[u8]| {
            let mut bytes = (16 + payload.len() as u32).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let datagram = [message(1, &[1, 2, 3]), message(2, &[]), vec![99, 0, 0, 0]].concat();
        assert_eq!(messages(&datagram).collect::<Vec<_>>(), [(1, &[1, 2, 3][..]), (2, &[])]);
        assert_eq!(messages(&[0; 16]).count(), 0, "a length of nothing ends it");
    }
}
