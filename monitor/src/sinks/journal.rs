//! Lines to journald by its own protocol: the line as `OCSF`, and what people filter by as fields of its own. Handed over.
//! What is too large for a datagram goes as a sealed file (`memfd`), as journald has it.

use std::{
    fs::File,
    io::{self, IoSlice, Write as _},
    os::{fd::AsFd as _, unix::net::UnixDatagram},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

use super::{About, Failure, Line, Sink, backoff::LOCAL, facts::Facts};
use crate::model::delivery::Promise;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// See the module.
pub struct Journal {
    about: About,
    path: PathBuf,
    open: Option<UnixDatagram>,
}

impl Journal {
    /// At this socket.
    pub fn new(name: &str, path: &Path) -> Self {
        Self { about: About::local(name, "journal", Promise::HandedOver), path: path.to_owned(), open: None }
    }

    fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        let socket = match self.open.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket.set_write_timeout(Some(LOCAL))?;
                socket
            }
        };
        match socket.send(entry) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => send_file(&socket, entry)?,
            // One that was restarted listens on another socket.
            sent => drop(sent?),
        }
        self.open = Some(socket);
        Ok(())
    }
}

/// Sends an entry as a file that nobody can change any more.
fn send_file(socket: &UnixDatagram, entry: &[u8]) -> io::Result<()> {
    let memory = memfd_create("egress-monitor-alert", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(entry)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    let files = [file.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("no room for a file"));
    }
    sendmsg(socket, &[IoSlice::new(&[])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The entry of a line.
fn entry(sequence: u64, line: &[u8]) -> Vec<u8> {
    let facts = Facts::of(line);
    let (priority, sequence) = (facts.priority().to_string(), sequence.to_string());
    let fields: [(&str, &[u8]); 14] = [
        ("MESSAGE", facts.message.as_bytes()),
        ("PRIORITY", priority.as_bytes()),
        ("SYSLOG_IDENTIFIER", b"egress-monitor-alerts"),
        ("EGRESS_TYPE", facts.kind.as_bytes()),
        ("EGRESS_SEVERITY", facts.severity.as_bytes()),
        ("EGRESS_SEQUENCE", sequence.as_bytes()),
        ("EGRESS_INCIDENT", facts.id.as_bytes()),
        ("EGRESS_ZONE", facts.zone.as_bytes()),
        ("EGRESS_COUNTRY", facts.country.as_bytes()),
        ("EGRESS_NETWORK", facts.network.as_bytes()),
        ("EGRESS_RULE", facts.rule.as_bytes()),
        ("EGRESS_VERDICT", facts.verdict.as_bytes()),
        ("EGRESS_UNIT", facts.unit.as_bytes()),
        ("OCSF", line.trim_ascii_end()),
    ];
    let mut entry = Vec::with_capacity(line.len() + 512);
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        entry.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            // With its length, which may hold anything.
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value);
        entry.push(b'\n');
    }
    entry
}

impl Sink for Journal {
    fn about(&self) -> &About {
        &self.about
    }

    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure> {
        for (at, (stamp, line)) in lines.iter().enumerate() {
            self.send(&entry(stamp.sequence, line)).map_err(|error| Failure::later(at, error))?;
        }
        Ok("handed over".to_owned())
    }

    fn reopen(&mut self) {
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::fs::FileExt as _};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;
    use crate::storage::segments::line::Stamp;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [io::IoSliceMut::new(&mut bytes)];
        let length = recvmsg(socket, &mut into, &mut ancillary, RecvFlags::empty()).unwrap().bytes;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                let file = File::from(files.last().unwrap());
                let mut content = vec![0; file.metadata().unwrap().len() as usize];
                file.read_exact_at(&mut content, 0).unwrap();
                // Sealed: nobody writes to it any more.
                assert!((&file).write(b"x").is_err());
                let _ = (&file).read(&mut []);
                return content;
            }
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn an_entry_has_the_line_and_fields_and_a_large_one_comes_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let mut sink = Journal::new("journal", &path);
        for padding in [0, 900_000] {
            let line = format!(
                "{{\"message\":\"a\\nb\",\"severity_id\":5,\"unmapped\":{{\"type\":\"gap\",\"x\":\"{}\"}}}}\n",
                "x".repeat(padding)
            );
            sink.deliver(&[(Stamp { sequence: 7, time: 0 }, line.as_bytes())]).unwrap();
            let entry = received(&journald);
            let text = String::from_utf8_lossy(&entry);
            assert!(entry.starts_with(b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n"), "{text}");
            for field in [
                "PRIORITY=2\n",
                "SYSLOG_IDENTIFIER=egress-monitor-alerts\n",
                "EGRESS_TYPE=gap\n",
                "EGRESS_SEQUENCE=7\n",
            ] {
                assert!(text.contains(field), "{field}");
            }
            assert!(text.ends_with(&format!("OCSF={line}")));
            assert!(!text.contains("EGRESS_COUNTRY"));
        }
    }
}
