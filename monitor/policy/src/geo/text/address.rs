//! Addresses and networks as text files write them, into pieces. Called by the line readers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::{ranges::Piece, rejected::Rejection};
use crate::text::excerpt;

pub(crate) const NO_ADDRESS: &str = "no address";
const NO_PREFIX: &str = "no prefix length";
const HOST_BITS: &str = "bits after the prefix";
const TWO_FAMILIES: &str = "two families";
const REVERSED: &str = "ends before it starts";

pub(in super::super) fn is_number(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn decimal(value: &str) -> Result<u128, Rejection> {
    let large = || format!("{:?} is larger than any IPv6 address: correct or remove it", excerpt(value));
    value.parse().map_err(|_| Rejection::new(NO_ADDRESS, large()))
}

pub(crate) fn address(value: &str) -> Result<IpAddr, Rejection> {
    value.parse().map_err(|_| {
        let what = "is no IP address: write it like 192.0.2.1, 2001:db8::1 or as a decimal number";
        Rejection::new(NO_ADDRESS, format!("{:?} {what}", excerpt(value)))
    })
}

/// `first` to `last`: addresses, or decimal numbers.
pub(in super::super) fn range<V>(first: &str, last: &str, value: V) -> Result<Piece<V>, Rejection> {
    let (from, to) = if is_number(first) && is_number(last) {
        let (from, to) = (decimal(first)?, decimal(last)?);
        // A number says nothing of its family; only one that fits can be of IPv4.
        match (u32::try_from(from), u32::try_from(to)) {
            (Ok(from), Ok(to)) => (Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into()),
            _ => (IpAddr::from(Ipv6Addr::from(from)), IpAddr::from(Ipv6Addr::from(to))),
        }
    } else {
        (address(first)?, address(last)?)
    };
    let reversed = || {
        let (first, last) = (excerpt(first), excerpt(last));
        Rejection::new(REVERSED, format!("the range ends at {last:?}, before its start {first:?}: swap the two"))
    };
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => Ok(Piece::V4(from.into(), to.into(), value)),
        (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => Ok(Piece::V6(from.into(), to.into(), value)),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Err(reversed()),
        _ => Err(Rejection::new(
            TWO_FAMILIES,
            format!("{first:?} and {last:?} are of different families: a range starts and ends in IPv4 or in IPv6"),
        )),
    }
}

/// `address/prefix`, or one address.
pub(in super::super) fn network<V>(text: &str, value: V) -> Result<Piece<V>, Rejection> {
    let (ip, prefix) = text.split_once('/').map_or((text, None), |(ip, prefix)| (ip, Some(prefix)));
    let ip = address(ip)?;
    let longest: u8 = if ip.is_ipv4() { 32 } else { 128 };
    // Digits only: a sign or a blank would pass `parse`, but is a typo here.
    let prefix = match prefix {
        None => longest,
        Some(digits) => {
            digits.parse::<u8>().ok().filter(|&length| length <= longest && is_number(digits)).ok_or_else(|| {
                let text = excerpt(text);
                let what = format!("{text:?} has no prefix length from 0 to {longest}: write it like {ip}/{longest}");
                Rejection::new(NO_PREFIX, what)
            })?
        }
    };
    let host_bits = |network: IpAddr| {
        let hint = format!("write {network}/{prefix}, or the prefix that you mean");
        Rejection::new(HOST_BITS, format!("{text:?} has bits set after its prefix: {hint}"))
    };
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
            Ok(Piece::V6(first, first | host, value))
        }
    }
}
