//! The other end of the control socket, for every command and script that asks the daemon: a path in, a document out.
//! Blocking: one request, then the connection ends.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::error::ErrorDocument;

/// For a whole request.
const TIME: Duration = Duration::from_secs(30);
/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(5);
/// Bytes of a reply; the largest that the daemon makes is a tenth of it.
const MAX_REPLY: usize = 256 << 20;

/// Where the daemon of a default installation listens.
pub const DEFAULT_SOCKET: &str = "/run/egress-monitor/control.sock";

/// Why there is no document. Shown as one line that names the socket and the hint.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no daemon answers on {}: start it with `egress-monitor run`, or name its socket with --socket{meanwhile}",
        .socket.display()
    )]
    NoDaemon {
        /// Where.
        socket: PathBuf,
        /// What goes on without one, as far as it is known.
        meanwhile: &'static str,
    },
    /// The socket is not for this user.
    #[error(
        "{} is for root and the daemon's user, and for members of the groups that [paths] auditors and security name, \
         if there are such groups: use sudo, or join one and log in again",
        .socket.display()
    )]
    Forbidden {
        /// Which.
        socket: PathBuf,
    },
    /// The daemon answers, and says no.
    #[error("the daemon on {} refuses: {why}", .socket.display())]
    Refused {
        /// Whose.
        socket: PathBuf,
        /// HTTP's number for it.
        status: u16,
        /// Its reason.
        why: String,
    },
    /// The daemon does not answer.
    #[error("the daemon on {} did not answer within {} s", .socket.display(), .within.as_secs())]
    Timeout {
        /// Whose.
        socket: PathBuf,
        /// How long it had.
        within: Duration,
    },
    /// The answer is another document than was asked for.
    #[error("the daemon on {} answers in another form ({source}): is it the same version?", .socket.display())]
    OtherForm {
        /// Whose.
        socket: PathBuf,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The exchange failed.
    #[error("{doing}: {source}")]
    Io {
        /// While doing what with which socket.
        doing: String,
        /// How.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The daemon behind a control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    socket: PathBuf,
    meanwhile: &'static str,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(DEFAULT_SOCKET)
    }
}

impl Client {
    /// A client of the daemon that listens on `socket`. Every request is a connection of its own.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), meanwhile: "" }
    }

    /// With what is to be said besides where nobody listens.
    #[must_use]
    pub fn otherwise(self, meanwhile: &'static str) -> Self {
        Self { meanwhile, ..self }
    }

    /// The control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for the document at `path`.
    ///
    /// # Errors
    /// No daemon, a refusal, or a reply that is not what was asked for.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.decode(&self.exchange(Method::GET, path, String::new())?)
    }

    /// Has the daemon do what `path` says, and gives the document that says what came of it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.post_text(path, String::new())
    }

    /// The same, and hands in a text.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post_text<T: DeserializeOwned>(&self, path: &str, text: String) -> Result<T, ClientError> {
        self.decode(&self.exchange(Method::POST, path, text)?)
    }

    /// Asks for what is no JSON.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn fetch(&self, path: &str) -> Result<Bytes, ClientError> {
        self.exchange(Method::GET, path, String::new())
    }

    /// The reply as it comes.
    fn exchange(&self, method: Method, path: &str, text: String) -> Result<Bytes, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("can't start", error))?;
        runtime.block_on(async {
            match tokio::time::timeout(TIME, self.ask(method, path, text)).await {
                Ok(reply) => reply,
                Err(_) => Err(ClientError::Timeout { socket: self.socket.clone(), within: TIME }),
            }
        })
    }

    fn decode<T: DeserializeOwned>(&self, reply: &[u8]) -> Result<T, ClientError> {
        let other_form = |source| ClientError::OtherForm { socket: self.socket.clone(), source };
        serde_json::from_slice(reply).map_err(other_form)
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let socket = || self.socket.clone();
        let connected = loop {
            match UnixStream::connect(&self.socket).await {
                // As many as may wait for the daemon do.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(AGAIN).await,
                connected => break connected,
            }
        };
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NoDaemon { socket: socket(), meanwhile: self.meanwhile }
            }
            io::ErrorKind::PermissionDenied => ClientError::Forbidden { socket: socket() },
            _ => failed(format!("can't connect to {}", self.socket.display()), error),
        })
    }

    async fn ask(&self, method: Method, path: &str, text: String) -> Result<Bytes, ClientError> {
        let stream = self.connect().await?;
        let talking = || format!("talking to {}", self.socket.display());
        let broken = |error: hyper::Error| failed(talking(), error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Its errors come out of the request as well.
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.body(Full::new(Bytes::from(text))).map_err(|error| failed(talking(), error))?;
        let reply = sender.send_request(request).await.map_err(broken)?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
        let body = body.map_err(|error| failed(talking(), error))?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let why = serde_json::from_slice(&body).map(|ErrorDocument { error }| error);
        Err(ClientError::Refused {
            socket: self.socket.clone(),
            status: status.as_u16(),
            why: why.unwrap_or_else(|_| "no reason given".into()),
        })
    }
}

fn failed(doing: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Io { doing: doing.into(), source: source.into() }
}
