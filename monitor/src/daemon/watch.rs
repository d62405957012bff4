//! Looks at the kernel part and at the files on disk, has `tamper` decide, and has the kernel part put right what is to be.
//! Called by the engine through the kernel source.

use std::{path::PathBuf, time::Instant};

use super::{neighbours, on_disk::OnDisk};
use crate::{
    config::{Config, Heal},
    engine::source::Watched,
    helper::Helper,
    kernel::Kernel,
    model::{FindingKind, now},
    tamper::{Wanted, Warden, When},
};

/// See the module.
#[derive(Debug)]
pub struct Watch {
    warden: Warden,
    on_disk: OnDisk,
    helper: Helper,
    bpffs: PathBuf,
}

impl Watch {
    /// Of this process, as it is on disk now.
    pub fn new(config: &Config) -> Self {
        let heal = match config.heal {
            Heal::Enforce => When::Enforcing,
            Heal::Always => When::Always,
            Heal::Never => When::Never,
        };
        Self {
            warden: Warden::new(Wanted { heal, order: config.heal_order }),
            on_disk: OnDisk::now(),
            helper: Helper::at(config.paths.helper.clone()),
            bpffs: config.paths.bpffs.clone(),
        }
    }

    /// Looks, and puts right.
    pub fn look(&mut self, kernel: &mut Kernel) -> Watched {
        let mut look = kernel.look();
        look.seen.extend(self.on_disk.look());
        if look.complete {
            self.warden.compared(now());
        }
        let decided = self.warden.look(look.seen, kernel.mode().enforces(), (Instant::now(), now()));
        let mut judged = false;
        for place in decided.heal {
            let sighting = self.warden.report().open[place].sighting.clone();
            if sighting.kind == FindingKind::BpffsUnmounted
                && let Some(why) = neighbours::mount(&self.helper, &self.bpffs)
            {
                tracing::warn!(why, "the BPF file system is not mounted again by the helper");
            }
            let result = kernel.heal(&sighting);
            judged |= decides(sighting.kind) && result.is_ok();
            self.warden.healed(place, result.map_err(|error| error.to_string()), Instant::now());
        }
        Watched { report: self.warden.report().clone(), judged, soon: decided.soon }
    }
}

/// Whether packets that were judged before may have been judged otherwise.
const fn decides(kind: FindingKind) -> bool {
    matches!(
        kind,
        FindingKind::ControlWordChanged
            | FindingKind::ClassRowChanged
            | FindingKind::RuleRowChanged
            | FindingKind::ImageChanged
            | FindingKind::InterfaceTableChanged
    )
}
