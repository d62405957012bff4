//! Names that nobody refers to any more are given back: rule ids and interface names that no policy that the engine may
//! have flows of, no flow and no consumer has. What was counted under them since the start goes on under `(other)`.

use super::Engine;
use crate::model::{Snapshot, identities::NameSet};

/// How many eighths of a table are in use when names are given back.
const CROWDED: usize = 4;

impl Engine {
    /// Before a policy with so many rules: all may be new.
    pub(super) fn make_room_for_rules(&mut self, rules: usize) {
        let crowded = self.state.read().traffic.identities.rules.is_beyond(rules, CROWDED);
        if crowded {
            self.release_names();
        }
    }

    /// Before an epoch, which may have had new interfaces.
    pub(super) fn make_room_for_interfaces(&mut self, epoch: &Snapshot) {
        let crowded = {
            let names = &self.state.read().traffic.identities.interfaces;
            let new = epoch.interfaces.iter().filter(|interface| names.find(&interface.name).is_none()).count();
            new > 0 && names.is_beyond(new, CROWDED)
        };
        if crowded {
            self.release_names();
        }
    }

    fn release_names(&mut self) {
        let shared = self.state.clone();
        // Whoever reads flows or sums has the names of the same moment.
        let (mut recent, mut flows) = (shared.recent_mut(), shared.flows_mut());
        let mut used = NameSet::default();
        recent.names(&mut used);
        flows.names(&mut used);
        self.pipeline.names(&mut used);
        used.interfaces.extend(self.interfaces.names());
        used.rules.extend(self.book.iter().flat_map(|(_, resolver)| resolver.names()));
        let mut state = shared.write();
        let interfaces = &state.traffic.identities.interfaces;
        used.interfaces.extend(state.attachments.iter().filter_map(|one| interfaces.find(&one.interface)));
        let released = state.traffic.identities.release(&used);
        if released.is_empty() {
            return;
        }
        tracing::info!(
            rules = released.rules.len(),
            interfaces = released.interfaces.len(),
            "names that nothing has any more are given back; what was counted under them is under (other)"
        );
        recent.forget(&released);
        flows.forget(&released);
        state.traffic.totals.forget(&released);
        state.traffic.latest.forget(&released);
        self.pipeline.forget(&released);
    }
}
