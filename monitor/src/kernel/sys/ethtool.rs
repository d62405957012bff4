//! What the kernel says of a device by ethtool: which offloads it does.

use std::{io, os::fd::OwnedFd};

use rustix::{
    ioctl::{Opcode, Updater, ioctl},
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

const SIOCETHTOOL: Opcode = libc::SIOCETHTOOL as Opcode;

/// Features that there is room for. No kernel has more than a hundred.
const FEATURES: usize = 512;

/// A socket of the network namespace of the thread that opened it, to ask about its interfaces.
#[derive(Debug)]
pub struct Devices(OwnedFd);

impl Devices {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        Ok(Self(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?))
    }

    /// An ethtool command. `data` begins with its number and has room for what the kernel answers: the caller knows
    /// how much that is at most.
    fn ethtool(&self, name: &str, data: &mut [u32]) -> io::Result<()> {
        let mut request = named(name)?;
        request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
        // SAFETY: the request names an interface and points to live memory of the size that the command needs.
        Ok(unsafe { ioctl(&self.0, Updater::<SIOCETHTOOL, _>::new(&mut request)) }?)
    }

    /// The names of the features that the kernel knows, by number.
    pub fn feature_names(&self, interface: &str) -> io::Result<Vec<String>> {
        const ETHTOOL_GSTRINGS: u32 = 0x1b;
        const ETH_SS_FEATURES: u32 = 4;
        /// Command, set, length; then names of 32 bytes.
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
