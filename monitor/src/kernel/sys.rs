//! Raw system calls that aya has none for: batch operations, shared memory of array maps, the grace period,
//! what ethtool says of an interface, which programs are on it. All of userspace's `unsafe` is here.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
    sync::{atomic::AtomicU64, mpsc},
};

use bytemuck::Pod;
use memmap2::{MmapOptions, MmapRaw};
use tokio::io::unix::AsyncFd;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
const BPF_TCX_EGRESS: u32 = 47;

/// The fields of `union bpf_attr` that BPF_MAP_CREATE reads here.
#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// The fields that BPF_MAP_UPDATE_ELEM reads.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The fields that the batch commands read and write.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The fields that BPF_PROG_QUERY reads and writes here.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    _pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a prefix of union bpf_attr of the length given; the kernel takes the rest as zero. The
    // pointers in it are to live memory of the sizes that the command works with, see each caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn create(attr: CreateAttr) -> io::Result<OwnedFd> {
    let mut attr = attr;
    let fd = bpf(BPF_MAP_CREATE, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits for programs that are running. An update of an array of maps returns only after an RCU grace period
/// (`maybe_wait_bpf_programs`, kernel 4.20), and a program runs within one read-side section.
#[derive(Debug)]
pub struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    /// Makes the two maps that the wait needs.
    pub fn new() -> io::Result<Self> {
        let inner = create(CreateAttr {
            map_type: BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            ..CreateAttr::default()
        })?;
        let outer = create(CreateAttr {
            map_type: BPF_MAP_TYPE_ARRAY_OF_MAPS,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            inner_map_fd: inner.as_raw_fd() as u32,
            ..CreateAttr::default()
        })?;
        Ok(Self { outer, inner })
    }

    /// Returns when every program that was running at the call has ended.
    pub fn wait(&self) -> io::Result<()> {
        let key = 0_u32;
        let value = self.inner.as_raw_fd() as u32;
        let mut attr = ElementAttr {
            map_fd: self.outer.as_raw_fd() as u32,
            _pad: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: std::ptr::from_ref(&value) as u64,
            flags: 0,
        };
        bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
    }
}

/// Buckets that are looked at to know how full a map is.
const SAMPLE: usize = 512;

/// Entries taken by one system call. A bucket that does not fit gives ENOSPC; no bucket is nearly so long.
const BATCH: usize = 8_192;

/// Where a batch is to begin: at the beginning, or where another has ended.
type Cursor = Option<u32>;

/// What one system call got of a hash map.
struct Batch<K, V> {
    // Fresh pages of the system's: those that nothing is written to cost nothing.
    keys: Vec<K>,
    values: Vec<V>,
    /// Of these, how many are filled.
    count: usize,
}

impl<K: Pod, V: Pod> Batch<K, V> {
    fn new(length: usize) -> Self {
        Self { keys: bytemuck::zeroed_vec(length), values: bytemuck::zeroed_vec(length), count: 0 }
    }

    /// Takes out what comes from the cursor on, and moves it. Gives whether there may be more.
    fn take(&mut self, map: BorrowedFd<'_>, cursor: &mut Cursor) -> io::Result<bool> {
        self.call(BPF_MAP_LOOKUP_AND_DELETE_BATCH, map, cursor)
    }

    fn call(&mut self, command: libc::c_long, map: BorrowedFd<'_>, cursor: &mut Cursor) -> io::Result<bool> {
        let mut next = 0_u32;
        let mut attr = BatchAttr {
            in_batch: cursor.as_ref().map_or(0, |cursor| std::ptr::from_ref(cursor) as u64),
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: self.keys.len() as u32,
            map_fd: map.as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        let result = bpf(command, &mut attr);
        self.count = match result.as_ref().map_err(io::Error::raw_os_error) {
            // ENOENT is the end of the map; a bucket that is locked ends a call too, after others were taken and
            // removed (EBUSY, or ETIMEDOUT and EDEADLK since kernel 6.15).
            Ok(_) | Err(Some(libc::ENOENT | libc::EBUSY | libc::ETIMEDOUT | libc::EDEADLK)) => attr.count as usize,
            Err(_) => 0,
        };
        match result {
            Ok(_) => *cursor = Some(next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn entries(&self) -> impl Iterator<Item = (K, V)> {
        self.keys.iter().copied().zip(self.values.iter().copied()).take(self.count)
    }
}

/// About how many entries a hash map with room for so many holds: what its last buckets hold, extrapolated; none where
/// the kernel does not say.
pub fn estimate<K: Pod, V: Pod>(map: BorrowedFd<'_>, capacity: usize) -> usize {
    let buckets = capacity.next_power_of_two();
    let sample = buckets.min(SAMPLE);
    // With every place taken there is one to a bucket.
    let mut batch = Batch::<K, V>::new(2 * sample);
    // It ends with the last bucket, so with an error.
    let _ = batch.call(BPF_MAP_LOOKUP_BATCH, map, &mut Some((buckets - sample) as u32));
    batch.count * (buckets / sample)
}

/// Takes every entry out of a hash map that nobody writes to any more and gives it to `entry`: what was taken before
/// an error too, also by the very call that failed.
///
/// The calling thread goes through the whole map. If there is much, another takes from the middle on meanwhile, and what
/// it takes the first finds no more: whatever becomes of the second, every entry comes once.
pub fn drain_hash<K: Pod + Send, V: Pod + Send>(
    map: BorrowedFd<'_>,
    capacity: usize,
    mut entry: impl FnMut(K, V),
) -> io::Result<()> {
    let (mut batch, mut cursor) = (Batch::new(BATCH), None);
    let mut more = batch.take(map, &mut cursor);
    batch.entries().for_each(|(key, value)| entry(key, value));
    if !more.as_ref().is_ok_and(|more| *more) {
        return more.map(drop);
    }
    std::thread::scope(|scope| {
        let (done, helped) = mpsc::sync_channel(4);
        // For the kernel a cursor is the number of a bucket, and one that there is not the end; if that should change,
        // the second thread takes less.
        let mut middle = Some((capacity.next_power_of_two() / 2) as u32);
        let help = move || {
            let mut more = true;
            while more {
                let mut batch = Batch::<K, V>::new(BATCH);
                more = batch.take(map, &mut middle).unwrap_or(false);
                if done.send(batch).is_err() {
                    return;
                }
            }
        };
        // Without another thread it takes longer.
        let _ = std::thread::Builder::new().spawn_scoped(scope, help);
        while let Ok(true) = more {
            more = batch.take(map, &mut cursor);
            batch.entries().for_each(|(key, value)| entry(key, value));
            for batch in helped.try_iter() {
                batch.entries().for_each(|(key, value)| entry(key, value));
            }
        }
        for batch in helped {
            batch.entries().for_each(|(key, value)| entry(key, value));
        }
        more.map(drop)
    })
}

/// The memory of a `BPF_F_MMAPABLE` array map, shared with the kernel.
#[derive(Debug)]
pub struct Shared<T> {
    memory: MmapRaw,
    length: usize,
    _t: PhantomData<T>,
}

impl<T: Pod> Shared<T> {
    /// Maps an array of `length` elements. The kernel rounds an element up to 8 bytes: `T` must be such already.
    pub fn of(map: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let bytes = (length * size_of::<T>()).next_multiple_of(page_size());
        let memory = MmapOptions::new().len(bytes).map_raw(map.as_raw_fd())?;
        Ok(Self { memory, length, _t: PhantomData })
    }

    /// Maps the elements `start..start + count` alone, of which the first begins a page.
    pub fn window(map: BorrowedFd<'_>, start: usize, count: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let bytes = (count * size_of::<T>()).next_multiple_of(page_size());
        let offset = (start * size_of::<T>()) as u64;
        let memory = MmapOptions::new().offset(offset).len(bytes).map_raw(map.as_raw_fd())?;
        Ok(Self { memory, length: count, _t: PhantomData })
    }

    /// Elements `start..start + count`, for a part that no program is using: the other policy slot, the closed
    /// half of an epoch. The caller knows that from the control word and the grace period.
    pub fn part(&mut self, start: usize, count: usize) -> &mut [T] {
        assert!(start + count <= self.length, "a part past the end of a map");
        // SAFETY: within the mapping by the assertion (its length is a multiple of T, page-aligned); `Pod` takes
        // any bytes; nobody else writes to the part, as the contract of this function says.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast::<T>().add(start), count) }
    }
}

impl Shared<u64> {
    /// One element as an atomic: 8 bytes that the kernel sees change at once.
    pub fn atomic(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.length, "an element past the end of a map");
        // SAFETY: within the mapping and aligned, as above; the kernel reads the word whole.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast::<u64>().add(index)) }
    }
}

/// Bytes of a page.
pub fn page_size() -> usize {
    // SAFETY: sysconf reads a constant.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// The first programs that TCX runs on the way out of an interface of this network namespace, in order, by id.
pub fn tcx_programs(ifindex: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; 64];
    let mut attr = QueryAttr {
        target_ifindex: ifindex,
        attach_type: BPF_TCX_EGRESS,
        prog_ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..QueryAttr::default()
    };
    match bpf(BPF_PROG_QUERY, &mut attr) {
        // ENOSPC: there are more; the first are there.
        Err(error) if error.raw_os_error() != Some(libc::ENOSPC) => Err(error),
        _ => Ok(ids[..ids.len().min(attr.count as usize)].to_vec()),
    }
}

/// A socket of this network namespace, to ask about its interfaces by `ioctl`.
#[derive(Debug)]
pub struct Devices(OwnedFd);

impl Devices {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        // SAFETY: plain socket(2).
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// `ARPHRD_*` of an interface (SIOCGIFHWADDR; /sys may show another namespace's).
    pub fn link_type(&self, name: &str) -> io::Result<u16> {
        let mut request = named(name)?;
        // SAFETY: SIOCGIFHWADDR reads the name and writes the address into the same ifreq.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so this is the member of the union that it filled.
        Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
    }

    /// An ethtool command. `data` begins with its number and has room for what the kernel answers: the caller knows
    /// how much that is at most.
    fn ethtool(&self, name: &str, data: &mut [u32]) -> io::Result<()> {
        let mut request = named(name)?;
        request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
        // SAFETY: the request names an interface and points to live memory of the size that the command needs.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The names of the features that the kernel knows, by number.
    pub fn feature_names(&self, interface: &str) -> io::Result<Vec<String>> {
        const ETHTOOL_GSTRINGS: u32 = 0x1b;
        const ETH_SS_FEATURES: u32 = 4;
        /// Command, set, length; then names of 32 bytes. No kernel has more than a hundred features.
        const WORDS: usize = 3 + FEATURES * 8;
        let mut data = vec![0_u32; WORDS];
        (data[0], data[1]) = (ETHTOOL_GSTRINGS, ETH_SS_FEATURES);
        self.ethtool(interface, &mut data)?;
        let names = (data[2] as usize).min(FEATURES);
        let name = |words: &[u32]| {
            let bytes: &[u8] = bytemuck::cast_slice(words);
            let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        Ok(data[3..].chunks(8).take(names).map(name).collect())
    }

    /// Which features an interface has on now, by number, in words of 32 bits.
    pub fn features(&self, interface: &str) -> io::Result<Vec<u32>> {
        const ETHTOOL_GFEATURES: u32 = 0x3a;
        /// Command and number of blocks; then blocks of available, requested, active and never changed.
        const BLOCKS: usize = FEATURES / 32;
        let mut data = [0_u32; 2 + 4 * BLOCKS];
        (data[0], data[1]) = (ETHTOOL_GFEATURES, BLOCKS as u32);
        self.ethtool(interface, &mut data)?;
        let blocks = (data[1] as usize).min(BLOCKS);
        Ok(data[2..].chunks(4).take(blocks).map(|block| block[2]).collect())
    }
}

/// Features that there is room for.
const FEATURES: usize = 512;

/// A request that names an interface.
fn named(interface: &str) -> io::Result<libc::ifreq> {
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Interfaces of this network namespace: index and name.
pub fn interfaces() -> io::Result<Vec<(u32, String)>> {
    // SAFETY: gives a list that ends with index 0, or null.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut interfaces = Vec::new();
    let mut at = list;
    // SAFETY: `at` stays within the list, whose end is the entry with index 0; names are NUL-terminated.
    unsafe {
        while (*at).if_index != 0 {
            interfaces.push(((*at).if_index, std::ffi::CStr::from_ptr((*at).if_name).to_string_lossy().into_owned()));
            at = at.add(1);
        }
        libc::if_freenameindex(list);
    }
    Ok(interfaces)
}

/// Whether this network namespace has an interface of that index.
pub fn has_interface(index: u32) -> bool {
    let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
    // SAFETY: writes a name of at most this length.
    unsafe { !libc::if_indextoname(index, name.as_mut_ptr()).is_null() }
}

/// Lets the runtime wait for a ring buffer.
pub fn watch<T: AsFd + AsRawFd>(ring: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the rings given here own their descriptor (`AsFd`), keep it to their end, and close it once.
    Ok(unsafe { AsyncFd::register(ring) }?)
}

/// CLOCK_BOOTTIME in nanoseconds.
pub fn boot_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; this clock is always there (kernel 2.6.39).
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Has the C library's allocator ask the system for every large block by itself, so that it goes back when it is freed
/// (by default it keeps up to 32 MiB blocks once one was freed), and share two arenas among all threads. At the start.
pub fn tame_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator's; an unknown one would be refused.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives free pages of small blocks back to the system, which the allocator would keep for good.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: changes only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether the process may do everything: effective user 0.
pub fn is_root() -> bool {
    // SAFETY: reads a number.
    unsafe { libc::geteuid() == 0 }
}
