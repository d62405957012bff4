//! The running day's sums and the file that they are kept in, for the engine: epochs in, the policy without the
//! rules that are used up out.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{Budgets, has_any, store::Store};
use crate::{
    clock::TrustedClock,
    engine::{
        outbox::AlertBatch,
        pipeline::{Consumer, Findings},
    },
    model::{ClosedEpoch, FindingKind, Snapshot, budget::Day, in_force::PolicyInForce, now, rfc3339},
    storage::state::StateDirectory,
    store::MonitorState,
};
use monitor_policy::Policy;

/// The file is written at most so often (nanoseconds): `status` may end an epoch twenty times a second.
const SAVE_EVERY: i128 = 1_000_000_000;

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    sums: Budgets,
    store: Option<Store>,
    unsaved: bool,
    saved: i128,
    problem: Option<String>,
    /// Whether there has been a rule with a budget.
    needed: bool,
    /// Whether a rule of the policy in force has one: its day ends at midnight.
    budgeted: bool,
    /// The clock that days go by; `None`: the wall clock.
    clock: Option<TrustedClock>,
}

impl Consumer for Keeper {
    fn begin(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.report(state, findings);
    }

    fn epoch(&mut self, epoch: &ClosedEpoch<'_>, _: &PolicyInForce, _: &mut AlertBatch<'_>) {
        self.count(epoch.snapshot);
    }

    fn review(&mut self, _: &ClosedEpoch<'_>, state: &mut MonitorState, findings: &mut Findings<'_>) {
        self.report(state, findings);
    }

    fn amend(&self, policy: &Arc<Policy>) -> Arc<Policy> {
        self.hold(policy)
    }

    fn deadline(&self, began: i128) -> Option<i128> {
        let ahead = self.ahead();
        self.budgeted.then(|| Day::of(began + ahead).end() - ahead)
    }

    fn stopped(&mut self, now: i128, _: &mut MonitorState, _: &mut Findings<'_>) {
        self.save(now);
    }
}

impl Keeper {
    /// With the sums that `directory` has of the day of `now` (UTC nanoseconds since 1970).
    pub fn open(directory: &Path, now: i128) -> Self {
        let (store, today) = (Store::new(directory), Day::of(now));
        let (sums, problem) = match store.load(today) {
            Ok(sums) => (sums, None),
            Err(error) => (Budgets::new(today), Some(error.to_string())),
        };
        // A file that is no good is replaced.
        let unsaved = problem.is_some();
        Self { sums, store: Some(store), unsaved, saved: 0, problem, needed: false, budgeted: false, clock: None }
    }

    /// With the sums of the day that it is by this clock, by which days go from now on. Where the directory is refused, the
    /// day begins anew.
    pub fn open_by(directory: &StateDirectory, clock: TrustedClock) -> Self {
        let now = clock.map().realtime_ns.into();
        let of_today = match directory.refused() {
            None => Self::open(directory.path(), now),
            Some(why) => Self { sums: Budgets::new(Day::of(now)), problem: Some(why.to_owned()), ..Self::in_memory() },
        };
        Self { clock: Some(clock), ..of_today }
    }

    fn ahead(&self) -> i128 {
        self.clock.as_ref().map_or(0, TrustedClock::ahead)
    }

    /// One that keeps nothing over a restart.
    pub const fn in_memory() -> Self {
        Self {
            sums: Budgets::new(Day(0)),
            store: None,
            unsaved: false,
            saved: 0,
            problem: None,
            needed: false,
            budgeted: false,
            clock: None,
        }
    }

    /// The sums.
    pub const fn sums(&self) -> &Budgets {
        &self.sums
    }

    /// What is wrong with the file, if that matters to this policy.
    pub fn problem(&self, policy: &Policy) -> Option<&str> {
        self.problem.as_deref().filter(|_| has_any(policy))
    }

    /// Counts an epoch, and writes the file if it is time.
    pub fn count(&mut self, snapshot: &Snapshot) {
        self.sums.ahead = self.ahead();
        self.unsaved |= self.sums.count(snapshot);
        // Without budgets the directory is none of our business.
        self.needed |= has_any(&snapshot.policy);
        if (snapshot.ended - self.saved).abs() >= SAVE_EVERY {
            self.save(snapshot.ended);
        }
    }

    /// How much is used of each budget of the policy in force, and which are used up.
    fn report(&mut self, state: &mut MonitorState, findings: &mut Findings<'_>) {
        let policy = Arc::clone(&state.in_force.policy);
        self.budgeted = has_any(&policy);
        state.budgets = self.sums.uses(&policy, &state.budgets, now());
        findings.report(FindingKind::ManagementVolume, self.sums.told(&policy));
        let mut suspended = BTreeMap::new();
        for (rule, _) in policy.rules.iter().zip(1..).filter(|(_, number)| policy.suspended.contains(number)) {
            let Some(today) = state.budgets.rules.get(&rule.id) else { continue };
            let detail = format!(
                "'{}' ({}) has let through {} of {} bytes on the wire on {}, {} of them beyond the budget until it was \
                 suspended; it holds again from {}",
                rule.id,
                rule.origin,
                today.used,
                today.most,
                state.budgets.day.text(),
                today.beyond(),
                rfc3339(state.budgets.day.end())
            );
            suspended.insert(rule.id.clone(), Some(detail));
        }
        for id in findings.subjects(FindingKind::BudgetUsedUp) {
            suspended.entry(id.to_owned()).or_default();
        }
        for (id, detail) in suspended {
            findings.report_of((FindingKind::BudgetUsedUp, &id), detail);
        }
        findings.report(FindingKind::BudgetState, self.problem(&policy));
    }

    /// Writes what is not written yet.
    pub fn save(&mut self, now: i128) {
        let Some(store) = self.store.as_ref().filter(|_| self.unsaved && self.needed) else { return };
        // A day on which no rule with a budget has sent anything needs no file, but replaces one.
        if self.sums.used.is_empty() && self.problem.is_none() && !store.path().exists() {
            self.unsaved = false;
            return;
        }
        self.saved = now;
        match store.save(&self.sums) {
            Ok(()) => (self.unsaved, self.problem) = (false, None),
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    /// The policy without the rules that have nothing left; the same where nothing changes.
    pub fn hold(&self, policy: &Arc<Policy>) -> Arc<Policy> {
        policy.suspending(&self.sums.used_up(policy))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use monitor_common::wire::FlowKey;

    use super::*;
    use crate::{clock::trust::Reading, fake};

    /// An epoch that ends so long after the fake's beginning, in which a rule with a budget, or one without, sent one
    /// packet of 104 bytes.
    fn epoch(after: i128, budget: bool) -> Snapshot {
        let mut policy = fake::policy();
        policy.rules[0].max_bytes_per_day = budget.then_some(1_000);
        let ended = fake::START + after;
        let mut snapshot = Snapshot { policy: policy.into(), started: ended - 1, ended, ..fake::snapshot(0) };
        fake::add(&mut snapshot, FlowKey { rule: 1, ..fake::key(7, fake::OUTSIDE, 1) }, 1);
        snapshot
    }

    /// What a restart would find.
    fn kept(directory: &Path) -> u64 {
        Store::new(directory).load(Day::of(fake::START)).expect("good").used("migration-sg")
    }

    #[test]
    fn the_file_is_written_once_a_second_at_most_by_whatever_way_the_clock_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut keeper = Keeper::open(directory.path(), fake::START);
        let noon = 3_600 * SAVE_EVERY;
        for (after, expected) in
            [(noon, 104), (noon + SAVE_EVERY - 1, 104), (noon + SAVE_EVERY, 312), (noon + 1, 312), (noon, 520)]
        {
            keeper.count(&epoch(after, true));
            assert_eq!(kept(directory.path()), expected, "{after}");
        }
        keeper.count(&epoch(noon + 1, true));
        keeper.save(fake::START + noon + 2);
        assert_eq!(kept(directory.path()), 624, "when it stops");
    }

    #[test]
    fn what_is_written_is_not_written_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut keeper = Keeper::open(directory.path(), fake::START);
        keeper.count(&epoch(SAVE_EVERY, true));
        let file = Store::new(directory.path()).path();
        std::fs::remove_file(&file).expect("it was written");
        keeper.save(fake::START + 9 * SAVE_EVERY);
        assert!(!file.exists());
    }

    #[test]
    fn without_budgets_no_file_is_made_and_a_bad_one_is_replaced_by_the_first_policy_with_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let mut keeper = Keeper::open(&state, fake::START);
        keeper.count(&epoch(SAVE_EVERY, false));
        assert!(!state.exists());
        // A budget, but of it nothing is used.
        keeper.count(&Snapshot { flows: Vec::new(), ..epoch(2 * SAVE_EVERY, true) });
        keeper.save(fake::START + 9 * SAVE_EVERY);
        assert!(!state.exists());

        let file = Store::new(directory.path()).path();
        std::fs::write(&file, "no").expect("written");
        let mut keeper = Keeper::open(directory.path(), fake::START);
        let (without, with) = (epoch(SAVE_EVERY, false), epoch(2 * SAVE_EVERY, true));
        assert_eq!((keeper.problem(&without.policy), keeper.problem(&with.policy).is_some()), (None, true));
        keeper.count(&without);
        assert_eq!(std::fs::read(&file).expect("there"), b"no");
        keeper.count(&Snapshot { flows: Vec::new(), ..with.clone() });
        assert_eq!((keeper.problem(&with.policy), kept(directory.path())), (None, 0));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_back_no_budget_and_the_day_ends_when_it_would_have() {
        let directory = tempfile::tempdir().expect("a directory");
        let midnight = Day::of(fake::START).end();
        let hour = 3_600 * SAVE_EVERY;
        // Half an hour after midnight by a synchronised clock; then an hour back.
        let set = Arc::new(AtomicBool::new(false));
        let back = Arc::clone(&set);
        let clock = TrustedClock::of(move || {
            let off = if back.load(Ordering::Relaxed) { hour } else { 0 };
            Reading { realtime: midnight + hour / 2 - off, boottime: 0, synchronised: Some(true) }
        });
        let mut keeper = Keeper::open_by(&StateDirectory::open(directory.path()), clock.clone());
        let after = midnight - fake::START;
        keeper.count(&epoch(after + hour / 2, true));
        assert_eq!((keeper.sums().day, keeper.sums().used("migration-sg")), (Day::of(midnight), 104));
        set.store(true, Ordering::Relaxed);
        // By the wall clock it is the day before; what is sent is of the day that has begun.
        keeper.count(&epoch(after - hour / 2 + SAVE_EVERY, true));
        assert_eq!((keeper.sums().day, keeper.sums().used("migration-sg")), (Day::of(midnight), 208));
        keeper.budgeted = true;
        assert_eq!(keeper.deadline(midnight - hour / 2), Some(Day::of(midnight).end() - hour));
        keeper.save(midnight);
        let again = Keeper::open_by(&StateDirectory::open(directory.path()), clock);
        assert_eq!((again.sums().day, again.sums().used("migration-sg")), (Day::of(midnight), 208));
        // Without what is remembered, the restart would have begun with nothing.
        let alone = Keeper::open(directory.path(), midnight - hour / 2);
        assert_eq!((alone.sums().used("migration-sg"), alone.problem.is_some()), (0, true));
    }
    #[test]
    fn sums_that_others_can_write_are_none_and_the_day_that_begins_anew_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut keeper = Keeper::open(directory.path(), fake::START);
        keeper.count(&epoch(SAVE_EVERY, true));
        keeper.save(fake::START + 9 * SAVE_EVERY);
        let clock = TrustedClock::of(|| Reading { realtime: fake::START, boottime: 0, synchronised: Some(true) });
        let mut state = StateDirectory::open(directory.path());
        assert_eq!(Keeper::open_by(&state, clock.clone()).sums().used("migration-sg"), 104);
        state.refuse("others can write to it".to_owned());
        let mut refused = Keeper::open_by(&state, clock);
        assert_eq!((refused.sums().day, refused.sums().used("migration-sg")), (Day::of(fake::START), 0));
        let with = epoch(SAVE_EVERY, true);
        let file = Store::new(directory.path()).path();
        let before = std::fs::read(&file).expect("it is there");
        refused.count(&with);
        refused.save(fake::START + 9 * SAVE_EVERY);
        assert_eq!(refused.problem(&with.policy), Some("others can write to it"));
        assert_eq!(std::fs::read(&file).expect("it is there"), before);
    }
}
