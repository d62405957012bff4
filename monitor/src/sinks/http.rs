//! A receiver that speaks HTTP/1.1: a body and headers in, its answer out. One connection, one request after the other;
//! it is used again as long as the receiver lets it. Called by the sinks that have a receipt, each on a thread of its own.

use std::{path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use monitor_policy::text::{excerpt, plain};
use tokio::{
    net::TcpStream,
    runtime::Runtime,
    time::{error::Elapsed, timeout},
};

use super::tls::Tls;
use crate::model::receiver::Url;

/// For a connection and for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// No more of an answer is read.
const ANSWER: usize = 64 << 10;

/// What a receiver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub after: Option<u64>,
    /// The beginning of what it says.
    pub text: String,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has it.
    Taken,
    /// It will never take it.
    ForGood,
    /// It may take it later.
    Later,
}

impl Answer {
    /// What follows. Only what says that this very request is wrong is for good: a receiver that does not know us, or is
    /// not there, may be mended.
    pub const fn verdict(&self) -> Verdict {
        match self.status {
            200..=299 => Verdict::Taken,
            400 | 413 | 422 => Verdict::ForGood,
            _ => Verdict::Later,
        }
    }

    /// In a line.
    pub fn shown(&self) -> String {
        if self.text.is_empty() { self.status.to_string() } else { format!("{}: {}", self.status, self.text) }
    }
}

/// See the module.
pub struct Receiver {
    url: Url,
    /// Whose certificates are believed, instead of the system's.
    roots: Option<PathBuf>,
    tls: Option<Tls>,
    runtime: Option<Runtime>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Receiver {
    /// One that nothing is asked of yet. `roots`: a file of certificates that are believed, instead of the system's.
    pub const fn new(url: Url, roots: Option<PathBuf>) -> Self {
        Self { url, roots, tls: None, runtime: None, connection: None }
    }

    /// Whatever it has read and opened it reads and opens anew.
    pub fn reopen(&mut self) {
        (self.tls, self.connection) = (None, None);
    }

    /// Posts a body.
    ///
    /// # Errors
    /// There is no answer.
    pub fn post(&mut self, kind: &str, headers: &[(&str, String)], body: Vec<u8>) -> Result<Answer, String> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => {
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?
            }
        };
        let body = Bytes::from(body);
        let reused = self.connection.is_some();
        let mut answer = runtime.block_on(self.ask(kind, headers, body.clone()));
        if answer.is_err() && reused {
            // It may have been closed while nothing was asked.
            answer = runtime.block_on(self.ask(kind, headers, body));
        }
        self.runtime = Some(runtime);
        answer
    }

    async fn ask(&mut self, kind: &str, headers: &[(&str, String)], body: Bytes) -> Result<Answer, String> {
        // Whatever fails, the next request has a connection of its own.
        let mut sender = match self.connection.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut request = Request::post(&self.url.path)
            .header(HOST, self.url.authority())
            .header(USER_AGENT, concat!("egress-monitor/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, kind);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let answered = timeout(PATIENCE, async {
            sender.ready().await.map_err(|error| said(&error))?;
            let answer = sender.send_request(request).await.map_err(|error| said(&error))?;
            let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER).collect().await.map(|body| body.to_bytes());
            let whole = body.is_ok();
            let text = excerpt(plain(&String::from_utf8_lossy(&body.unwrap_or_default())).trim());
            Ok::<_, String>((Answer { status, after, text }, whole))
        });
        let (answer, whole) = answered.await.map_err(late)??;
        if whole {
            self.connection = Some(sender);
        }
        Ok(answer)
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        let (host, port) = (self.url.host.as_str(), self.url.port);
        let stream = timeout(PATIENCE, TcpStream::connect((host, port))).await.map_err(late)?;
        let stream = stream.map_err(|error| format!("{host}:{port}: {error}"))?;
        // Small requests, each waited for.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        if !self.url.tls {
            return shake(TokioIo::new(stream)).await;
        }
        let tls = match &self.tls {
            Some(tls) => tls,
            None => self.tls.insert(Tls::new(self.roots.as_deref())?),
        };
        let stream = timeout(PATIENCE, tls.connect(host, stream)).await.map_err(late)??;
        shake(TokioIo::new(stream)).await
    }
}

async fn shake<T>(stream: TokioIo<T>) -> Result<SendRequest<Full<Bytes>>, String>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        timeout(PATIENCE, http1::handshake(stream)).await.map_err(late)?.map_err(|error| said(&error))?;
    // It ends with its sender, or when the receiver closes it; its errors are those of the request.
    drop(tokio::spawn(connection));
    Ok(sender)
}

fn late(_: Elapsed) -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

/// An error with its cause, which hyper leaves to whoever asks for it.
fn said(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_that_the_request_is_wrong_is_for_good() {
        let verdict = |status| Answer { status, after: None, text: String::new() }.verdict();
        assert!([200, 202, 204].iter().all(|status| verdict(*status) == Verdict::Taken));
        assert!([400, 413, 422].iter().all(|status| verdict(*status) == Verdict::ForGood));
        let later = [301, 401, 403, 404, 408, 410, 429, 500, 502, 503, 504];
        assert!(later.iter().all(|status| verdict(*status) == Verdict::Later));
    }
}
