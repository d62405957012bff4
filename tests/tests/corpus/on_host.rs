//! The first way: parser, fragment table and evaluation on the host.

use egress_monitor_tests::{
    corpus::{self, Case, Expect},
    host::{Host, PacketOutcome},
};
use monitor_common::{
    parse::{Reason, fast_parse},
    wire::{Decision, Link},
};

use super::{MODES, Mode, OBSERVE, Outcome, all_right};
use crate::support::random;

const INTERFACE: u32 = 7;

fn host(mode: Mode, link: Link) -> Host<'static> {
    Host::new(mode.policy(), mode.enforce, link, INTERFACE)
}

/// What comes out for the case's last packet.
fn outcome(host: &mut Host<'_>, mode: Mode, case: &Case) -> Outcome {
    for frame in &case.before {
        packet(host, frame, case.link);
    }
    Outcome::from_host(mode.policy(), &packet(host, &case.frame, case.link))
}

/// The header walker, and that the fast path agrees with it.
fn packet(host: &mut Host<'_>, frame: &[u8], link: Link) -> PacketOutcome {
    let by_host = host.packet(frame, 1);
    if let Some(fast) = fast_parse(frame, frame.len() as u32, link) {
        let PacketOutcome::Flow { key, .. } = by_host else {
            panic!("the fast path reads what the header walker refuses: {by_host:?}")
        };
        assert_eq!(fast.key(0).flow(0, Decision::default()), host.walker().key, "the fast path reads another key");
        assert!(!key.inner.exists(), "the fast path overlooks a destination");
    }
    by_host
}

#[test]
fn every_case_comes_out_as_the_corpus_says() {
    let corpus = corpus::corpus();
    for mode in MODES {
        let outcomes = corpus.iter().map(|case| (case, outcome(&mut host(mode, case.link), mode, case)));
        let wrong: Vec<_> = outcomes.filter(|(case, got)| *got != Outcome::expected(case, mode)).collect();
        all_right(mode, &wrong);
    }
    println!("{} cases", corpus.len());
}

#[test]
fn the_cases_do_not_disturb_each_other() {
    let mut hosts = [Link::Ethernet, Link::Ip, Link::Other].map(|link| (link, host(OBSERVE, link)));
    for case in corpus::corpus() {
        let (_, host) = hosts.iter_mut().find(|(link, _)| *link == case.link).expect("a host for each link");
        assert_eq!(outcome(host, OBSERVE, &case), Outcome::expected(&case, OBSERVE), "{}", case.name);
    }
}

/// [`packet`] compares the fast path with the header walker.
#[test]
fn the_fast_path_agrees_with_the_header_walker_on_broken_packets() {
    let mut random = random();
    let corpus = corpus::corpus();
    let mut hosts = [Link::Ethernet, Link::Ip].map(|link| (link, host(OBSERVE, link)));
    for _ in 0..200_000 {
        let case = &corpus[random.usize(..corpus.len())];
        let Some((_, host)) = hosts.iter_mut().find(|(link, _)| *link == case.link) else { continue };
        for before in &case.before {
            packet(host, before, case.link);
        }
        let mut frame = case.frame.clone();
        for _ in 0..random.usize(0..4) {
            let headers = frame.len().min(120);
            match random.u8(..4) {
                0 => frame[random.usize(..headers)] = random.u8(..),
                1 => frame[random.usize(..headers)] ^= 1 << random.u8(..8),
                2 => frame.truncate(random.usize(1..=frame.len())),
                _ => frame.extend(case.frame.iter().skip(random.usize(..case.frame.len())).take(60)),
            }
        }
        packet(host, &frame, case.link);
    }
}

/// A card fills a short frame up, with whatever it has: no header is read beyond the end that the outermost one gives.
#[test]
fn bytes_behind_a_packet_change_nothing() {
    /// Headers that give no length, or more than there is: the frame's end is the packet's.
    const ENDLESS: [&str; 6] = [
        "total_0",
        "total_0_no_ports",
        "total_beyond_outside",
        "v6_length_0",
        "super_packet_in_tunnel",
        "jumbo_option_without_length",
    ];
    let mut count = 0;
    for case in corpus::corpus() {
        let short = matches!(
            case.expect,
            Expect::Unread {
                reason: Reason::TruncatedLink | Reason::TruncatedIp | Reason::LengthBeyondFrame,
                to: None
            }
        );
        // Control has a length by which it is told.
        let control =
            matches!(case.expect, Expect::Unread { reason: Reason::LinkControl | Reason::LinkControlOdd, .. });
        if short || control || ENDLESS.contains(&case.name) {
            continue;
        }
        for filling in [0x00, 0x45, 0x60, 0xff] {
            let mut padded = case.clone();
            padded.frame.resize(case.frame.len() + 1_000, filling);
            let got = outcome(&mut host(OBSERVE, case.link), OBSERVE, &padded);
            assert_eq!(got, Outcome::expected(&case, OBSERVE), "{}, {filling:#04x}", case.name);
            count += 1;
        }
    }
    println!("{count} packets");
}
