//! Listeners in, served connections out: bounded in number, in header size and in time, so that nobody who can
//! reach the port can wear the daemon out. Sockets are bound before anything is attached.

use std::{
    collections::VecDeque,
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{error::CliError, storage, store::SharedState};

/// Connections served at once, on each listener: for one more the oldest is cut off, so that nobody who holds all of them
/// keeps others out.
pub const MAX_CONNECTIONS: usize = 64;
/// For the request's head to arrive, and between bytes of it.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// For a whole connection, which is one request.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Between two attempts to get a port that is taken.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Binds the HTTP port.
///
/// # Errors
/// Off loopback, taken, or not ours to bind: with the hint.
pub fn bind_tcp(address: SocketAddr) -> Result<StdTcpListener, CliError> {
    if !address.ip().is_loopback() {
        return Err(CliError::Usage(format!(
            "[http] listen = \"{address}\": only loopback addresses are served without TLS; use 127.0.0.1 or [::1], \
             or \"\" to turn HTTP off"
        )));
    }
    let listener = StdTcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => "another program listens there (see `ss -ltnp`); set [http] listen to a free port",
            ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE; set [http] listen to a higher port"
            }
            _ => "set [http] listen to an address of this host, or to \"\" to turn HTTP off",
        };
        CliError::Unavailable(format!("can't listen on {address}: {error}: {hint}"))
    })
}

/// The control socket; removed again when dropped, if it is still ours.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Option<StdUnixListener>,
    path: PathBuf,
    inode: u64,
}

impl ControlSocket {
    /// Binds `path`, readable and writable by its owner only. A socket that is there already is removed if nobody
    /// answers on it.
    ///
    /// # Errors
    /// Another daemon answers there, something else than a socket is there, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, CliError> {
        let refused = |error: io::Error| {
            CliError::Unavailable(format!(
                "can't make the control socket {}: {error}: set [paths] runtime to a directory that can be written",
                path.display()
            ))
        };
        if let Some(directory) = path.parent() {
            storage::create_directory(directory).map_err(refused)?;
        }
        remove_stale(path)?;
        // Bound under another name, so that nobody meets it before it has its mode.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        // A leftover of a crashed process with our id.
        let _ = fs::remove_file(&temporary);
        let listener = StdUnixListener::bind(&temporary).map_err(refused)?;
        let made = (|| {
            fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            fs::rename(&temporary, path)?;
            Ok(fs::symlink_metadata(path)?.ino())
        })();
        let inode = made.map_err(|error| {
            // Best effort: the error that counts is the first.
            let _ = fs::remove_file(&temporary);
            refused(error)
        })?;
        Ok(Self { listener: Some(listener), path: path.to_owned(), inode })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Already gone is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), CliError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    let shown = path.display();
    if !found.file_type().is_socket() {
        return Err(CliError::Unavailable(format!(
            "{shown} is in the way and not a socket: remove it, or set [paths] runtime"
        )));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(CliError::Unavailable(format!(
            "another egress-monitor answers on {shown}: stop it, or give this one its own [paths] runtime"
        ))),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(|error| {
            CliError::Unavailable(format!("{shown} is left over and can't be removed: {error}: remove it"))
        }),
        Err(error) => Err(CliError::Unavailable(format!("can't tell who answers on {shown}: {error}"))),
    }
}

/// Serves the HTTP port until `stop`.
///
/// # Errors
/// The listener can't be used.
pub async fn serve_tcp(listener: StdTcpListener, router: Router, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = &TcpListener::from_std(listener)?;
    let accept = || async move { Ok(Some(listener.accept().await?.0)) };
    serve_all(accept, router, stop).await;
    Ok(())
}

/// Serves the HTTP port until `stop`, as soon as whoever holds it now lets go of it.
///
/// # Errors
/// As [`serve_tcp`].
pub async fn serve_tcp_when_free(
    address: SocketAddr,
    router: Router,
    state: &SharedState,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = loop {
        match bind_tcp(address) {
            Ok(listener) => break listener,
            Err(error) => state.write().http_error = Some(error.to_string()),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(AGAIN) => {}
        }
    };
    state.write().http_error = None;
    tracing::info!(%address, "HTTP is served now");
    serve_tcp(listener, router, stop).await
}

/// Serves the control socket until `stop`. Only root and the daemon's own user are let in.
///
/// # Errors
/// The listener can't be used.
pub async fn serve_unix(mut socket: ControlSocket, router: Router, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(listener) = socket.listener.take() else { return Ok(()) };
    let listener = &UnixListener::from_std(listener)?;
    let owner = fs::symlink_metadata(&socket.path)?.uid();
    let accept = || async move {
        let (stream, _) = listener.accept().await?;
        let admitted = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == owner);
        Ok(admitted.then_some(stream))
    };
    serve_all(accept, router, stop).await;
    Ok(())
}

/// Serves whom `accept` lets in, until `stop`.
async fn serve_all<S, F>(accept: impl Fn() -> F, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = io::Result<Option<S>>>,
{
    let mut places = Places::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok(Some(stream)) => serve(stream, &router, places.take(), &stop),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                // Out of file descriptors, usually: trying again at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The connections of a listener, oldest first.
#[derive(Debug, Default)]
struct Places(VecDeque<CancellationToken>);

impl Places {
    /// A place for one more connection, which is over when its token is cancelled: by itself, or for another.
    fn take(&mut self) -> CancellationToken {
        self.0.retain(|place| !place.is_cancelled());
        while self.0.len() >= MAX_CONNECTIONS {
            self.0.pop_front().inspect(CancellationToken::cancel);
        }
        let place = CancellationToken::new();
        self.0.push_back(place.clone());
        place
    }
}

fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: &Router,
    place: CancellationToken,
    stop: &CancellationToken,
) {
    let service = TowerToHyperService::new(router.clone());
    let stop = stop.clone();
    tokio::spawn(async move {
        let _ended = place.clone().drop_guard();
        let mut http = hyper::server::conn::http1::Builder::new();
        // One request a connection: then one time limit covers slow heads, slow readers and idlers alike.
        http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(MAX_HEAD);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // A client that hangs up or is too slow is its own affair.
            _ = timeout(CONNECTION_TIME, connection) => {}
            () = place.cancelled() => {}
            () = stop.cancelled() => {}
        }
    });
}
