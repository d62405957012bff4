//! [`Coverage`] in, the devices of the documents out.

use monitor_api::status::DeviceStatus;

use crate::model::{Coverage, coverage::Covered, rfc3339};

/// Devices that a document lists.
const MOST: usize = 4_096;

/// The devices that are up or are to be watched, and how many more there are.
pub fn devices(coverage: &Coverage) -> (Vec<DeviceStatus>, usize) {
    let shown = |device: &&Covered| device.up || device.wanted || device.since.is_some();
    let all: Vec<&Covered> = coverage.devices.iter().filter(shown).collect();
    let left_out = all.len().saturating_sub(MOST);
    (all.into_iter().take(MOST).map(device).collect(), left_out)
}

fn device(of: &Covered) -> DeviceStatus {
    DeviceStatus {
        name: of.name.clone(),
        index: of.index,
        role: of.role.name().into(),
        kind: of.kind.clone(),
        up: of.up,
        since: of.since.map(rfc3339),
        why: (!of.why.is_empty()).then(|| of.why.clone()),
        wanted: of.wanted,
        unwatched: of.unwatched,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_down_and_nobody_asks_for_is_left_out_and_so_is_what_is_too_much() {
        let up = Covered { up: true, ..Covered::default() };
        let wanted = Covered { wanted: true, ..Covered::default() };
        let three = vec![up.clone(), wanted, Covered::default()];
        let list = |all| {
            let (listed, left_out) = devices(&Coverage { devices: all, ..Coverage::default() });
            (listed.len(), left_out)
        };
        assert_eq!(list(three), (2, 0));
        assert_eq!(list(vec![up; MOST + 3]), (MOST, 3));
    }
}
