//! Promise: a super-packet is counted as what it becomes on the wire. Bulk TCP, and UDP that the kernel cuts up, meet
//! the hook whole; segments and wire bytes are, flow by flow, what a capture of the receiver's side adds up to.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use egress_monitor_tests::{
    capture::{Capture, Direction, FlowId, flow},
    daemon::Daemon,
    netns::Count,
    offload,
    stage::{INTERFACE, OUTSIDE, PATIENCE, Stage, accounted, both, by_flow, count, wire_count},
    traffic::{TcpSink, Transfer, UdpSink, send_tcp, udp_frame},
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const BULK: u64 = 30_000_000;
/// Bytes of payload in each datagram on the wire, and of them in each that a program sends.
const SEGMENT: usize = 1_200;
const SEGMENTS: usize = 40;
const SENDS: usize = 200;

/// Sends super-datagrams; the last segment of each has one byte less than the others.
fn send_super_datagrams(from: SocketAddr, to: SocketAddr) -> SocketAddr {
    /// linux/udp.h.
    const UDP_SEGMENT: libc::c_int = 103;
    let socket = UdpSocket::bind(from).unwrap();
    let size = SEGMENT as libc::c_int;
    // SAFETY: the value outlives the call and its size is given.
    let result = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, UDP_SEGMENT, (&raw const size).cast(), length)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let datagram = vec![7; SEGMENTS * SEGMENT - 1];
    for _ in 0..SENDS {
        assert_eq!(socket.send_to(&datagram, to).unwrap(), datagram.len());
    }
    socket.local_addr().unwrap()
}

#[test]
fn segments_and_wire_bytes_of_super_packets_are_those_that_the_receiver_captures() {
    // The interface can't cut anything up: the kernel does, between hook and interface. And the receiver puts nothing
    // together.
    let stage = Stage::build(false).unwrap();
    // UDP's super-packets have a switch of their own, but without checksums none is left whole.
    offload::checksums(&stage.near, INTERFACE, false).unwrap();
    let before = stage.sent().unwrap();
    let daemon = Daemon::start(&stage.near, &stage.config("epoch = \"100ms\"", ""), &[]).unwrap();
    let capture = Capture::start(&stage.far, INTERFACE, Direction::Incoming).unwrap();
    let mut sent: Vec<FlowId> = Vec::new();
    let mut datagrams = Vec::new();
    for address in both(OUTSIDE) {
        let sink = TcpSink::listen(&stage.far, SocketAddr::new(address, 443)).unwrap();
        let to = sink.address();
        let done = stage.near.run(|| send_tcp(stage.from(to), to, BULK, PATIENCE)).unwrap();
        let Transfer::Complete(from) = done else { panic!("{done:?}") };
        assert_eq!(sink.stop().unwrap(), [BULK]);
        sent.push(flow(from, to, TCP));

        let sink = UdpSink::bind(&stage.far, SocketAddr::new(address, 20_000)).unwrap();
        let to = sink.address();
        let from = stage.near.run(|| send_super_datagrams(stage.from(to), to));
        let payload = SENDS * (SEGMENTS * SEGMENT - 1);
        assert_eq!(sink.stop().unwrap(), ((SENDS * SEGMENTS) as u64, payload as u64));
        let frames = (SEGMENTS - 1) as u64 * udp_frame(address, SEGMENT) + udp_frame(address, SEGMENT - 1);
        let count = Count { packets: (SENDS * SEGMENTS) as u64, bytes: SENDS as u64 * frames };
        sent.push(flow(from, to, UDP));
        datagrams.push((flow(from, to, UDP), count));
    }
    let (flows, captured) = stage.when_quiet(&daemon, &capture, before).unwrap();
    assert_eq!(accounted(&flows), flows.hook);
    let (on_wire, skbs) = (by_flow(&flows, wire_count, |_| true), by_flow(&flows, count, |_| true));
    assert_eq!(on_wire, captured.flows);
    assert_eq!(wire_count(&flows.hook), captured.total);
    assert_eq!(stage.sent().unwrap().since(before), captured.total);
    for id in &sent {
        // Whole at the hook: far fewer, and without the headers of all segments but the first.
        let (skbs, on_wire) = (skbs[id], on_wire[id]);
        println!("{id}: {skbs:?} at the hook, {on_wire:?} on the wire");
        assert!(2 * skbs.packets < on_wire.packets, "{id}: {skbs:?}, {on_wire:?}");
        assert!(skbs.bytes < on_wire.bytes);
    }
    for (id, expected) in datagrams {
        assert_eq!((on_wire[&id], skbs[&id].packets), (expected, SENDS as u64));
    }
    assert_eq!(daemon.stop().unwrap().status.code(), Some(0));
    assert_eq!(capture.stop().unwrap().total, captured.total);
}
