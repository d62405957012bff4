//! What the flow cache has no answer for: the policy is evaluated, the flow counted, an event submitted. A function of
//! its own, so that the fast path in [`crate::egress`] stays short.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use aya_log_ebpf::debug;
use monitor_common::{
    classify::{Classification, Destination, classify_packet, judge_content},
    parse::{Reason, tcp_flags},
    verdict::{Verdict, decide, drops},
    wire::{Address, Control, CpuHalf, Decision, Link, PlainKey},
};

use crate::{
    action::{NEXT, tc_action},
    cache, events,
    maps::{self, Scratch},
    packet::Frame,
    policy::MappedImage,
    slow_parse::ParseOutcome,
    table, words,
};

/// Counts a packet, which its hook has counted, and returns what to do with it.
#[inline(always)]
pub fn packet(skb: *mut __sk_buff, scratch: &mut Scratch, control: Control, slot: u32, outcome: ParseOutcome) -> i32 {
    count_and_decide(skb, scratch, control.0, slot, outcome.0)
}

#[inline(never)]
fn count_and_decide(skb: *mut __sk_buff, scratch: *mut Scratch, control: u64, slot: u32, outcome: u32) -> i32 {
    let control = Control(control);
    // SAFETY: the caller's references.
    let (context, scratch) = unsafe { (&*skb, &mut *scratch) };
    let Some(half) = cache::half(control.parity()) else { return NEXT };
    let fast_parsed = ParseOutcome(outcome) == ParseOutcome::FAST_PARSED;
    let classification = if fast_parsed {
        classify_plain(control.slot(), &scratch.plain).ok_or(Reason::NotClassified)
    } else {
        Reason::from_wire(outcome as u8).map_or(Ok(scratch.evaluation.strictest), Err)
    };
    let classification = match classification {
        Ok(classification) => classification,
        Err(reason) => {
            let read = if fast_parsed { Classification::default() } else { scratch.evaluation.strictest };
            let verdict = match (drops(reason, drop_reasons(control.slot()), &read), control.enforce()) {
                (false, _) => Verdict::Allowed,
                (true, false) => Verdict::Observed,
                (true, true) => Verdict::Denied,
            };
            let dropped = matches!(verdict, Verdict::Denied);
            let first = table::unparsed(control.parity(), slot, reason, dropped, &table::size(context));
            if first && reason.alerts() {
                events::submit_unparsed(skb, &mut scratch.unparsed, control, reason, verdict);
            }
            debug!(
                &TcContext::new(skb),
                "interface {} no flow: reason {}, dropped {}",
                context.ifindex,
                reason as u8,
                u8::from(dropped)
            );
            // An observed one passes.
            return tc_action(half, slot, verdict as u8, context);
        }
    };
    scratch.evaluation.strictest = classification;
    // In registers it would differ by the way to here, as below. SAFETY: the same scratch space.
    let scratch = unsafe { &mut *maps::barrier_var(scratch) };
    let flags = if fast_parsed { scratch.plain.endpoints.flags() } else { scratch.key.flow.flags };
    let classification = judge(control.slot(), scratch.evaluation.strictest, flags);
    let verdict = decide(&classification, control.enforce());
    scratch.decision = Decision {
        class_id: classification.class_id,
        rule: classification.rule,
        verdict: verdict as u8,
        ..Decision::default()
    };
    scratch.alert = u32::from(classification.alert);
    scratch.size = table::size(context);
    // In registers it would differ by the way to here, and the verifier would check the rest once for each.
    // SAFETY: the same scratch space.
    let scratch = unsafe { &mut *maps::barrier_var(scratch) };
    let new = if fast_parsed {
        count_plain(scratch, half, control.parity(), slot, context.ifindex)
    } else {
        count_other(scratch, control.parity(), slot, context.ifindex)
    };
    if new && scratch.alert != 0 {
        let mut flags = 0;
        if fast_parsed {
            set_key(scratch, context.ifindex);
            flags = tcp_flags(Frame::of(context), Link::from_wire(scratch.link as u16));
        }
        events::submit(half, control, &scratch.key, context.wire_len, flags);
    }
    debug!(
        &TcContext::new(skb),
        "interface {} protocol {} to {:i} port {}: class {} rule {} verdict {}",
        context.ifindex,
        if fast_parsed { scratch.plain.endpoints.protocol() } else { scratch.key.flow.protocol },
        octets(if fast_parsed { scratch.plain.destination() } else { scratch.key.flow.destination }),
        if fast_parsed { scratch.plain.endpoints.ports().1 } else { scratch.key.flow.destination_port },
        scratch.decision.class_id,
        scratch.decision.rule,
        Verdict::from_wire(scratch.decision.verdict).name()
    );
    tc_action(half, slot, scratch.decision.verdict, context)
}

/// Counts a packet that the fast path parsed in its flow. True: that is new in this epoch, as far as this CPU can tell, or
/// was evicted in it.
#[inline(always)]
fn count_plain(scratch: &mut Scratch, half: &mut CpuHalf, parity: u32, slot: u32, ifindex: u32) -> bool {
    if let Some(new) = cache::count(scratch, half, parity) {
        return new;
    }
    set_key(scratch, ifindex);
    let new = table::flow(parity, slot, &scratch.key.flow, &scratch.size);
    if new && half.note_crowded(scratch.plain.ip_version != 4) {
        events::pressure();
    }
    new
}

/// The same for any other packet.
#[inline(always)]
fn count_other(scratch: &mut Scratch, parity: u32, slot: u32, ifindex: u32) -> bool {
    let Scratch { key, decision, size, .. } = scratch;
    key.flow.ifindex = ifindex;
    key.flow.verdict = decision.verdict;
    key.flow.class_id = decision.class_id;
    key.flow.rule = decision.rule;
    if key.inner.exists() { table::inner(parity, slot, key, size) } else { table::flow(parity, slot, &key.flow, size) }
}

/// Makes the key of a packet that the fast path parsed: in host order, only where it leaves for the table or for userspace.
#[inline(always)]
fn set_key(scratch: &mut Scratch, ifindex: u32) {
    let key = scratch.plain.flow(ifindex, scratch.decision).into();
    // SAFETY: this CPU's own value.
    unsafe { words::put(&raw mut scratch.key, key) };
}

/// For which reasons the policy in this slot drops; for all, if there is none.
#[inline(always)]
fn drop_reasons(slot: u32) -> u64 {
    maps::POLICY.get(slot).map_or(u64::MAX, |meta| meta.drop_reasons)
}

/// An address as aya-log prints it; IPv4 as `::ffff:a.b.c.d`.
#[inline(always)]
fn octets(address: Address) -> [u8; 16] {
    ((u128::from(address.high) << 64) | u128::from(address.low)).to_be_bytes()
}

/// The same with what the policy in this slot makes of content that cannot be read. An image that is whole has an answer.
#[inline(always)]
fn judge(slot: u32, found: Classification, flags: u8) -> Classification {
    MappedImage::in_slot(slot).and_then(|image| judge_content(&image, found, flags)).unwrap_or(found)
}

/// What the policy in this slot makes of a flow without inner destination.
#[inline(always)]
fn classify_plain(slot: u32, key: &PlainKey) -> Option<Classification> {
    let image = MappedImage::in_slot(slot)?;
    let (source_port, port) = key.endpoints.ports();
    let to = Destination {
        address: key.destination(),
        ip_version: key.ip_version as u8,
        protocol: key.endpoints.protocol(),
        port,
        source_port: source_port.into(),
        flags: key.endpoints.flags(),
    };
    classify_packet(&image, &to)
}
