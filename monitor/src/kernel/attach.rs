//! Putting the program on an interface's way out, and taking it off.

use aya::programs::{
    LinkOrder, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLinkId, TcAttachOptions, TcHandle},
};

use super::{Interface, Kernel, KernelError, load};

/// How a program hangs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// TCX link (kernel 6.6).
    Tcx,
    /// Filter in the clsact qdisc, direct action.
    Clsact,
}

impl Hook {
    /// The name in metrics and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// One attached interface.
#[derive(Debug)]
pub struct Attachment {
    /// The interface.
    pub interface: Interface,
    /// How.
    pub hook: Hook,
    /// Since when.
    pub since: jiff::Timestamp,
    link: SchedClassifierLinkId,
    /// Whether the clsact qdisc was made by us.
    made_qdisc: bool,
}

/// Priority and handle of our clsact filter: first, and findable.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 1);

impl Kernel {
    /// Attaches to `interfaces`, all or none. `hook`: `None` tries TCX and falls back to clsact.
    ///
    /// # Errors
    /// What the kernel refuses, and then nothing stays attached.
    pub fn attach(&mut self, interfaces: &[Interface], hook: Option<Hook>) -> Result<(), KernelError> {
        for interface in interfaces {
            if let Err(error) = self.attach_one(interface, hook) {
                self.detach();
                return Err(error);
            }
        }
        Ok(())
    }

    fn attach_one(&mut self, interface: &Interface, hook: Option<Hook>) -> Result<(), KernelError> {
        // First the slot: the first packet is counted under its interface already.
        self.register(interface)?;
        let attachment = match hook {
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
        self.attachments.push(attachment);
        Ok(())
    }

    fn attach_tcx(&mut self, interface: &Interface) -> Result<Attachment, KernelError> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        self.attach_with(interface, Hook::Tcx, options, false).map_err(|error| match error {
            KernelError::Attach { interface, hook, error } => {
                KernelError::Attach { interface, hook, error: format!("{error} (TCX needs Linux 6.6 or newer)") }
            }
            other => other,
        })
    }

    fn attach_clsact(&mut self, interface: &Interface) -> Result<Attachment, KernelError> {
        let made_qdisc = match tc::qdisc_add_clsact(&interface.name) {
            Ok(()) => true,
            // Somebody else's, or one that a killed monitor left: aya has no error of its own for it.
            Err(tc::TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => false,
            Err(error) => {
                return Err(KernelError::Attach {
                    interface: interface.name.clone(),
                    hook: Hook::Clsact.name(),
                    error: load::chain(&error),
                });
            }
        };
        let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle: HANDLE, classid: None });
        self.attach_with(interface, Hook::Clsact, options, made_qdisc).inspect_err(|_| {
            if made_qdisc {
                remove_empty_clsact(&interface.name);
            }
        })
    }

    fn attach_with(
        &mut self,
        interface: &Interface,
        hook: Hook,
        options: TcAttachOptions,
        made_qdisc: bool,
    ) -> Result<Attachment, KernelError> {
        let link = load::program(&mut self.ebpf, "egress")?
            .attach_with_options(&interface.name, TcAttachType::Egress, options)
            .map_err(|error| KernelError::Attach {
                interface: interface.name.clone(),
                hook: hook.name(),
                error: load::chain(&error),
            })?;
        Ok(Attachment { interface: interface.clone(), hook, since: jiff::Timestamp::now(), link, made_qdisc })
    }

    /// What is attached.
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Takes the program off every interface. Counting ends with the packets that are under way; the maps stay
    /// for a last drain.
    pub fn detach(&mut self) {
        for attachment in std::mem::take(&mut self.attachments) {
            let name = &attachment.interface.name;
            let result = load::program(&mut self.ebpf, "egress")
                .and_then(|program| program.detach(attachment.link).map_err(|e| KernelError::Load(load::chain(&e))));
            if let Err(error) = result {
                tracing::warn!(interface = name, %error, "the program was already gone when it was to be detached");
            }
            if attachment.made_qdisc {
                remove_empty_clsact(name);
            }
        }
    }
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
