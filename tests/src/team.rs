//! A team device's mode, which only generic netlink sets (include/uapi/linux/if_team.h): iproute2 does not, and libteam
//! need not be there.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::netns;

/// Message types, commands and attributes of include/uapi/linux/{netlink,genetlink,if_team}.h.
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const TEAM_CMD_OPTIONS_SET: u8 = 1;
const TEAM_ATTR_TEAM_IFINDEX: u16 = 1;
const TEAM_ATTR_LIST_OPTION: u16 = 2;
const TEAM_ATTR_ITEM_OPTION: u16 = 1;
const TEAM_ATTR_OPTION_NAME: u16 = 1;
const TEAM_ATTR_OPTION_TYPE: u16 = 3;
const TEAM_ATTR_OPTION_DATA: u16 = 4;
const NLA_STRING: u8 = 5;

/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 16 + 4;

/// Has a team device of the calling thread's network namespace, which has no port yet, send by its ports in turn.
///
/// # Errors
/// There is none, or the kernel has no such mode.
pub fn round_robin(team: &str) -> Result<()> {
    let index = netns::index(team)?;
    // SAFETY: plain system call.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_GENERIC) };
    ensure!(fd >= 0, "a netlink socket: {}", io::Error::last_os_error());
    // SAFETY: the descriptor was just made for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"team\0");
    let reply = ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
    let family = find(&reply, CTRL_ATTR_FAMILY_ID).context("the kernel does not say which family team is")?;
    let option = [
        attribute(TEAM_ATTR_OPTION_NAME, b"mode\0"),
        attribute(TEAM_ATTR_OPTION_TYPE, &[NLA_STRING]),
        attribute(TEAM_ATTR_OPTION_DATA, b"roundrobin\0"),
    ];
    let options = attribute(TEAM_ATTR_ITEM_OPTION, &option.concat());
    let set = [attribute(TEAM_ATTR_TEAM_IFINDEX, &index.to_ne_bytes()), attribute(TEAM_ATTR_LIST_OPTION, &options)];
    ask(&socket, family, TEAM_CMD_OPTIONS_SET, &set.concat()).map(drop)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The first two bytes of an attribute's value.
fn find(mut attributes: &[u8], kind: u16) -> Option<u16> {
    let number = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    loop {
        if number(attributes, 2)? == kind {
            return number(attributes, 4);
        }
        let length = usize::from(number(attributes, 0)?).max(4).next_multiple_of(4);
        attributes = attributes.get(length..)?;
    }
}

/// Asks; gives the attributes of the answer, or none where there is nothing but that it was done.
fn ask(socket: &OwnedFd, family: u16, command: u8, attributes: &[u8]) -> Result<Vec<u8>> {
    let mut message = ((HEADERS + attributes.len()) as u32).to_ne_bytes().to_vec();
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    // SAFETY: bytes that outlive the call, with their length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    ensure!(sent == message.len() as isize, "asking the kernel of team devices: {}", io::Error::last_os_error());
    let mut answer = Vec::new();
    loop {
        let mut bytes = vec![0_u8; 8192];
        // SAFETY: room that outlives the call, with its length.
        let length = unsafe { libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        ensure!(length >= HEADERS as isize, "an answer on team devices: {}", io::Error::last_os_error());
        bytes.truncate(length as usize);
        if u16::from_ne_bytes([bytes[4], bytes[5]]) != NLMSG_ERROR {
            answer = bytes.split_off(HEADERS);
            continue;
        }
        match i32::from_ne_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]) {
            0 => return Ok(answer),
            // It is done, and nobody listens for the news of it (`netlink_broadcast`).
            error if -error == libc::ESRCH => return Ok(answer),
            error => bail!("team devices: {}", io::Error::from_raw_os_error(-error)),
        }
    }
}
