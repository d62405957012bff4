//! What a fragment after the first has of the first: a small table of each CPU's own, over which a datagram's fragments
//! find each other. Bounded: a newer datagram takes the place of an older one, whose further fragments are then
//! [`Reason::FragmentWithoutFirst`].

#![forbid(unsafe_code)]

#[cfg(all(test, feature = "user"))]
mod tests;

use crate::{
    parse::{Fragment, MAX_HEADERS, Reason, Walk},
    wire::{Address, Onward},
};

/// Sets of datagrams; a power of two.
pub const FRAGMENT_SETS: u32 = 64;
/// Datagrams of one set.
const WAYS: usize = 4;
/// After this long the rest of a datagram is no longer waited for (RFC 8200 4.5, RFC 1122 3.3.2).
const PATIENCE_NS: u64 = 60_000_000_000;

/// A datagram on its way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    source: Address,
    destination: Address,
    /// CLOCK_BOOTTIME of the first fragment; 0: free.
    since_ns: u64,
    id: u32,
    ifindex: u32,
    /// First unit of eight bytes that has not been sent.
    end: u16,
    source_port: u16,
    destination_port: u16,
    ip_version: u8,
    /// As [`Fragment::protocol`].
    identity_protocol: u8,
    /// As [`crate::wire::FlowKey::protocol`].
    protocol: u8,
    /// As [`crate::wire::FlowKey::flags`].
    flags: u8,
    /// Where the first ends up.
    onward: Onward,
}

/// Datagrams whose hash is the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentSet {
    ways: [Datagram; WAYS],
}

/// Which set a datagram is in.
#[must_use]
#[inline(always)]
pub const fn set_of(fragment: &Fragment, ifindex: u32) -> u32 {
    let mixed = fragment.source.high
        ^ fragment.source.low.rotate_left(17)
        ^ fragment.destination.high.rotate_left(31)
        ^ fragment.destination.low.rotate_left(47)
        ^ (fragment.id as u64) << 32
        ^ fragment.protocol as u64
        ^ ifindex as u64;
    // Fibonacci hashing: the upper bits depend on all.
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as u32
}

impl Datagram {
    #[inline(always)]
    fn is(&self, fragment: &Fragment, ifindex: u32, now_ns: u64) -> bool {
        self.since_ns != 0
            && now_ns - self.since_ns < PATIENCE_NS
            && self.id == fragment.id
            && self.ifindex == ifindex
            && self.ip_version == fragment.ip_version
            && self.identity_protocol == fragment.protocol
            && self.source == fragment.source
            && self.destination == fragment.destination
    }
}

impl FragmentSet {
    #[inline(always)]
    fn find(&mut self, fragment: &Fragment, ifindex: u32, now_ns: u64) -> Option<&mut Datagram> {
        self.ways.iter_mut().find(|way| way.is(fragment, ifindex, now_ns))
    }

    /// Before the packet is judged: gives a fragment after the first what the first had. Gives the first's further
    /// destination.
    ///
    /// # Errors
    /// [`Reason::FragmentOverlap`], [`Reason::FragmentWithoutFirst`].
    #[inline(always)]
    pub fn resume(
        &mut self,
        fragment: &Fragment,
        ifindex: u32,
        now_ns: u64,
        walk: &mut Walk,
    ) -> Result<Onward, Reason> {
        let known = self.find(fragment, ifindex, now_ns);
        if fragment.start == 0 {
            return if known.is_some() { Err(Reason::FragmentOverlap) } else { Ok(Onward::default()) };
        }
        let Some(datagram) = known else { return Err(Reason::FragmentWithoutFirst) };
        if fragment.start < datagram.end {
            return Err(Reason::FragmentOverlap);
        }
        datagram.end = fragment.end;
        if fragment.more == 0 {
            datagram.since_ns = 0;
        }
        let header = u32::from(fragment.header);
        walk.set_transport(header, datagram.protocol, datagram.source_port, datagram.destination_port);
        walk.key.flags = datagram.flags;
        Ok(datagram.onward)
    }

    /// After a first fragment was judged: keeps what the others will need.
    #[inline(always)]
    pub fn keep(&mut self, fragment: &Fragment, ifindex: u32, now_ns: u64, walk: &Walk, onward: &Onward) {
        if fragment.start != 0 {
            return;
        }
        // A free way is older than any.
        let [a, b, c, d] = &mut self.ways;
        let (ab, cd) = (if b.since_ns < a.since_ns { b } else { a }, if d.since_ns < c.since_ns { d } else { c });
        let oldest = if cd.since_ns < ab.since_ns { cd } else { ab };
        let header = usize::from(fragment.header);
        // The mask changes nothing. It is for the kernel's verifier, which sees no bound on a number in memory.
        let transport = walk.headers[header & (MAX_HEADERS - 1)];
        *oldest = Datagram {
            source: fragment.source,
            destination: fragment.destination,
            since_ns: now_ns,
            id: fragment.id,
            ifindex,
            end: fragment.end,
            source_port: if header == 0 { walk.key.source_port } else { 0 },
            destination_port: transport.port,
            ip_version: fragment.ip_version,
            identity_protocol: fragment.protocol,
            protocol: transport.protocol,
            flags: walk.key.flags,
            onward: *onward,
        };
    }
}
