//! Lines as syslog messages (RFC 5424): to a socket of this host, as datagrams (RFC 5426), or over TCP, each with its
//! length before it (RFC 6587, octet counting). Handed over: syslog has no receipt, and a receiver that fails loses what
//! TCP had taken.

use std::{
    borrow::Cow,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::UnixDatagram,
    time::Duration,
};

use serde_json::Value;

use super::{About, Failure, Line, Sink, facts::Facts};
use crate::model::{delivery::Promise, receiver::SyslogAddress};

/// No message is longer: rsyslog cuts at 8 KiB, and makes another one of the rest.
const LONGEST: usize = 8_000;

/// Local use 0.
const FACILITY: u64 = 16;

/// For a connection and for each write.
const PATIENCE: Duration = Duration::from_secs(10);

enum Connection {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// See the module.
pub struct Syslog {
    about: About,
    address: SyslogAddress,
    open: Option<Connection>,
}

impl Syslog {
    /// One that is not connected yet.
    pub fn new(name: &str, address: SyslogAddress) -> Self {
        Self { about: About::receiver(name, "syslog", Promise::HandedOver), address, open: None }
    }

    fn connect(&self) -> io::Result<Connection> {
        match &self.address {
            SyslogAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Connection::Unix(socket))
            }
            SyslogAddress::Udp(at) => {
                let to = resolve(at)?;
                let socket = UdpSocket::bind((if to.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
                socket.connect(to)?;
                Ok(Connection::Udp(socket))
            }
            SyslogAddress::Tcp(at) => {
                let stream = TcpStream::connect_timeout(&resolve(at)?, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Connection::Tcp(stream))
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let connection = match self.open.take() {
            Some(Connection::Tcp(stream)) if is_closed(&stream) => self.connect()?,
            Some(connection) => connection,
            None => self.connect()?,
        };
        match &connection {
            Connection::Unix(socket) => drop(socket.send(message)?),
            Connection::Udp(socket) => drop(socket.send(message)?),
            Connection::Tcp(stream) => {
                let mut framed = format!("{} ", message.len()).into_bytes();
                framed.extend_from_slice(message);
                // What is cut off by an error is no message: the next connection begins with a whole one.
                (&mut &*stream).write_all(&framed)?;
            }
        }
        self.open = Some(connection);
        Ok(())
    }
}

fn resolve(at: &str) -> io::Result<SocketAddr> {
    at.to_socket_addrs()?.next().ok_or_else(|| io::Error::other(format!("{at}: no address")))
}

/// Whether the receiver has gone: it has nothing to say, so only its end is there to be read.
fn is_closed(stream: &TcpStream) -> bool {
    let mut heard = [0; 64];
    let closed = stream.set_nonblocking(true).and_then(|()| {
        loop {
            match (&mut &*stream).read(&mut heard) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Ok(true),
            }
        }
    });
    closed.unwrap_or(true) || stream.set_nonblocking(false).is_err()
}

/// The message of a line.
fn message(sequence: u64, line: &[u8]) -> Vec<u8> {
    let facts = Facts::of(line);
    let host = printable(&facts.host, 255);
    let kind = printable(&facts.kind, 32);
    // sequenceId is of 31 bits, and begins anew at 1.
    let id = (sequence - 1) % 0x7fff_ffff + 1;
    let priority = FACILITY * 8 + facts.priority();
    let head =
        format!("<{priority}>1 {} {host} egress-monitor-alerts - {kind} [meta sequenceId=\"{id}\"] ", facts.at());
    let mut message = head.into_bytes();
    let room = LONGEST - message.len();
    message.extend_from_slice(&fitted(line.trim_ascii_end(), room));
    message
}

/// A field of the head: printable ASCII without spaces, bounded.
fn printable(text: &str, most: usize) -> String {
    let field: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

/// The line as it is; or cut in its texts, and marked, so that it is JSON still.
fn fitted(line: &[u8], room: usize) -> Cow<'_, [u8]> {
    if line.len() <= room {
        return line.into();
    }
    let mut document: Value = serde_json::from_slice(line).unwrap_or_default();
    document["metadata"]["is_truncated"] = true.into();
    // It is another line now.
    document["unmapped"].as_object_mut().map(|members| members.remove("crc32c"));
    let mut most = room;
    while most > 0 {
        most /= 2;
        cut(&mut document, most);
        let text = document.to_string();
        if text.len() <= room {
            return text.into_bytes().into();
        }
    }
    let uid = document["metadata"]["uid"].clone();
    serde_json::json!({ "metadata": { "is_truncated": true, "uid": uid } }).to_string().into_bytes().into()
}

/// Cuts every text in it to so many bytes, and every list to so many members.
fn cut(value: &mut Value, most: usize) {
    match value {
        Value::String(text) => text.truncate(text.floor_char_boundary(most)),
        Value::Array(members) => {
            members.truncate(most);
            members.iter_mut().for_each(|member| cut(member, most));
        }
        Value::Object(members) => members.values_mut().for_each(|member| cut(member, most)),
        _ => {}
    }
}

impl Sink for Syslog {
    fn about(&self) -> &About {
        &self.about
    }

    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure> {
        for (at, (stamp, line)) in lines.iter().enumerate() {
            self.send(&message(stamp.sequence, line)).map_err(|error| Failure::later(at, error))?;
        }
        Ok("handed over".to_owned())
    }

    fn reopen(&mut self) {
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"class_uid":4001,"severity_id":4,"time":1000,"message":"m","device":{"hostname":"enclave 1"},"metadata":{"uid":"u"},"unmapped":{"crc32c":"00000000"}}"#;

    #[test]
    fn the_message_has_the_form_of_the_standard_and_no_byte_order_mark() {
        let sent = message(0x8000_0000, format!("{LINE}\n").as_bytes());
        let head = "<131>1 1970-01-01T00:00:01.000Z enclave1 egress-monitor-alerts - egress [meta sequenceId=\"1\"] ";
        assert_eq!(String::from_utf8(sent).unwrap(), format!("{head}{LINE}"));
    }

    #[test]
    fn what_is_too_long_is_cut_in_its_texts_marked_and_still_json() {
        let long = LINE.replace("\"m\"", &format!("\"{}\"", "é".repeat(9_000)));
        let sent = message(1, long.as_bytes());
        assert!(sent.len() <= LONGEST && sent.len() > LONGEST / 3, "{}", sent.len());
        let json = &sent[sent.windows(2).position(|two| two == b"] ").unwrap() + 2..];
        let json: Value = serde_json::from_slice(json).unwrap();
        assert_eq!((&json["metadata"]["is_truncated"], &json["metadata"]["uid"]), (&true.into(), &"u".into()));
        assert_eq!(json["unmapped"], serde_json::json!({}));
        // Nothing but numbers: who it is.
        let many = format!(
            "{{\"metadata\":{{\"uid\":\"u\"}},\"x\":{{{}}}}}",
            (0..3_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",")
        );
        assert_eq!(&*fitted(many.as_bytes(), 8_000), br#"{"metadata":{"is_truncated":true,"uid":""}}"#);
    }
}
