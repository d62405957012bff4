//! Lines as syslog messages (RFC 5424): to a socket of this host, as datagrams (RFC 5426), or over TCP (RFC 6587, octet
//! counting) or TLS 1.3 (RFC 5425), each with its length before it. Handed over: syslog has no receipt, and a receiver that
//! fails loses what TCP had taken.

use std::{
    borrow::Cow,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio_rustls::rustls::{ClientConnection, StreamOwned, version::TLS13};

use super::{About, Failure, Line, Sink, facts::Facts, tls};
use crate::model::{
    delivery::Promise,
    receiver::{Peers, SyslogAddress},
};

/// No message is longer: rsyslog cuts at 8 KiB, and makes another one of the rest.
const LONGEST: usize = 8_000;

/// Local use 0.
const FACILITY: u64 = 16;

/// For a connection and for each write.
const PATIENCE: Duration = Duration::from_secs(10);

/// For how long a receiver may say that it does not take our certificate.
const REFUSAL: Duration = Duration::from_millis(500);

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

enum Connection {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

impl Connection {
    /// Whether the receiver has gone.
    fn is_closed(&mut self) -> bool {
        match self {
            Self::Unix(_) | Self::Udp(_) => false,
            Self::Tcp(stream) => {
                stream.set_nonblocking(true).is_err() || has_ended(stream) || stream.set_nonblocking(false).is_err()
            }
            Self::Tls(stream) => {
                stream.sock.set_nonblocking(true).is_err()
                    || has_ended(&mut **stream)
                    || stream.sock.set_nonblocking(false).is_err()
            }
        }
    }
}

/// See the module.
pub struct Syslog {
    about: About,
    address: SyslogAddress,
    peers: Peers,
    open: Option<Connection>,
}

impl Syslog {
    /// One that is not connected yet.
    pub fn new(name: &str, address: SyslogAddress, peers: Peers) -> Self {
        Self { about: About::receiver(name, "syslog", Promise::HandedOver), address, peers, open: None }
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
            SyslogAddress::Tcp(at) => Ok(Connection::Tcp(connect(at)?)),
            SyslogAddress::Tls(at) => {
                let host = at.rsplit_once(':').map_or(at.as_str(), |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let config = tls::config(self.peers.ca.as_deref(), &[&TLS13], self.peers.identity.as_ref());
                let name = tls::name(host).map_err(io::Error::other)?;
                let connection = ClientConnection::new(config.map_err(io::Error::other)?, name);
                let mut stream = StreamOwned::new(connection.map_err(io::Error::other)?, connect(at)?);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock)?;
                }
                await_refusal(&mut stream)?;
                Ok(Connection::Tls(Box::new(stream)))
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut connection = match self.open.take().map(|mut open| (open.is_closed(), open)) {
            Some((false, open)) => open,
            Some((true, _)) | None => self.connect()?,
        };
        // What is cut off by an error is no message: the next connection begins with a whole one.
        match &mut connection {
            Connection::Unix(socket) => drop(socket.send(message)?),
            Connection::Udp(socket) => drop(socket.send(message)?),
            Connection::Tcp(stream) => stream.write_all(&framed(message))?,
            Connection::Tls(stream) => {
                stream.write_all(&framed(message))?;
                stream.flush()?;
            }
        }
        self.open = Some(connection);
        Ok(())
    }

    /// Says over TLS that this is the end, and that nobody has cut it off.
    fn close(&mut self) {
        if let Some(Connection::Tls(mut stream)) = self.open.take() {
            stream.conn.send_close_notify();
            // A receiver that has gone needs not hear it.
            let _ = stream.flush();
        }
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.close();
    }
}

/// A message with its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = format!("{} ", message.len()).into_bytes();
    framed.extend_from_slice(message);
    framed
}

fn connect(at: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&resolve(at)?, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// With TLS 1.3 we are done with shaking hands before the receiver has seen our certificate, and what is sent meanwhile is
/// taken by nobody who then refuses it (RFC 8446, 4.4.2.4). A ticket says that it has not.
fn await_refusal(stream: &mut TlsStream) -> io::Result<()> {
    let until = Instant::now() + REFUSAL;
    while stream.conn.tls13_tickets_received() == 0 {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.sock.set_read_timeout(Some(left))?;
        match stream.conn.read_tls(&mut stream.sock) {
            Ok(0) => return Err(io::Error::other("closed after the handshake: it may want a certificate")),
            Ok(_) => {
                stream.conn.process_new_packets().map_err(io::Error::other)?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.sock.set_read_timeout(Some(PATIENCE))
}

fn resolve(at: &str) -> io::Result<SocketAddr> {
    at.to_socket_addrs()?.next().ok_or_else(|| io::Error::other(format!("{at}: no address")))
}

/// Whether a stream that does not block is at its end: a receiver has nothing to say, so only that is there to be read.
fn has_ended(stream: &mut impl Read) -> bool {
    let mut heard = [0; 64];
    loop {
        match stream.read(&mut heard) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
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
        self.close();
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
