//! What the flow cache has no answer for: the policy is evaluated, the flow counted, an event submitted. A function of
//! its own, so that the fast path in [`crate::egress`] stays short.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_jiffies64, programs::TcContext};
use aya_log_ebpf::debug;
use monitor_common::{
    classify::{Classification, classify},
    parse::Reason,
    verdict::{Verdict, decide, drops},
    wire::{Address, CacheKey, Control, Counters, FlowKey},
};

use crate::{
    action::tc_action,
    cache, events,
    maps::{self, Scratch},
    policy::MappedImage,
    slow_parse::ParseOutcome,
    table,
};

/// Counts a packet and returns what to do with it.
#[inline(always)]
pub fn packet(skb: *mut __sk_buff, scratch: &mut Scratch, control: Control, slot: u32, outcome: ParseOutcome) -> i32 {
    count_and_decide(skb, scratch, control.0, slot, outcome.0)
}

#[inline(never)]
fn count_and_decide(skb: *mut __sk_buff, scratch: *mut Scratch, control: u64, slot: u32, outcome: u32) -> i32 {
    let control = Control(control);
    let parity = control.parity();
    // SAFETY: the caller's references.
    let (context, scratch) = unsafe { (&*skb, &mut *scratch) };
    let size = table::size(context);
    let fast_parsed = ParseOutcome(outcome) == ParseOutcome::FAST_PARSED;
    let classification = if fast_parsed {
        scratch.key = FlowKey::from(&scratch.cache_key).into();
        classify_flow(control.slot(), &scratch.key.flow).ok_or(Reason::NotClassified)
    } else {
        Reason::from_wire(outcome as u8).map_or(Ok(scratch.evaluation.strictest), Err)
    };
    let classification = match classification {
        Ok(classification) => classification,
        Err(reason) => {
            let read = if fast_parsed { Classification::default() } else { scratch.evaluation.strictest };
            let dropped = control.enforce() && drops(reason, drop_reasons(control.slot()), &read);
            table::unparsed(parity, slot, reason, dropped, &size);
            debug!(
                &TcContext::new(skb),
                "interface {} no flow: reason {}, dropped {}",
                context.ifindex,
                reason as u8,
                u8::from(dropped)
            );
            let verdict = if dropped { Verdict::Denied } else { Verdict::Allowed };
            return tc_action(parity, slot, verdict as u8, &size);
        }
    };
    let verdict = decide(&classification, control.enforce());
    let key = &mut scratch.key;
    key.flow.ifindex = context.ifindex;
    key.flow.verdict = verdict as u8;
    key.flow.class_id = classification.class_id;
    key.flow.rule = classification.rule;
    let new = if fast_parsed {
        scratch.cache_key.verdict = key.flow.verdict;
        scratch.cache_key.class_id = classification.class_id;
        scratch.cache_key.rule = classification.rule;
        count_in_cache(parity, slot, &scratch.cache_key, &key.flow, &size, classification.alert)
    } else if key.inner.exists() {
        table::inner(parity, slot, key, &size)
    } else {
        table::flow(parity, slot, &key.flow, &size)
    };
    if new && classification.alert {
        events::submit(parity, control.epoch(), key, context.wire_len);
    }
    debug!(
        &TcContext::new(skb),
        "interface {} protocol {} to {:i} port {}: class {} rule {} verdict {}",
        key.flow.ifindex,
        key.flow.protocol,
        octets(key.flow.destination),
        key.flow.destination_port,
        classification.class_id,
        classification.rule,
        verdict.name()
    );
    tc_action(parity, slot, verdict as u8, &size)
}

/// Counts a packet in the flow cache, or in the flow table if its set has no place. True if the flow is new in this
/// epoch, as far as this CPU can tell; `want_new`: whether the caller needs to know.
#[inline(always)]
fn count_in_cache(
    parity: u32,
    slot: u32,
    cache_key: &CacheKey,
    key: &FlowKey,
    size: &Counters,
    want_new: bool,
) -> bool {
    let Some(set) = cache::set(parity, cache_key) else { return table::flow(parity, slot, key, size) };
    // SAFETY: a helper without arguments; a set that only this CPU writes, and only one program at a time.
    let (jiffies, set) = unsafe { (bpf_jiffies64(), &mut *set) };
    let now = jiffies as u32;
    let entry = match set.find(cache_key) {
        Some(entry) if entry.key == *cache_key => {
            entry.evaluated = now;
            entry.count(size, now);
            return false;
        }
        // The policy has another verdict, class or rule by now: another flow.
        Some(entry) => entry,
        None => match set.victim(now) {
            Some(entry) => entry,
            None => return table::flow(parity, slot, key, size),
        },
    };
    if !entry.is_empty() {
        table::add_sums(parity, entry.slot, &(&entry.key).into(), &entry.value(jiffies));
    }
    entry.begin(cache_key, size, slot, now);
    want_new && !table::contains(parity, key)
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

/// What the policy in this slot makes of a flow without inner destination.
#[inline(always)]
fn classify_flow(slot: u32, key: &FlowKey) -> Option<Classification> {
    let image = MappedImage::in_slot(slot)?;
    classify(&image, key.ip_version, key.destination, key.protocol, Some(key.destination_port))
}
