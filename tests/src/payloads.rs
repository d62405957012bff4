//! What ordinary datagrams carry, made at random: as an application sends it, with everything in it random that is
//! encrypted, chosen by the peer, or counts.

use fastrand::Rng;

/// Something that UDP carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A short header (RFC 9000, 17.3), or in one of eight a long one (17.2), and what is encrypted.
    Quic,
    /// An answer (RFC 1035) with its flags, counts and a name.
    Dns,
    /// A record of DTLS 1.2 (RFC 6347), or in half of them the unified header of DTLS 1.3 (RFC 9147).
    Dtls,
    /// A packet of RTP with its payload encrypted (RFC 3711), or in one of ten an RTCP one.
    Srtp,
}

impl Payload {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Quic, Self::Dns, Self::Dtls, Self::Srtp];

    /// One such payload.
    #[must_use]
    pub fn random(self, random: &mut Rng) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..random.usize(24..=1_452)).map(|_| random.u8(..)).collect();
        let low = |random: &mut Rng, bits: u8| random.u8(..) & bits;
        match self {
            Self::Quic if random.u8(..8) == 0 => {
                bytes[0] = 0xc0 | low(random, 0x3f);
                bytes[1..5].copy_from_slice(&[1_u32, 0x6b33_43cf][random.usize(..2)].to_be_bytes());
                bytes[5] = random.u8(..=20);
            }
            Self::Quic => bytes[0] = 0x40 | low(random, 0x3f),
            Self::Dns => {
                bytes[2..4].copy_from_slice(&[[0x81, 0x80], [0x81, 0x83], [0x85, 0], [1, 0]][random.usize(..4)]);
                bytes[4..12].copy_from_slice(&[0, 1, 0, random.u8(..9), 0, random.u8(..3), 0, 1]);
                bytes[12..20].copy_from_slice(b"\x07example");
            }
            Self::Dtls if random.bool() => bytes[0] = 0x20 | low(random, 0x1f),
            Self::Dtls => {
                bytes[..3].copy_from_slice(&[random.u8(20..=25), 0xfe, 0xfd]);
                bytes[3..5].copy_from_slice(&[0, random.u8(..3)]);
                let length = bytes.len() as u16 - 13;
                bytes[11..13].copy_from_slice(&length.to_be_bytes());
            }
            Self::Srtp if random.u8(..10) == 0 => bytes[..2].copy_from_slice(&[0x80 | low(random, 0x1f), 200]),
            Self::Srtp => bytes[0] = 0x80 | low(random, 0x3f),
        }
        bytes
    }
}
