//! The parser on one frame. The first byte of the input is the device's link layer, the frame is the rest.
//!
//! Besides not panicking (overflow of any sum is a panic here) and not reading past the end (the frame has memory of
//! exactly its size, which the address sanitizer guards):
//!
//! - what the fast path reads, the header walker reads the same, without hops or fragments;
//! - a flow is IPv4 or IPv6 and its lists are within their bounds;
//! - bytes after the end that the outermost IP header announces change nothing. Where it announces none (length 0: a
//!   super-packet or a jumbogram), where there is no such header, and where it announces more than there is, they may;
//! - a frame that is cut gives a reason, or, if only bytes after that end are gone, the very same. Where the outermost IP
//!   header gives no end, what is opaque, where a fragment ends and whether it can end there, and whether a datagram to a
//!   tunnel's port is a tunnel go by the bytes there are, and may differ.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monitor_common::{
    parse::{Fragment, HeaderWalker, Hop, MAX_FRAGMENTS, MAX_HOPS, Reason, fast_parse},
    wire::{Decision, FlowKey, Link, Opaque},
};

/// What the header walker reads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parsed {
    result: Result<(), Reason>,
    key: FlowKey,
    hops: Vec<Hop>,
    fragments: Vec<Fragment>,
}

impl Parsed {
    fn of(frame: &[u8], link: Link) -> Self {
        let mut walker = HeaderWalker::new();
        let result = walker.walk(frame, link);
        let fragments = (0..=MAX_FRAGMENTS as usize).map_while(|number| walker.fragment_at(number)).collect();
        Self { result, key: walker.key, hops: walker.hops().to_vec(), fragments }
    }

    /// Without what depends on the length of a packet that does not announce its own.
    fn without_length(mut self) -> Self {
        self.key.flags = Opaque::None as u8;
        for fragment in &mut self.fragments {
            fragment.end = 0;
        }
        self
    }
}

/// What the outermost IP header says about where its packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There is no whole fixed IP header.
    NoHeader,
    /// Length 0.
    Untold,
    /// From the frame's first byte; a length below that of the fixed header counts as just that.
    At(usize),
}

/// Finds the outermost IP header by reading the link header once more, by other code than the parser's.
fn end(frame: &[u8], link: Link) -> End {
    let word = |at: usize| frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let header = match link {
        Link::Ip => Some((0, frame.first().map_or(0, |first| first >> 4))),
        Link::Other => None,
        Link::Ethernet => {
            let mut at = 12;
            while matches!(word(at), Some(0x8100 | 0x88a8)) {
                at += 4;
            }
            if word(at).is_some_and(|length| length < 0x600) {
                at += 8;
                // The EtherType in SNAP may be a tag's.
                while matches!(word(at), Some(0x8100 | 0x88a8)) {
                    at += 4;
                }
            }
            match word(at) {
                Some(0x0800) => Some((at + 2, 4)),
                Some(0x86dd) => Some((at + 2, 6)),
                _ => None,
            }
        }
    };
    let (from, length, fixed) = match header {
        Some((at, 4)) => (at, word(at + 2), at + 20),
        Some((at, 6)) => (at + 40, word(at + 4), at + 40),
        _ => return End::NoHeader,
    };
    match length {
        Some(length) if fixed <= frame.len() && length != 0 => End::At(fixed.max(from + usize::from(length))),
        Some(0) if fixed <= frame.len() => End::Untold,
        _ => End::NoHeader,
    }
}

/// Numbers that depend on the whole input (FNV-1a, then xorshift): where to cut, what to append.
fn numbers(data: &[u8]) -> impl Iterator<Item = u64> {
    let hash = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    std::iter::successors(Some(hash | 1), |state| {
        let mut state = *state;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state)
    })
    .skip(1)
}

fuzz_target!(|data: &[u8]| {
    let Some((link, frame)) = data.split_first() else { return };
    let link = Link::from_wire(u16::from(*link));
    let frame: Box<[u8]> = frame.into();
    let parsed = Parsed::of(&frame, link);

    if let Some(plain) = fast_parse(&*frame, frame.len() as u32, link) {
        let key = plain.key(0).flow(0, Decision::default());
        let fast = Parsed { result: Ok(()), key, hops: Vec::new(), fragments: Vec::new() };
        assert_eq!(parsed, fast, "left: the header walker; right: the fast path");
    }
    if parsed.result.is_ok() {
        assert!(matches!(parsed.key.ip_version, 4 | 6), "{parsed:?}");
    }
    assert!(parsed.hops.len() <= MAX_HOPS && parsed.fragments.len() <= MAX_FRAGMENTS as usize, "{parsed:?}");

    let mut numbers = numbers(data);
    let end = end(&frame, link);
    if let End::At(end) = end
        && end <= frame.len()
    {
        let mut longer = frame.to_vec();
        longer.extend(numbers.by_ref().take(4).flat_map(u64::to_le_bytes));
        assert_eq!(Parsed::of(&longer, link), parsed, "left: with more bytes after the packet's end");
    }
    for number in numbers.take(8) {
        let cut: Box<[u8]> = frame[..number as usize % (frame.len() + 1)].into();
        let after = Parsed::of(&cut, link);
        match end {
            End::At(end) if end <= cut.len() => assert_eq!(after, parsed, "left: cut to {}", cut.len()),
            _ if after.result.is_err() => {}
            // Whether a datagram to a tunnel's port is a tunnel goes by what is there.
            End::Untold => {
                let (after, before) = (after.without_length(), parsed.clone().without_length());
                assert_eq!(after.key, before.key, "left: cut to {}, without a length", cut.len());
                assert!(before.hops.starts_with(&after.hops), "cut to {}: {after:?}\n{before:?}", cut.len());
                assert!(before.fragments.starts_with(&after.fragments), "cut to {}: {after:?}\n{before:?}", cut.len());
            }
            _ => panic!("cut to {} of {}, which ends at {end:?}: {after:?}", cut.len(), frame.len()),
        }
    }
});
