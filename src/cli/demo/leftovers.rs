//! What an interrupted demo takes away: its processes outlive their daemon by design, and its folder its process.

use crate::deploy::local::stop_everything;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// What runs and lies about now.
#[derive(Debug)]
struct Leftovers {
    daemon: Pid,
    state: PathBuf,
    /// The scratch folder, unless it is to be kept.
    folder: Option<PathBuf>,
}

static LEFT: Mutex<Option<Leftovers>> = Mutex::new(None);

/// Notes what has to go when the demo ends before its time.
pub fn note(daemon: u32, state: PathBuf, folder: Option<PathBuf>) {
    let left = Leftovers { daemon: Pid::from_raw(daemon as i32), state, folder };
    *LEFT.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
}

/// The demo ended in order and took everything away itself.
pub fn forget() {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// Ends every process and removes the folder, once.
pub fn clear() {
    let Some(left) = LEFT.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    // It may be gone already.
    let _ = kill(left.daemon, Signal::SIGKILL);
    stop_everything(&left.state);
    if let Some(folder) = left.folder {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Takes everything away when a signal comes; until the sender is dropped, for the terminal UI listens itself.
pub fn on_signals() -> std::io::Result<oneshot::Sender<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    let (sender, mut over) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let came = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => Some(Signal::SIGINT),
                _ = terminate.recv() => Some(Signal::SIGTERM),
                _ = hangup.recv() => Some(Signal::SIGHUP),
                _ = &mut over => None,
            }
        });
        if let Some(signal) = came {
            clear();
            // As a shell shows a command that a signal ended.
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(sender)
}
