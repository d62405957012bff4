//! What the flow cache has no answer for: the policy is asked, the flow gets a place, an event tells of it. Its own
//! function, so that the short way in [`crate::egress`] stays short.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_jiffies64, programs::TcContext};
use aya_log_ebpf::debug;
use monitor_common::{
    classify::{Classified, classify},
    parse::Reason,
    verdict::{Verdict, decide, drops},
    wire::{Address, Control, Counters, FlowKey, PlainKey},
};

use crate::{
    cache,
    egress::{DROP, NEXT},
    emit,
    maps::{self, Scratch},
    policy::Image,
    table,
};

/// How far a packet was read: a [`Reason`] as its number where it has no flow (the standing of the destinations that were
/// read all the same is in the judgement), or one of these.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Way(pub u32);

impl Way {
    /// To its end: key and judgement are in the scratch space.
    pub const READ: Self = Self(Reason::COUNT);
    /// It is plain: its key is in the scratch space, its destination was not looked up.
    pub const PLAIN: Self = Self(Reason::COUNT + 1);
}

/// Counts a packet and gives its fate.
#[inline(always)]
pub fn packet(skb: *mut __sk_buff, scratch: &mut Scratch, control: Control, slot: u32, way: Way) -> i32 {
    whole(skb, scratch, control.0, slot, way.0)
}

/// What a verdict comes to for the kernel; a drop is counted.
#[inline(always)]
pub fn fate(parity: u32, slot: u32, verdict: u8, size: &Counters) -> i32 {
    if verdict != Verdict::Denied as u8 {
        return NEXT;
    }
    table::dropped(parity, slot, size);
    DROP
}

#[inline(never)]
fn whole(skb: *mut __sk_buff, scratch: *mut Scratch, control: u64, slot: u32, way: u32) -> i32 {
    let control = Control(control);
    let parity = control.parity();
    // SAFETY: the caller's references.
    let (context, scratch) = unsafe { (&*skb, &mut *scratch) };
    let size = table::size(context);
    let plain = Way(way) == Way::PLAIN;
    let standing = if plain {
        scratch.key = FlowKey::from(&scratch.plain).into();
        standing(control.slot(), &scratch.key.flow).ok_or(Reason::NotClassified)
    } else {
        Reason::from_wire(way as u8).map_or(Ok(scratch.judgement.to), Err)
    };
    let to = match standing {
        Ok(to) => to,
        Err(reason) => {
            let denied = if plain { Classified::default() } else { scratch.judgement.to };
            let dropped = control.enforce() && drops(reason, drop_reasons(control.slot()), &denied);
            table::unparsed(parity, slot, reason, dropped, &size);
            debug!(
                &TcContext::new(skb),
                "interface {} no flow: reason {}, dropped {}",
                context.ifindex,
                reason as u8,
                u8::from(dropped)
            );
            let verdict = if dropped { Verdict::Denied } else { Verdict::Allowed };
            return fate(parity, slot, verdict as u8, &size);
        }
    };
    let verdict = decide(&to, control.enforce());
    let key = &mut scratch.key;
    key.flow.ifindex = context.ifindex;
    key.flow.verdict = verdict as u8;
    key.flow.class = to.class;
    key.flow.rule = to.rule;
    let new = if plain {
        scratch.plain.verdict = key.flow.verdict;
        scratch.plain.class = to.class;
        scratch.plain.rule = to.rule;
        keep(parity, slot, &scratch.plain, &key.flow, &size, to.alert)
    } else if key.onward.exists() {
        table::onward(parity, slot, key, &size)
    } else {
        table::flow(parity, slot, &key.flow, &size)
    };
    if new && to.alert {
        emit::event(parity, control.epoch(), key, context.wire_len);
    }
    debug!(
        &TcContext::new(skb),
        "interface {} protocol {} to {:i} port {}: class {} rule {} verdict {}",
        key.flow.ifindex,
        key.flow.protocol,
        octets(key.flow.destination),
        key.flow.destination_port,
        to.class,
        to.rule,
        verdict.name()
    );
    fate(parity, slot, verdict as u8, &size)
}

/// Counts a plain packet in the flow cache, or in the flow table if its set has no place. True if the flow is new in this
/// epoch, as far as this CPU can tell; not found out where it is of no use.
#[inline(always)]
fn keep(parity: u32, slot: u32, plain: &PlainKey, key: &FlowKey, size: &Counters, ask: bool) -> bool {
    let Some(set) = cache::set(parity, plain) else { return table::flow(parity, slot, key, size) };
    // SAFETY: a helper without arguments; a set that only this CPU writes, and only one program at a time.
    let (jiffies, set) = unsafe { (bpf_jiffies64(), &mut *set) };
    let now = jiffies as u32;
    let entry = match set.find(plain) {
        Some(entry) if entry.key == *plain => {
            entry.judged = now;
            entry.count(size, now);
            return false;
        }
        // The policy thinks otherwise of it by now: another flow.
        Some(entry) => entry,
        None => match set.vacancy(now) {
            Some(entry) => entry,
            None => return table::flow(parity, slot, key, size),
        },
    };
    if !entry.is_empty() {
        table::put(parity, entry.slot, &(&entry.key).into(), &entry.value(jiffies));
    }
    entry.begin(plain, size, slot, now);
    ask && !table::has(parity, key)
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

/// What the policy in this slot makes of a packet with one destination.
#[inline(always)]
fn standing(slot: u32, key: &FlowKey) -> Option<Classified> {
    let image = Image::in_slot(slot)?;
    classify(&image, key.ip_version, key.destination, key.protocol, Some(key.destination_port))
}
