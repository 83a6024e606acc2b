//! Starting, finding again, stopping shims.

use super::{
    identity::Identity,
    shim::{self, EXIT, ExitRecord, IDENTITY, ShimSpec},
};
use crate::ports::{PortError, PortResult};
use std::{
    io::{BufRead, BufReader, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A shim by its folder.
#[derive(Debug, Clone)]
pub struct Handle {
    dir: PathBuf,
    shim: Option<Identity>,
}

/// How a shim's child stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Running,
    Ended(ExitRecord),
    /// The shim is gone and left no exit: it was killed, or the machine went down.
    Lost,
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The shim of a folder, when one was ever started there.
pub fn adopt(dir: &Path) -> Option<Handle> {
    let shim: Option<Identity> = read(&dir.join(IDENTITY));
    if shim.is_none() && !dir.join(EXIT).exists() {
        return None;
    }
    Some(Handle { dir: dir.to_owned(), shim })
}

/// Starts a shim in a folder, or adopts the one that was started there before, alive or ended.
///
/// Guarantees: for one folder a child is started once, whoever asks however often. Assumption: one daemon at a time (the store's lock).
pub fn spawn(exe: &Path, dir: &Path, spec: &ShimSpec) -> PortResult<Handle> {
    if let Some(handle) = adopt(dir) {
        return Ok(handle);
    }
    let io = |e: std::io::Error| PortError::retryable(format!("cannot start a process in {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(io)?;
    let text = serde_json::to_vec(spec).map_err(|e| PortError::permanent(e.to_string()))?;
    let mut child = Command::new(exe)
        .arg("internal-shim")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&text).map_err(io)?;
    }
    let mut answer = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut answer).map_err(io)?;
    }
    // Collects the shim when it ends, so that it does not stay as a zombie.
    std::thread::Builder::new()
        .name("reap".into())
        .stack_size(64 * 1024)
        .spawn(move || drop(child.wait()))
        .map_err(io)?;
    match answer.trim() {
        "ok" => adopt(dir).ok_or_else(|| PortError::retryable("the shim left no identity")),
        "" => Err(PortError::retryable("the shim ended without an answer")),
        reason => Err(match reason.strip_prefix(shim::AGAIN) {
            Some(trouble) => PortError::retryable(format!("cannot start a process in {}: {trouble}", dir.display())),
            None => PortError::permanent(reason.to_owned()),
        }),
    }
}

impl Handle {
    /// How it stands.
    pub fn state(&self) -> State {
        if let Some(record) = read(&self.dir.join(EXIT)) {
            return State::Ended(record);
        }
        if self.shim.as_ref().is_some_and(Identity::is_alive) {
            return State::Running;
        }
        // It may have ended between the two looks.
        read(&self.dir.join(EXIT)).map_or(State::Lost, State::Ended)
    }

    /// The shim's pid, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.shim.as_ref().filter(|s| s.is_alive()).map(|s| s.pid)
    }

    /// Asks the child's group to stop; the shim kills it after its grace time.
    pub fn stop(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Kills shim, child and every descendant at once; after a shim that was killed from outside, what it left behind.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
        shim::end_marked(&self.dir);
    }

    fn signal(&self, signal: i32) {
        if let Some(shim) = &self.shim {
            shim.signal(signal);
        }
    }

    /// Readable once the shim has ended; `None` when it already has.
    pub fn pidfd(&self) -> Option<OwnedFd> {
        self.shim.as_ref()?.pidfd()
    }

    /// Waits until the child ended or `give_up` says so (asked five times a second). `None` when given up.
    pub fn wait(&self, give_up: impl Fn() -> bool) -> Option<State> {
        const ASK_MS: u16 = 200;
        let pidfd = self.pidfd();
        loop {
            match self.state() {
                State::Running => {}
                ended => return Some(ended),
            }
            if give_up() {
                return None;
            }
            match &pidfd {
                Some(fd) => {
                    let mut poll = [nix::poll::PollFd::new(fd.as_fd(), nix::poll::PollFlags::POLLIN)];
                    // An interrupted wait is another round.
                    let _ = nix::poll::poll(&mut poll, ASK_MS);
                }
                None => std::thread::yield_now(),
            }
        }
    }
}
