//! What is made of a closed epoch beside the sums: a list of consumers, called in order, of which none knows another
//! and of which this file knows none by name. The composition root makes the list.
//!
//! For each epoch every consumer first works without a lock ([`Consumer::epoch`]); then, under one lock of the state,
//! so that everything of one epoch changes together, each publishes what came of it ([`Consumer::publish`]) and, when
//! it is known which policy holds from now on, what follows from that ([`Consumer::review`]).

use std::sync::Arc;

use monitor_common::wire::Reported;
use monitor_policy::Policy;

use super::{
    findings::{OpenFindings, notice},
    outbox::{AlertBatch, Outbox},
};
use crate::{
    model::{
        Alert, ClosedEpoch, FindingKind,
        finding::Detail,
        flow::Resolver,
        identities::{Identities, Name, NameSet},
        in_force::PolicyInForce,
        now,
    },
    store::MonitorState,
};

/// Somebody who makes something of closed epochs.
pub trait Consumer: Send {
    /// Once, before the first epoch: the state has what is attached and in force.
    fn begin(&mut self, _state: &mut MonitorState, _findings: &mut Findings<'_>) {}

    /// Events that were read since the last call.
    fn events(&mut self, _events: &[ReadEvent<'_>], _identities: &Identities, _alerts: &mut AlertBatch<'_>) {}

    /// Works on an epoch, with what was in force in the state when it was closed. No lock is held.
    fn epoch(&mut self, _epoch: &ClosedEpoch<'_>, _in_force: &PolicyInForce, _alerts: &mut AlertBatch<'_>) {}

    /// Puts what came of the epoch into the state, and raises or resolves findings.
    fn publish(&mut self, _epoch: &ClosedEpoch<'_>, _state: &mut MonitorState, _findings: &mut Findings<'_>) {}

    /// The same of what depends on the policy that is in force after the epoch.
    fn review(&mut self, _epoch: &ClosedEpoch<'_>, _state: &mut MonitorState, _findings: &mut Findings<'_>) {}

    /// Something else is attached, or should be, than in the epoch before: the state says what.
    fn covered(&mut self, _state: &mut MonitorState, _findings: &mut Findings<'_>) {}

    /// Somebody has looked whether all in the kernel is as it was made: the state says what came of it.
    fn watched(&mut self, _state: &mut MonitorState, _findings: &mut Findings<'_>) {}

    /// The policy as it is to hold now; the same one where nothing changes.
    fn amend(&self, policy: &Arc<Policy>) -> Arc<Policy> {
        Arc::clone(policy)
    }

    /// When an epoch that began at `began` is to end, if it lasts until then: UTC nanoseconds since 1970.
    fn deadline(&self, _began: i128) -> Option<i128> {
        None
    }

    /// Adds the names that it keeps something under, beside those in flows and state.
    fn names(&self, _used: &mut NameSet) {}

    /// Names that nobody keeps anything under are gone; others have their numbers from now on.
    fn forget(&mut self, _released: &NameSet) {}

    /// Everything is detached; one epoch is to come.
    fn stopping(&mut self) {}

    /// There are no more epochs.
    fn stopped(&mut self, _now: i128, _state: &mut MonitorState, _findings: &mut Findings<'_>) {}
}

/// An event of the ring buffer.
#[derive(Clone, Copy, Debug)]
pub struct ReadEvent<'a> {
    /// As the kernel made it.
    pub event: &'a Reported,
    /// When its packet left, UTC nanoseconds since 1970.
    pub time: i128,
    /// When it was read.
    pub read: i128,
    /// The interface that it left by.
    pub interface: Name,
    /// Of the policy of its epoch.
    pub resolver: &'a Resolver,
}

/// What a consumer reports findings to. The alerts are delivered when it is done.
pub struct Findings<'a> {
    open: &'a mut OpenFindings,
    made: Vec<Alert>,
}

impl Findings<'_> {
    /// Raises the finding while there is something to say of it, resolves it while not.
    pub fn report(&mut self, kind: FindingKind, detail: Option<impl Into<Detail>>) {
        self.report_of((kind, ""), detail);
    }

    /// The same of a finding that can hold of several things at once, of one of them.
    pub fn report_of(&mut self, of: (FindingKind, &str), detail: Option<impl Into<Detail>>) {
        self.made.extend(self.open.report_of(of, detail.map(Into::into), now()));
    }

    /// The things of which a finding is open.
    pub fn subjects(&self, kind: FindingKind) -> impl Iterator<Item = &str> {
        self.open.subjects(kind)
    }

    /// Alerts on something that happens and is over.
    pub fn notice(&mut self, kind: FindingKind, text: String) {
        self.notice_at(kind, text, now());
    }

    /// The same of a moment, UTC nanoseconds since 1970.
    pub fn notice_at(&mut self, kind: FindingKind, detail: impl Into<Detail>, at: i128) {
        self.made.push(notice(kind, detail, at));
    }
}

/// The consumers, in order, and the findings that are open.
pub(super) struct Pipeline {
    consumers: Vec<Box<dyn Consumer>>,
    open: OpenFindings,
    outbox: Outbox,
}

impl Pipeline {
    pub(super) fn new(consumers: Vec<Box<dyn Consumer>>, outbox: Outbox) -> Self {
        Self { consumers, open: OpenFindings::default(), outbox }
    }

    pub(super) fn begin(&mut self, state: &mut MonitorState) {
        self.each(state, |consumer, state, findings| consumer.begin(state, findings));
    }

    pub(super) fn events(&mut self, events: &[ReadEvent<'_>], identities: &Identities) {
        for consumer in &mut self.consumers {
            consumer.events(events, identities, &mut self.outbox.batch());
        }
    }

    pub(super) fn epoch(&mut self, epoch: &ClosedEpoch<'_>, in_force: &PolicyInForce) {
        for consumer in &mut self.consumers {
            consumer.epoch(epoch, in_force, &mut self.outbox.batch());
        }
    }

    pub(super) fn publish(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState) {
        self.each(state, |consumer, state, findings| consumer.publish(epoch, state, findings));
    }

    pub(super) fn review(&mut self, epoch: &ClosedEpoch<'_>, state: &mut MonitorState) {
        self.each(state, |consumer, state, findings| consumer.review(epoch, state, findings));
    }

    pub(super) fn covered(&mut self, state: &mut MonitorState) {
        self.each(state, |consumer, state, findings| consumer.covered(state, findings));
    }

    pub(super) fn watched(&mut self, state: &mut MonitorState) {
        self.each(state, |consumer, state, findings| consumer.watched(state, findings));
    }

    /// A finding of the engine's own.
    pub(super) fn report(&mut self, state: &mut MonitorState, kind: FindingKind, detail: Option<&str>) {
        let made = self.open.report(kind, detail.map(Detail::from), now());
        self.outbox.deliver(state, made);
        state.findings = self.open.open().collect();
    }

    /// An alert on something that happens and is over.
    pub(super) fn notice(&mut self, state: &mut MonitorState, kind: FindingKind, detail: Detail) {
        self.outbox.deliver(state, [notice(kind, detail, now())]);
    }

    pub(super) fn amend(&self, policy: &Arc<Policy>) -> Arc<Policy> {
        self.consumers.iter().fold(Arc::clone(policy), |policy, consumer| consumer.amend(&policy))
    }

    pub(super) fn deadline(&self, began: i128) -> Option<i128> {
        self.consumers.iter().filter_map(|consumer| consumer.deadline(began)).min()
    }

    pub(super) fn names(&self, used: &mut NameSet) {
        self.consumers.iter().for_each(|consumer| consumer.names(used));
    }

    pub(super) fn forget(&mut self, released: &NameSet) {
        self.consumers.iter_mut().for_each(|consumer| consumer.forget(released));
    }

    pub(super) fn stopping(&mut self) {
        self.consumers.iter_mut().for_each(|consumer| consumer.stopping());
    }

    pub(super) fn stopped(&mut self, now: i128, state: &mut MonitorState) {
        self.each(state, |consumer, state, findings| consumer.stopped(now, state, findings));
    }

    fn each(
        &mut self,
        state: &mut MonitorState,
        call: impl Fn(&mut dyn Consumer, &mut MonitorState, &mut Findings<'_>),
    ) {
        for consumer in &mut self.consumers {
            let mut findings = Findings { open: &mut self.open, made: Vec::new() };
            call(consumer.as_mut(), state, &mut findings);
            self.outbox.deliver(state, findings.made);
        }
        state.findings = self.open.open().collect();
    }
}

/// What somebody reports.
#[cfg(test)]
pub(crate) fn told(report: impl FnOnce(&mut MonitorState, &mut Findings<'_>)) -> Vec<Alert> {
    let mut open = OpenFindings::default();
    let mut findings = Findings { open: &mut open, made: Vec::new() };
    report(&mut MonitorState::default(), &mut findings);
    findings.made
}
