//! What a packet costs: the egress program against an empty one, in turn, on the same packet in the same run
//! (BPF_PROG_TEST_RUN). `cargo xtask bench` runs it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions};
use egress_monitor::{
    config, geo,
    kernel::{Interface, Kernel, Options},
    policy::{self, ClockMap},
};
use egress_monitor_tests::corpus::{
    build::{eth, gre, ip, tcp, udp, vxlan},
    policy::PRIVATE,
};
use etherparse::{IpNumber, Ipv6Header, PacketBuilder};
use monitor_common::wire::Link;

const REPEAT: u32 = 1_000_000;
const ROUNDS: usize = 11;
/// Where BPF_PROG_TEST_RUN sends by.
const LOOPBACK: u32 = 1;

fn main() -> Result<()> {
    let config = config::load(None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let datasets = geo::load("embedded")?;
    let clock = ClockMap { realtime_ns: 0, boottime_ns: 0 };
    let began = Instant::now();
    let policy = Arc::new(policy::compile(&config, &datasets, geo::special::table(), &clock)?);
    let took = began.elapsed();
    let image = &policy.image;
    println!(
        "policy: {} IPv4 intervals, {} IPv6 tree nodes, {} classes, compiled in {} ms; kernel {}",
        image.v4_entries.len(),
        image.v6_nodes.len(),
        image.classes.len(),
        took.as_millis(),
        std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()
    );
    let options = Options::default();
    let mut kernel = Kernel::load(options, policy)?;
    kernel.register(&Interface { name: "lo".into(), index: LOOPBACK, link: Link::Ethernet })?;
    kernel.program("empty")?.load()?;
    for name in ["egress", "empty"] {
        let info = kernel.program(name)?.info()?;
        println!(
            "program {name}: {} instructions verified, {} bytes of machine code",
            info.verified_instruction_count().map_or_else(|| "?".into(), |n| n.to_string()),
            info.size_jitted()
        );
    }
    println!("\n{:<44} {:>8} {:>8} {:>18}", "packet (an established flow)", "empty", "egress", "difference (range)");
    for (name, frame) in frames()? {
        let mut differences = Vec::with_capacity(ROUNDS);
        let (mut empty, mut egress) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let without = run(&mut kernel, "empty", &frame)?;
            let with = run(&mut kernel, "egress", &frame)?;
            empty.push(without);
            egress.push(with);
            differences.push(with - without);
        }
        for times in [&mut empty, &mut egress, &mut differences] {
            times.sort_by(f64::total_cmp);
        }
        println!(
            "{name:<44} {:>5.0} ns {:>5.0} ns {:>5.0} ns ({:.0} to {:.0})",
            empty[ROUNDS / 2],
            egress[ROUNDS / 2],
            differences[ROUNDS / 2],
            differences[0],
            differences[ROUNDS - 1]
        );
    }
    println!("\nMedians of {ROUNDS} pairs of {REPEAT} runs each. Compare within one run only.");
    Ok(())
}

/// Nanoseconds a run.
fn run(kernel: &mut Kernel, program: &str, frame: &[u8]) -> Result<f64> {
    let mut context = [0; 192];
    context[160..164].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
    let result = kernel
        .program(program)?
        .test_run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: REPEAT,
            ..TestRunOptions::default()
        })
        .with_context(|| format!("running {program}"))?;
    // The kernel gives the mean of one run in whole nanoseconds.
    let mean: Duration = result.duration;
    Ok(mean.as_secs_f64() * 1e9)
}

fn frames() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let source = [192, 0, 2, 1];
    let six = |text: &str| text.parse::<std::net::Ipv6Addr>().map(|address| address.octets());
    let source6 = six("2001:db8::1")?;
    let payload = [0; 18];
    let mut frames = Vec::new();
    let mut add = |name, size: usize, write: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut frame = Vec::with_capacity(size);
        write(&mut frame);
        frames.push((name, frame));
    };
    for (name, to) in [("UDP, IPv4, inside (DE)", [5, 9, 0, 1]), ("UDP, IPv4, outside (US)", [8, 8, 8, 8])] {
        add(name, 64, &mut |f| ethernet().ipv4(source, to, 64).udp(4000, 53).write(f, &payload).expect("a vector"));
    }
    add("TCP, IPv4, private (10.1.2.3)", 64, &mut |f| {
        ethernet().ipv4(source, [10, 1, 2, 3], 64).tcp(4000, 443, 1, 1).write(f, &payload).expect("a vector");
    });
    add("UDP, IPv4 in a VLAN, outside", 64, &mut |f| {
        let vlan = 7.try_into().expect("below 4096");
        ethernet().single_vlan(vlan).ipv4(source, [8, 8, 8, 8], 64).udp(1, 2).write(f, &payload).expect("a vector");
    });
    for (name, to) in [
        ("TCP, IPv6, inside (2a00:1450:4001::1)", "2a00:1450:4001::1"),
        ("TCP, IPv6, outside (2001:4860:4860::8888)", "2001:4860:4860::8888"),
        ("TCP, IPv6, NAT64 of 8.8.8.8", "64:ff9b::808:808"),
    ] {
        let to = six(to)?;
        add(name, 80, &mut |f| {
            ethernet().ipv6(source6, to, 64).tcp(4000, 443, 1, 1).write(f, &payload).expect("a vector");
        });
    }
    let mut chained = Vec::new();
    let header = Ipv6Header {
        source: source6,
        destination: six("2001:4860:4860::8888")?,
        next_header: IpNumber(60),
        payload_length: 24,
        hop_limit: 64,
        ..Ipv6Header::default()
    };
    chained.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd]);
    chained.extend(header.to_bytes());
    chained.extend([60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0]);
    frames.push(("UDP, IPv6 behind two extension headers", chained));
    for (name, packet) in [
        ("UDP in GRE, IPv4, both private", eth() / ip(PRIVATE) / gre() / ip(PRIVATE) / udp(53)),
        (
            "UDP in VXLAN, IPv4, both private",
            eth() / ip(PRIVATE) / udp(4789) / vxlan(7) / eth() / ip(PRIVATE) / udp(53),
        ),
        ("TCP with an IPv4 source route of two hops", eth() / ip(PRIVATE).lsrr(4, &[PRIVATE; 2]) / tcp(443)),
    ] {
        frames.push((name, packet.bytes()));
    }
    let mut arp = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x06];
    arp.resize(42, 0);
    frames.push(("ARP", arp));
    Ok(frames)
}
