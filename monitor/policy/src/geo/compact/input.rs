//! Bytes of the compact form in, checked values out. Nothing is believed: every length is held against what is there.

use crate::text::plain;

use super::{
    super::{
        country::Country,
        dataset::{AsNames, MAX_RANGES, Span},
        space::Space,
    },
    body::MAX_TEXT,
    error::CompactError::{self, Damaged, TooLarge, Truncated},
};

/// What is left to read.
pub(super) struct Input<'a> {
    pub(super) bytes: &'a [u8],
    /// What is being read, for messages.
    pub(super) part: &'static str,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CompactError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Truncated(self.part))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CompactError> {
        self.take(N)?.try_into().map_err(|_| Truncated(self.part))
    }

    pub(super) fn byte(&mut self) -> Result<u8, CompactError> {
        Ok(self.array::<1>()?[0])
    }

    /// A LEB128 number of at most `bits` bits, in its shortest form.
    pub(super) fn number(&mut self, bits: u32) -> Result<u128, CompactError> {
        let mut number = 0_u128;
        for shift in (0..bits).step_by(7) {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            if part.checked_ilog2().is_some_and(|top| top + shift >= bits) {
                return Err(Damaged("a number is too large"));
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(number) } else { Err(Damaged("a number is not in its shortest form")) };
            }
        }
        Err(Damaged("a number is too large"))
    }

    pub(super) fn text(&mut self) -> Result<String, CompactError> {
        let length = self.number(64)?;
        if length > MAX_TEXT as u128 {
            return Err(Damaged("a text is longer than 4,096 bytes"));
        }
        let text = std::str::from_utf8(self.take(length as usize)?).map_err(|_| Damaged("a text is not UTF-8"))?;
        // Shown on terminals: no escape sequences from a file.
        if text.chars().any(char::is_control) { Err(Damaged("a text has control characters")) } else { Ok(plain(text)) }
    }

    /// AsNames of AS numbers.
    pub(super) fn names(&mut self) -> Result<AsNames, CompactError> {
        let count = self.number(64)?;
        let mut names = AsNames::default();
        let mut asn = 0_u32;
        for at in 0..count {
            let distance = u32::try_from(self.number(32)?).map_err(|_| Damaged("an AS number is too large"))?;
            if at > 0 && distance == 0 {
                return Err(Damaged("an AS number has two names"));
            }
            asn = asn.checked_add(distance).ok_or(Damaged("an AS number is too large"))?;
            names.push(asn, &self.text()?).ok_or(TooLarge("4 GiB of names"))?;
        }
        Ok(names)
    }

    pub(super) fn end(&self) -> Result<(), CompactError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Damaged("something follows its ranges")) }
    }

    pub(super) fn countries(&mut self, undetermined: bool) -> Result<Vec<Country>, CompactError> {
        let count = u16::from_le_bytes(self.array()?);
        let countries: Vec<Country> =
            self.take(usize::from(count) * 2)?.chunks_exact(2).map(|code| Country([code[0], code[1]])).collect();
        let may_be = |country: &Country| country.is_assigned() || (undetermined && *country == Country::UNDETERMINED);
        if !countries.iter().all(may_be) {
            return Err(Damaged("it lists a country that is none"));
        }
        if countries.is_sorted_by(|a, b| a < b) { Ok(countries) } else { Err(Damaged("its countries are not sorted")) }
    }

    /// One family; `value` reads an entry of the third column.
    pub(super) fn family<A: Space, V: Copy + PartialEq>(
        &mut self,
        value: &mut impl FnMut(&mut Self) -> Result<Option<V>, CompactError>,
    ) -> Result<Vec<Span<A, V>>, CompactError> {
        let count = self.number(64)?;
        // With gaps there are up to two intervals a range, and one to end.
        if count > 2 * MAX_RANGES as u128 + 1 {
            return Err(TooLarge("4 Mi ranges of one family"));
        }
        let count = count as usize;
        let zeros = self.take(count)?;
        // Walked over first: the third column starts where the second ends.
        let mut starts = Input { bytes: self.bytes, part: self.part };
        for _ in 0..count {
            self.number(A::BITS)?;
        }
        // Each entry of the third column has a byte at least.
        if self.bytes.len() < count {
            return Err(Truncated(self.part));
        }
        let mut spans: Vec<Span<A, V>> = Vec::with_capacity(count / 2 + 1);
        let mut start = 0_u128;
        let mut held: Option<V> = None;
        for (index, &shift) in zeros.iter().enumerate() {
            let here = value(self)?;
            let odd = starts.number(A::BITS)?;
            let shift = u32::from(shift);
            // Only the first interval may start where counting starts; a distance is odd after its zeros.
            let fits = if odd == 0 { index == 0 && shift == 0 } else { odd & 1 == 1 && shift < A::BITS };
            if !fits || odd > A::LAST.number() >> shift {
                return Err(Damaged("a start has an impossible distance from the one before"));
            }
            let Some(next) = start.checked_add(odd << shift).and_then(A::from_number) else {
                return Err(Damaged("a start lies past the last address"));
            };
            if let (true, Some(before)) = (held.is_some(), spans.last_mut()) {
                before.1 = A::from_number(next.number() - 1).unwrap_or(A::LAST);
            }
            if here == held {
                return Err(Damaged("two neighbouring intervals are one"));
            }
            if let Some(value) = here {
                if spans.len() == MAX_RANGES {
                    return Err(TooLarge("4 Mi ranges of one family"));
                }
                spans.push((next, A::LAST, value));
            }
            held = here;
            start = next.number();
        }
        Ok(spans)
    }
}
