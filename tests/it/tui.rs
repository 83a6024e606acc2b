//! The terminal UI of the real binary in a real pseudo terminal.

use crate::support::{SERVE, SERVED, TRAIN, World, model};
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

struct Screen {
    child: Child,
    master: File,
    slave: OwnedFd,
    before: Termios,
    seen: String,
}

fn attributes(t: &Termios) -> impl PartialEq + std::fmt::Debug + use<> {
    (t.input_flags, t.output_flags, t.control_flags, t.local_flags, t.control_chars)
}

impl Screen {
    fn open(w: &World) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
        command.args(["tui", "--state"]).arg(w.state()).stdin(end()).stdout(end()).stderr(end());
        command.env("TERM", "xterm-256color").env("PAGER", PAGER);
        // What whoever runs the tests settled for themselves is theirs.
        command.env("XDG_CONFIG_HOME", w.path("config")).env("XDG_STATE_HOME", w.path("remembered"));
        let child = command.spawn().unwrap();
        drop(command);
        Self { child, master: File::from(pty.master), slave: pty.slave, before, seen: String::new() }
    }
    /// Reads until this was written.
    fn until(&mut self, text: &str) {
        self.until_all(&[text]);
    }
    /// Reads until all of this was written, one after the other.
    fn until_all(&mut self, texts: &[&str]) {
        let mut piece = [0; 4096];
        let written = |seen: &str| texts.iter().try_fold(seen, |rest, t| Some(rest.split_once(t)?.1)).is_some();
        let until = Instant::now() + Duration::from_secs(60);
        while !written(&self.seen) {
            let left = until.saturating_duration_since(Instant::now());
            let ready =
                poll(&mut [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)], left.as_millis() as u16).unwrap();
            assert!(ready > 0, "{texts:?} were not written: {:?}", self.seen);
            let n = self.master.read(&mut piece).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&piece[..n]));
        }
    }
    /// Reads until nothing was written for so long: each frame writes something, if only the cursor's state.
    fn until_quiet(&mut self, quiet_ms: u16) {
        let until = Instant::now() + Duration::from_secs(30);
        let mut piece = [0; 4096];
        loop {
            let mut waiting = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waiting, quiet_ms).unwrap() == 0 {
                return;
            }
            let n = self.master.read(&mut piece).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&piece[..n]));
            assert!(Instant::now() < until, "it draws on and on: {:?}", self.seen);
        }
    }
    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }
    /// Waits for the end; its exit code.
    fn end(mut self) -> Option<i32> {
        self.until_all(&["\x1b[?1049h", "\x1b[?25l", "\x1b[?1049l", "\x1b[?25h"]);
        let code = self.child.wait().unwrap().code();
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(attributes(&after), attributes(&self.before));
        code
    }
}

#[test]
fn the_terminal_is_given_back_however_the_ui_ends() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let opened = || {
        let mut screen = Screen::open(&w);
        screen.until("fraud");
        assert_ne!(attributes(&tcgetattr(&screen.slave).unwrap()), attributes(&screen.before), "it is raw meanwhile");
        screen
    };
    for (keys, code) in [("q", 0), ("\x03", 0), (":q\r", 0), ("?\x03", 0)] {
        let mut screen = opened();
        screen.press(keys);
        assert_eq!(screen.end(), Some(code), "{keys:?}");
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let screen = opened();
        kill(Pid::from_raw(screen.child.id() as i32), signal).unwrap();
        assert_eq!(screen.end(), Some(128 + signal as i32), "{signal}");
    }
    let mut screen = opened();
    w.kill();
    screen.until("not reachable");
    screen.press("q");
    assert_eq!(screen.end(), Some(0), "a daemon that is gone holds nobody");
}

#[test]
fn without_a_daemon_the_screen_is_never_taken() {
    let w = World::new();
    let mut screen = Screen::open(&w);
    screen.until("start one with");
    assert_eq!(screen.child.wait().unwrap().code(), Some(69));
    assert!(!screen.seen.contains("\x1b[?1049h"), "{:?}", screen.seen);
}

#[test]
fn a_window_that_grows_shows_more() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let mut screen = Screen::open(&w);
    screen.until("fraud");
    assert!(!screen.seen.contains("P99"), "no room in 80 columns");
    let size = Winsize { ws_row: 40, ws_col: 140, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open, and the size outlives the call.
    assert_eq!(unsafe { libc::ioctl(screen.slave.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    // It is no session's terminal here: the kernel tells nobody.
    kill(Pid::from_raw(screen.child.id() as i32), Signal::SIGWINCH).unwrap();
    screen.until("P99");
    screen.press("q");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn a_log_goes_on_when_the_daemon_comes_back() {
    let mut w = World::new();
    let go = w.path("go");
    let train = format!(
        "import os, time\nprint('QQQQ', flush=True)\nwhile not os.path.exists('{}'): time.sleep(0.02)\nprint('ZZZZ', flush=True)\n{TRAIN}",
        go.display()
    );
    let spec = model("fraud", &w.path("count"), ", seed = 1", SERVED);
    let at = |f: &str| format!("specs/models/fraud/{f}");
    let files = [(at("model.toml"), spec.as_str()), (at("train.py"), train.as_str()), (at("serve.py"), SERVE)];
    w.commit("fraud", &files.each_ref().map(|(path, text)| (path.as_str(), Some(*text))));
    w.start();
    let mut screen = Screen::open(&w);
    screen.until("fraud");
    screen.press("l");
    screen.until("QQQQ");
    w.kill();
    screen.until("not reachable");
    w.start();
    std::fs::write(&go, "").unwrap();
    screen.until("ZZZZ");
    assert_eq!(screen.seen.matches("QQQQ").count(), 1, "nothing is told twice");
    w.wait_for("fraud", "version=v1");
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
    assert_eq!(w.trained("count").len(), 1);
}

#[test]
fn output_is_read_in_a_pager_that_has_terminal_and_keys_and_the_view_is_remembered() {
    let mut w = World::new();
    let train = format!("print('QQQQ', flush=True)\n{TRAIN}");
    let spec = model("fraud", &w.path("count"), ", seed = 1", SERVED);
    let at = |f: &str| format!("specs/models/fraud/{f}");
    let files = [(at("model.toml"), spec.as_str()), (at("train.py"), train.as_str()), (at("serve.py"), SERVE)];
    w.commit("fraud", &files.each_ref().map(|(path, text)| (path.as_str(), Some(*text))));
    w.start();
    w.wait_for("fraud", "version=v1");
    let mut screen = Screen::open(&w);
    screen.until("fraud");
    screen.press("l");
    screen.until("QQQQ");
    screen.press("v");
    screen.until_all(&["\x1b[?1049l", "READS", "QQQQ"]);
    assert_eq!(attributes(&tcgetattr(&screen.slave).unwrap()), attributes(&screen.before), "it is the pager's");
    // `q` would end the UI.
    screen.press("qqq\n");
    screen.until_all(&["got-qqq", "\x1b[?1049h", "QQQQ"]);
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
    let mut again = Screen::open(&w);
    again.until("QQQQ");
    again.press("\x03");
    assert_eq!(again.end(), Some(0));
    let file = w.path("remembered").join("trimtab/tui.toml");
    assert!(std::fs::read_to_string(&file).unwrap().contains("screen = \"logs fraud\""));
    std::fs::write(&file, "[[daemon").unwrap();
    let mut damaged = Screen::open(&w);
    damaged.until("is damaged");
    damaged.press("q");
    assert_eq!(damaged.end(), Some(0));
}

#[test]
fn settings_that_are_wrong_are_told_before_the_screen_is_taken() {
    let w = World::new();
    std::fs::create_dir_all(w.path("config").join("trimtab")).unwrap();
    std::fs::write(w.path("config").join("trimtab/tui.toml"), "[keys]\nplan = \"t\"\n").unwrap();
    let mut screen = Screen::open(&w);
    screen.until_all(&["`t` is the key of `events` already", "tui.toml:2:8"]);
    assert_eq!(screen.child.wait().unwrap().code(), Some(64));
    assert!(!screen.seen.contains("\x1b[?1049h"), "{:?}", screen.seen);
}

#[test]
fn nothing_is_drawn_while_nothing_changes() {
    let mut w = World::new();
    w.start();
    let mut screen = Screen::open(&w);
    screen.until("No models yet");
    // Its own clock ticks every second.
    screen.until_quiet(2500);
    screen.press("?");
    screen.until("keys");
    screen.press("q");
    screen.press("q");
    assert_eq!(screen.end(), Some(0));
}
