//! The account of one interface.
//!
//! **The bound.** At any time `sent ≤ passed − dropped by the queue − waiting in the queue`, where passed is what the
//! hook let through. Device and hook can't be read at the same instant, so each part is read at the end of the bracket
//! that makes the right side larger: what passed after the device, drops before, the queue's length after. Packets on
//! their way make the right side larger too. So what the device has above it has not passed the hook: proven, under any
//! load. What is proven is at most what left; the rest shows when the line is quiet for a moment, at the latest.
//!
//! **Losses that nobody counts** (a filter behind ours, a driver's ring) would hide a later surplus of the same size. A
//! packet that passed [`SETTLES`] ago is sent or lost: what had passed by then and is above what is sent by now is lost
//! for good, and comes off the bound.
//!
//! **Two ways to count.** The stack hands a super-packet over whole, and the device counts it as one (virtual devices)
//! or as many (hardware); or it cuts it up first. Segments are the larger number and always a bound. That a device
//! counts skbs is learnt where the two differ and it fits. From then on skbs are the bound, until the device's offloads
//! or its queueing discipline change, or until it sends more by what can be segments' headers. Which way a packet
//! without segments is counted makes no difference.

use std::collections::VecDeque;

use monitor_common::wire::{Counters, HookSums};

use crate::model::{
    InterfaceAccount,
    interface_account::CountingUnit,
    readings::{Amount, Device, Offloads, Queue, Reading},
};

/// A packet that passed the hook so long ago is sent or lost. The kernel resets a device that holds one for five
/// seconds (`dev_watchdog`).
pub const SETTLES: u64 = 15_000_000_000;

/// What hardware may still have to report when the program is attached.
const RINGS: u64 = 65_536;

/// Segments that one super-packet has at most, nearly: 64 KiB of a KiB each.
const SEGMENTS: u64 = 64;

/// Super-packets' further segments from which on a busy device is believed to count skbs.
const LEARN: i128 = 65_536;

/// No segment has longer headers.
const HEADERS: i128 = 256;

/// Queueing disciplines that hand on what they get, and have no others inside.
const PLAIN: [&str; 9] = ["noqueue", "pfifo", "bfifo", "pfifo_fast", "fq", "fq_codel", "codel", "red", "pie"];

/// What passed, counted in one of two ways, and what the bound is shifted by against it.
#[derive(Clone, Debug, Default)]
struct Bound {
    /// At the latest reading, and before all of it.
    passed: i128,
    bytes: i128,
    /// Surpluses found, what was on its way at the start, less losses.
    shift: i128,
    /// When, and what had passed for certain.
    history: VecDeque<(u64, i128)>,
}

impl Bound {
    /// What may still be sent, when so much is. Negative: a surplus.
    fn room(&self, gone: i128) -> i128 {
        self.passed + self.shift - gone
    }

    /// What had passed [`SETTLES`] before `now`. Forgets what is older.
    fn settled(&mut self, now: u64) -> Option<i128> {
        let old = self.history.partition_point(|(at, _)| at + SETTLES <= now);
        self.history.drain(..old.saturating_sub(1));
        (old > 0).then(|| self.history[0].1)
    }

    /// Gives it as much room as another, from now on.
    fn follow(&mut self, leader: &Self) {
        self.shift = leader.passed + leader.shift - self.passed;
        self.history.clear();
    }
}

/// A counter that may begin anew.
#[derive(Clone, Debug, Default)]
struct Drops {
    id: (u32, String),
    raw: u32,
    sum: u64,
}

impl Drops {
    fn read(&mut self, queue: &Queue) -> i128 {
        let more = queue.drops.wrapping_sub(self.raw);
        // Another discipline, or one that has lost a part with its counters: what it dropped meanwhile is not known.
        if queue.id == self.id && more < u32::MAX / 2 {
            self.sum += u64::from(more);
        }
        self.raw = queue.drops;
        self.id.clone_from(&queue.id);
        self.sum.into()
    }
}

/// By how much segments were more than skbs when both bounds last left as much room.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    packets: i128,
    bytes: i128,
    /// What had passed by then, in bytes of skbs.
    passed: i128,
    /// Drops of the queue by then: each counts one, whatever it had been cut into.
    drops: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Account {
    interface: String,
    /// What had passed when the device was read after attaching: part of it may be in its numbers already.
    start: HookSums,
    skbs: Bound,
    segments: Bound,
    drops: Drops,
    /// The device's numbers at the latest reading.
    raw: Amount,
    /// What the bounds do not depend on, at the latest reading.
    offloads: Offloads,
    qdisc: String,
    unit: CountingUnit,
    mark: Mark,
    /// Of the bound, what was on its way at the start and may be sent without having passed.
    spare: i128,
    /// Difference of bytes that is explained: of packets dropped, and of what hardware adds. Against skbs.
    drift: i128,
    /// A surplus was found since the account last balanced.
    open: bool,
    report: InterfaceAccount,
}

impl Account {
    /// Opens it with what was read while attaching.
    pub fn new(reading: &Reading) -> Self {
        let base = &reading.base;
        let on_its_way = u64::from(base.queue.waiting) * SEGMENTS + if base.after.hardware { RINGS } else { 0 };
        let opened = |passed: u64| {
            let spare = i128::from(on_its_way) + i128::from(passed);
            (Bound { shift: spare, ..Bound::default() }, spare)
        };
        let passed = passed(&base.hook);
        let (skbs, _) = opened(passed.packets);
        let (segments, spare) = opened(passed.segments);
        let while_attaching = Amount {
            packets: base.after.sent.packets.saturating_sub(base.before.packets),
            bytes: base.after.sent.bytes.saturating_sub(base.before.bytes),
        };
        let report = InterfaceAccount {
            interface: reading.interface.clone(),
            before_attach: base.after.sent,
            while_attaching,
            ..InterfaceAccount::default()
        };
        Self {
            interface: reading.interface.clone(),
            start: base.hook,
            skbs,
            segments,
            drops: Drops { id: base.queue.id.clone(), raw: base.queue.drops, sum: 0 },
            raw: base.after.sent,
            offloads: base.after.offloads,
            qdisc: base.after.qdisc.clone(),
            unit: CountingUnit::Undetermined,
            mark: Mark::default(),
            spare,
            drift: 0,
            open: false,
            report,
        }
    }

    /// How the interface stands.
    pub fn report(&self) -> InterfaceAccount {
        InterfaceAccount { interface: self.interface.clone(), unit: self.unit, ..self.report.clone() }
    }

    /// Takes a reading; gives the surplus that it proves.
    pub fn read(&mut self, reading: &Reading) -> Amount {
        self.interface.clone_from(&reading.interface);
        self.report.presence.clone_from(&reading.presence);
        self.report.here = reading.device.is_some();
        let Some(device) = &reading.device else {
            self.report.waiting = 0;
            return Amount::default();
        };
        if device.offloads != self.offloads || device.qdisc != self.qdisc {
            self.forget();
            self.offloads = device.offloads;
            self.qdisc.clone_from(&device.qdisc);
        }
        self.take_hook(&reading.open);
        let dropped = self.drops.read(&reading.queue);
        let waiting = i128::from(reading.queue_after.waiting);
        self.take_device(device, dropped + waiting);
        let gone = i128::from(self.report.sent.packets) + dropped + waiting;

        if self.unit == CountingUnit::Skbs && self.contradicts(gone) {
            self.unit = CountingUnit::Undetermined;
        }
        let found = self.find((-self.bound().room(gone)).max(0));
        self.compare(gone, reading);

        let dropped = self.drops.read(&reading.queue_after);
        let idle = reading.queue.waiting == 0 && reading.queue_after.waiting == 0;
        if idle {
            self.write_off(reading.at, dropped, device.holds);
            self.balance(gone, found.packets > 0);
        }
        self.remember(reading);
        self.report.qdisc_drops = self.drops.sum;
        self.report.waiting = reading.queue_after.waiting.into();
        found
    }

    /// The bound in force.
    fn bound(&self) -> &Bound {
        if self.unit == CountingUnit::Skbs { &self.skbs } else { &self.segments }
    }

    /// Segments above skbs since the [`Mark`].
    fn slack(&self) -> i128 {
        self.segments.passed - self.skbs.passed - self.mark.packets
    }

    /// Both bounds leave as much room as the one in force, from now on.
    fn agree(&mut self) {
        let bytes = self.segments.bytes - self.skbs.bytes;
        if self.unit == CountingUnit::Skbs {
            self.segments.follow(&self.skbs);
        } else {
            self.skbs.follow(&self.segments);
            self.drift += bytes - self.mark.bytes;
        }
        let packets = self.segments.passed - self.skbs.passed;
        self.mark = Mark { packets, bytes, passed: self.skbs.bytes, drops: self.drops.sum };
    }

    fn take_hook(&mut self, open: &HookSums) {
        let (now, start) = (passed(open), passed(&self.start));
        let since = |now: u64, start: u64| i128::from(now) - i128::from(start);
        self.skbs.passed = since(now.packets, start.packets);
        self.skbs.bytes = since(now.bytes, start.bytes);
        self.segments.passed = since(now.segments, start.segments);
        self.segments.bytes = since(now.wire_bytes, start.wire_bytes);
        let dropped = &open.dropped;
        self.report.dropped = match self.unit {
            CountingUnit::Skbs => Amount { packets: dropped.packets, bytes: dropped.bytes },
            _ => Amount { packets: dropped.segments, bytes: dropped.wire_bytes },
        };
    }

    /// Adds what the device has sent since the last reading. One that counts less than before began anew: of what it
    /// sent meanwhile only that much is known, and no more of it is believed than can have passed.
    fn take_device(&mut self, device: &Device, besides: i128) {
        let (now, last) = (device.sent, std::mem::replace(&mut self.raw, device.sent));
        let sent = &mut self.report.sent;
        if now.packets >= last.packets && now.bytes >= last.bytes {
            sent.packets += now.packets - last.packets;
            sent.bytes += now.bytes - last.bytes;
            return;
        }
        tracing::warn!(interface = self.interface, "the device's counters began anew");
        let room = self.bound().room(i128::from(self.report.sent.packets) + besides).max(0);
        let sent = &mut self.report.sent;
        sent.packets += now.packets.min(u64::try_from(room).unwrap_or(u64::MAX));
        let before = sent.bytes;
        sent.bytes += now.bytes;
        self.drift += i128::from(sent.bytes - before);
    }

    /// Whether a device that was said to count skbs has sent more, in a way that cut-up super-packets would explain: no
    /// more packets than they have segments, and no more bytes a packet than headers have. Where nothing cuts them up,
    /// they explain nothing.
    fn contradicts(&self, gone: i128) -> bool {
        let surplus = -self.skbs.room(gone);
        let whole = self.offloads == Offloads::Everything && PLAIN.contains(&self.qdisc.as_str());
        surplus > 0 && surplus <= self.slack() && !whole && -self.byte_room() <= surplus * HEADERS
    }

    /// Books a surplus.
    fn find(&mut self, surplus: i128) -> Amount {
        if surplus == 0 {
            return Amount::default();
        }
        self.skbs.shift += surplus;
        self.segments.shift += surplus;
        self.open = true;
        let unaccounted = &mut self.report.unaccounted;
        unaccounted.packets += u64::try_from(surplus).unwrap_or(u64::MAX);
        Amount { packets: u64::try_from(surplus).unwrap_or(u64::MAX), bytes: self.find_bytes() }
    }

    /// Books the bytes that are too many as a surplus's.
    fn find_bytes(&mut self) -> u64 {
        let bytes = u64::try_from(-self.byte_room()).unwrap_or(0);
        self.report.unaccounted.bytes += bytes;
        bytes
    }

    /// As [`Bound::room`], in bytes. Of what the queue dropped and holds they are not known: those are in it.
    fn byte_room(&self) -> i128 {
        self.byte_room_for(self.unit)
    }

    /// The same for a device that counts so.
    fn byte_room_for(&self, unit: CountingUnit) -> i128 {
        let bytes = match unit {
            CountingUnit::Skbs => self.skbs.bytes,
            _ => self.segments.bytes - self.mark.bytes,
        };
        bytes + i128::from(self.report.unaccounted.bytes) + self.drift - i128::from(self.report.sent.bytes)
    }

    /// Finds out what the device counts, where the two differ.
    fn compare(&mut self, gone: i128, reading: &Reading) {
        if self.unit == CountingUnit::Skbs {
            return;
        }
        let (room, slack) = (self.skbs.room(gone), self.slack());
        if room < 0 || self.offloads == Offloads::Nothing {
            if slack > 0 {
                self.unit = CountingUnit::Segments;
            }
            self.agree();
        } else if self.mark.drops != self.drops.sum {
            self.agree();
        } else {
            // Packets may fit by chance, where segments are lost that nobody counts: then bytes don't.
            let bytes = self.byte_room_for(CountingUnit::Skbs);
            let quiet = reading.queue_after.waiting == 0 && reading.closed == reading.open;
            let exact = quiet && slack > 0 && room == 0 && bytes == 0;
            let near = |rest: i128, of: i128| rest.abs() <= of / 16;
            if exact || (slack >= LEARN && near(room, slack) && near(bytes, self.skbs.bytes - self.mark.passed)) {
                self.unit = CountingUnit::Skbs;
                self.agree();
            }
        }
    }

    /// Something has changed that decides what the device counts.
    fn forget(&mut self) {
        if self.unit == CountingUnit::Skbs {
            // What was on its way may be cut up yet: segments are a bound since the mark.
            self.unit = CountingUnit::Undetermined;
        } else {
            self.unit = CountingUnit::Undetermined;
            self.agree();
        }
    }

    /// Takes what is lost for good off the bounds. Only while nothing waits: that may be cut up yet.
    fn write_off(&mut self, now: u64, dropped: i128, holds: u64) {
        let gone = i128::from(self.report.sent.packets) + dropped;
        let take = |bound: &mut Bound, holds: u64| {
            let lost = bound.settled(now).map_or(0, |settled| settled + bound.shift - gone - i128::from(holds)).max(0);
            bound.shift -= lost;
            lost
        };
        let skbs = take(&mut self.skbs, holds);
        let segments = take(&mut self.segments, holds * SEGMENTS);
        let lost = if self.unit == CountingUnit::Skbs { skbs } else { segments };
        let spare = lost.min(self.spare);
        self.spare -= spare;
        // Segments that the device was not going to count are not lost.
        if self.unit != CountingUnit::Undetermined || self.slack() == 0 {
            self.report.lost += u64::try_from(lost - spare).unwrap_or(0);
        }
        // What fits from here on is no proof of what the device counts.
        if self.unit != CountingUnit::Skbs && (skbs > 0 || segments > 0) {
            self.agree();
        }
    }

    /// For [`Account::write_off`].
    fn remember(&mut self, reading: &Reading) {
        let (closed, start) = (passed(&reading.closed), passed(&self.start));
        let since = |closed: u64, start: u64| (reading.at, i128::from(closed) - i128::from(start));
        self.skbs.history.push_back(since(closed.packets, start.packets));
        self.segments.history.push_back(since(closed.segments, start.segments));
    }

    /// Where packets balance to the last one, so do bytes: what is too many is a surplus's that was found since they
    /// did last, and anything else is explained.
    fn balance(&mut self, gone: i128, found: bool) {
        if found || self.bound().room(gone) != 0 {
            return;
        }
        if self.open {
            self.find_bytes();
        }
        // Packets may balance by chance: as many on their way as went past the hook. Where bytes are exact there is
        // nothing to explain then, and the difference is not for good.
        if self.unit != CountingUnit::Skbs || self.drops.sum != self.mark.drops {
            self.drift -= self.byte_room();
        }
        self.open = false;
        if self.unit == CountingUnit::Skbs {
            self.agree();
        }
    }
}

/// What the hook let pass.
fn passed(sums: &HookSums) -> Counters {
    Counters {
        packets: sums.total.packets.saturating_sub(sums.dropped.packets),
        segments: sums.total.segments.saturating_sub(sums.dropped.segments),
        bytes: sums.total.bytes.saturating_sub(sums.dropped.bytes),
        wire_bytes: sums.total.wire_bytes.saturating_sub(sums.dropped.wire_bytes),
    }
}
