//! Sockets that would send past the hook are refused in enforce mode, by a program on setsockopt(2) of all control groups. It
//! goes by the same control word as packets do, and outlives the daemon as the links of interfaces do. Prevention, no
//! guarantee: the kernel asks it for 64-bit system calls alone, and not of sockets that are open already.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
};

use aya::{
    maps::{Array, HashMap, MapData, MapError, PerCpuArray},
    programs::{CgroupSockopt, ProgramError},
};
use monitor_common::bypass::Bypass;

use super::{
    Kernel, KernelError,
    cgroups::{ROOTS, root},
    error::with_causes,
    object::map,
    sys,
};

/// The program in the object.
const PROGRAM: &str = "bypass";

/// It is attached.
pub(super) struct Refusal {
    /// Control groups that may, as paths below the root.
    groups: Vec<String>,
    /// Those of them that are there, by id, as they were written.
    known: BTreeSet<u64>,
    ids: HashMap<MapData, u64, u8>,
    /// The network namespace whose sockets are refused, by its cookie, as it was written.
    cookie: u64,
    namespace: Array<MapData, u64>,
    refused: PerCpuArray<MapData, u64>,
    /// Without pins it is off when this is closed.
    link: OwnedFd,
}

fn refused(what: &'static str) -> impl Fn(io::Error) -> KernelError {
    move |error| KernelError::Bypass(format!("{what}: {error}"))
}

fn not_loaded(error: ProgramError) -> KernelError {
    KernelError::Bypass(with_causes(&error))
}

fn not_written(error: MapError) -> KernelError {
    KernelError::Bypass(format!("a map: {error}"))
}

impl Kernel {
    /// From now on, and as long as the mode is enforce, no program opens a way past the hook in this network namespace, but
    /// those in these control groups (paths below the root).
    ///
    /// # Errors
    /// The kernel can't refuse it. Everything else is as it was.
    pub fn refuse_bypass(&mut self, groups: &[String]) -> Result<(), KernelError> {
        let cookie = sys::namespace_cookie().map_err(refused("the network namespace has no number"))?;
        let program = self.bypass_program()?;
        // It may be loaded already: this is tried again where something else failed.
        if program.fd().is_err() {
            program.load().map_err(not_loaded)?;
        }
        // Until it knows the network namespace it refuses nothing, and one of an earlier start does.
        let link = self.link_bypass()?;
        let mut namespace: Array<_, u64> = map(&mut self.ebpf, "BYPASS_NAMESPACE")?;
        namespace.set(0, cookie, 0).map_err(not_written)?;
        let (ids, sums) = (map(&mut self.ebpf, "BYPASS_GROUPS")?, map(&mut self.ebpf, "BYPASS_REFUSED")?);
        let known = BTreeSet::new();
        let mut refusal = Refusal { groups: groups.to_vec(), known, ids, cookie, namespace, refused: sums, link };
        refusal.look()?;
        self.pin_bypass(&refusal.link)?;
        self.bypass = Some(refusal);
        Ok(())
    }

    /// Ends what an earlier start has left: it goes by the mode that was in force then.
    pub fn forget_earlier_bypass(&self) {
        if let (None, Some(pins)) = (&self.bypass, &self.pins) {
            pins.forget_bypass();
        }
    }

    fn bypass_program(&mut self) -> Result<&mut CgroupSockopt, KernelError> {
        let program = self.ebpf.program_mut(PROGRAM);
        let program = program.ok_or_else(|| KernelError::Load(format!("the object has no program {PROGRAM}")))?;
        program.try_into().map_err(not_loaded)
    }

    /// Attaches the program, which is loaded, and gives what keeps it there.
    fn link_bypass(&mut self) -> Result<OwnedFd, KernelError> {
        let root = root().ok_or_else(|| {
            KernelError::Bypass(format!("no control groups of version 2 are mounted at {}", ROOTS.join(" or ")))
        })?;
        let root = File::open(root).map_err(refused("the root of all control groups can't be opened"))?;
        let program = self.bypass_program()?.fd().map_err(not_loaded)?;
        sys::attach_to_setsockopt(program, root).map_err(refused("the program can't be attached"))
    }

    /// Has it outlive the daemon, if anything does.
    fn pin_bypass(&mut self, link: &OwnedFd) -> Result<(), KernelError> {
        if let Some(pins) = &mut self.pins {
            let at = pins.bypass();
            // The one before, whose program goes by maps that are not in force any more.
            pins.forget_bypass();
            sys::pin(link, &at).map_err(refused("the link can't be pinned"))?;
            pins.note_bypass();
        }
        Ok(())
    }

    /// Whether they are, in enforce mode.
    pub const fn refuses_bypass(&self) -> bool {
        self.bypass.is_some()
    }

    /// Looks for the control groups that may, which come and go with what is in them, and whether the program is still there:
    /// if not, it is put back. How often each way past the hook was refused since this was loaded, by [`Bypass`]; `None`:
    /// nothing is refused.
    ///
    /// # Errors
    /// The maps can't be read or written; or somebody had taken it off, and it is there again or not.
    pub fn refused_bypass(&mut self) -> Result<Option<[u64; Bypass::ALL.len()]>, KernelError> {
        let Some(refusal) = &mut self.bypass else { return Ok(None) };
        refusal.look()?;
        let mut sums = [0; Bypass::ALL.len()];
        for (number, sum) in sums.iter_mut().enumerate() {
            *sum = refusal.refused.get(&(number as u32), 0).map_err(not_written)?.iter().sum();
        }
        if !sys::is_on_a_group(&refusal.link).map_err(refused("its link can't be read"))? {
            self.attach_bypass_again()?;
            return Err(KernelError::Bypass("somebody had taken the program off; it is there again".into()));
        }
        Ok(Some(sums))
    }

    /// What of the maps that it goes by is not as it was written; `None`: all is.
    pub(super) fn bypass_differs(&self) -> Option<String> {
        self.bypass.as_ref()?.differs()
    }

    /// Writes them again.
    pub(super) fn write_bypass_again(&mut self) -> Result<(), KernelError> {
        self.bypass.as_mut().map_or(Ok(()), Refusal::write_again)
    }

    /// Attaches the program by another link, where it is attached.
    pub(super) fn attach_bypass_again(&mut self) -> Result<(), KernelError> {
        if self.bypass.is_some() {
            let link = self.link_bypass()?;
            self.pin_bypass(&link)?;
            if let Some(refusal) = &mut self.bypass {
                refusal.link = link;
            }
        }
        Ok(())
    }

    /// The same for other maps that are in the place of those before.
    pub(super) fn refuse_bypass_again(&mut self) {
        let Some(before) = self.bypass.take() else { return };
        if let Err(error) = self.refuse_bypass(&before.groups) {
            tracing::error!(%error, "sockets that send past the hook are not refused any more");
        }
    }
}

impl Refusal {
    fn look(&mut self) -> Result<(), KernelError> {
        let id = |group: &String| {
            let found = fs::metadata(root()?.join(group.trim_start_matches('/'))).ok()?;
            // Of a directory there the inode's number is the group's id.
            Some(found.ino())
        };
        let there: BTreeSet<u64> = self.groups.iter().filter_map(id).collect();
        for id in there.difference(&self.known.clone()) {
            self.ids.insert(id, 1, 0).map_err(not_written)?;
            self.known.insert(*id);
        }
        for id in self.known.clone().difference(&there) {
            // What somebody else has removed is gone as well.
            remove(&mut self.ids, *id)?;
            self.known.remove(id);
        }
        Ok(())
    }

    fn ids(&self) -> Result<BTreeSet<u64>, MapError> {
        self.ids.keys().collect()
    }

    /// What can't be read is not said to differ.
    fn differs(&self) -> Option<String> {
        let there = (self.namespace.get(&0, 0).ok()?, self.ids().ok()?);
        difference((self.cookie, &self.known), (there.0, &there.1))
    }

    fn write_again(&mut self) -> Result<(), KernelError> {
        self.namespace.set(0, self.cookie, 0).map_err(not_written)?;
        let there = self.ids().map_err(not_written)?;
        for id in there.difference(&self.known) {
            remove(&mut self.ids, *id)?;
        }
        for id in self.known.difference(&there) {
            self.ids.insert(id, 1, 0).map_err(not_written)?;
        }
        Ok(())
    }
}

fn remove(ids: &mut HashMap<MapData, u64, u8>, id: u64) -> Result<(), KernelError> {
    match ids.remove(&id) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(error) => Err(not_written(error)),
    }
}

/// In what the network namespace and the control groups that are there differ from those that were written.
fn difference(written: (u64, &BTreeSet<u64>), there: (u64, &BTreeSet<u64>)) -> Option<String> {
    let (foreign, gone) = (there.1.difference(written.1).count(), written.1.difference(there.1).count());
    if there.0 != written.0 {
        Some(format!("sockets of network namespace {} are refused; ours is {}", there.0, written.0))
    } else if foreign > 0 {
        Some(format!("{foreign} control groups that nobody named may send past the hook"))
    } else {
        (gone > 0).then(|| format!("{gone} control groups that are named may not send past the hook"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_let_past_the_hook_or_kept_from_it_otherwise_than_was_written_is_told() {
        let of = |there: u64, ids: &[u64]| difference((7, &[1, 2].into()), (there, &ids.iter().copied().collect()));
        assert_eq!(of(7, &[2, 1]), None);
        assert_eq!(of(0, &[1, 2]).unwrap(), "sockets of network namespace 0 are refused; ours is 7");
        assert_eq!(of(7, &[1, 2, 3]).unwrap(), "1 control groups that nobody named may send past the hook");
        assert_eq!(of(7, &[]).unwrap(), "2 control groups that are named may not send past the hook");
    }
}
