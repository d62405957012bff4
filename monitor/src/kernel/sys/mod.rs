//! The system calls that aya has none for, a file a subject. All of userspace's `unsafe` is here.

mod allocator;
mod async_fd;
mod batch;
mod bpf;
mod ethtool;
mod file_size;
mod grace_period;
mod mmap;
mod peer;
mod sockets;
mod threads;
mod timex;

pub use self::{
    allocator::{tame_allocator, trim_heap},
    async_fd::async_fd,
    batch::{drain_hash, estimate_entries},
    bpf::{
        ProgramInfo, TcxProgram, attach_to_setsockopt, is_on_a_group, mount_bpffs, pin, program_info, take_off,
        tcx_programs,
    },
    ethtool::Devices,
    file_size::survive_file_size_limit,
    grace_period::GracePeriod,
    mmap::MappedArray,
    peer::peer,
    sockets::{inherited_sockets, namespace_cookie, peer_groups},
    threads::unshare_directory,
    timex::clock_status,
};
