//! What later fragments need of the first: a small table for each CPU, in which the fragments of a datagram find each
//! other. Bounded: a newer datagram evicts an older one, whose remaining fragments are then
//! [`Reason::FragmentWithoutFirst`].

#![forbid(unsafe_code)]

#[cfg(all(test, feature = "user"))]
mod tests;

use crate::{
    parse::{Fragment, HeaderWalker, MAX_HEADERS, Reason},
    wire::{Address, InnerDestination, ON_LINK},
};

/// Sets of datagrams; a power of two.
pub const FRAGMENT_SETS: u32 = 64;
/// Datagrams of one set.
const WAYS: usize = 4;
/// Reassembly timeout (RFC 8200 4.5, RFC 1122 3.3.2).
const TIMEOUT_NS: u64 = 60_000_000_000;

/// A datagram whose fragments are in transit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    source: Address,
    destination: Address,
    /// CLOCK_BOOTTIME of the first fragment; 0: free.
    since_ns: u64,
    id: u32,
    ifindex: u32,
    /// First unit of eight bytes that has not been sent yet.
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
    /// Inner destination of the first fragment.
    inner: InnerDestination,
}

/// Datagrams with the same hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentSet {
    ways: [Datagram; WAYS],
}

/// The set that a datagram belongs to.
#[must_use]
#[inline(always)]
pub const fn set_index(fragment: &Fragment, ifindex: u32) -> u32 {
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
    fn matches(&self, fragment: &Fragment, ifindex: u32, now_ns: u64) -> bool {
        self.since_ns != 0
            && now_ns - self.since_ns < TIMEOUT_NS
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
        self.ways.iter_mut().find(|way| way.matches(fragment, ifindex, now_ns))
    }

    /// Before the packet is evaluated: gives a later fragment's walker the ports and flags of the first, and returns
    /// the first's inner destination.
    ///
    /// # Errors
    /// [`Reason::FragmentOverlap`], [`Reason::FragmentWithoutFirst`].
    #[inline(always)]
    pub fn restore(
        &mut self,
        fragment: &Fragment,
        ifindex: u32,
        now_ns: u64,
        walker: &mut HeaderWalker,
    ) -> Result<InnerDestination, Reason> {
        let found = self.find(fragment, ifindex, now_ns);
        if fragment.start == 0 {
            return if found.is_some() { Err(Reason::FragmentOverlap) } else { Ok(InnerDestination::default()) };
        }
        let Some(datagram) = found else { return Err(Reason::FragmentWithoutFirst) };
        if fragment.start < datagram.end {
            return Err(Reason::FragmentOverlap);
        }
        datagram.end = fragment.end;
        if fragment.more == 0 {
            datagram.since_ns = 0;
        }
        let header = u32::from(fragment.header);
        walker.set_transport(header, datagram.protocol, datagram.source_port, datagram.destination_port);
        walker.key.flags = walker.key.flags & ON_LINK | datagram.flags & !ON_LINK;
        Ok(datagram.inner)
    }

    /// After the packet was evaluated: records what the fragments after a first one will need.
    #[inline(always)]
    pub fn record(
        &mut self,
        fragment: &Fragment,
        ifindex: u32,
        now_ns: u64,
        walker: &HeaderWalker,
        inner: &InnerDestination,
    ) {
        if fragment.start != 0 {
            return;
        }
        // A free way counts as older than any other.
        let [a, b, c, d] = &mut self.ways;
        let (ab, cd) = (if b.since_ns < a.since_ns { b } else { a }, if d.since_ns < c.since_ns { d } else { c });
        let oldest = if cd.since_ns < ab.since_ns { cd } else { ab };
        let header = usize::from(fragment.header);
        // The mask changes nothing. It is for the kernel's verifier, which sees no bound on a number in memory.
        let transport = walker.headers[header & (MAX_HEADERS - 1)];
        *oldest = Datagram {
            source: fragment.source,
            destination: fragment.destination,
            since_ns: now_ns,
            id: fragment.id,
            ifindex,
            end: fragment.end,
            source_port: if header == 0 { walker.key.source_port } else { 0 },
            destination_port: transport.port,
            ip_version: fragment.ip_version,
            identity_protocol: fragment.protocol,
            protocol: transport.protocol,
            flags: walker.key.flags,
            inner: *inner,
        };
    }
}
