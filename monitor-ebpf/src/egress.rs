//! The way of a packet: total → parse → classify → verdict → count → event.

use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use monitor_common::{
    classify::{Classified, classify},
    parse::{Reason, plain},
    verdict::{Verdict, decide, drops},
    wire::{Address, Control, Counters, FlowKey, INTERFACE_PROBES, INTERFACE_TABLE, Link, segments},
};

use crate::{deep, emit, maps, packet::Frame, policy::Image, table};

/// TCX_NEXT, and TC_ACT_UNSPEC for clsact: the next program decides. 0 (OK) would end the chain.
pub const NEXT: i32 = -1;
/// TC_ACT_SHOT.
const DROP: i32 = 2;

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
        segments: u64::from(segments(skb.gso_segs, skb.gso_size, skb.len, skb.wire_len)),
        bytes: u64::from(skb.len),
        wire_bytes: u64::from(skb.wire_len),
    };
    let ifindex = skb.ifindex;
    let (slot, link) = interface(ifindex);
    table::hook(parity, slot, &size);

    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else { return NEXT };
    // SAFETY: this CPU's own value, and nothing else runs here between bottom halves off and on.
    let scratch = unsafe { &mut *scratch };
    let mut onward = false;
    let standing = if plain(Frame::of(skb), skb.len, link, &mut scratch.key.flow).is_some() {
        standing(control.slot(), &scratch.key.flow).ok_or(Reason::NotClassified)
    } else {
        onward = true;
        deep::read(context.skb.skb, scratch, link, control.slot())
    };
    let to = match standing {
        Ok(to) => to,
        Err(reason) => {
            let denied = if onward { scratch.judgement.to } else { Classified::default() };
            let dropped = control.enforce() && drops(reason, drop_reasons(control.slot()), &denied);
            table::unparsed(parity, slot, reason, dropped, &size);
            debug!(context, "interface {} no flow: {}, dropped {}", ifindex, reason.name(), u8::from(dropped));
            if dropped {
                table::dropped(parity, slot, &size);
                return DROP;
            }
            return NEXT;
        }
    };
    let verdict = decide(&to, control.enforce());
    let key = &mut scratch.key;
    key.flow.ifindex = ifindex;
    key.flow.verdict = verdict as u8;
    key.flow.class = to.class;
    key.flow.rule = to.rule;
    let new = if onward && key.onward.exists() {
        table::onward(parity, slot, key, &size)
    } else {
        table::flow(parity, slot, &key.flow, &size)
    };
    if new && to.alert {
        if !onward {
            key.onward = Default::default();
        }
        emit::event(parity, control.epoch(), key, skb.wire_len);
    }
    debug!(
        context,
        "interface {} protocol {} to {:i} port {}: class {} rule {} verdict {}",
        ifindex,
        key.flow.protocol,
        octets(key.flow.destination),
        key.flow.destination_port,
        to.class,
        to.rule,
        verdict.name()
    );
    if matches!(verdict, Verdict::Denied) {
        table::dropped(parity, slot, &size);
        return DROP;
    }
    NEXT
}

/// Which reasons the policy in this slot drops for; all, if there is none.
#[inline(always)]
fn drop_reasons(slot: u32) -> u64 {
    maps::POLICY.get(slot).map_or(u64::MAX, |meta| meta.drop_reasons)
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

/// What the policy in this slot makes of a packet with one destination.
#[inline(always)]
fn standing(slot: u32, key: &FlowKey) -> Option<Classified> {
    let image = Image::in_slot(slot)?;
    classify(&image, key.ip_version, key.destination, key.protocol, Some(key.destination_port))
}
