//! The account of one interface.
//!
//! **The bound.** At any time `sent ≤ passed − lost on the way − waiting in the queue`, where passed is what the hook let
//! through. Device and hook can't be read at the same instant, so each part is read at the end of the bracket that makes
//! the right side larger: what passed after the device, losses before, the queue's length after. Packets on their way
//! make the right side larger too. So what the device has above it has not passed the hook: proven, under any load. What
//! is proven is at most what left; the rest shows when the line is quiet for a moment, at the latest.
//!
//! **Losses** are what somebody counts: queueing disciplines, the device where it does not count as sent what it dropped,
//! filters behind ours that drop or redirect ([`Losses`]). Those that nobody counts (a program behind ours, a driver's
//! ring) would hide a later surplus of the same size. A packet that passed [`SETTLES`](super::bound::SETTLES) ago is sent
//! or lost: what had passed by then and is above what is sent by now is lost for good, and comes off the bound. Until then
//! it is room that somebody could use, and `hidden` says how much there is.
//!
//! **Two ways to count.** The stack hands a super-packet over whole, and the device counts it as one (virtual devices)
//! or as many (hardware); or it cuts it up first. Segments are the larger number and always a bound. That a device
//! counts skbs is learnt where the two differ and it fits, from super-packets of which it is known that they come to the
//! device whole: all, or of some kinds those in flows ([`Supers`](crate::model::readings::Supers)). From then on skbs are
//! the bound, with every other super-packet as its segments, until the device's offloads or queueing disciplines change;
//! nothing that it sends changes it. Which way a packet without segments is counted makes no difference.

use monitor_common::wire::{Counters, HookSums};

use super::{
    bound::Bound,
    losses::Losses,
    supers::{self, SuperPackets},
};
use crate::model::{
    InterfaceAccount,
    interface_account::CountingUnit,
    readings::{Amount, Comparison, Device, Offloads, Reading},
};

/// What hardware may still have to report when the program is attached.
const RINGS: u64 = 65_536;

/// Segments that one super-packet has at most, nearly: 64 KiB of a KiB each.
const SEGMENTS: u64 = 64;

/// Super-packets' further segments from which on a busy device is believed to count skbs.
const LEARN: i128 = 65_536;

/// No segment has longer headers.
const HEADERS: i128 = 256;

/// Queueing disciplines that hand on what they get as it is. Others may cut super-packets up.
const UNCUT: [&str; 28] = [
    "noop",
    "noqueue",
    "pfifo",
    "bfifo",
    "pfifo_fast",
    "pfifo_head_drop",
    "fq",
    "fq_codel",
    "fq_pie",
    "codel",
    "red",
    "pie",
    "sfq",
    "sfb",
    "choke",
    "gred",
    "hhf",
    "skbprio",
    "plug",
    "htb",
    "hfsc",
    "prio",
    "multiq",
    "drr",
    "qfq",
    "ets",
    "mq",
    "netem",
];

/// By how much segments were more than skbs when both bounds last left as much room.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    packets: i128,
    bytes: i128,
    /// What had passed by then, in bytes of skbs.
    passed: i128,
    /// Losses by then: each counts one, whatever it had been cut into.
    lost: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Account {
    interface: String,
    /// What had passed when the device was read after attaching: part of it may be in its numbers already.
    start: HookSums,
    skbs: Bound,
    segments: Bound,
    losses: Losses,
    /// Of losses that only the device speaks of, those that explain what was lost.
    explained: u64,
    supers: SuperPackets,
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
        let passed = passed(&base.hook);
        let [skbs, spare] = [passed.packets, passed.segments].map(|passed| i128::from(on_its_way) + i128::from(passed));
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
            skbs: Bound::new(skbs),
            segments: Bound::new(spare),
            losses: Losses::new(base),
            explained: 0,
            supers: SuperPackets::default(),
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
            (self.report.waiting, self.report.hidden) = (0, 0);
            return Amount::default();
        };
        let changed = device.offloads != self.offloads || device.qdisc != self.qdisc;
        let mixed = self.is_mixed();
        if changed {
            self.forget();
            self.offloads = device.offloads;
            self.qdisc.clone_from(&device.qdisc);
        }
        self.losses.read(reading, device);
        self.take_hook(reading, changed && (mixed || self.is_mixed()));
        let waiting = i128::from(reading.queue_after.waiting);
        let lost = self.known(device);
        self.take_device(device, lost + waiting);
        self.report.waiting = reading.queue_after.waiting.into();
        self.report.device_drops = self.losses.device();
        self.report.filtered = self.losses.filtered();
        if let Comparison::None(why) = device.comparison {
            self.report.not_comparable = Some(why);
            self.losses.read_after(&reading.queue_after);
            self.report.qdisc_drops = self.losses.queue();
            return Amount::default();
        }
        let gone = i128::from(self.report.sent.packets) + lost + waiting;
        let surplus = self.unless_cut_up((-self.bound().room(gone)).max(0));
        let found = self.find(surplus);
        self.compare(gone, reading);

        self.losses.read_after(&reading.queue_after);
        let idle = reading.queue.waiting == 0 && reading.queue_after.waiting == 0;
        if idle {
            self.supers.perhaps.forget(reading.at);
            self.write_off(reading.at, device);
            self.balance(gone, found.packets > 0);
        }
        self.remember(reading);
        self.report.qdisc_drops = self.losses.queue();
        let perhaps = if self.unit == CountingUnit::Skbs { self.supers.perhaps.all() } else { 0 };
        self.report.hidden = u64::try_from(self.bound().room(gone).max(0) + perhaps).unwrap_or(u64::MAX);
        found
    }

    /// What of a surplus of skbs is left when as many are taken for parts of super-packets as may have been cut up, and for
    /// none if they are longer than such parts make it.
    fn unless_cut_up(&mut self, surplus: i128) -> i128 {
        if self.unit != CountingUnit::Skbs || -self.byte_room() > surplus * HEADERS {
            return surplus;
        }
        let parts = self.supers.perhaps.take(surplus);
        self.skbs.shift += parts;
        self.drift += (-self.byte_room()).clamp(0, parts * HEADERS);
        surplus - parts
    }

    /// Lost by all who count that, but for filters.
    fn known(&self, device: &Device) -> i128 {
        let by_device = if device.comparison == Comparison::SentAndDropped { self.losses.device() } else { 0 };
        i128::from(self.losses.queue() + by_device)
    }

    /// Whether a part of the super-packets comes to the device whole, or nobody knows.
    fn is_mixed(&self) -> bool {
        supers::are_mixed(&self.taken())
    }

    /// What becomes of super-packets on their way to the device.
    fn taken(&self) -> Offloads {
        let uncut = self.qdisc.split(' ').all(|kind| UNCUT.contains(&kind));
        if uncut { self.offloads } else { self.offloads.or_cut_up() }
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
        self.mark = Mark { packets, bytes, passed: self.skbs.bytes, lost: self.losses.all() };
    }

    /// `changed`: what becomes of super-packets, and not from one way for all to the other.
    fn take_hook(&mut self, reading: &Reading, changed: bool) {
        let [now, closed, start] = [&reading.open, &reading.closed, &self.start].map(passed);
        let taken = self.taken();
        self.supers.read(reading, [&now, &closed, &start], (&taken, changed), self.unit);
        // An action says how many segments it took. As skbs these are at least so many less as there can be further ones.
        let filtered = i128::from(self.losses.filtered());
        let segments = i128::from(now.segments) - i128::from(start.segments);
        self.segments.passed = segments - filtered;
        self.segments.bytes = i128::from(now.wire_bytes) - i128::from(start.wire_bytes);
        let SuperPackets { all, whole, .. } = &self.supers;
        self.skbs.passed = segments - whole.packets - (filtered - all.packets).max(0);
        self.skbs.bytes = self.segments.bytes - whole.bytes;
        let dropped = &reading.open.dropped;
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
        if room < 0 || self.offloads == Offloads::NOTHING {
            if slack > 0 {
                self.unit = CountingUnit::Segments;
                self.supers.doubt = 0;
            }
            self.agree();
        } else if self.mark.lost != self.losses.all() {
            self.agree();
        } else {
            // Packets may fit by chance, where segments are lost that nobody counts: then bytes don't.
            let bytes = self.byte_room_for(CountingUnit::Skbs);
            let quiet = reading.queue_after.waiting == 0 && reading.closed == reading.open;
            let exact = quiet && slack > 0 && room == 0 && bytes == 0;
            let near = |rest: i128, of: i128| rest.abs() <= of / 16;
            if exact || (slack >= LEARN && near(room, slack) && near(bytes, self.skbs.bytes - self.mark.passed)) {
                self.unit = CountingUnit::Skbs;
                self.supers.doubt = 0;
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
    fn write_off(&mut self, now: u64, device: &Device) {
        let gone = i128::from(self.report.sent.packets) + self.known(device);
        let skbs = self.skbs.settle(now, gone, device.holds.into());
        let segments = self.segments.settle(now, gone, (device.holds * SEGMENTS).into());
        let lost = if self.unit == CountingUnit::Skbs { skbs } else { segments };
        let spare = lost.min(self.spare);
        self.spare -= spare;
        // Segments that the device was not going to count are not lost.
        let certain = (lost - spare - self.supers.doubt).max(0);
        self.supers.doubt = (self.supers.doubt - (lost - spare)).max(0);
        let mut certain = u64::try_from(certain).unwrap_or(0);
        if device.comparison == Comparison::Sent {
            let explained = certain.min(self.losses.device() - self.explained);
            self.explained += explained;
            certain -= explained;
        }
        self.report.lost += certain;
        // What fits from here on is no proof of what the device counts.
        if self.unit != CountingUnit::Skbs && (skbs > 0 || segments > 0) {
            self.agree();
        }
    }

    /// For [`Account::write_off`].
    fn remember(&mut self, reading: &Reading) {
        let (closed, open) = (passed(&reading.closed), passed(&reading.open));
        let since = |open: u64, closed: u64| i128::from(open) - i128::from(closed);
        let segments = since(open.segments, closed.segments);
        let skbs = if self.supers.to_the_last { since(open.packets, closed.packets) } else { segments };
        self.skbs.remember(reading.at, self.skbs.passed - skbs);
        self.segments.remember(reading.at, self.segments.passed - segments);
    }

    /// Where packets balance to the last one, so do bytes: what is too many is a surplus's that was found since they
    /// did last, and anything else is explained.
    fn balance(&mut self, gone: i128, found: bool) {
        if found || self.bound().room(gone) != 0 {
            return;
        }
        self.supers.doubt = 0;
        if self.open {
            self.find_bytes();
        }
        // Packets may balance by chance: as many on their way as went past the hook. Where bytes are exact there is
        // nothing to explain then, and the difference is not for good.
        if self.unit != CountingUnit::Skbs || self.losses.all() != self.mark.lost {
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
