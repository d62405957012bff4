//! Putting the program on an interface's way out, and taking it off. Called when the daemon starts and ends, and when
//! interfaces come and go.

use std::collections::BTreeSet;

use aya::programs::{
    LinkOrder, ProgramError, TcAttachType,
    links::FdLink,
    tc::{self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle},
};

use super::{
    Interface, Kernel, KernelError,
    error::with_causes,
    interfaces::devices,
    object::{self, EGRESS},
    owner::{self, Owner},
    sys,
};
use crate::{
    fault::Fault,
    model::{
        Hook,
        readings::{Amount, Base, Presence},
    },
};

/// One attached interface.
#[derive(Debug)]
pub struct AttachedProgram {
    /// The interface.
    pub interface: Interface,
    /// How.
    pub hook: Hook,
    /// Since when.
    pub since: jiff::Timestamp,
    pub(super) link: SchedClassifierLinkId,
    /// The kernel's number of it; 0: it has none, or is a filter.
    pub(super) link_id: u32,
    /// Whether the clsact qdisc was made by us.
    pub(super) made_qdisc: bool,
    /// Its counters then; `None` until all are attached.
    pub(super) base: Option<Base>,
    /// Keeps other monitors off.
    pub(super) owner: Option<Owner>,
}

impl AttachedProgram {
    pub(super) fn now(interface: &Interface, hook: Hook, link: SchedClassifierLinkId, made_qdisc: bool) -> Self {
        let interface = interface.clone();
        Self { interface, hook, since: jiff::Timestamp::now(), link, link_id: 0, made_qdisc, base: None, owner: None }
    }

    pub(super) fn owned_by(self, owner: Option<Owner>) -> Self {
        Self { owner, ..self }
    }

    /// What its interface had sent before.
    pub fn sent_before(&self) -> Amount {
        self.base.as_ref().map(|base| base.before).unwrap_or_default()
    }
}

/// Priority of our clsact filter: first.
pub(super) const PRIORITY: u16 = 1;
/// Its handle, "em": nobody else's, so that one that is there already was left by an earlier monitor.
const HANDLE: TcHandle = TcHandle::new(0x656d, 1);
/// That of a filter that ends with its daemon. It is beside one that is to stay.
const EPHEMERAL: TcHandle = TcHandle::new(0x656d, 2);

/// Why a hook did not take the program.
pub(super) struct AttachError {
    /// Because one of ours is there.
    exists: bool,
    pub error: KernelError,
}

/// Whether netlink said EEXIST, for which aya has no error of its own.
fn exists(error: &TcError) -> bool {
    matches!(error, TcError::NetlinkError(error) if error.raw_os_error() == Some(libc::EEXIST))
}

impl Kernel {
    /// Attaches to `interfaces`, all or none. `hook`: `None` tries TCX and falls back to clsact.
    ///
    /// # Errors
    /// What the kernel refuses. Then nothing stays attached that does not outlive the daemon.
    pub fn attach(&mut self, interfaces: &[Interface], hook: Option<Hook>) -> Result<(), KernelError> {
        for interface in interfaces {
            if let Err(error) = self.watch(interface, hook) {
                // Pinned ones may have taken the place of programs that enforced.
                if self.pins.is_none() {
                    self.detach();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Attaches to an interface.
    ///
    /// # Errors
    /// What the kernel refuses; [`KernelError::AwaitsDrain`]: not before the next epoch.
    pub fn watch(&mut self, interface: &Interface, hook: Option<Hook>) -> Result<(), KernelError> {
        let owner = self.options.exclusive.then(|| Owner::take(&interface.name, interface.index)).transpose()?;
        // First the slot: the first packet is counted under its interface already.
        self.register(interface)?;
        let mut marked = Ok(());
        let first = self.pins.as_ref().is_some_and(|pins| !pins.are_in_use());
        if let Some(pins) = self.pins.as_mut().filter(|_| first) {
            marked = pins.use_them(true);
        }
        match marked.and_then(|()| self.attach_one(interface, hook)) {
            Ok(attachment) => {
                self.attachments.push(attachment.owned_by(owner));
                Ok(())
            }
            Err(error) => {
                // A packet may have been counted.
                self.retire(interface.index);
                if let Some(pins) = self.pins.as_mut().filter(|_| first) {
                    pins.use_them(false)?;
                }
                Err(error)
            }
        }
    }

    /// Takes the program off an interface. What was counted comes with the next epochs.
    pub fn unwatch(&mut self, ifindex: u32) {
        self.sample_before_detach(ifindex);
        if let Some(at) = self.attachments.iter().position(|one| one.interface.index == ifindex) {
            let attachment = self.attachments.remove(at);
            self.take_off(attachment);
            self.retire(ifindex);
        }
    }

    pub(super) fn attach_one(
        &mut self,
        interface: &Interface,
        hook: Option<Hook>,
    ) -> Result<AttachedProgram, KernelError> {
        let sent_before = self.sent_before_attach(interface)?;
        let mut attachment = match hook {
            Some(Hook::Tcx) => self.attach_tcx(interface)?,
            Some(Hook::Clsact) => self.attach_clsact(interface)?,
            None => match self.attach_tcx(interface) {
                Ok(attachment) => attachment,
                Err(tcx) => self.attach_clsact(interface).map_err(|clsact| KernelError::Attach {
                    interface: interface.name.clone(),
                    hook: "tcx or clsact",
                    error: format!("{tcx}; {clsact}"),
                })?,
            },
        };
        // It is found by its name, which another one may have by now.
        if self.presence(interface.index, attachment.hook) == Presence::Detached {
            self.take_off(attachment);
            return Err(KernelError::InterfaceGone(interface.name.clone()));
        }
        attachment.link_id = self.link_id(interface.index, attachment.hook);
        Fault::Replace.point();
        attachment.base = Some(self.base(interface, attachment.hook, sent_before)?);
        Ok(attachment)
    }

    fn attach_tcx(&mut self, interface: &Interface) -> Result<AttachedProgram, KernelError> {
        match self.take_over_link(interface)? {
            Some(attached) => Ok(attached),
            None => self.attach_new_link(interface),
        }
    }

    /// Attaches before all others, by a link of its own.
    pub(super) fn attach_new_link(&mut self, interface: &Interface) -> Result<AttachedProgram, KernelError> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let attached = self.attach_with(interface, Hook::Tcx, options, false);
        let attached = attached.and_then(|attached| self.pin_link(attached));
        attached.map_err(|refused| match refused.error {
            KernelError::Attach { interface, hook, error } => {
                KernelError::Attach { interface, hook, error: format!("{error} (TCX needs Linux 6.6 or newer)") }
            }
            other => other,
        })
    }

    /// Puts our program in the place of the one that an earlier start left pinned: packets pass one or the other.
    fn take_over_link(&mut self, interface: &Interface) -> Result<Option<AttachedProgram>, KernelError> {
        let Some(link) = self.pins.as_ref().and_then(|pins| pins.link(interface.index)) else { return Ok(None) };
        let program = object::program(&mut self.ebpf, EGRESS)?;
        let taken = SchedClassifierLink::try_from(link)
            .map_err(|error| with_causes(&error))
            .and_then(|link| program.attach_to_link(link).map_err(|error| with_causes(&error)))
            .and_then(|link| {
                let own = program.info().map_err(|error| with_causes(&error))?.id();
                let there = sys::tcx_programs(interface.index).map_err(|error| error.to_string())?;
                if there.iter().any(|one| one.program == own) {
                    Ok(link)
                } else {
                    Err("it is of another interface".to_owned())
                }
            });
        match taken {
            Ok(link) => {
                if let Some(pins) = &mut self.pins {
                    pins.note_link(interface.index);
                }
                Ok(Some(AttachedProgram::now(interface, Hook::Tcx, link, false)))
            }
            // Of an interface that had this index before.
            Err(why) => {
                tracing::warn!(interface = interface.name, why, "a pinned link leads nowhere: a new one is made");
                Ok(None)
            }
        }
    }

    /// Pins a link, where links are.
    pub(super) fn pin_link(&mut self, mut attached: AttachedProgram) -> Result<AttachedProgram, AttachError> {
        let Some(pins) = &mut self.pins else { return Ok(attached) };
        let refused = |error: String| AttachError {
            exists: false,
            error: KernelError::Attach {
                interface: attached.interface.name.clone(),
                hook: Hook::Tcx.name(),
                error: format!("it can't be pinned: {error}"),
            },
        };
        let program = object::program(&mut self.ebpf, EGRESS).map_err(|error| refused(error.to_string()))?;
        let link = program.take_link(attached.link).map_err(|error| refused(with_causes(&error)))?;
        let link = FdLink::try_from(link).map_err(|error| refused(with_causes(&error)))?;
        let link = pins.keep_link(attached.interface.index, link).map_err(|error| refused(error.to_string()))?;
        let link = SchedClassifierLink::try_from(link).map_err(|error| refused(with_causes(&error)))?;
        // The same program again: that is how a link is given back.
        attached.link = program.attach_to_link(link).map_err(|error| refused(with_causes(&error)))?;
        Ok(attached)
    }

    /// Whether programs and counters outlive the process.
    pub const fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Lets go of everything that is to outlive us: pinned links, and the filters of kernels without. Whether there is any.
    pub fn leave(&mut self) -> bool {
        if self.pins.is_none() {
            return false;
        }
        for attachment in std::mem::take(&mut self.attachments) {
            let link = object::program(&mut self.ebpf, EGRESS)
                .and_then(|program| program.take_link(attachment.link).map_err(|e| KernelError::Load(with_causes(&e))));
            // A filter is taken off by who drops its link; a pinned link stays without its descriptor.
            link.map(std::mem::forget).unwrap_or_default();
        }
        true
    }

    pub(super) fn attach_clsact(&mut self, interface: &Interface) -> Result<AttachedProgram, KernelError> {
        let made_qdisc = match tc::qdisc_add_clsact(&interface.name) {
            Ok(()) => true,
            // Somebody else's, or one that a killed monitor left: aya has no error of its own for it.
            Err(error) if exists(&error) => false,
            Err(error) => {
                return Err(KernelError::Attach {
                    interface: interface.name.clone(),
                    hook: Hook::Clsact.name(),
                    error: with_causes(&error),
                });
            }
        };
        let options = NlOptions { priority: PRIORITY, handle: self.handle(), classid: None };
        let attached = self.attach_with(interface, Hook::Clsact, TcAttachOptions::Netlink(options), made_qdisc);
        match attached {
            Err(AttachError { exists: true, .. }) => self.take_over(interface),
            Err(AttachError { error, .. }) => {
                if made_qdisc {
                    remove_empty_clsact(&interface.name);
                }
                Err(error)
            }
            Ok(attachment) => Ok(attachment),
        }
    }

    pub(super) const fn handle(&self) -> TcHandle {
        if self.pins.is_some() { HANDLE } else { EPHEMERAL }
    }

    /// Takes off what earlier starts have left beside our programs: by another hook, on an interface that is not watched any
    /// more, or of a daemon that was killed and was to take it off itself. What belongs to a monitor that lives stays.
    ///
    /// The names of those that were watched by another hook until now: both programs have counted what came in between.
    pub(super) fn remove_leftovers(&mut self) -> Vec<String> {
        let by_link: Vec<u32> =
            self.attachments.iter().filter(|one| one.hook == Hook::Tcx).map(|one| one.interface.index).collect();
        let others = self.pins.as_mut().map_or_else(Vec::new, |pins| pins.remove_others(&by_link));
        let watched = |index| self.attachments.iter().find(|attached| attached.interface.index == index);
        let by = |index, hook| watched(index).is_some_and(|attached| attached.hook == hook);
        let mut twice = BTreeSet::new();
        let mut removed = |index, name: &str| {
            tracing::warn!(interface = name, "an earlier monitor's program is off: it was beside what is watched now");
            twice.extend(watched(index).map(|attached| attached.interface.name.clone()));
        };
        for index in others {
            removed(index, &format!("index {index}"));
        }
        for (index, interface) in devices().unwrap_or_default().into_iter().map(|device| (device.index, device.name)) {
            if watched(index).is_none() && owner::living(index).is_some() {
                continue;
            }
            for handle in [HANDLE, EPHEMERAL] {
                let in_use = by(index, Hook::Clsact) && handle == self.handle();
                // Without pins this monitor ends with its daemon: what is to stay is not its own.
                let stays = self.pins.is_none() && handle == HANDLE;
                if !in_use && !stays && remove_filter(&interface, handle) {
                    removed(index, &interface);
                }
            }
        }
        twice.into_iter().collect()
    }

    /// Puts our program in the place of the filter that a killed monitor left: packets pass one or the other.
    fn take_over(&mut self, interface: &Interface) -> Result<AttachedProgram, KernelError> {
        let refused = |error: String| KernelError::Attach {
            interface: interface.name.clone(),
            hook: Hook::Clsact.name(),
            error: format!("a filter that a killed egress-monitor left can't be replaced: {error}"),
        };
        let left = self.filter(interface).map_err(|error| refused(error.to_string()))?;
        let link = self.attach_to(left).map_err(refused)?;
        tracing::warn!(interface = interface.name, "took the place of a filter that a killed monitor left");
        Ok(AttachedProgram::now(interface, Hook::Clsact, link, false))
    }

    /// The filter of ours on an interface.
    pub(super) fn filter(&self, interface: &Interface) -> Result<SchedClassifierLink, std::io::Error> {
        SchedClassifierLink::attached(&interface.name, TcAttachType::Egress, PRIORITY, self.handle(), None)
    }

    /// Puts our program in the place of the one of a link, or filter.
    pub(super) fn attach_to(&mut self, link: SchedClassifierLink) -> Result<SchedClassifierLinkId, String> {
        let program = object::program(&mut self.ebpf, EGRESS).map_err(|error| error.to_string())?;
        program.attach_to_link(link).map_err(|error| with_causes(&error))
    }

    fn attach_with(
        &mut self,
        interface: &Interface,
        hook: Hook,
        options: TcAttachOptions,
        made_qdisc: bool,
    ) -> Result<AttachedProgram, AttachError> {
        let link = object::program(&mut self.ebpf, EGRESS)
            .map_err(|error| AttachError { exists: false, error })?
            .attach_with_options(&interface.name, TcAttachType::Egress, options)
            .map_err(|error| AttachError {
                exists: matches!(&error, ProgramError::TcError(error) if exists(error)),
                error: KernelError::Attach {
                    interface: interface.name.clone(),
                    hook: hook.name(),
                    error: with_causes(&error),
                },
            })?;
        Ok(AttachedProgram::now(interface, hook, link, made_qdisc))
    }

    /// What is attached.
    pub fn attachments(&self) -> &[AttachedProgram] {
        &self.attachments
    }

    /// Takes the program off every interface. Counting ends with the packets that are under way; the maps stay
    /// for a last drain.
    pub fn detach(&mut self) {
        while let Some(attachment) = self.attachments.last() {
            self.unwatch(attachment.interface.index);
        }
    }

    pub(super) fn take_off(&mut self, attachment: AttachedProgram) {
        let Interface { name, index, .. } = &attachment.interface;
        if let Some(pins) = &mut self.pins {
            pins.remove_link(*index);
        }
        let result = object::program(&mut self.ebpf, EGRESS)
            .and_then(|program| program.detach(attachment.link).map_err(|e| KernelError::Load(with_causes(&e))));
        let is_there = self.is_there(*index);
        if let Err(error) = result
            && is_there
        {
            tracing::warn!(interface = name, %error, "the program was already gone when it was to be detached");
        }
        // Not one of another interface that has the name now.
        if attachment.made_qdisc && is_there {
            remove_empty_clsact(name);
        }
    }
}

/// Takes the filters of a monitor that is gone off the interfaces of this network namespace; those that had one.
pub(super) fn remove_filters() -> Vec<String> {
    let present = devices().unwrap_or_default().into_iter();
    let nobodys = present.filter(|device| owner::living(device.index).is_none()).map(|device| device.name);
    let had = |name: &String| [HANDLE, EPHEMERAL].map(|handle| remove_filter(name, handle)) != [false; 2];
    nobodys.filter(had).inspect(|name| remove_empty_clsact(name)).collect()
}

/// Takes a filter of ours off; whether there was one.
fn remove_filter(interface: &str, handle: TcHandle) -> bool {
    SchedClassifierLink::attached(interface, TcAttachType::Egress, PRIORITY, handle, None)
        .is_ok_and(|link| aya::programs::links::Link::detach(link).is_ok())
}

/// Removes the clsact qdisc that we made, unless somebody else has put a filter in it since. iproute2 may be
/// missing; then the empty qdisc, which does nothing, stays.
fn remove_empty_clsact(interface: &str) {
    let tc = |arguments: &[&str]| {
        std::process::Command::new("tc").args(arguments).stdin(std::process::Stdio::null()).output().ok()
    };
    let empty = |direction: &str| {
        tc(&["filter", "show", "dev", interface, direction]).is_some_and(|o| o.status.success() && o.stdout.is_empty())
    };
    if empty("ingress") && empty("egress") {
        tc(&["qdisc", "del", "dev", interface, "clsact"]);
    }
}
