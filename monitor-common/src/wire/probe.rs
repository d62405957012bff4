//! A query of userspace to the `probe` program, and the reply: all in words of a packet's context, so that no map is
//! needed.

use super::Address;
use crate::classify::Classification;

/// A destination to be classified by the policy in a slot. The slot goes into the packet's mark, the rest into its
/// control block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeQuery {
    /// 4 or 6.
    pub version: u8,
    /// The destination.
    pub address: Address,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port.
    pub port: u16,
}

impl ProbeQuery {
    /// Instead of a slot: the one that the control word names, as for any packet.
    pub const IN_FORCE: u32 = 2;
    /// The reply if the image is incomplete.
    pub const NO_ANSWER: u32 = u32::MAX;

    /// The five words of the control block.
    #[must_use]
    pub const fn words(&self) -> [u32; 5] {
        let Address { high, low } = self.address;
        let rest = (self.port as u32) << 16 | (self.protocol as u32) << 8 | self.version as u32;
        [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32, rest]
    }

    /// Port, protocol and version of the last word.
    #[must_use]
    #[inline(always)]
    pub const fn unpack(rest: u32) -> (u16, u8, u8) {
        ((rest >> 16) as u16, (rest >> 8) as u8, rest as u8)
    }

    /// The reply in one number: rule, whether it denies, whether it alerts, class id (which is below 2^14).
    #[must_use]
    #[inline(always)]
    pub const fn reply(found: &Classification) -> u32 {
        (found.rule as u32) << 16 | (found.deny as u32) << 15 | (found.alert as u32) << 14 | found.class_id as u32
    }
}

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::*;
    use crate::wire::MAX_CLASSES;

    #[test]
    fn a_query_comes_out_as_it_went_in_and_replies_differ_in_every_part() {
        const { assert!(MAX_CLASSES <= 1 << 14) };
        let address = Address { high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210 };
        let query = ProbeQuery { version: 6, address, protocol: 17, port: 0xabcd };
        let words = query.words();
        assert_eq!(words[..4], [0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, 0x7654_3210]);
        assert_eq!(ProbeQuery::unpack(words[4]), (0xabcd, 17, 6));
        let one = Classification { class_id: 4095, rule: 7, deny: true, alert: false, ..Classification::default() };
        let others = [
            Classification { class_id: 4094, ..one },
            Classification { rule: 8, ..one },
            Classification { deny: false, ..one },
            Classification { alert: true, ..one },
        ];
        assert!(others.iter().all(|other| ProbeQuery::reply(other) != ProbeQuery::reply(&one)));
    }
}
