//! What the kernel says of an interface beside our program: device and queue counters, offloads, and whether the
//! program is still there. An interface index in, the parts of a [`Reading`](crate::model::readings::Reading) out; called by
//! its parent.
//!
//! The sockets belong to the network namespace of the thread that opened them. Every call waits for the kernel's answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage, AddressScope},
    link::LinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage},
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{
    super::devices::{self, LinkNews},
    comparison,
    offloads::Features,
    sys,
    tc::{self, QdiscNews},
};
use crate::model::{
    coverage,
    readings::{Device, Discipline, FilterAction, Offloads, Queue},
};

/// A filter, as far as anybody here asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The lower, the earlier.
    pub priority: u16,
    /// Its number among those of its priority.
    pub handle: u32,
    /// The BPF program that it runs.
    pub program: Option<u32>,
    /// That one's name and tag.
    pub name: String,
}

impl Filter {
    /// What it runs, for people.
    pub fn described(&self) -> String {
        self.program.map_or_else(|| "no BPF program".to_owned(), |id| format!("program {id} ({})", self.name))
    }

    fn of(message: &TcMessage) -> Self {
        let TcHandle { major, minor } = message.header.handle;
        let (priority, handle) = ((message.header.info >> 16) as u16, u32::from(major) << 16 | u32::from(minor));
        let mut filter = Self { priority, handle, ..Self::default() };
        let (mut name, mut tag) = (String::new(), String::new());
        for attribute in &message.attributes {
            let TcAttribute::Options(options) = attribute else { continue };
            for option in options {
                match option {
                    TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program = Some(*id),
                    TcOption::Bpf(TcFilterBpfOption::ProgName(text)) => name.clone_from(text),
                    TcOption::Bpf(TcFilterBpfOption::ProgTag(bytes)) => {
                        tag = format!("{:016x}", u64::from_be_bytes(*bytes));
                    }
                    _ => {}
                }
            }
        }
        filter.name = format!("{name}, tag {tag}");
        filter
    }
}

/// Sockets to rtnetlink and ethtool.
#[derive(Debug)]
pub struct Nic {
    netlink: Socket,
    devices: sys::Devices,
    features: Option<Features>,
    sequence: u32,
    opened: Instant,
}

impl Nic {
    /// Opens it in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut netlink = Socket::new(NETLINK_ROUTE)?;
        netlink.bind_auto()?;
        netlink.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { netlink, devices: sys::Devices::open()?, features: None, sequence: 0, opened: Instant::now() })
    }

    /// Nanoseconds since it was opened, without those that the machine was suspended.
    pub fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The device; `None` if there is none with this index.
    pub fn device(&mut self, ifindex: u32) -> io::Result<Option<Device>> {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        let answers = match self.request_raw(RouteNetlinkMessage::GetLink(message), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            answers => answers?.messages,
        };
        let link = answers.iter().find_map(Raw::link);
        let link = link.ok_or_else(|| io::Error::other("rtnetlink answers with no link"))?;
        let LinkNews { device: coverage::Device { name, kind, hardware, sent, master, .. }, .. } = link;
        let holds = if kind.as_deref() == Some("tun") { link.queue_length.into() } else { 0 };
        let offloads = self.offloads(&name, master.is_some() || forwards());
        // What others make longer, the kernel cuts up.
        let offloads = if link.short { offloads.or_cut_up() } else { offloads };
        let comparison = comparison::of(kind.as_deref());
        Ok(Some(Device { sent, dropped: link.dropped, comparison, hardware, holds, offloads, qdisc: link.qdisc }))
    }

    /// All devices of the namespace.
    pub fn devices(&mut self) -> io::Result<Vec<coverage::Device>> {
        // A list that changed while it was read may lack one; the last try is as good as it gets, and the next news come.
        for _ in 0..3 {
            let dump = self.request_raw(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
            if !dump.interrupted {
                return Ok(dump.devices());
            }
        }
        Ok(self.request_raw(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?.devices())
    }

    /// Next hops with an IPv6 address in default routes, of all tables.
    pub fn default_gateways(&mut self) -> io::Result<BTreeSet<Ipv6Addr>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        let answers = self.request(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP)?;
        let routes = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) if route.header.destination_prefix_length == 0 => {
                Some(route.attributes)
            }
            _ => None,
        });
        let hops = routes.flatten().flat_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => hops.into_iter().flat_map(|hop| hop.attributes).collect(),
            other => vec![other],
        });
        let gateway = |attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(address),
            _ => None,
        };
        Ok(hops.filter_map(gateway).collect())
    }

    /// The addresses of this namespace.
    pub fn local_addresses(&mut self) -> io::Result<BTreeSet<IpAddr>> {
        let answers = self.request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        let of = |answer| match answer {
            RouteNetlinkMessage::NewAddress(address) => Some(address.attributes),
            _ => None,
        };
        // Of a point-to-point device the address is the other end's.
        let own = |attributes: Vec<AddressAttribute>| {
            let local = attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            local.or_else(|| {
                attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                })
            })
        };
        Ok(answers.into_iter().filter_map(of).filter_map(own).collect())
    }

    /// Devices with an address that is good beyond their link, or that a default route leads to, of all tables.
    pub fn own_ways(&mut self) -> io::Result<BTreeSet<u32>> {
        let addresses = self.request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        let addressed = addresses.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(address) if address.header.scope == AddressScope::Universe => {
                Some(address.header.index)
            }
            _ => None,
        });
        let mut ways: BTreeSet<u32> = addressed.collect();
        let routes = self.request(RouteNetlinkMessage::GetRoute(RouteMessage::default()), NLM_F_DUMP)?;
        for answer in routes {
            let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
            if route.header.destination_prefix_length == 0 {
                for attribute in route.attributes {
                    match attribute {
                        RouteAttribute::Oif(index) => drop(ways.insert(index)),
                        RouteAttribute::MultiPath(hops) => ways.extend(hops.iter().map(|hop| hop.interface_index)),
                        _ => {}
                    }
                }
            }
        }
        Ok(ways)
    }

    /// What ethtool says; a device that says nothing is taken for one that does some.
    fn offloads(&mut self, interface: &str, forwards: bool) -> Offloads {
        if self.features.is_none() {
            self.features = self.devices.feature_names(interface).ok().map(|names| Features::named(&names));
        }
        let (Some(features), Ok(on)) = (&self.features, self.devices.features(interface)) else {
            return Offloads::default();
        };
        features.offloads(&on, forwards)
    }

    /// The root queueing discipline; nothing where there is none, or where the hardware does its work.
    pub fn queue(&mut self, ifindex: u32) -> io::Result<Queue> {
        let mut message = TcMessage::default();
        message.header.index = ifindex.cast_signed();
        message.header.parent = TcHandle::ROOT;
        // Kernels before 6.6 answer to whoever listens, and to us only if asked to.
        let answers = match self.request_raw(RouteNetlinkMessage::GetQueueDiscipline(message), NLM_F_ECHO) {
            // EINVAL: the built-in one of a device that is down.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EINVAL)) => {
                return Ok(Queue::default());
            }
            answers => answers?.messages,
        };
        Ok(answers.iter().find_map(Raw::qdisc).map(QdiscNews::root).unwrap_or_default())
    }

    /// The queueing disciplines below the roots of all devices, by index.
    pub fn below(&mut self) -> io::Result<BTreeMap<u32, Vec<Discipline>>> {
        let answers = self.request_raw(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()), NLM_F_DUMP)?;
        let mut below: BTreeMap<u32, Vec<Discipline>> = BTreeMap::new();
        for news in answers.messages.iter().filter_map(Raw::qdisc).filter(QdiscNews::is_below) {
            below.entry(news.ifindex).or_default().push(news.discipline);
        }
        Ok(below)
    }

    /// What filters on the way out take away, of those behind `ours` where ours is one.
    pub fn taken(&mut self, ifindex: u32, ours: Option<u32>) -> io::Result<Vec<FilterAction>> {
        let answers = self.request_raw(RouteNetlinkMessage::GetTrafficFilter(filters_of(ifindex)), NLM_F_DUMP)?;
        let messages = answers.messages.iter().map(|Raw(header, payload)| (header.message_type, payload.as_slice()));
        Ok(tc::actions(messages, ifindex, ours))
    }

    /// The clsact filters on the way out, in the order in which they have their say.
    pub fn filters(&mut self, ifindex: u32) -> io::Result<Vec<Filter>> {
        let answers = self.request(RouteNetlinkMessage::GetTrafficFilter(filters_of(ifindex)), NLM_F_DUMP)?;
        let filters = answers.into_iter().filter_map(|answer| match answer {
            // Each classifier says of itself, before its filters, that it is there.
            RouteNetlinkMessage::NewTrafficFilter(filter) if filter.header.handle != TcHandle::UNSPEC => {
                Some(Filter::of(&filter))
            }
            _ => None,
        });
        Ok(filters.collect())
    }

    /// Whether there is a clsact qdisc, which filters are in.
    pub fn has_clsact(&mut self, ifindex: u32) -> io::Result<bool> {
        let mut message = TcMessage::default();
        message.header.index = ifindex.cast_signed();
        message.header.parent = TcHandle::CLSACT;
        match self.request(RouteNetlinkMessage::GetQueueDiscipline(message), NLM_F_ECHO) {
            // EINVAL: what is there where there is none.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(false),
            answers => Ok(answers?.iter().any(|answer| match answer {
                RouteNetlinkMessage::NewQueueDiscipline(qdisc) => {
                    qdisc.attributes.iter().any(|of| matches!(of, TcAttribute::Kind(kind) if kind == "clsact"))
                }
                _ => false,
            })),
        }
    }

    /// Sends a request and gives all that is answered to it.
    fn request(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        let answers = self.request_raw(request, flags)?.messages;
        let read = |Raw(header, payload): &Raw| RouteNetlinkMessage::deserialize(header, payload);
        answers.iter().map(|answer| read(answer).map_err(io::Error::other)).collect()
    }

    /// The same, as it came.
    fn request_raw(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Answers> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.netlink.send(&bytes, 0)?;
        let mut answers = Answers::default();
        loop {
            let (datagram, _) = self.netlink.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<Raw>::deserialize(rest).map_err(io::Error::other)?;
                rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
                // Of an earlier request that was given up.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                answers.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.messages.push(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }
}

/// Whether packets of others may leave by the devices of the calling thread's namespace. In doubt they may.
fn forwards() -> bool {
    let says_no =
        |name| std::fs::read(format!("/proc/sys/net/ipv4/conf/{name}/forwarding")).is_ok_and(|on| on == b"0\n");
    !(says_no("all") && says_no("default"))
}

/// Asks for the clsact filters on the way out.
fn filters_of(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = ifindex.cast_signed();
    message.header.parent = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_EGRESS };
    message
}

/// A message as it came, so that each is read by who knows what to make of it.
struct Raw(NetlinkHeader, Vec<u8>);

impl Raw {
    fn link(&self) -> Option<LinkNews> {
        devices::link(self.0.message_type, &self.1)
    }

    fn qdisc(&self) -> Option<QdiscNews> {
        QdiscNews::of(self.0.message_type, &self.1)
    }
}

impl NetlinkDeserializable for Raw {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(*header, payload.to_vec()))
    }
}

/// What came of a request.
#[derive(Default)]
struct Answers {
    messages: Vec<Raw>,
    /// The list changed while it was read.
    interrupted: bool,
}

impl Answers {
    fn devices(self) -> Vec<coverage::Device> {
        self.messages.iter().filter_map(Raw::link).map(|link| link.device).collect()
    }
}
