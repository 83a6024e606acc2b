//! The terminal UI of the binary in a pseudo terminal, on a daemon with 10,000 models: from its start to the first screen, from something that
//! happens in the daemon to the cell that shows it, and what it holds in memory. Beside the second: the same call and its answer alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot run says so by panicking")]

#[path = "support/at_rest.rs"]
mod at_rest;
#[path = "support/daemon.rs"]
mod daemon;
mod support;

use at_rest::AtRest;
use criterion::Criterion;
use daemon::{Daemon, usage};
use nix::{
    poll::{PollFd, PollFlags, poll},
    pty::{Winsize, openpty},
};
use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const MODELS: usize = 10_000;

/// The UI, and what its terminal shows.
struct Screen {
    child: Child,
    master: File,
    shown: vt100::Parser,
}

impl Screen {
    fn open(state: &Path) -> Self {
        let (rows, columns) = (50, 160);
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
        command.args(["tui", "--state"]).arg(state).env("TERM", "xterm-256color");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { child, master: File::from(pty.master), shown: vt100::Parser::new(rows, columns, 0) }
    }

    /// Waits until a row that begins so also has this in it.
    fn shows(&mut self, row: &str, text: &str) {
        let mut piece = [0; 65536];
        let begun = Instant::now();
        let found = |shown: &vt100::Parser| {
            shown
                .screen()
                .rows(0, 160)
                .any(|r| r.trim_start_matches([' ', '!', '✓', '‖', '↻', '·']).starts_with(row) && r.contains(text))
        };
        while !found(&self.shown) {
            let mut waiting = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let contents = || self.shown.screen().contents();
            assert!(begun.elapsed() < Duration::from_secs(60), "no {text:?} in {row:?}:\n{}", contents());
            if poll(&mut waiting, 1000_u16).unwrap() > 0 {
                let n = self.master.read(&mut piece).unwrap();
                self.shown.process(&piece[..n]);
            }
        }
    }

    fn close(mut self) {
        self.master.write_all(b"\x03").unwrap();
        // A terminal that nobody reads holds its program up. The read fails once the program has ended.
        let mut piece = [0; 65536];
        while matches!(self.master.read(&mut piece), Ok(1..)) {}
        self.child.wait().unwrap();
    }
}

/// One call of the daemon's API.
fn post(state: &Path, path: &str) {
    let mut stream = UnixStream::connect(state.join("trimtab.sock")).unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}

fn main() {
    let fleet = AtRest::new(MODELS).stop();
    let mut daemon = Daemon::start(&fleet);
    daemon.wait_ready();
    let state = daemon.state.clone();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("the UI on 10,000 models");
    group.sample_size(20);
    let start = |n: u64| -> Duration {
        let one = || {
            let begun = Instant::now();
            let mut screen = Screen::open(&state);
            screen.shows("m0", "Synced");
            let took = begun.elapsed();
            screen.close();
            took
        };
        (0..n).map(|_| one()).sum()
    };
    group.bench_function("from its start to the first screen", |b| b.iter_custom(start));
    let mut screen = Screen::open(&state);
    screen.shows("m0", "Synced");
    let mut suspended = false;
    let mut next = || {
        suspended = !suspended;
        if suspended { ("suspend", "Suspend") } else { ("resume", "Healthy") }
    };
    group.bench_function("from a call that suspends a model to its cell", |b| {
        b.iter_custom(|n| {
            let mut one = || {
                let (verb, word) = next();
                let begun = Instant::now();
                post(&state, &format!("/api/v1/models/m0/{verb}"));
                screen.shows("m0 ", word);
                begun.elapsed()
            };
            (0..n).map(|_| one()).sum()
        });
    });
    let (memory, _) = usage(screen.child.id());
    screen.close();
    group.bench_function("that call alone", |b| {
        b.iter(|| {
            post(&state, "/api/v1/models/m0/suspend");
            post(&state, "/api/v1/models/m0/resume");
        });
    });
    group.finish();
    println!("the UI after 10,000 models and the calls: {memory:.1} MiB resident");
    criterion.final_summary();
}
