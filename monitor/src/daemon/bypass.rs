//! Has sockets that would send past the hook refused, where it is to be enforced, and says what came of it, and which are
//! open from before. Called by the kernel source, with each epoch.

use std::time::{Duration, Instant};

use monitor_common::bypass;

use crate::{
    kernel::{self, Kernel},
    model::{BypassReport, OpenSockets},
};

/// When what the kernel refused is tried again.
const AGAIN: Duration = Duration::from_mins(1);

/// See the module.
pub(super) struct Bypass {
    /// Control groups that may send so.
    groups: Vec<String>,
    /// Refused so far, by the maps in use.
    seen: [u64; bypass::Bypass::ALL.len()],
    /// Why they can't be refused, and when that was tried.
    problem: Option<(Instant, String)>,
    /// Open from before it was enforced.
    open: OpenSockets,
    /// Whether it was when they were looked for last.
    enforced: bool,
}

impl Bypass {
    /// For all but these control groups.
    pub fn new(groups: &[String]) -> Self {
        Self {
            groups: groups.to_vec(),
            seen: Default::default(),
            problem: None,
            open: OpenSockets::default(),
            enforced: false,
        }
    }

    /// At a start: what one before has left is replaced, or ended.
    pub fn begin(&mut self, kernel: &mut Kernel) {
        if kernel.mode().enforces() {
            self.refuse(kernel);
        } else {
            kernel.forget_earlier_bypass();
        }
        self.look(kernel);
    }

    /// Has them refused from now on where it is to be enforced and they are not yet. What can't be is tried again.
    pub fn refuse(&mut self, kernel: &mut Kernel) {
        let rests = self.problem.as_ref().is_some_and(|(at, _)| at.elapsed() < AGAIN);
        if kernel.mode().enforces() && !kernel.refuses_bypass() && !rests {
            let refused = kernel.refuse_bypass(&self.groups);
            self.problem = refused.err().map(|error| (Instant::now(), error.to_string()));
        }
    }

    /// Looks which sockets are open from before it was enforced: they come when that begins, and go when they are closed.
    fn look(&mut self, kernel: &Kernel) {
        let begins = !std::mem::replace(&mut self.enforced, kernel.mode().enforces());
        if !self.enforced {
            self.open = OpenSockets::default();
        } else if begins || !self.open.is_empty() {
            match kernel::open_sockets() {
                Ok(there) if begins => self.open = there,
                Ok(there) => self.open.retain(&there),
                Err(error) => {
                    tracing::warn!(%error, "sockets that are open can't be listed");
                    // Once more with the next epoch.
                    self.enforced = !begins;
                }
            }
        }
    }

    /// What was refused since the last call, why it can't be, and what is open from before.
    pub fn report(&mut self, kernel: &mut Kernel) -> BypassReport {
        self.look(kernel);
        let mut report = BypassReport { open: self.open.clone(), ..BypassReport::default() };
        match kernel.refused_bypass() {
            Ok(Some(sums)) => {
                for (of, (now, seen)) in report.refused.iter_mut().zip(sums.iter().zip(&self.seen)) {
                    // Other maps begin at 0.
                    *of = now.checked_sub(*seen).unwrap_or(*now);
                }
                self.seen = sums;
            }
            Ok(None) => {}
            Err(error) => report.problem = Some(error.to_string()),
        }
        let problem = self.problem.as_ref().filter(|_| kernel.mode().enforces());
        report.problem = report.problem.or_else(|| problem.map(|(_, why)| why.clone()));
        report
    }
}
