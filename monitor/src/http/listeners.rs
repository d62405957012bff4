//! The sockets that are listened on: the port and the control socket, made before anything is attached, and served by
//! `server`.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::net::listen;

use super::roles::Access;
use crate::{error::CliError, storage};

/// Connections that wait for the daemon to take them; the kernel takes less where net.core.somaxconn says so.
const BACKLOG: i32 = 4_096;

/// Binds the HTTP port.
///
/// # Errors
/// Off loopback, taken, or not ours to bind: with the hint.
pub fn bind_tcp(address: SocketAddr) -> Result<TcpListener, CliError> {
    if !address.ip().is_loopback() {
        return Err(CliError::Usage(format!(
            "[http] listen = \"{address}\": only loopback addresses are served without TLS; use 127.0.0.1 or [::1], \
             or \"\" to turn HTTP off"
        )));
    }
    TcpListener::bind(address).and_then(ready).map_err(|error| {
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

/// Has it wait for nobody, and as many as possible wait for it.
///
/// # Errors
/// It is no listener.
pub fn ready(listener: TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// The control socket; removed again when dropped, if it is still ours.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: Option<UnixListener>,
    path: PathBuf,
    inode: u64,
}

/// Why there is no control socket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error("{0}")]
    Taken(String),
    /// It can't be made.
    #[error("{0}")]
    Refused(String),
}

impl ControlSocket {
    /// Binds the socket that `access` names: for its owner only, or, where somebody else has business there, for everybody:
    /// whoever connects is asked who he is. A socket that is there already is removed if nobody answers on it.
    ///
    /// # Errors
    /// Another daemon answers there, something else than a socket is there, or the system refuses.
    pub fn bind(access: &Access) -> Result<Self, SocketError> {
        let path = access.socket();
        let refused = |error: io::Error| {
            SocketError::Refused(format!(
                "can't make the control socket {}: {error}: set [paths] runtime to a directory that can be written",
                path.display()
            ))
        };
        if let Some(directory) = path.parent() {
            let made = !directory.exists();
            storage::create_directory(directory).map_err(refused)?;
            if made && access.has_members() {
                fs::set_permissions(directory, fs::Permissions::from_mode(0o711)).map_err(refused)?;
            }
        }
        remove_stale(path)?;
        // Bound under another name, so that nobody meets it before it has its mode.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        // A leftover of a crashed process with our id.
        let _ = fs::remove_file(&temporary);
        let listener = UnixListener::bind(&temporary).map_err(refused)?;
        let made = (|| {
            fs::set_permissions(
                &temporary,
                fs::Permissions::from_mode(if access.has_members() { 0o666 } else { 0o600 }),
            )?;
            listener.set_nonblocking(true)?;
            listen(&listener, BACKLOG)?;
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

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    let shown = path.display();
    if !found.file_type().is_socket() {
        return Err(SocketError::Refused(format!(
            "{shown} is in the way and not a socket: remove it, or set [paths] runtime"
        )));
    }
    match UnixStream::connect(path) {
        Ok(there) => {
            // Who called listen(2) (unix(7)).
            let peer = rustix::net::sockopt::socket_peercred(&there);
            let pid = peer.map(|peer| format!(", pid {}", peer.pid.as_raw_nonzero())).unwrap_or_default();
            Err(SocketError::Taken(format!(
                "already running{pid}: another egress-monitor answers on {shown}: stop it, or give this one its own [paths] \
                 runtime"
            )))
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(|error| {
            SocketError::Refused(format!("{shown} is left over and can't be removed: {error}: remove it"))
        }),
        Err(error) => Err(SocketError::Refused(format!("can't tell who answers on {shown}: {error}"))),
    }
}
