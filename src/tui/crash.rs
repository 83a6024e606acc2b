//! What is kept of a panic: enough to tell somebody else of it.

use super::state::Message;
use std::{
    backtrace::Backtrace,
    collections::VecDeque,
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Write as _},
    panic::PanicHookInfo,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Where reports go, and the clock: they are needed when nothing else can be asked any more.
#[derive(Debug, Clone)]
pub struct Reports {
    pub folder: PathBuf,
    /// Seconds since 1970.
    pub now: fn() -> i64,
}

/// Messages that are told of.
const TOLD: usize = 50;

/// What kinds of messages came last. Not what they said: that may be anybody's.
static LAST: Mutex<VecDeque<&'static str>> = Mutex::new(VecDeque::new());

/// Notes a message, should there be a panic.
pub(super) fn note(message: &Message) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() == TOLD {
        last.pop_front();
    }
    last.push_back(kind(message));
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Key(_) => "key",
        Message::Mouse(_) => "mouse",
        Message::Resized => "resized",
        Message::Fleet(_) => "fleet",
        Message::Some { .. } => "models",
        Message::Model(_) => "model",
        Message::Version(_) => "version",
        Message::Lately(_) => "commits",
        Message::Events(_) => "events",
        Message::Plan(_) => "plan",
        Message::Diff(_) => "diff",
        Message::Waits(..) => "waits",
        Message::Log { .. } => "log",
        Message::Tracked(_) => "tracked",
        Message::Happened(_) => "event",
        Message::Context(..) => "context",
        Message::Said(_) => "said",
        Message::Denied(_) => "denied",
        Message::Reachable(_) => "reachable",
        Message::Tick => "tick",
        Message::Beat => "beat",
    }
}

impl Reports {
    /// Writes a report; its file.
    pub(super) fn write(&self, info: &PanicHookInfo<'_>) -> io::Result<PathBuf> {
        let path = self.folder.join(format!("trimtab-tui-panic-{}.txt", (self.now)()));
        // Nothing that lies there already is followed or overwritten.
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(text(info).as_bytes())?;
        Ok(path)
    }
}

fn text(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let said = text.unwrap_or("no words");
    let at = info.location().map_or("an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let size = crossterm::terminal::size().map_or("of unknown size".to_owned(), |(x, y)| format!("{x}×{y}"));
    // The panic may have come while it was held.
    let last = LAST.try_lock().map(|l| l.iter().copied().collect::<Vec<_>>().join(" ")).unwrap_or_default();
    let mut out = format!("trimtab {}: the terminal UI panicked\n\n", env!("CARGO_PKG_VERSION"));
    for (what, told) in [
        ("message", said),
        ("at", &at),
        ("thread", thread.name().unwrap_or("unnamed")),
        ("terminal", &size),
        ("messages before, the newest last", &last),
    ] {
        // A string takes everything.
        let _ = writeln!(out, "{what}: {told}");
    }
    let _ = writeln!(out, "\n{}", Backtrace::force_capture());
    out
}
