//! Tunnels: each with content to inside, to outside, and through outside to inside; then what is peculiar to it.

use std::net::IpAddr;

use monitor_common::{
    parse::Reason,
    wire::{Class, Opaque, Via},
};

use super::{Case, Flow, Group, Stack, build::*, case, flow, met, policy::*};

/// Where an outer or an inner header goes, by family: inside, outside.
const FOUR: [IpAddr; 2] = [IN, OUT];
const SIX: [IpAddr; 2] = [IN6, OUT6];

/// The names of a tunnel's three cases.
macro_rules! names {
    ($name:literal) => {
        [$name, concat!($name, "_to_outside"), concat!($name, "_through_outside")]
    };
}

mod gre;
mod gtp;
mod ip_in_ip;
mod nesting;
mod others;
mod overlays;

/// The three cases that each tunnel has; `wrap` makes everything around the inner packet, `outer` is what the flow's
/// key has for protocol and port.
fn three(
    names: [&'static str; 3],
    about: &'static str,
    via: Via,
    families: [[IpAddr; 2]; 2],
    outer: (u8, u16),
    wrap: impl Fn(IpAddr) -> Stack,
) -> [Case; 3] {
    let [[outer_in, outer_out], [inner_in, inner_out]] = families;
    let make = |name, about, to, inner| {
        let packet = wrap(to) / ip(inner) / udp(53) / payload(20);
        case(name, about, packet, flow(to, outer.0, outer.1).inner(via, inner, proto::UDP, 53))
    };
    [
        make(names[0], about, outer_in, inner_in),
        make(names[1], "the same, the content goes outside", outer_in, inner_out),
        make(names[2], "the same, the tunnel goes outside", outer_out, inner_in),
    ]
}

/// GRE's key is the protocol only.
const GRE: (u8, u16) = (proto::GRE, 0);

const fn udp_to(port: u16) -> (u8, u16) {
    (proto::UDP, port)
}

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group { title: "IP in IP", cases: ip_in_ip::cases() },
        Group { title: "GRE", cases: gre::cases() },
        Group { title: "VXLAN, Geneve", cases: overlays::cases() },
        Group { title: "GTP-U", cases: gtp::cases() },
        Group { title: "MPLS, Ethernet in IP, Teredo", cases: others::cases() },
        Group { title: "Tunnels in tunnels", cases: nesting::cases() },
    ]
}

fn inner() -> Stack {
    ip(OUT) / udp(53) / payload(20)
}
