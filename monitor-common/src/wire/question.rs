//! What userspace asks the `probe` program, and its answer: all in the words of a packet's context, so that no map is
//! needed.

use super::Address;
use crate::classify::Classified;

/// A destination to be judged by the policy in a slot. The slot is the packet's mark, the rest its control block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// 4 or 6.
    pub version: u8,
    /// The destination.
    pub address: Address,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port.
    pub port: u16,
}

impl Question {
    /// Instead of a slot: the one that the control word names, as for every packet.
    pub const IN_FORCE: u32 = 2;
    /// The image is not whole.
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

    /// An answer as one number: rule, whether denied, whether it alerts, class (which is below 2^14).
    #[must_use]
    #[inline(always)]
    pub const fn reply(found: &Classified) -> u32 {
        (found.rule as u32) << 16 | (found.deny as u32) << 15 | (found.alert as u32) << 14 | found.class as u32
    }
}

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::*;
    use crate::wire::MAX_CLASSES;

    #[test]
    fn a_question_comes_out_as_it_went_in_and_answers_differ_in_every_part() {
        const { assert!(MAX_CLASSES <= 1 << 14) };
        let address = Address { high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210 };
        let question = Question { version: 6, address, protocol: 17, port: 0xabcd };
        let words = question.words();
        assert_eq!(words[..4], [0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, 0x7654_3210]);
        assert_eq!(Question::unpack(words[4]), (0xabcd, 17, 6));
        let one = Classified { class: 4095, rule: 7, deny: true, alert: false, ..Classified::default() };
        let others = [
            Classified { class: 4094, ..one },
            Classified { rule: 8, ..one },
            Classified { deny: false, ..one },
            Classified { alert: true, ..one },
        ];
        assert!(others.iter().all(|other| Question::reply(other) != Question::reply(&one)));
    }
}
