//! Names and indices of the interfaces of the calling thread's network namespace.

use std::io;

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType,
        netdevice::{index_to_name_inlined, name_to_index},
        socket_with,
    },
};

/// All of them, by index.
pub fn interfaces() -> io::Result<Vec<(u32, String)>> {
    let socket = socket()?;
    let mut interfaces = Vec::new();
    for name in names(&std::fs::read_to_string("/proc/thread-self/net/dev")?) {
        match name_to_index(&socket, name) {
            Ok(index) => interfaces.push((index, name.to_owned())),
            // Gone since.
            Err(Errno::NODEV) => {}
            Err(error) => return Err(error.into()),
        }
    }
    interfaces.sort_unstable();
    Ok(interfaces)
}

/// Whether there is one of that index.
pub fn has_interface(index: u32) -> bool {
    // ILSEQ: its name is no UTF-8.
    matches!(socket().and_then(|socket| index_to_name_inlined(socket, index)), Ok(_) | Err(Errno::ILSEQ))
}

fn socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

/// The names in `/proc/net/dev`: two lines of headings, then a line an interface. No name has a space or a colon.
fn names(table: &str) -> impl Iterator<Item = &str> {
    table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_before_a_colon_after_two_lines_of_headings() {
        let table = "Inter-|   Receive                            |  Transmit\n \
            face |bytes    packets errs drop|bytes    packets errs drop\n    \
            lo: 1008      12    0    0     1008      12    0    0\n\
            wg-office0:9999999999 12 0 0 5 5 0 0\n";
        assert_eq!(names(table).collect::<Vec<_>>(), ["lo", "wg-office0"]);
    }

    #[test]
    fn the_loopback_interface_is_found_by_name_and_index() {
        assert!(interfaces().unwrap().contains(&(1, "lo".into())));
        assert!(has_interface(1));
        assert!(!has_interface(i32::MAX as u32));
    }
}
