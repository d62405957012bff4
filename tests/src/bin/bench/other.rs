//! What other packets than the usual cost, each of an established flow: the program itself, without one that changes
//! the packets, over an empty one. No goals: a table of its own.

use anyhow::Result;
use aya::Ebpf;
use egress_monitor_tests::{
    corpus::{
        build::{eth, ip, tcp, udp, vxlan},
        policy::UNPLACED,
    },
    monitor::kernel::{Interface, Kernel, Options},
};
use etherparse::{IpNumber, Ipv6Header, PacketBuilder};
use monitor_common::wire::Link;

use crate::{
    plan::{Plan, on_cpu},
    rig::{self, Base},
    spread::{Spread, Unit},
    table::Row,
};

pub const ROWS: &[&str] = &[
    "other/ipv4-outside",
    "other/ipv4-private",
    "other/nat64",
    "other/extension-headers",
    "other/vxlan",
    "other/source-route",
    "other/arp",
];

const ROUNDS: usize = 9;
const REPEAT: u32 = 300_000;

pub fn run(plan: &Plan, base: &Base) -> Result<Vec<Row>> {
    on_cpu(0, || {
        let mut kernel = rig::load(&base.policy, Options { flows: 65_536, ..Options::default() })?;
        kernel.register(&Interface { name: "lo".into(), index: 1, link: Link::Ethernet })?;
        let mut object = rig::object(&[])?;
        rig::load_empty(&mut object)?;
        let mut rows = Vec::new();
        for id in ROWS.iter().filter(|id| plan.wants(id)) {
            let (name, frame) = frame(id)?;
            rows.push(measure(plan, &mut kernel, &mut object, id, name, &frame)?);
        }
        Ok(rows)
    })
}

fn measure(plan: &Plan, kernel: &mut Kernel, object: &mut Ebpf, id: &str, name: &str, frame: &[u8]) -> Result<Row> {
    let [ours, empty] = plan.interleave(name, plan.rounds(ROUNDS), |variant| {
        let program = if variant == 0 { kernel.program("egress")? } else { rig::program(object, "empty")? };
        rig::run(program, frame, plan.repeat(REPEAT))
    })?;
    Ok(Row::new(id, name, Spread::of(&ours), Unit::Nanoseconds).with("empty program", Spread::of(&empty)).tell(
        "more",
        Spread::difference(&ours, &empty),
        Unit::Nanoseconds,
    ))
}

/// The packet of a row; none of them ever leaves.
fn frame(id: &str) -> Result<(&'static str, Vec<u8>)> {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let source = [192, 0, 2, 1];
    let (google, nat64): (u128, u128) =
        (0x2001_4860_4860_0000_0000_0000_0000_8888, 0x0064_ff9b_0000_0000_0000_0000_0808_0808);
    let source6 = 0x2001_0db8_0000_0000_0000_0000_0000_0001_u128.to_be_bytes();
    let outside = [8, 8, 8, 8];
    let mut frame = Vec::new();
    let payload = &[0; 18];
    let name = match id {
        "other/ipv4-outside" => {
            link.ipv4(source, outside, 64).udp(4000, 53).write(&mut frame, payload)?;
            "UDP, IPv4, outside"
        }
        "other/ipv4-private" => {
            link.ipv4(source, [10, 1, 2, 3], 64).tcp(4000, 443, 1, 1).write(&mut frame, payload)?;
            "TCP, IPv4, private"
        }
        "other/nat64" => {
            link.ipv6(source6, nat64.to_be_bytes(), 64).tcp(4000, 443, 1, 1).write(&mut frame, payload)?;
            "TCP, IPv6, NAT64"
        }
        "other/extension-headers" => {
            let header = Ipv6Header {
                source: source6,
                destination: google.to_be_bytes(),
                next_header: IpNumber(60),
                payload_length: 24,
                hop_limit: 64,
                ..Ipv6Header::default()
            };
            frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd]);
            frame.extend(header.to_bytes());
            frame.extend([60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0]);
            "UDP, IPv6, behind two extension headers"
        }
        "other/vxlan" => {
            frame = (eth() / ip(UNPLACED) / udp(4789) / vxlan(7) / eth() / ip(UNPLACED) / udp(53)).bytes();
            "UDP in VXLAN, IPv4"
        }
        "other/source-route" => {
            frame = (eth() / ip(UNPLACED).lsrr(4, &[UNPLACED; 2]) / tcp(443)).bytes();
            "TCP with an IPv4 source route of two hops"
        }
        _ => {
            frame.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x06]);
            frame.resize(42, 0);
            "ARP"
        }
    };
    Ok((name, frame))
}
