//! The test support itself: namespaces come and go, traffic has the amount that it says, and the capture counts
//! what the kernel counts.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use egress_monitor_tests::{
    capture::{Capture, Direction, FlowId, Identity, flow, identify},
    daemon::{Daemon, Home},
    netns::{Count, Namespace},
    ping::{Pinged, echo_frame, ping},
    traffic::{self, Frames, TcpSink, Transfer, UdpSink, udp_frame},
    wire::{Networks, Wire},
};

const PATIENCE: Duration = Duration::from_secs(10);

fn pair() -> (Namespace, Namespace, Wire) {
    pair_with(Networks::number(7))
}

fn pair_with(networks: Networks) -> (Namespace, Namespace, Wire) {
    let (near, far) = (Namespace::new("near").unwrap(), Namespace::new("far").unwrap());
    let wire = Wire::lay(&near, "eth0", &far, "eth0", networks).unwrap();
    (near, far, wire)
}

fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

#[test]
fn a_namespace_is_there_while_its_value_lives_and_gone_afterwards() {
    let namespace = Namespace::new("gone").unwrap();
    let path = Path::new("/run/netns").join(namespace.name());
    assert!(path.exists());
    let interfaces = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    assert_eq!(interfaces.lines().count(), 3, "two lines of heading and lo: {interfaces}");
    drop(namespace);
    assert!(!path.exists());
}

#[test]
fn a_namespace_is_removed_when_a_test_panics() {
    let (send, receive) = std::sync::mpsc::channel();
    let result = std::thread::spawn(move || {
        let namespace = Namespace::new("panic").unwrap();
        send.send(namespace.name().to_owned()).unwrap();
        namespace.run(|| panic!("on purpose"));
    })
    .join();
    assert!(result.is_err());
    assert!(!Path::new("/run/netns").join(receive.recv().unwrap()).exists());
}

#[test]
fn what_a_killed_process_left_behind_is_swept_away() {
    // 4194304 is above the largest process id there can be.
    let name = "egm-4194305-0-left";
    let added = std::process::Command::new("ip").args(["netns", "add", name]).status().unwrap();
    assert!(added.success());
    // The sweep is made once in a process, so another one has to do it: this same program, one other test.
    let own = std::env::current_exe().unwrap();
    let other = "harness::a_namespace_is_there_while_its_value_lives_and_gone_afterwards";
    let run = std::process::Command::new(own).args(["--exact", other]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    assert!(!Path::new("/run/netns").join(name).exists());
}

#[test]
fn what_is_left_out_names_the_proof_that_runs_it() {
    fn files(folder: &Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }
    let mut left_out = 0;
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| line.starts_with("#[ignore")) {
            assert!(line.contains("`cargo xtask prove "), "{}: {line}", file.display());
            left_out += 1;
        }
    }
    assert!(left_out > 0, "the tests are somewhere else");
}

#[test]
fn every_udp_datagram_that_was_sent_is_counted_at_the_peer_and_nothing_else() {
    let (near, far, wire) = pair();
    let before = (near.statistics("eth0").unwrap(), far.statistics("eth0").unwrap());
    let arrived = Capture::start(&far, "eth0", Direction::Incoming).unwrap();
    let left = Capture::start(&near, "eth0", Direction::Outgoing).unwrap();
    let sizes: Vec<usize> = (0..5_000).map(|number| number % 1_400).collect();
    let payload: u64 = sizes.iter().map(|size| *size as u64).sum();
    let mut expected = std::collections::BTreeMap::new();
    for (source, destination) in [(at(wire.near.v4, 0), at(wire.far.v4, 0)), (at(wire.near.v6, 0), at(wire.far.v6, 0))]
    {
        let sink = UdpSink::bind(&far, destination).unwrap();
        let to = sink.address();
        let from = near.run(|| traffic::send_udp(source, to, &sizes)).unwrap();
        let id = flow(from, to, 17);
        arrived.wait_until(PATIENCE, |captured| captured.flows.get(&id).is_some_and(|it| it.packets == 5_000)).unwrap();
        assert_eq!(sink.stop().unwrap(), (5_000, payload));
        let bytes = sizes.iter().map(|size| udp_frame(to.ip(), *size)).sum();
        expected.insert(id, Count { packets: 5_000, bytes });
    }
    let (arrived, left) = (arrived.stop().unwrap(), left.stop().unwrap());
    assert_eq!(arrived.flows, expected);
    assert_eq!(left.flows, expected);
    assert!(arrived.other.is_empty() && arrived.malformed.is_empty(), "{arrived:?}");
    let after = (near.statistics("eth0").unwrap(), far.statistics("eth0").unwrap());
    assert_eq!(left.total, after.0.sent.since(before.0.sent));
    assert_eq!(arrived.total, after.1.received.since(before.1.received));
}

#[test]
fn tcp_transfers_arrive_whole_and_the_capture_equals_the_interface_with_and_without_offloads() {
    for offloads in [false, true] {
        let (near, far, wire) = pair_with(Networks { offloads, ..Networks::number(8) });
        let before = far.statistics("eth0").unwrap();
        let capture = Capture::start(&far, "eth0", Direction::Incoming).unwrap();
        let bytes = 3_000_001;
        for (source, destination) in
            [(at(wire.near.v4, 0), at(wire.far.v4, 0)), (at(wire.near.v6, 0), at(wire.far.v6, 0))]
        {
            let sink = TcpSink::listen(&far, destination).unwrap();
            let to = sink.address();
            let done = near.run(|| traffic::send_tcp(source, to, bytes, PATIENCE)).unwrap();
            assert!(matches!(done, Transfer::Complete(_)), "{done:?}");
            assert_eq!(sink.stop().unwrap(), [bytes]);
        }
        // The last acknowledgements are on their way while the programs are done already: the capture and the
        // interface are read until they agree on a state that no longer changes.
        let quiet = capture
            .wait_until(PATIENCE, |captured| {
                captured.total == far.statistics("eth0").unwrap().received.since(before.received)
            })
            .unwrap();
        if !offloads {
            // TCP's own count is independent of the wire.
            assert_eq!(quiet.total.packets, near.tcp_segments_sent().unwrap());
        }
        let largest = quiet.total.bytes / quiet.total.packets;
        assert_eq!(offloads, largest > 1_514, "a super-packet is longer than the MTU: {largest} on average");
        let captured = capture.stop().unwrap();
        assert_eq!(captured.total, far.statistics("eth0").unwrap().received.since(before.received));
        assert!(captured.malformed.is_empty(), "{:?}", captured.malformed);
    }
}

#[test]
fn echo_requests_are_answered_and_counted_by_type_and_code() {
    let (near, far, wire) = pair();
    let capture = Capture::start(&far, "eth0", Direction::Incoming).unwrap();
    for (source, destination, protocol, kind) in [
        (IpAddr::from(wire.near.v4), IpAddr::from(wire.far.v4), 1, 8),
        (wire.near.v6.into(), wire.far.v6.into(), 58, 128),
    ] {
        let pinged = near.run(|| ping(source, destination, 20, 100, PATIENCE)).unwrap();
        assert_eq!(pinged, Pinged { requests: 20, replies: 20 });
        let id = FlowId { source, destination, protocol, source_port: 0, destination_port: kind * 256 };
        let expected = Count { packets: 20, bytes: 20 * echo_frame(destination, 100) };
        // The last request is counted after it was answered.
        capture.wait_until(PATIENCE, |captured| captured.flows.get(&id) == Some(&expected)).unwrap();
    }
    assert_eq!(capture.stop().unwrap().flows.len(), 2);
}

#[test]
fn a_quiet_wire_is_quiet() {
    let (near, far, wire) = pair();
    let capture = Capture::start(&far, "eth0", Direction::Incoming).unwrap();
    let to = at(wire.far.v6, 9);
    near.run(|| traffic::send_udp(at(wire.near.v6, 0), to, &[1])).unwrap();
    capture.wait_until(PATIENCE, |captured| captured.total.packets > 0).unwrap();
    assert_eq!(capture.stop().unwrap().total, Count { packets: 1, bytes: udp_frame(to.ip(), 1) });
    drop(near);
}

#[test]
fn raw_frames_arrive_as_they_are_whatever_they_hold() {
    let (near, far, wire) = pair();
    let before = far.statistics("eth0").unwrap();
    let capture = Capture::start(&far, "eth0", Direction::Incoming).unwrap();
    let header = [wire.far.mac, wire.near.mac].concat();
    let frame = |ether_type: [u8; 2], body: &[u8]| [&header, &ether_type[..], body].concat();
    let frames = [
        frame([0x88, 0xcc], &[0; 46]),
        // An IPv4 header that says it is longer than the frame.
        frame([0x08, 0x00], &[[0x4f, 0, 0, 60].as_slice(), &[0; 20]].concat()),
        frame([0x12, 0x34], &[]),
    ];
    let sent = near.run(|| traffic::send_frames("eth0", frames.iter().map(Vec::as_slice))).unwrap();
    assert_eq!(sent, Frames { sent: 3, refused: 0 });
    let captured = capture.wait_until(PATIENCE, |captured| captured.total.packets == 3).unwrap();
    assert_eq!(captured.other[&0x88cc], Count { packets: 1, bytes: 60 });
    assert_eq!(captured.other[&0x1234], Count { packets: 1, bytes: 14 });
    assert_eq!(captured.malformed.values().map(|count| count.packets).sum::<u64>(), 1);
    assert_eq!(capture.stop().unwrap().total, far.statistics("eth0").unwrap().received.since(before.received));
}

#[test]
fn a_transfer_that_nobody_answers_stops_in_time() {
    let (near, far, wire) = pair();
    // The peer's addresses are known neighbours, but nothing listens and nothing says so.
    far.ip(&["link", "set", "eth0", "down"]).unwrap();
    let begun = std::time::Instant::now();
    let time = Duration::from_millis(300);
    let result = near.run(|| traffic::send_tcp(at(wire.near.v4, 0), at(wire.far.v4, 5), 10, time)).unwrap();
    assert_eq!(result, Transfer::Stopped);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_frame_is_identified_by_etherparse_alone() {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([198, 18, 0, 1], [198, 18, 0, 2], 64)
        .udp(1234, 53)
        .write(&mut frame, &[1, 2, 3])
        .unwrap();
    let expected = flow(at([198, 18, 0, 1], 1234), at([198, 18, 0, 2], 53), 17);
    assert_eq!(identify(&frame), Ok(Identity::Flow(expected)));
    assert!(identify(&frame[..20]).is_err());
}

#[test]
fn a_daemon_that_ends_instead_of_starting_is_reported_with_what_it_said() {
    let namespace = Namespace::new("daemon").unwrap();
    let mut daemon = Daemon::spawn(&namespace, Home::new().unwrap(), &["--no-such-option"]).unwrap();
    let error = daemon.wait_until_ready().unwrap_err().to_string();
    assert!(error.contains("ended (exit status: 64)") && error.contains("unexpected argument"), "{error}");
    assert_eq!(daemon.wait().unwrap().status.code(), Some(64));
}
