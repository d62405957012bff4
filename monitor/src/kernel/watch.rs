//! A look at what was put into the kernel: whether programs, pins and bytes are as they were made. What is not comes out, and
//! what is to be put right comes back; which of it is, `tamper` says. Called by the engine once a second, and by whoever
//! writes over words that others may have written to.
//!
//! What is expected is what was written, never what was read: the compiled policy, the words of `HOT` as they were last
//! written ([`super::load::Maps::set`]), the inode that each pin had.

use std::sync::{Arc, atomic::Ordering};

use aya::programs::{links::FdLink, tc::SchedClassifierLink};
use monitor_common::wire::{Control, Hot};
use monitor_policy::spec::Mode;

use super::{
    AttachedProgram, Interface, Kernel, KernelError,
    error::with_causes,
    kept::Missing,
    links::PRIORITY,
    object::{self, EGRESS},
    pins::Pins,
    readings::Filter,
    sys::{self, TcxProgram},
};
use crate::model::{FindingKind, Hook, readings::Presence, tamper::Sighting};

/// What a look came to.
#[derive(Debug, Default)]
pub struct Look {
    /// What is not as it was made.
    pub seen: Vec<Sighting>,
    /// Whether with it every byte of the policy was compared once more.
    pub complete: bool,
}

/// Words before the table of interfaces.
const CONTROL_WORDS: [usize; 4] = [Hot::FALLBACK, Hot::DEADLINE, Hot::PREVIOUS, Hot::CONTROL];

/// Pins that are named.
const NAMED: usize = 3;

fn sighting(kind: FindingKind, subject: &str, what: String) -> Sighting {
    Sighting { kind, subject: subject.to_owned(), what, again: None }
}

impl Kernel {
    /// Looks at everything but the large tables, and at the next piece of those.
    pub fn look(&mut self) -> Look {
        self.note_words();
        let mut look = Look { seen: std::mem::take(&mut self.noted), complete: false };
        self.look_at_policy(&mut look);
        self.look_at_pins(&mut look.seen);
        look.seen.extend(self.bypass_differs().map(|what| sighting(FindingKind::BypassTableChanged, "", what)));
        let attached: Vec<_> = self
            .attachments
            .iter()
            .map(|one| (one.interface.clone(), one.hook, one.link_id, one.since.as_nanosecond()))
            .collect();
        // What is gone with its device is no tampering.
        for (interface, hook, link, since) in attached {
            if self.is_there(interface.index) {
                let seen = self.look_at_program(&interface, hook, link);
                look.seen.extend(seen.map(|seen| {
                    // Its device may have gone, and another have its index.
                    let again = (seen.kind != FindingKind::ProgramAhead).then_some(since);
                    Sighting { again, ..seen }
                }));
            }
        }
        look
    }

    /// Puts right what a look has seen.
    ///
    /// # Errors
    /// What stands against it.
    pub fn heal(&mut self, of: &Sighting) -> Result<(), KernelError> {
        let policy = Arc::clone(&self.policy);
        let slot = self.control.slot();
        match of.kind {
            FindingKind::ClassRowChanged | FindingKind::RuleRowChanged | FindingKind::ImageChanged => {
                if of.kind == FindingKind::ImageChanged {
                    self.policy_slots.write_header(slot, &policy)?;
                }
                let tables = self.policy_slots.tables_in(slot, &policy);
                tables.iter().filter(|table| table.kind == of.kind).for_each(|table| table.heal());
                Ok(())
            }
            FindingKind::ControlWordChanged => {
                self.write_words(CONTROL_WORDS);
                Ok(())
            }
            FindingKind::InterfaceTableChanged => {
                self.write_words(Hot::PREVIOUS + 1..self.maps.written.len());
                Ok(())
            }
            FindingKind::PinRemoved | FindingKind::BpffsUnmounted => self.pin_again(),
            FindingKind::BypassTableChanged => self.write_bypass_again(),
            _ => self.attach_again(of),
        }
    }

    fn write_words(&mut self, words: impl IntoIterator<Item = usize>) {
        for word in words {
            let value = self.maps.written[word];
            if self.maps.hot.atomic(word).load(Ordering::Relaxed) != value {
                self.maps.set(word, value, Ordering::Release);
            }
        }
    }

    /// Notes which words of `HOT` are not as they were written, before anybody writes them anew.
    pub(super) fn note_words(&mut self) {
        let differs: Vec<(usize, u64)> = self
            .maps
            .hot
            .words()
            .iter()
            .map(|word| word.load(Ordering::Acquire))
            .zip(&self.maps.written)
            .enumerate()
            .filter(|(_, (there, written))| there != *written)
            .map(|(at, (there, _))| (at, there))
            .collect();
        let (control, table): (Vec<_>, Vec<_>) = differs.into_iter().partition(|(at, _)| CONTROL_WORDS.contains(at));
        if let Some((at, there)) = control.first().filter(|_| !self.fell_by_itself(&control)) {
            let what = match *at {
                Hot::CONTROL => {
                    format!("the control word says {}; ours is {}", said(Control(*there)), said(self.control))
                }
                Hot::DEADLINE => format!("the deadline of the fallback is {there}; ours is {}", self.maps.written[*at]),
                _ => format!("word {at} of HOT is {there:#x}; ours is {:#x}", self.maps.written[*at]),
            };
            self.note(sighting(FindingKind::ControlWordChanged, "", what));
        }
        if let Some((at, there)) = table.first() {
            let (words, ours) = (table.len(), self.maps.written[*at]);
            let what = format!("word {at} of HOT is {there:#x}; ours is {ours:#x}; {words} words in all");
            self.note(sighting(FindingKind::InterfaceTableChanged, "", what));
        }
    }

    fn note(&mut self, seen: Sighting) {
        if !self.noted.iter().any(|noted| noted.kind == seen.kind) {
            self.noted.push(seen);
        }
    }

    /// Whether these words differ because the kernel part fell back, as it was to.
    fn fell_by_itself(&mut self, differs: &[(usize, u64)]) -> bool {
        let (deadline, fallback) = (self.maps.written[Hot::DEADLINE], Control(self.maps.written[Hot::FALLBACK]));
        let Some(fallen) = self.control.fall_back(fallback) else { return false };
        let is_of_it = |(at, there): &(usize, u64)| match *at {
            Hot::CONTROL => *there == fallen.0,
            Hot::PREVIOUS => *there == self.control.0,
            _ => false,
        };
        // What it writes first may be there alone.
        deadline != 0 && differs.iter().all(is_of_it) && self.jiffies().is_ok_and(|now| now >= deadline)
    }

    fn look_at_policy(&mut self, look: &mut Look) {
        let policy = Arc::clone(&self.policy);
        let slot = self.control.slot();
        if let Ok(false) = self.policy_slots.has_header(slot, &policy) {
            let what = "the header of the policy is not the compiled one".to_owned();
            look.seen.push(sighting(FindingKind::ImageChanged, "", what));
        }
        let mut rolling = std::mem::take(&mut self.policy_slots.rolling);
        let tables = self.policy_slots.tables_in(slot, &policy);
        look.complete = rolling.step((slot, Arc::as_ptr(&policy) as usize), &tables);
        for (number, word) in rolling.differing() {
            let table = &tables[number];
            let what = format!("{} {} is not the compiled one", table.name, word * 8 / table.entry);
            if !look.seen.iter().any(|seen| seen.kind == table.kind) {
                look.seen.push(sighting(table.kind, "", what));
            }
        }
        self.policy_slots.rolling = rolling;
    }

    fn look_at_pins(&self, seen: &mut Vec<Sighting>) {
        match self.pins.as_ref().map_or(Missing::Nothing, |pins| pins.missing()) {
            Missing::Nothing => {}
            Missing::FileSystem => {
                let what = "programs and counters are pinned nowhere: they end with the daemon".to_owned();
                seen.push(sighting(FindingKind::BpffsUnmounted, "", what));
            }
            Missing::Pins(pins) => {
                let named: Vec<_> = pins.iter().take(NAMED).map(|pin| pin.display().to_string()).collect();
                let more = pins.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let what = format!("{}{more}: gone, or another object", named.join(", "));
                seen.push(sighting(FindingKind::PinRemoved, "", what));
            }
        }
    }

    /// What is not as it was on the way out of an interface.
    fn look_at_program(&mut self, interface: &Interface, hook: Hook, link: u32) -> Option<Sighting> {
        let own = self.own_program().ok()?;
        let (index, name) = (interface.index, interface.name.as_str());
        let seen = |kind, what| Some(sighting(kind, name, format!("{name}: {what}")));
        let by_tcx = sys::tcx_programs(index);
        if hook == Hook::Tcx {
            let there = by_tcx.ok()?;
            let is_ours = |one: &TcxProgram| if link == 0 { one.program == own } else { one.link == link };
            return match there.iter().position(is_ours) {
                None => seen(FindingKind::Detached, "the link was detached".to_owned()),
                Some(at) if there[at].program != own => {
                    seen(FindingKind::ProgramReplaced, format!("its link runs {}", named(there[at].program)))
                }
                Some(0) => None,
                Some(at) => seen(FindingKind::ProgramAhead, format!("{} ahead of ours", all_named(&there[..at]))),
            };
        }
        let handle = u32::from(self.handle());
        let nic = self.nic().ok()?;
        let filters = nic.filters(index).ok()?;
        let ours = |filter: &Filter| filter.priority == PRIORITY && filter.handle == handle;
        match filters.iter().position(ours) {
            None if nic.has_clsact(index).ok()? => {
                seen(FindingKind::FilterDeleted, "the filter was deleted".to_owned())
            }
            None => seen(FindingKind::QdiscDeleted, "the clsact qdisc was deleted".to_owned()),
            Some(at) if filters[at].program != Some(own) => {
                seen(FindingKind::ProgramReplaced, format!("its filter runs {}", filters[at].described()))
            }
            Some(at) => {
                let mut ahead = by_tcx.unwrap_or_default().iter().map(|one| named(one.program)).collect::<Vec<_>>();
                ahead.extend(filters[..at].iter().map(|filter| format!("a filter with {}", filter.described())));
                let what = format!("{} ahead of ours", ahead.join(", "));
                (!ahead.is_empty()).then(|| sighting(FindingKind::ProgramAhead, name, format!("{name}: {what}")))
            }
        }
    }

    /// Mounts and pins again what was.
    fn pin_again(&mut self) -> Result<(), KernelError> {
        let Some(pins) = &mut self.pins else { return Ok(()) };
        pins.restore()?;
        if self.pins.as_ref().is_some_and(Pins::lacks_bypass) {
            self.attach_bypass_again()?;
        }
        for attached in std::mem::take(&mut self.attachments) {
            let lacks = attached.hook == Hook::Tcx
                && self.pins.as_ref().is_some_and(|pins| pins.lacks_link(attached.interface.index));
            if !lacks {
                self.attachments.push(attached);
                continue;
            }
            let (interface, since, base) = (attached.interface.clone(), attached.since, attached.base.clone());
            match self.pin_link(attached) {
                Ok(attached) => self.attachments.push(attached),
                // Its link is lost with that, and the program off.
                Err(refused) => {
                    tracing::error!(interface = interface.name, error = %refused.error, "its link can't be pinned");
                    let again = self.attach_new_link(&interface)?;
                    let link_id = self.link_id(interface.index, Hook::Tcx);
                    self.attachments.push(AttachedProgram { since, link_id, base, ..again });
                }
            }
        }
        Ok(())
    }

    /// Puts our program back to where it was, on the interface that a sighting is of. It is counted as if it had never been
    /// away: what left meanwhile is a surplus of the device.
    fn attach_again(&mut self, of: &Sighting) -> Result<(), KernelError> {
        let Some(at) = self.attachments.iter().position(|one| one.interface.name == of.subject) else {
            return Err(KernelError::InterfaceGone(of.subject.clone()));
        };
        let before = self.attachments.swap_remove(at);
        let AttachedProgram { interface, hook, since, link, made_qdisc, base, owner, .. } = before;
        let program = object::program(&mut self.ebpf, EGRESS)?;
        let link = program.take_link(link).map_err(|error| KernelError::Load(with_causes(&error)));
        let attached = match (of.kind, hook) {
            // The same link: packets pass one program or the other.
            (FindingKind::ProgramReplaced, Hook::Tcx) => {
                let same = FdLink::try_from(link?).and_then(SchedClassifierLink::try_from);
                same.map_err(|error| with_causes(&error)).and_then(|link| self.attach_to(link)).map_or_else(
                    |_| self.attach_new_link(&interface),
                    |link| Ok(AttachedProgram::now(&interface, hook, link, false)),
                )
            }
            // Its place among others is that of its link: a new one goes first. In between it is nowhere.
            (_, Hook::Tcx) => {
                if let Some(pins) = &mut self.pins {
                    pins.remove_link(interface.index);
                }
                // With its last descriptor it is off, before this returns.
                drop(link);
                self.attach_new_link(&interface)
            }
            (FindingKind::ProgramReplaced, Hook::Clsact) => {
                link.map(std::mem::forget)?;
                let filter = self.filter(&interface).map_err(KernelError::map("can't look for the filter"))?;
                let link = self.attach_to(filter).map_err(KernelError::Load)?;
                Ok(AttachedProgram::now(&interface, hook, link, made_qdisc))
            }
            (kind, Hook::Clsact) => {
                // Whoever drops it deletes the filter, of which there is none now; of those of one priority the latest goes
                // first.
                if kind == FindingKind::ProgramAhead {
                    drop(link);
                } else {
                    link.map(std::mem::forget)?;
                }
                self.attach_clsact(&interface)
            }
        };
        let is_there = self.presence(interface.index, hook) != Presence::Detached;
        match attached {
            // It is found by its name, which another one may have by now.
            Ok(attached) if !is_there => {
                self.take_off(attached);
                self.retire(interface.index);
                Err(KernelError::InterfaceGone(interface.name))
            }
            Ok(attached) => {
                let link_id = self.link_id(interface.index, hook);
                let made_qdisc = made_qdisc || attached.made_qdisc;
                self.attachments.push(AttachedProgram {
                    interface,
                    since,
                    link_id,
                    made_qdisc,
                    base,
                    owner,
                    ..attached
                });
                Ok(())
            }
            Err(error) => {
                // It is not watched any more, until the next epoch's look at all devices.
                self.retire(interface.index);
                Err(error)
            }
        }
    }
}

/// A control word for people.
fn said(word: Control) -> String {
    let mode = Mode::enforcing(word.enforce()).name();
    format!("epoch {}, policy slot {}, {mode}", word.epoch(), word.slot())
}

/// A program for people; its name and tag where we may read them.
fn named(program: u32) -> String {
    match sys::program_info(program) {
        Ok(info) => {
            let (name, tag) = (String::from_utf8_lossy(&info.name), u64::from_be_bytes(info.tag));
            format!("program {program} ({name}, tag {tag:016x})")
        }
        Err(_) => format!("program {program} (name and tag unknown: that takes CAP_SYS_ADMIN)"),
    }
}

fn all_named(programs: &[TcxProgram]) -> String {
    programs.iter().map(|one| named(one.program)).collect::<Vec<_>>().join(", ")
}
