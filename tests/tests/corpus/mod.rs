//! Promise: every packet is understood, or counted by reason. Each case of the corpus comes out as the corpus says,
//! which was written from the standards: on the host, through the loaded kernel program, and over a real wire; in
//! observe and in enforce mode.

mod cut;
mod document;
mod kernel;
mod on_host;
mod on_wire;

use std::sync::{Arc, OnceLock};

use egress_monitor_tests::{
    corpus::{Case, Expect, Flow, policy},
    host::PacketOutcome,
    monitor::policy::Policy,
};
use monitor_common::{
    parse::Reason,
    verdict::Verdict,
    wire::{Class, FullKey, Opaque, Via},
};

/// A mode, and what the policy does with what can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mode {
    enforce: bool,
    /// Every reason is set to "allow": only what goes to a denied destination is dropped.
    lenient: bool,
}

const OBSERVE: Mode = Mode { enforce: false, lenient: false };
const ENFORCE: Mode = Mode { enforce: true, lenient: false };
const LENIENT: Mode = Mode { enforce: true, lenient: true };
const MODES: [Mode; 3] = [OBSERVE, ENFORCE, LENIENT];

impl Mode {
    /// Further lines of `[zone]`.
    const fn zone(self) -> &'static str {
        if self.lenient { "on_undecodable = \"allow\"" } else { "" }
    }

    fn policy(self) -> &'static Arc<Policy> {
        static POLICIES: [OnceLock<Arc<Policy>>; 2] = [const { OnceLock::new() }; 2];
        POLICIES[usize::from(self.lenient)]
            .get_or_init(|| Arc::new(policy::compile(self.zone()).expect("the corpus's policy")))
    }
}

/// What came out for a packet, by whatever way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Flow { flow: Flow, verdict: Verdict, alert: bool },
    Unparsed { reason: Reason, dropped: bool },
}

impl Outcome {
    /// What the corpus says.
    fn expected(case: &Case, mode: Mode) -> Self {
        match &case.expect {
            Expect::Flow(flow) => {
                let link_local = flow.place == Class::LinkLocal && flow.destination.is_ipv4();
                let denied = !flow.rule && (matches!(flow.place, Class::Outside | Class::Unknown) || link_local);
                let verdict = match (denied, mode.enforce) {
                    (false, _) => Verdict::Allowed,
                    (true, false) => Verdict::Observed,
                    (true, true) => Verdict::Denied,
                };
                Self::Flow { flow: flow.clone(), verdict, alert: denied }
            }
            Expect::Unread { reason, to } => {
                let passes = matches!(reason, Reason::LinkControl | Reason::LinkControlOdd);
                let denied = !passes && (!mode.lenient || *to == Some(Class::Outside));
                Self::Unparsed { reason: *reason, dropped: mode.enforce && denied }
            }
        }
    }

    /// A flow as the kernel notes it.
    fn of(policy: &Policy, FullKey { flow: key, inner }: &FullKey, alert: bool) -> Self {
        let flow = Flow {
            source: key.ip(key.source),
            destination: key.ip(key.destination),
            protocol: key.protocol,
            source_port: key.source_port,
            destination_port: key.destination_port,
            opaque: Opaque::from_wire(key.flags),
            inner: inner
                .ip()
                .map(|ip| (ip, inner.protocol, inner.port, Via::from_wire(inner.via).expect("a known way"))),
            place: policy.classes[usize::from(key.class_id)].class,
            rule: key.rule != 0,
        };
        Self::Flow { flow, verdict: Verdict::from_wire(key.verdict), alert }
    }

    fn from_host(policy: &Policy, by_host: &PacketOutcome) -> Self {
        match by_host {
            PacketOutcome::Flow { key, alert } => Self::of(policy, key, *alert),
            PacketOutcome::Unparsed { reason, dropped } => Self::Unparsed { reason: *reason, dropped: *dropped },
        }
    }

    fn dropped(&self) -> bool {
        match self {
            Self::Flow { verdict, .. } => *verdict == Verdict::Denied,
            Self::Unparsed { dropped, .. } => *dropped,
        }
    }
}

/// Fails with all cases that came out otherwise.
#[track_caller]
fn all_right(mode: Mode, wrong: &[(&Case, Outcome)]) {
    let lines: Vec<_> = wrong
        .iter()
        .map(|(case, got)| {
            format!("{}: {}\n  expected {:?}\n  got      {got:?}", case.name, case.about, Outcome::expected(case, mode))
        })
        .collect();
    assert!(wrong.is_empty(), "{mode:?}: {} cases:\n{}", wrong.len(), lines.join("\n"));
}
