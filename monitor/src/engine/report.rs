//! What the epoch task tells people: a closed epoch and what became of it in, conditions and notices out, as alerts to
//! the sinks and into [`MonitorState`]. The task calls each part once an epoch, and [`Engine::tell`] where something else
//! begins or ends.

use std::{collections::BTreeMap, sync::Arc};

use monitor_common::wire::Counters;

use super::{Engine, STALE_AFTER};
use crate::{
    alerts::{PER_EPOCH, sinks::Sinks},
    engine::findings::notice,
    model::{
        Alert, Attachment, FindingKind, Snapshot,
        finding::{Detail, Unaccounted},
        identities::Name,
        now,
        readings::Presence,
        rfc3339,
    },
    reconcile::Surplus,
    store::{MonitorState, state::LATEST_ALERTS},
};
use monitor_policy::times::{self, Notice};

impl Engine {
    pub(super) fn tell_lost_interfaces(&mut self, facts: &mut MonitorState) {
        if self.attached.is_empty() {
            return;
        }
        let there = |attached: &&Attachment| facts.attachments.iter().any(|now| now.ifindex == attached.ifindex);
        let lost: Vec<String> = self
            .attached
            .iter()
            .filter(|attached| !there(attached))
            .map(|attached| format!("{} (index {})", attached.interface, attached.ifindex))
            .collect();
        let detail = (!lost.is_empty()).then(|| {
            format!(
                "{} was removed or moved to another network namespace; what leaves by an interface that has its name \
                 now is not counted: restart",
                lost.join(", ")
            )
        });
        self.tell(facts, FindingKind::InterfaceLost, detail.as_deref().map(Detail::from));
    }

    pub(super) fn tell_breaches(
        &mut self,
        facts: &mut MonitorState,
        snapshot: &Snapshot,
        breaches: &[(Name, Counters)],
    ) {
        let mut detail = Vec::new();
        for (name, residual) in breaches {
            let interface = facts.traffic.identities.interfaces.get(*name);
            let (packets, bytes) = (residual.packets.cast_signed(), residual.bytes.cast_signed());
            tracing::error!(interface, epoch = snapshot.epoch, packets, bytes, "conservation breach");
            detail.push(format!(
                "{interface}, epoch {}: hook minus accounted is {packets} packets, {bytes} bytes",
                snapshot.epoch
            ));
        }
        let detail = (!detail.is_empty()).then(|| detail.join("; ").as_str().into());
        self.tell(facts, FindingKind::ConservationBreach, detail);
    }

    /// Holds hooks and devices against each other.
    pub(super) fn reconcile(&mut self, facts: &mut MonitorState, snapshot: &Snapshot) {
        let surpluses = self.reconciler.read(&snapshot.readings);
        facts.accounts = self.reconciler.accounts();
        let found: Vec<_> = surpluses.into_iter().map(|surplus| unaccounted(surplus, snapshot.epoch)).collect();
        let detail = (!found.is_empty()).then(|| {
            let of = |one: &Unaccounted| {
                format!(
                    "{}, epoch {}: {} packets, {} bytes (since it was attached {} and {})",
                    one.interface, one.epoch, one.packets, one.bytes, one.total_packets, one.total_bytes
                )
            };
            Detail { text: found.iter().map(of).collect::<Vec<_>>().join("; "), unaccounted: found.clone() }
        });
        self.tell(facts, FindingKind::UnaccountedEgress, detail);
        let off = facts.accounts.iter().filter(|one| one.here && one.presence == Presence::Detached);
        let off: Vec<&str> = off.map(|one| one.interface.as_str()).collect();
        let detail = (!off.is_empty()).then(|| {
            format!("{}: what leaves there is neither counted nor dropped; restart to attach again", off.join(", "))
        });
        self.tell(facts, FindingKind::Detached, detail.as_deref().map(Detail::from));
    }

    pub(super) fn tell_losses(&mut self, facts: &mut MonitorState, snapshot: &Snapshot, suppressed: u64) {
        let lost = snapshot.events_lost;
        let detail = (lost > 0).then(|| {
            format!("{lost} events in epoch {}; their alerts were rebuilt from the flow table", snapshot.epoch)
        });
        self.tell(facts, FindingKind::EventsLost, detail.as_deref().map(Detail::from));
        let sums = snapshot.interfaces.iter().flat_map(|interface| interface.overflow.values());
        let overflow: u64 = sums.map(|counters| counters.packets).sum();
        let detail = (overflow > 0).then(|| {
            format!(
                "{overflow} packets in epoch {} are counted by country but not by flow; alerts for new flows among \
                 them are missing. Raise [monitor] flows (now {}) or shorten [monitor] epoch",
                snapshot.epoch, snapshot.fill.table.places
            )
        });
        self.tell(facts, FindingKind::FlowTableOverflow, detail.as_deref().map(Detail::from));
        let total = self.sinks.stats().lost();
        let lost = total - self.alerts_lost;
        self.alerts_lost = total;
        let detail = (lost > 0).then(|| format!("{lost} alert lines; the latest are at /api/v1/alerts"));
        self.tell(facts, FindingKind::AlertsLost, detail.as_deref().map(Detail::from));
        facts.alerts_suppressed += suppressed;
        let detail = (suppressed > 0).then(|| {
            format!(
                "{suppressed} flows of epoch {} have no alert of their own, only the first {PER_EPOCH}: see \
                 `egress-monitor flows --by country`, `--by peer`. Those that go on get theirs in later epochs",
                snapshot.epoch
            )
        });
        self.tell(facts, FindingKind::AlertsSuppressed, detail.as_deref().map(Detail::from));
    }

    pub(super) fn tell_budgets(&mut self, facts: &mut MonitorState) {
        let policy = Arc::clone(&facts.in_force.policy);
        facts.budgets = self.budgets.sums().uses(&policy, &facts.budgets, now());
        let mut suspended = BTreeMap::new();
        for (rule, _) in policy.rules.iter().zip(1..).filter(|(_, number)| policy.suspended.contains(number)) {
            let Some(today) = facts.budgets.rules.get(&rule.id) else { continue };
            let detail = format!(
                "'{}' ({}) has let through {} of {} bytes on the wire on {}, {} of them beyond the budget until it was \
                 suspended; it holds again from {}",
                rule.id,
                rule.origin,
                today.used,
                today.most,
                facts.budgets.day.text(),
                today.beyond(),
                rfc3339(facts.budgets.day.end())
            );
            suspended.insert(rule.id.clone(), detail);
        }
        for id in self.findings.subjects(FindingKind::BudgetUsedUp) {
            suspended.entry(id.to_owned()).or_default();
        }
        for (id, detail) in suspended {
            let detail = (!detail.is_empty()).then(|| detail.as_str().into());
            self.tell_of(facts, (FindingKind::BudgetUsedUp, &id), detail);
        }
        let problem = self.budgets.problem(&policy).map(Detail::from);
        self.tell(facts, FindingKind::BudgetState, problem);
    }

    /// What begins, ends soon or has ended, each once.
    pub(super) fn tell_rule_times(&mut self, facts: &mut MonitorState, at: i128) {
        let seconds = i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX);
        for Notice { event, text } in self.rule_times.news(&facts.in_force.policy.rules, seconds) {
            let kind = match event {
                times::Event::Begins | times::Event::Began => FindingKind::RuleBegins,
                times::Event::Ends(_) => FindingKind::RuleExpiring,
                times::Event::Ended => FindingKind::RuleExpired,
            };
            tracing::warn!(text, "rule times");
            deliver(&self.sinks, facts, [notice(kind, text, now())]);
        }
    }

    pub(super) fn tell_stale_data(&mut self, facts: &mut MonitorState, now: i128) {
        let stale: Vec<String> = facts
            .in_force
            .datasets
            .iter()
            .filter_map(|dataset| dataset.age_seconds(now).map(|age| (dataset, age)))
            .filter(|(_, age)| *age > STALE_AFTER)
            .map(|(dataset, age)| format!("{} {} is {} days old", dataset.name, dataset.version, age / 86_400))
            .collect();
        let detail = (!stale.is_empty()).then(|| format!("{}; import a newer one ([geo] sources)", stale.join(", ")));
        self.tell(facts, FindingKind::StaleGeoData, detail.as_deref().map(Detail::from));
    }

    pub(super) fn tell(&mut self, facts: &mut MonitorState, kind: FindingKind, detail: Option<Detail>) {
        self.tell_of(facts, (kind, ""), detail);
    }

    fn tell_of(&mut self, facts: &mut MonitorState, of: (FindingKind, &str), detail: Option<Detail>) {
        if let Some(alert) = self.findings.report_of(of, detail, now()) {
            deliver(&self.sinks, facts, [alert]);
        }
        facts.findings = self.findings.open().collect();
    }
}

/// For the alert.
fn unaccounted(surplus: Surplus, epoch: u32) -> Unaccounted {
    let Surplus { interface, found, total } = surplus;
    tracing::error!(interface, epoch, packets = found.packets, bytes = found.bytes, "unaccounted egress");
    Unaccounted {
        interface,
        epoch,
        packets: found.packets,
        bytes: found.bytes,
        total_packets: total.packets,
        total_bytes: total.bytes,
    }
}

/// Counts, keeps and sends alerts.
pub(super) fn deliver(sinks: &Sinks, facts: &mut MonitorState, alerts: impl IntoIterator<Item = Alert>) {
    for alert in alerts.into_iter().map(Arc::new) {
        *facts.alerts.entry((alert.severity().label(), alert.kind())).or_default() += 1;
        sinks.send(&alert);
        if facts.latest_alerts.len() >= LATEST_ALERTS {
            facts.latest_alerts.pop_front();
        }
        facts.latest_alerts.push_back(alert);
    }
}
