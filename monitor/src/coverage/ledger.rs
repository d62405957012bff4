//! What each device sent while nobody watched it: kept from one look to the next, so that it can be told.

use std::collections::BTreeMap;

use super::plan::Plan;
use crate::model::{
    Attachment,
    coverage::{Coverage, Covered, Device},
    readings::Amount,
};

/// Devices that were seen, by index.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What a device that is not watched had sent when that began.
    since: BTreeMap<u32, Amount>,
    /// What a device had sent when it was attached to.
    before: BTreeMap<u32, Amount>,
}

impl Ledger {
    /// Forgets a device: another one may get its index.
    pub fn forget(&mut self, index: u32) {
        self.since.remove(&index);
        self.before.remove(&index);
    }

    /// The devices as they are now, under `plan`, with what is attached. What cannot be attached to is in `refused`, with
    /// why.
    pub fn report(
        &mut self,
        devices: &[Device],
        plan: &Plan,
        attached: &[Attachment],
        refused: &BTreeMap<u32, String>,
    ) -> Coverage {
        let by_index: BTreeMap<u32, &Device> = devices.iter().map(|device| (device.index, device)).collect();
        let attached: BTreeMap<u32, &Attachment> = attached.iter().map(|one| (one.ifindex, one)).collect();
        self.since.retain(|index, _| by_index.contains_key(index));
        self.before.retain(|index, _| by_index.contains_key(index));
        let mut rows = Vec::new();
        for planned in &plan.devices {
            let Some(device) = by_index.get(&planned.index) else { continue };
            let attachment = attached.get(&planned.index);
            let unwatched = match attachment {
                Some(_) => {
                    self.since.remove(&device.index);
                    self.before.get(&device.index).copied().unwrap_or_default()
                }
                None => {
                    self.before.remove(&device.index);
                    let from = *self.since.entry(device.index).or_insert(device.sent);
                    Amount {
                        packets: device.sent.packets.saturating_sub(from.packets),
                        bytes: device.sent.bytes.saturating_sub(from.bytes),
                    }
                }
            };
            let refusal = refused.get(&device.index).filter(|_| attachment.is_none());
            rows.push(Covered {
                name: device.name.clone(),
                index: device.index,
                role: planned.role,
                kind: device.kind.clone(),
                up: device.up,
                since: attachment.map(|one| one.since),
                why: refusal.unwrap_or(&planned.why).clone(),
                refused: refusal.is_some(),
                wanted: planned.wanted,
                unwatched,
            });
        }
        Coverage { devices: rows, unfit: plan.unfit.clone(), ..Coverage::default() }
    }

    /// Notes what a device had sent before it was attached to.
    pub fn attached(&mut self, index: u32, before: Amount) {
        self.before.insert(index, before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        coverage::{Attached, Wanted, plan},
        model::coverage::Role,
    };

    fn card(index: u32, packets: u64) -> Device {
        let sent = Amount { packets, bytes: packets * 100 };
        Device { index, name: format!("eth{index}"), hardware: true, up: true, sent, ..Device::default() }
    }

    fn attachment(ifindex: u32) -> Attachment {
        Attachment { interface: format!("eth{ifindex}"), ifindex, since: 7, ..Attachment::default() }
    }

    fn look(ledger: &mut Ledger, devices: &[Device], attached: &[Attachment]) -> Coverage {
        let plan = plan(devices, &Wanted::new(&["auto".into()], &[]), &Attached::new());
        ledger.report(devices, &plan, attached, &BTreeMap::new())
    }

    fn leaking(coverage: &Coverage) -> Vec<(u32, u64)> {
        coverage.leaking().map(|device| (device.index, device.unwatched.packets)).collect()
    }

    #[test]
    fn an_edge_that_sends_unwatched_is_held_against_what_it_had_sent_when_it_was_found() {
        let mut ledger = Ledger::default();
        assert_eq!(leaking(&look(&mut ledger, &[card(2, 40)], &[])), []);
        assert_eq!(leaking(&look(&mut ledger, &[card(2, 43)], &[])), [(2, 3)]);
        assert_eq!(leaking(&look(&mut ledger, &[card(2, 50)], &[attachment(2)])), []);
        // Let go of again: only what it sends from here on.
        assert_eq!(leaking(&look(&mut ledger, &[card(2, 60)], &[])), []);
        assert_eq!(leaking(&look(&mut ledger, &[card(2, 61)], &[])), [(2, 1)]);
    }

    #[test]
    fn what_it_sent_before_is_told_of_a_device_that_is_watched() {
        let mut ledger = Ledger::default();
        ledger.attached(2, Amount { packets: 5, bytes: 500 });
        let coverage = look(&mut ledger, &[card(2, 90)], &[attachment(2)]);
        assert_eq!((coverage.devices[0].since, coverage.devices[0].unwatched.packets), (Some(7), 5));
        ledger.forget(2);
        assert_eq!(look(&mut ledger, &[card(2, 0)], &[attachment(2)]).devices[0].unwatched.packets, 0);
    }

    #[test]
    fn two_thousand_guests_are_listed_and_none_of_them_is_to_be_attached_to() {
        let veth = |index: u32| Device {
            kind: Some("veth".into()),
            master: Some(3),
            hardware: false,
            name: format!("veth{index}"),
            ..card(index, 7)
        };
        let bridge = Device { kind: Some("bridge".into()), hardware: false, ..card(3, 0) };
        let devices: Vec<Device> = [card(2, 0), bridge].into_iter().chain((10..2_010).map(veth)).collect();
        let plan = plan(&devices, &Wanted::new(&["auto".into()], &[]), &Attached::new());
        let watched: Vec<u32> = plan.devices.iter().filter(|one| one.watch).map(|one| one.index).collect();
        assert_eq!(watched, [2]);
        let mut ledger = Ledger::default();
        let coverage = look(&mut ledger, &devices, &[attachment(2)]);
        let guests =
            coverage.devices.iter().filter(|one| one.role == Role::Guest && one.since.is_none() && !one.wanted);
        assert_eq!((coverage.devices.len(), guests.count()), (2_002, 2_000));
        assert_eq!(leaking(&coverage), []);
        // Of those that are gone nothing is kept.
        look(&mut ledger, &devices[..2], &[attachment(2)]);
        assert_eq!((ledger.since.len(), ledger.before.len()), (1, 0));
    }

    #[test]
    fn why_a_device_could_not_be_attached_to_comes_before_why_it_was_to_be() {
        let devices = [card(2, 0)];
        let plan = plan(&devices, &Wanted::new(&["auto".into()], &[]), &Attached::new());
        let refused = [(2, "the kernel says no".to_owned())].into();
        let coverage = Ledger::default().report(&devices, &plan, &[], &refused);
        assert_eq!(coverage.devices[0].why, "the kernel says no");
    }
}
