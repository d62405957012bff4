//! Both families' partitions in, how much address space each class has out.

use monitor_common::wire::{Class, ClassRow};

use crate::policy::{Extent, Summary};

pub(super) fn summarise(v4: &[(u32, u32)], v6: &[(u128, u32)], classes: &[ClassRow]) -> Summary {
    let mut summary = Summary::default();
    let mut add = |class_id: u32, count: &dyn Fn(&mut Extent)| {
        let row = &classes[class_id as usize];
        count(if row.embedded == 0 {
            &mut summary.classes[Class::from_wire(row.class) as usize]
        } else {
            &mut summary.embedded
        });
    };
    let v4_ends = v4.iter().skip(1).map(|step| u64::from(step.0)).chain([1 << 32]);
    for (&(start, class_id), end) in v4.iter().zip(v4_ends) {
        add(class_id, &|extent| {
            extent.v4_ranges += 1;
            extent.v4_addresses += end - u64::from(start);
        });
    }
    let v6_lasts = v6.iter().skip(1).map(|step| step.0 - 1).chain([u128::MAX]);
    for (&(start, class_id), last) in v6.iter().zip(v6_lasts) {
        add(class_id, &|extent| {
            extent.v6_ranges += 1;
            extent.v6_addresses = extent.v6_addresses.saturating_add((last - start).saturating_add(1));
        });
    }
    summary
}
