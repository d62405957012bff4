//! Packets of the corpus, changed at random: their headers in another order, twice or not at all; their fields; their
//! ends. Lengths and announcements follow the headers, so that most changed packets are still followed deep inside.

use egress_monitor_tests::corpus::Case;
use fastrand::Rng;

/// A case's packet, changed.
pub fn mutate(case: &Case, random: &mut Rng) -> Vec<u8> {
    let mut packet = case.packet.clone();
    let mut frame = case.frame.clone();
    if random.u8(..3) == 0 {
        for _ in 0..=random.u8(..2) {
            let depth = packet.depth();
            let which = random.usize(..depth);
            packet = match random.u8(..3) {
                0 => packet.swapped(which, random.usize(..depth)),
                1 if depth < 24 => packet.doubled(which),
                _ if depth > 1 => packet.without(which),
                _ => packet,
            };
        }
        frame = packet.bytes();
    }
    for _ in 0..random.u8(..4) {
        change(&mut frame, random);
    }
    frame
}

/// A few bytes changed, cut or added, mostly where headers are.
pub fn change(frame: &mut Vec<u8>, random: &mut Rng) {
    /// Values that mean something to a parser.
    const TELLING: [u8; 24] =
        [0, 1, 4, 6, 8, 17, 33, 41, 43, 44, 47, 50, 51, 55, 58, 60, 97, 131, 132, 137, 143, 0x45, 0x60, 0xff];
    if frame.len() < 15 {
        return;
    }
    let at = random.usize(12..frame.len().min(160));
    match random.u8(..6) {
        0 => frame[at] = random.u8(..),
        1 => frame[at] ^= 1 << random.u8(..8),
        2 => frame[at] = TELLING[random.usize(..TELLING.len())],
        3 => frame.truncate(random.usize(14..=frame.len())),
        4 => frame.extend((0..random.usize(..60)).map(|_| random.u8(..))),
        // Some of it once more: a header copied over another one.
        _ => {
            let from = random.usize(12..frame.len());
            let bytes = frame[from..(from + random.usize(..40)).min(frame.len())].to_vec();
            let to = at.min(frame.len() - bytes.len());
            frame[to..to + bytes.len()].copy_from_slice(&bytes);
        }
    }
}
