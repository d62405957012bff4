//! Listeners in, served connections out, on threads of their own without capabilities: bounded in number, in bytes, in
//! header size and in time, so that nobody who can connect can wear the daemon out, and nobody keeps others from being
//! answered.

use std::{
    convert::Infallible,
    io,
    net::{TcpListener as StdTcpListener, TcpStream as StdTcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    body::HttpBody as _,
    response::{IntoResponse as _, Response},
};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpStream, UnixListener, UnixStream, unix},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    acceptor::{self, Accepted},
    api::Control,
    connections::{Connections, Place, Pool, Source},
    error::ApiError,
    listeners::ControlSocket,
    peer::{self, Peer},
    roles::{Access, Role},
    routes::{self, router},
};
use crate::{
    kernel, privileges,
    store::{MonitorState, SharedState},
};

/// For the request's head to arrive, and between bytes of it.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// For a whole connection to the port, which is one request.
const PORT_TIME: Duration = Duration::from_secs(10);
/// The same on the control socket.
const CONTROL_TIME: Duration = Duration::from_secs(30);
/// For a client to hang up when it has been sent everything.
const HANG_UP_TIME: Duration = Duration::from_secs(5);
/// Between two attempts to get a port that is taken.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;
/// Threads that render: one page and one scrape for each role.
const RENDERING_THREADS: usize = 2 * Role::ALL.len();

/// What is served.
pub struct Served {
    /// What pages are rendered from.
    pub state: SharedState,
    /// What is asked on the control socket.
    pub control: Control,
    /// The name of this host.
    pub host: String,
    /// Who may what.
    pub access: Access,
    /// Where the control socket comes from, as soon as it could be made.
    pub sockets: mpsc::Receiver<ControlSocket>,
    /// Where the listener of the port comes from; nowhere: there is no port.
    pub ports: mpsc::Receiver<StdTcpListener>,
}

/// Serves everything until `stop`.
///
/// # Errors
/// The thread or a listener can't be used.
pub async fn serve(served: Served, stop: CancellationToken) -> anyhow::Result<()> {
    let (sender, ended) = oneshot::channel();
    let of_thread = move || {
        // Nobody waits when the daemon is gone.
        let _ = sender.send(on_own_thread(served, stop));
    };
    thread::Builder::new().name("http".into()).spawn(of_thread).context("starting a thread")?;
    ended.await.context("its thread panicked")?
}

fn on_own_thread(served: Served, stop: CancellationToken) -> anyhow::Result<()> {
    privileges::drop_all().context("dropping capabilities")?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().thread_name("http").max_blocking_threads(RENDERING_THREADS).build()?;
    let result = runtime.block_on(served.serve(stop));
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

impl Served {
    async fn serve(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let connections = Connections::default();
        let access = Arc::new(self.access);
        let port = router(self.state.clone(), &access, Some(Role::Metrics), None, &self.host);
        let control = |role| router(self.state.clone(), &access, role, Some(self.control.clone()), &self.host);
        let mut members = Members {
            refused: control(None),
            roles: Role::ALL.map(|role| (role, control(Some(role)))),
            access: Arc::clone(&access),
            connections: connections.clone(),
            owner: rustix::process::geteuid().as_raw(),
        };
        // Its file goes with the socket.
        let mut listening: Option<(UnixListener, ControlSocket)> = None;
        let accepted = Accepted::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(listener) = self.ports.recv() => {
                    acceptor::start(listener, connections.clone(), accepted.clone(), stop.clone())?;
                }
                (stream, place) = accepted.next() => match as_async(stream) {
                    Ok(stream) => drop(tokio::spawn(converse(stream, port.clone(), (place, None), PORT_TIME, stop.clone()))),
                    Err(error) => tracing::warn!(%error, "can't serve a connection"),
                },
                Some(mut socket) = self.sockets.recv() => {
                    let listener = socket.listener.take().context("the control socket is served already")?;
                    listening = Some((UnixListener::from_std(listener)?, socket));
                }
                connected = accept(listening.as_ref().map(|(listener, _)| listener)) => match connected {
                    Ok((stream, _)) => members.admit(stream, &stop),
                    Err(error) => {
                        tracing::warn!(%error, "can't accept a connection");
                        // Out of file descriptors, usually: trying again at once would spin.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

/// Who connects next; without a listener, nobody.
async fn accept(listener: Option<&UnixListener>) -> io::Result<(UnixStream, unix::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn as_async(stream: StdTcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

/// Whoever connects to the control socket.
struct Members {
    refused: Router,
    roles: [(Role, Router); 4],
    access: Arc<Access>,
    connections: Connections,
    /// The daemon's own user.
    owner: u32,
}

impl Members {
    fn admit(&mut self, stream: UnixStream, stop: &CancellationToken) {
        let Ok(peer) = stream.peer_cred() else { return };
        let role = if peer.uid() == 0 || peer.uid() == self.owner {
            Some(Role::Root)
        } else {
            let mut groups = kernel::peer_groups(&stream).unwrap_or_default();
            groups.push(peer.gid());
            self.access.role(&groups)
        };
        let pages = role.and_then(|role| self.roles.iter().find(|(of, _)| *of == role));
        let pool = if role.is_some() { Pool::Control } else { Pool::Refused };
        let place = self.connections.enter(pool, Source::User(peer.uid()), role);
        let router = pages.map_or(&self.refused, |(_, pages)| pages).clone();
        // Others change nothing.
        let by = (role == Some(Role::Root)).then(|| Peer(peer::named(peer.uid(), peer.pid()).into()));
        tokio::spawn(converse(stream, router, (place, by), CONTROL_TIME, stop.clone()));
    }
}

/// A stream that can be ended in a way that leaves nothing of it in the kernel, whatever the other end has not read.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Has its end be such.
    fn to_be_reset(&self) {}
}

impl Stream for TcpStream {
    fn to_be_reset(&self) {
        // Else it ends in order, and the kernel's own bounds hold.
        let _ = self.set_zero_linger();
    }
}

impl Stream for UnixStream {}

/// One request and its answer, as long as the connection has its place.
async fn converse(
    stream: impl Stream,
    router: Router,
    (place, by): (Place, Option<Peer>),
    time: Duration,
    stop: CancellationToken,
) {
    let (pages, of) = (TowerToHyperService::new(router), place.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        if routes::is_scrape(request.uri().path()) {
            of.move_to(Pool::Scrape);
        }
        request.extensions_mut().insert(of.clone());
        if let Some(by) = &by {
            request.extensions_mut().insert(by.clone());
        }
        let (answer, of) = (pages.call(request), of.clone());
        async move { Ok::<_, Infallible>(held(answer.await.unwrap_or_else(|never| match never {}), &of)) }
    });
    let mut http = http1::Builder::new();
    // One request a connection: then one time limit covers slow heads, slow readers and idlers alike.
    http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(MAX_HEAD);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let answered = tokio::select! {
        // A client that hangs up is its own affair.
        answered = timeout(time, &mut connection) => answered.is_ok_and(|answered| answered.is_ok()),
        () = place.cut().cancelled() => false,
        () = stop.cancelled() => false,
    };
    let mut stream = connection.into_parts().io.into_inner();
    // What is not read yet is in the kernel: it keeps its place until the client has taken it.
    let gone = answered
        && tokio::select! {
            gone = timeout(HANG_UP_TIME, gone(&mut stream)) => gone.is_ok(),
            () = place.cut().cancelled() => false,
            () = stop.cancelled() => true,
        };
    if !gone {
        stream.to_be_reset();
    }
}

/// Reads what nobody wants until the end.
async fn gone(stream: &mut impl Stream) {
    let mut nothing = [0; 1_024];
    while matches!(stream.read(&mut nothing).await, Ok(1..)) {}
}

/// An answer whose bytes are counted; another one where there is no room for it.
fn held(answer: Response, place: &Place) -> Response {
    match answer.body().size_hint().exact() {
        Some(bytes) if !place.hold(usize::try_from(bytes).unwrap_or(usize::MAX)) => ApiError::no_room().into_response(),
        _ => answer,
    }
}

/// Gives whoever serves it what was bound before; or else what can be bound later, which is tried each second. Why it can't be
/// yet is in the state.
///
/// # Errors
/// None.
pub async fn bind_when_possible<T: Send>(
    what: &str,
    bound: Option<T>,
    bind: impl Fn() -> Result<T, String> + Send,
    to: mpsc::Sender<T>,
    (state, why): (SharedState, fn(&mut MonitorState) -> &mut Option<String>),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut bound = bound;
    while bound.is_none() {
        match tokio::task::block_in_place(&bind) {
            Ok(made) => {
                *why(&mut state.write()) = None;
                tracing::info!("{what} is served now");
                bound = Some(made);
            }
            Err(error) => *why(&mut state.write()) = Some(error),
        }
        if bound.is_none() {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
    if let Some(bound) = bound {
        // Refused only at the end.
        let _ = to.send(bound).await;
    }
    stop.cancelled().await;
    Ok(())
}
