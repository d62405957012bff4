//! The way of a packet: total → parse → classify → verdict → count → event.

use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use monitor_common::{
    classify::{Classified, classify},
    parse::{self, Reason},
    verdict::{Verdict, decide},
    wire::{Address, Control, Counters, FlowKey, INTERFACE_PROBES, INTERFACE_TABLE, Link},
};

use crate::{emit, maps, packet::Frame, policy::Image, table};

/// TCX_NEXT, and TC_ACT_UNSPEC for clsact: the next program decides. 0 (OK) would end the chain.
pub const NEXT: i32 = -1;
/// TC_ACT_SHOT.
const DROP: i32 = 2;

/// Bytes that are made linear when a header is not: no chain of headers that is followed is longer in practice,
/// and a longer one is counted as truncated.
const PULL: u32 = 512;

/// Counts a packet and decides on it.
#[inline(always)]
pub fn packet(context: &TcContext) -> i32 {
    let Some(control) = maps::CONTROL.get_ptr(0) else { return NEXT };
    // SAFETY: a live map value. Volatile: read once, so that the packet belongs wholly to one epoch and policy.
    let control = Control(unsafe { control.read_volatile() });
    let parity = control.parity();
    // SAFETY: the context that the kernel gave us.
    let skb = unsafe { &*context.skb.skb };
    let size = Counters {
        packets: 1,
        segments: u64::from(skb.gso_segs.max(1)),
        bytes: u64::from(skb.len),
        wire_bytes: u64::from(skb.wire_len),
    };
    let ifindex = skb.ifindex;
    let (slot, link) = interface(ifindex);
    table::hook(parity, slot, &size);

    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else { return NEXT };
    // SAFETY: this CPU's own value, and nothing else runs here between bottom halves off and on.
    let (key, cell) = unsafe { (&mut (*scratch).key, &raw mut (*scratch).cell) };
    let reason = match parse(context, link, key, cell) {
        Err(reason) => reason,
        Ok(()) => match standing(control.slot(), key) {
            None => Reason::NotClassified,
            Some(to) => {
                let verdict = decide(&to, control.enforce());
                key.ifindex = ifindex;
                key.verdict = verdict as u8;
                key.class = to.class;
                key.rule = to.rule;
                if table::flow(parity, slot, key, &size) && to.alert {
                    emit::event(parity, control.epoch(), key, skb.wire_len);
                }
                debug!(
                    context,
                    "interface {} protocol {} to {:i} port {}: class {} rule {} verdict {}",
                    ifindex,
                    key.protocol,
                    octets(key.destination),
                    key.destination_port,
                    to.class,
                    to.rule,
                    verdict.name()
                );
                return if matches!(verdict, Verdict::Denied) { DROP } else { NEXT };
            }
        },
    };
    let dropped = control.enforce() && !reason.always_passes();
    table::unparsed(parity, slot, reason, dropped, &size);
    debug!(context, "interface {} no flow: {}, dropped {}", ifindex, reason.name(), u8::from(dropped));
    if dropped { DROP } else { NEXT }
}

/// An address as aya-log prints it; IPv4 as `::ffff:a.b.c.d`.
#[inline(always)]
fn octets(address: Address) -> [u8; 16] {
    ((u128::from(address.high) << 64) | u128::from(address.low)).to_be_bytes()
}

/// Slot and link layer of an interface; slot 0 and Ethernet for one that nobody registered (a device that was
/// moved to another namespace takes our program along).
#[inline(always)]
fn interface(ifindex: u32) -> (u32, Link) {
    for probe in 0..INTERFACE_PROBES {
        if let Some(entry) = maps::INTERFACES.get(ifindex.wrapping_add(probe) & (INTERFACE_TABLE - 1))
            && entry.ifindex == ifindex
        {
            return (u32::from(entry.slot), Link::from_wire(entry.link));
        }
    }
    (0, Link::Ethernet)
}

/// What the policy in this slot makes of the packet.
#[inline(always)]
fn standing(slot: u32, key: &FlowKey) -> Option<Classified> {
    let image = Image::in_slot(slot)?;
    classify(&image, key.ip_version, key.destination, key.protocol, key.destination_port, true)
}

/// Parses; once more after a pull if the headers were not all linear.
#[inline(always)]
fn parse(context: &TcContext, link: Link, key: &mut FlowKey, cell: *mut u64) -> Result<(), Reason> {
    let frame = Frame::of(context, cell);
    match parse::parse(frame, link, key) {
        Err(reason) if matches!(reason, Reason::TruncatedLink | Reason::TruncatedIp | Reason::TruncatedExtension | Reason::TruncatedTransport) && frame.missing(context.len()) => {
            if context.skb.pull_data(context.len().min(PULL)).is_err() {
                return Err(reason);
            }
            parse::parse(Frame::of(context, cell), link, key)
        }
        done => done,
    }
}
