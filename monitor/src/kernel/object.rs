//! The kernel part's object file, compiled into the daemon, and its programs and maps by name.

use std::os::fd::{BorrowedFd, OwnedFd};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
    programs::{ProgramError, SchedClassifier},
};

use super::{KernelError, error::with_causes};

/// The object that monitor/build.rs compiled.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/egress-monitor-ebpf"));

/// On the way out of interfaces: counts and decides.
pub(super) const EGRESS: &str = "egress";
/// Reads the kernel's clocks when it is run.
pub(super) const CLOCK: &str = "clock";
/// Answers what the policy in a slot says of a destination.
pub(super) const PROBE: &str = "probe";

/// A program of the object.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, KernelError> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| KernelError::Load(format!("the object has no program {name}")))?;
    program.try_into().map_err(|error: ProgramError| KernelError::Load(with_causes(&error)))
}

/// A map of the object, once.
pub(super) fn map<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, KernelError> {
    let map = ebpf.take_map(name).ok_or_else(|| KernelError::Load(format!("the object has no map {name}")))?;
    T::try_from(map).map_err(|error| KernelError::Load(format!("map {name}: {error}")))
}

/// The plain data of a map, once.
pub(super) fn data(ebpf: &mut Ebpf, name: &str) -> Result<MapData, KernelError> {
    match ebpf.take_map(name) {
        Some(Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data)) => Ok(data),
        _ => Err(KernelError::Load(format!("the object has no map {name} of a kind that is known"))),
    }
}

/// The file descriptor of a map.
pub(super) fn fd(map: &MapData) -> BorrowedFd<'_> {
    use std::os::fd::AsFd as _;
    map.fd().as_fd()
}

/// Another descriptor of a map that is pinned, of one of those kinds.
pub(super) fn another_fd(ebpf: &Ebpf, name: &'static str) -> Result<(&'static str, OwnedFd), KernelError> {
    match ebpf.map(name) {
        Some(Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data)) => {
            let another = fd(data).try_clone_to_owned().map_err(KernelError::map("can't keep a map"))?;
            Ok((name, another))
        }
        _ => Err(KernelError::Load(format!("the object has no map {name} of a kind that is pinned"))),
    }
}
