//! The other end of the control socket, for every command that asks the daemon: a path in, a document out.

use std::{io::ErrorKind, path::Path, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// For a whole request.
const TIME: Duration = Duration::from_secs(30);
/// Bytes of a reply; the largest that the daemon makes is a tenth of it.
const MAX_REPLY: usize = 256 << 20;

/// Why there is no document: one line that names the socket and the hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ClientError(String);

/// Asks the daemon behind `socket` for `path`.
///
/// # Errors
/// No daemon, a refusal, or a reply that is not what was asked for.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    decode(socket, &raw(socket, Method::GET, path)?)
}

/// Has the daemon behind `socket` do what `path` says.
///
/// # Errors
/// As [`get`].
pub fn post<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    decode(socket, &raw(socket, Method::POST, path)?)
}

/// Asks for what is no JSON.
///
/// # Errors
/// As [`get`].
pub fn fetch(socket: &Path, path: &str) -> Result<Bytes, ClientError> {
    raw(socket, Method::GET, path)
}

/// The reply as it comes.
fn raw(socket: &Path, method: Method, path: &str) -> Result<Bytes, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ClientError(format!("can't start: {error}")))?;
    runtime.block_on(async {
        match tokio::time::timeout(TIME, ask(socket, method, path)).await {
            Ok(reply) => reply,
            Err(_) => Err(ClientError(format!(
                "the daemon on {} did not answer within {} s",
                socket.display(),
                TIME.as_secs()
            ))),
        }
    })
}

fn decode<T: DeserializeOwned>(socket: &Path, reply: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(reply).map_err(|error| {
        let shown = socket.display();
        ClientError(format!("the daemon on {shown} answers in another form ({error}): is it the same version?"))
    })
}

async fn ask(socket: &Path, method: Method, path: &str) -> Result<Bytes, ClientError> {
    let shown = socket.display();
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        ClientError(match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
                "no daemon answers on {shown}: start it with `egress-monitor run`, or name its socket with --socket"
            ),
            ErrorKind::PermissionDenied => format!("{shown} may only be used by root and the daemon's user: use sudo"),
            _ => format!("can't connect to {shown}: {error}"),
        })
    })?;
    let failed = |error: &dyn std::error::Error| ClientError(format!("talking to {shown}: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // Its errors come out of the request as well.
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "localhost").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| failed(&error))?;
    let reply = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = reply.status();
    let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
    let body = body.map_err(|error| ClientError(format!("talking to {shown}: {error}")))?.to_bytes();
    if status == StatusCode::OK {
        return Ok(body);
    }
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let why = value["error"].as_str().unwrap_or("no reason given");
    Err(ClientError(format!("the daemon on {shown} refuses: {why}")))
}
