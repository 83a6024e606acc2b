//! How a new router takes over the listening socket of the old one: the socket itself is passed (`SCM_RIGHTS`), so that
//! connections which wait to be accepted are not lost, as they would be between two sockets of a `SO_REUSEPORT` group.

use super::RouteError;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::{
    fs,
    io::{self, IoSlice, IoSliceMut},
    net::TcpListener,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Longest path that fits in a socket address, with some room.
const SOCKET_PATH_MAX: usize = 100;

/// A path to `dir/name` that fits in a socket address; keep the file open while it is used.
pub fn short_path(dir: &Path, name: &str) -> io::Result<(Option<fs::File>, PathBuf)> {
    let path = dir.join(name);
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((None, path));
    }
    let folder = fs::File::open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((Some(folder), path))
}

/// Connects to the socket `dir/name`.
pub fn connect(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let (_open, path) = short_path(dir, name)?;
    UnixStream::connect(path)
}

/// Listens on `dir/name` with mode 0600, in place of whoever listened there.
pub fn listen(dir: &Path, name: &str) -> Result<UnixListener, RouteError> {
    let tmp = format!(".{name}.{}", std::process::id());
    let made = || -> io::Result<UnixListener> {
        let (_open, path) = short_path(dir, &tmp)?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        fs::rename(dir.join(&tmp), dir.join(name))?;
        Ok(listener)
    };
    made().map_err(RouteError::file(dir.join(name)))
}

/// The listening socket, until the router leaves: it would go on taking connections that nobody accepts.
pub type Gift = Arc<Mutex<Option<TcpListener>>>;

/// Gives the listening socket to whoever connects; runs on a thread of its own until the process ends.
pub fn give(listener: &UnixListener, gift: &Gift) {
    for stream in listener.incoming() {
        let sent = stream.and_then(|stream| {
            let socket = gift.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(socket) = socket.as_ref() else { return Ok(0) };
            let fds: [RawFd; 1] = [socket.as_raw_fd()];
            sendmsg::<()>(
                stream.as_raw_fd(),
                &[IoSlice::new(b"L")],
                &[ControlMessage::ScmRights(&fds)],
                MsgFlags::MSG_NOSIGNAL,
                None,
            )
            .map_err(io::Error::from)
        });
        if let Err(e) = sent {
            tracing::warn!("could not hand the port over: {e}");
        }
    }
}

/// Takes the listening socket of the router that runs in `dir`, if one does.
pub fn take(dir: &Path) -> Option<TcpListener> {
    let stream = connect(dir, "handover.sock").ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut byte = [0u8; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).ok()?;
    let fd = message.cmsgs().ok()?.find_map(|c| match c {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    })?;
    // SAFETY: the kernel made this descriptor for us in `recvmsg`; nobody else owns it.
    Some(TcpListener::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}
