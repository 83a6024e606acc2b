//! A pseudo terminal with the UI in it.

use crate::support::World;
use nix::{
    poll::{PollFd, PollFlags, poll},
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{Termios, tcgetattr},
    },
    unistd::Pid,
};
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Shows a file, and ends with what is typed.
const PAGER: &str = "sh -c 'echo READS; cat \"$0\"; read x; echo got-$x'";

/// The UI in a terminal of its own, and what that shows.
pub struct Screen {
    pub child: Child,
    master: File,
    pub slave: OwnedFd,
    pub before: Termios,
    /// All that was written.
    pub seen: String,
    shown: vt100::Parser,
}

/// What must be as it was.
pub fn attributes(t: &Termios) -> impl PartialEq + std::fmt::Debug + use<> {
    (t.input_flags, t.output_flags, t.control_flags, t.local_flags, t.control_chars)
}

impl Screen {
    pub fn open(w: &World) -> Self {
        Self::open_with(w, &[], &[])
    }
    /// With more flags, and variables of the person's own.
    pub fn open_with(w: &World, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
        command.args(["tui", "--state"]).arg(w.state()).args(flags).stdin(end()).stdout(end()).stderr(end());
        command.env("TERM", "xterm-256color").env("PAGER", PAGER);
        // What whoever runs the tests settled for themselves is theirs.
        command.env("XDG_CONFIG_HOME", w.path("config")).env("XDG_STATE_HOME", w.path("remembered"));
        command.envs(variables.iter().copied());
        let child = command.spawn().unwrap();
        drop(command);
        Self {
            child,
            master: File::from(pty.master),
            slave: pty.slave,
            before,
            seen: String::new(),
            shown: vt100::Parser::new(24, 80, 0),
        }
    }
    /// Reads until this was written.
    pub fn until(&mut self, text: &str) {
        self.until_all(&[text]);
    }
    /// Reads until all of this was written, one after the other.
    pub fn until_all(&mut self, texts: &[&str]) {
        let written = |seen: &str| texts.iter().try_fold(seen, |rest, t| Some(rest.split_once(t)?.1)).is_some();
        let until = Instant::now() + Duration::from_secs(60);
        while !written(&self.seen) {
            let left = until.saturating_duration_since(Instant::now());
            let ready =
                poll(&mut [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)], left.as_millis() as u16).unwrap();
            assert!(ready > 0, "{texts:?} were not written: {:?}", self.seen);
            self.read();
        }
    }
    fn read(&mut self) {
        let mut piece = [0; 4096];
        let n = self.master.read(&mut piece).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&piece[..n]));
        self.shown.process(&piece[..n]);
    }
    /// Reads until all of this stands on the screen, at once.
    pub fn shows(&mut self, texts: &[&str]) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let all = self.shown.screen().contents();
            let Some(missing) = texts.iter().find(|t| !all.contains(**t)) else { return };
            let left = until.saturating_duration_since(Instant::now());
            let mut waiting = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            assert!(poll(&mut waiting, left.as_millis() as u16).unwrap() > 0, "no {missing:?} on the screen:\n{all}");
            self.read();
        }
    }
    /// Reads until the screen is so.
    pub fn until_shown(&mut self, what: &str, is: impl Fn(&vt100::Screen) -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !is(self.shown.screen()) {
            let left = until.saturating_duration_since(Instant::now());
            let mut waiting = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut waiting, left.as_millis() as u16).unwrap();
            assert!(ready > 0, "never {what}:\n{}", self.shown.screen().contents());
            self.read();
        }
    }
    /// What is shown now.
    pub fn now(&self) -> &vt100::Screen {
        self.shown.screen()
    }
    /// Another size of the window.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is open, and the size outlives the call.
        assert_eq!(unsafe { libc::ioctl(self.slave.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
        self.shown.screen_mut().set_size(rows, columns);
        // It is no session's terminal here: the kernel tells nobody.
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGWINCH).unwrap();
    }
    /// Reads until nothing was written for so long: each frame writes something, if only the cursor's state.
    pub fn until_quiet(&mut self, quiet_ms: u16) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let mut waiting = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waiting, quiet_ms).unwrap() == 0 {
                return;
            }
            self.read();
            assert!(Instant::now() < until, "it draws on and on: {:?}", self.seen);
        }
    }
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }
    /// Waits for the end; its exit code.
    pub fn end(mut self) -> Option<i32> {
        self.until_all(&["\x1b[?1049h", "\x1b[?25l", "\x1b[?1049l", "\x1b[?25h"]);
        let code = self.child.wait().unwrap().code();
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(attributes(&after), attributes(&self.before));
        code
    }
}

impl Drop for Screen {
    /// A test that fails leaves no UI behind.
    fn drop(&mut self) {
        // Fails when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
