//! The system call bpf(2) itself, with the structures of aya-obj's bindings.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_prog_info};

/// Attributes of zeros, which is what the kernel wants to see in all that a command does not read.
pub(super) fn attributes() -> bpf_attr {
    // SAFETY: a union of structures of integers.
    unsafe { std::mem::zeroed() }
}

/// Calls bpf(2). A kernel that knows fewer attributes takes the longer union, as long as the rest is zero.
///
/// # Safety
/// The pointers in `attr` are to live memory of the sizes that the command reads and writes.
pub(super) unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a union bpf_attr of the length given, and what it points to is as the caller says.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes a map.
pub(super) fn create_map(mut attr: bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: BPF_MAP_CREATE follows no pointer.
    let fd = unsafe { bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a program to setsockopt(2) of a control group and those below it, beside others. It is off when nobody holds the
/// link any more.
pub fn attach_to_setsockopt(program: impl AsFd, group: impl AsFd) -> io::Result<OwnedFd> {
    let mut attr = attributes();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_fd().as_raw_fd() as u32;
    attr.link_create.__bindgen_anon_2.target_fd = group.as_fd().as_raw_fd() as u32;
    attr.link_create.attach_type = bpf_attach_type::BPF_CGROUP_SETSOCKOPT as u32;
    // SAFETY: BPF_LINK_CREATE follows no pointer of this attach type.
    let fd = unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether a link of [`attach_to_setsockopt`] still has its program on a control group: it has none when somebody took it off.
pub fn is_on_a_group(link: impl AsFd) -> io::Result<bool> {
    // SAFETY: a structure of integers and unions of them.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attr = attributes();
    attr.info.bpf_fd = link.as_fd().as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_link_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    // SAFETY: `info` has room for `info_len` bytes.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    // SAFETY: the part that the kernel writes of a link of this type; numbers in any case.
    Ok(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id } != 0)
}

/// A program on the way out of an interface by TCX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcxProgram {
    /// Its id.
    pub program: u32,
    /// That of the link that holds it; 0: none does.
    pub link: u32,
}

/// The first programs that TCX runs on the way out of an interface of this network namespace, in order.
pub fn tcx_programs(ifindex: u32) -> io::Result<Vec<TcxProgram>> {
    let (mut programs, mut links) = ([0_u32; 64], [0_u32; 64]);
    let mut attr = attributes();
    attr.query.__bindgen_anon_1.target_ifindex = ifindex;
    attr.query.attach_type = bpf_attach_type::BPF_TCX_EGRESS as u32;
    attr.query.prog_ids = programs.as_mut_ptr() as u64;
    attr.query.link_ids = links.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.count = programs.len() as u32;
    // SAFETY: `prog_ids` and `link_ids` have room for `count` numbers; the other pointers are null.
    match unsafe { bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) } {
        // ENOSPC: there are more; the first are there.
        Err(error) if error.raw_os_error() != Some(libc::ENOSPC) => Err(error),
        _ => {
            // SAFETY: the field that the command wrote; a number in any case.
            let count = unsafe { attr.query.__bindgen_anon_2.count } as usize;
            let both = programs.into_iter().zip(links).take(count);
            Ok(both.map(|(program, link)| TcxProgram { program, link }).collect())
        }
    }
}

/// What the kernel says of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// What it makes of its instructions.
    pub tag: [u8; 8],
    /// The user who loaded it.
    pub user: u32,
    /// At most 15 bytes; may be empty.
    pub name: Vec<u8>,
}

/// The program of an id; takes CAP_SYS_ADMIN.
///
/// # Errors
/// There is none (`NotFound`), or it is not permitted.
pub fn program_info(id: u32) -> io::Result<ProgramInfo> {
    let mut attr = attributes();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    // SAFETY: BPF_PROG_GET_FD_BY_ID follows no pointer.
    let fd = unsafe { bpf(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: a structure of integers, of which pointers that are null are not followed.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = attributes();
    attr.info.bpf_fd = fd.as_raw_fd() as u32;
    attr.info.info_len = size_of_val(&info) as u32;
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    // SAFETY: `info` has room for `info_len` bytes.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let name = info.name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    Ok(ProgramInfo { tag: info.tag, user: info.created_by_uid, name })
}

/// Takes a pinned link off what it is on. Without this it goes with its last reference, some time after its pin
/// (`bpf_link_free`, kernel 6.1 and later).
///
/// # Errors
/// Nothing is pinned there, or it can't be taken off.
pub fn take_off(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = attributes();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: `pathname` is a string that outlives the call.
    let fd = unsafe { bpf(bpf_cmd::BPF_OBJ_GET, &mut attr) }?;
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let mut attr = attributes();
    attr.link_detach.link_fd = fd.as_raw_fd() as u32;
    // SAFETY: BPF_LINK_DETACH follows no pointer.
    unsafe { bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr) }.map(drop)
}

/// Pins what a descriptor stands for.
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attributes();
    attr.__bindgen_anon_4.bpf_fd = object.as_fd().as_raw_fd() as u32;
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: `pathname` is a string that outlives the call.
    unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Mounts a BPF file system. Needs CAP_SYS_ADMIN.
pub fn mount_bpffs(at: &Path) -> io::Result<()> {
    let at = CString::new(at.as_os_str().as_bytes())?;
    let (what, flags) = (c"bpf".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    // SAFETY: strings that outlive the call.
    match unsafe { libc::mount(what, at.as_ptr(), what, flags, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
