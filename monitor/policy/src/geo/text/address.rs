//! Addresses and networks as text files write them, into pieces. Called by the line readers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::{ranges::Piece, rejection::Rejection};
use crate::text::excerpt;

pub(in super::super) fn is_number(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a second value is a range's end, and not a country.
pub(super) fn is_end(value: &str) -> bool {
    value.contains(['.', ':']) || is_number(value)
}

fn decimal(value: &str) -> Result<u128, Rejection> {
    value.parse().map_err(|_| Rejection::AddressTooLarge(excerpt(value)))
}

pub(crate) fn address(value: &str) -> Result<IpAddr, Rejection> {
    value.parse().map_err(|_| {
        let exponent = value
            .split_once("E+")
            .is_some_and(|(number, power)| number.starts_with(|c: char| c.is_ascii_digit()) && is_number(power));
        if exponent { Rejection::Rounded(excerpt(value)) } else { Rejection::Address(excerpt(value)) }
    })
}

/// `first` to `last`: addresses, or decimal numbers. Both in `::ffff:0:0/96` are IPv4.
pub(in super::super) fn range<V>(first: &str, last: &str, value: V) -> Result<Piece<V>, Rejection> {
    let (from, to) = if is_number(first) && is_number(last) {
        let (from, to) = (decimal(first)?, decimal(last)?);
        // A number says nothing of its family; only one that fits can be of IPv4.
        match (u32::try_from(from), u32::try_from(to)) {
            (Ok(from), Ok(to)) => (Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into()),
            _ if rounded(first, from) => return Err(Rejection::Rounded(excerpt(first))),
            _ if rounded(last, to) => return Err(Rejection::Rounded(excerpt(last))),
            _ => (IpAddr::from(Ipv6Addr::from(from)), IpAddr::from(Ipv6Addr::from(to))),
        }
    } else {
        (address(first)?, address(last)?)
    };
    let (from, to) = match (from.to_canonical(), to.to_canonical()) {
        (from @ IpAddr::V4(_), to @ IpAddr::V4(_)) => (from, to),
        _ => (from, to),
    };
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => Ok(Piece::V4(from.into(), to.into(), value)),
        (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => Ok(Piece::V6(from.into(), to.into(), value)),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            Err(Rejection::Reversed { first: excerpt(first), last: excerpt(last) })
        }
        _ => Err(Rejection::TwoFamilies { first: first.into(), last: last.into() }),
    }
}

/// Whether a spreadsheet has been at an IPv6 address in decimal: of its up to 39 digits it keeps 15.
fn rounded(digits: &str, number: u128) -> bool {
    let kept = digits.trim_start_matches('0').trim_end_matches('0').len();
    digits.len() > 20 && kept <= 17 && number as u64 != 0
}

/// `address/prefix`, or one address.
pub(in super::super) fn network<V>(text: &str, value: V) -> Result<Piece<V>, Rejection> {
    let (ip, prefix) = text.split_once('/').map_or((text, None), |(ip, prefix)| (ip, Some(prefix)));
    let ip = address(ip)?;
    let longest: u8 = if ip.is_ipv4() { 32 } else { 128 };
    // Digits only: a sign or a blank would pass `parse`, but is a typo here.
    let prefix = match prefix {
        None => longest,
        Some(digits) => digits
            .parse::<u8>()
            .ok()
            .filter(|&length| length <= longest && is_number(digits))
            .ok_or_else(|| Rejection::PrefixLength { text: excerpt(text), address: ip, longest })?,
    };
    let host_bits = |network: IpAddr| Rejection::HostBits { text: text.into(), network, prefix };
    match ip {
        IpAddr::V4(ip) => {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let first = u32::from(ip);
            if first & host != 0 {
                return Err(host_bits(Ipv4Addr::from(first & !host).into()));
            }
            Ok(Piece::V4(first, first | host, value))
        }
        IpAddr::V6(ip) => {
            let host = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let first = u128::from(ip);
            if first & host != 0 {
                return Err(host_bits(Ipv6Addr::from(first & !host).into()));
            }
            // IPv4 in IPv6's notation: no packet has such an address.
            match Ipv6Addr::from(first).to_ipv4_mapped() {
                Some(mapped) if prefix >= 96 => Ok(Piece::V4(mapped.into(), u32::from(mapped) | host as u32, value)),
                _ => Ok(Piece::V6(first, first | host, value)),
            }
        }
    }
}
