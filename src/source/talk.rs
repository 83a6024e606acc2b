//! One conversation of the `git` program: bounded in time, and ended together with all that it started.

use crate::ports::{Cancel, PortError, PortResult};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::fd::{AsFd, OwnedFd},
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

/// How often it is looked whether the time is over, or somebody asks to stop.
const TICK: Duration = Duration::from_millis(50);
/// Until git was seen to end by itself after it closed its output.
const SHORT: Duration = Duration::from_millis(1);
/// How long somebody else (a credential helper in the background, say) may hold git's output open once git has ended.
const LINGER: Duration = Duration::from_secs(1);
/// What git gets to take its lock files away in.
const GRACE: Duration = Duration::from_secs(2);
/// Of what is said, more is dropped.
const KEPT: usize = 1 << 20;

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Exited(ExitStatus),
    TimedOut,
    Stopped,
}

/// What was said.
#[derive(Debug)]
pub struct Said {
    pub end: End,
    pub out: String,
    pub err: String,
}

/// Our end of a child's output, until it is closed there.
struct Pipe {
    open: Option<File>,
    bytes: Vec<u8>,
}

impl Pipe {
    fn new(end: Option<OwnedFd>) -> PortResult<Self> {
        let told = |e: nix::Error| PortError::retryable(format!("cannot listen to git: {e}"));
        if let Some(end) = &end {
            let flags = OFlag::from_bits_truncate(fcntl(end, FcntlArg::F_GETFL).map_err(told)?);
            fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(told)?;
        }
        Ok(Self { open: end.map(File::from), bytes: Vec::new() })
    }

    /// Takes what is there.
    fn read(&mut self) {
        let mut block = [0; 8192];
        while let Some(file) = &mut self.open {
            match file.read(&mut block) {
                Ok(read @ 1..) => {
                    let room = KEPT.saturating_sub(self.bytes.len());
                    self.bytes.extend_from_slice(&block[..read.min(room)]);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // What was read before an error is still worth showing.
                Ok(_) | Err(_) => self.open = None,
            }
        }
    }
}

/// Whether it ended. It is not reaped, so that its group keeps its number until all of the group was dealt with.
fn has_ended(child: &Child) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(Pid::from_raw(child.id() as i32)), flags), Ok(WaitStatus::StillAlive))
}

/// Waits until something is said or closed, or `at_most` is over.
fn wait_for_words(pipes: &[Pipe], at_most: Duration) {
    let mut fds: Vec<PollFd> =
        pipes.iter().filter_map(|p| Some(PollFd::new(p.open.as_ref()?.as_fd(), PollFlags::POLLIN))).collect();
    // An interrupted wait is a short one.
    let _ = poll(&mut fds, PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO));
}

/// Listens to a child that leads a process group, at most `limit` and until `stop` says so.
///
/// Guarantee: returns a few seconds after that at the latest, whoever else holds the child's output open. Where that was not git alone, or it
/// had to be ended, nothing of its group is left.
pub fn listen(mut child: Child, limit: Duration, stop: &Cancel) -> PortResult<Said> {
    let group = Pid::from_raw(child.id() as i32);
    let mut pipes = [Pipe::new(child.stdout.take().map(Into::into))?, Pipe::new(child.stderr.take().map(Into::into))?];
    let begun = Instant::now();
    let mut ended: Option<Instant> = None;
    let gave_up = loop {
        let silent = pipes.iter().all(|p| p.open.is_none());
        wait_for_words(&pipes, if silent { SHORT } else { TICK });
        pipes.iter_mut().for_each(Pipe::read);
        if ended.is_none() && has_ended(&child) {
            ended = Some(Instant::now());
        }
        match ended {
            Some(at) if silent || at.elapsed() > LINGER => break None,
            Some(_) => {}
            None if stop.is_cancelled() => break Some(End::Stopped),
            None if begun.elapsed() >= limit => break Some(End::TimedOut),
            None => {}
        }
    };
    if gave_up.is_some() {
        // A group that just ended needs no signal.
        let _ = killpg(group, Signal::SIGTERM);
        let asked = Instant::now();
        while !has_ended(&child) && asked.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    if gave_up.is_some() || pipes.iter().any(|p| p.open.is_some()) {
        let _ = killpg(group, Signal::SIGKILL);
    }
    let end = match gave_up {
        None => End::Exited(child.wait().map_err(|e| PortError::retryable(format!("cannot wait for git: {e}")))?),
        Some(end) => {
            // Who hangs in the kernel dies when that lets go; nobody waits for it here.
            std::thread::spawn(move || drop(child.wait()));
            end
        }
    };
    pipes.iter_mut().for_each(Pipe::read);
    let [out, err] = pipes.map(|p| String::from_utf8_lossy(&p.bytes).into_owned());
    Ok(Said { end, out, err })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::CommandExt,
        process::{Command, Stdio},
    };

    fn sh(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).spawn().unwrap()
    }

    fn heard(script: &str, limit: Duration) -> (Said, Duration) {
        let begun = Instant::now();
        let said = listen(sh(script), limit, &Cancel::default()).unwrap();
        (said, begun.elapsed())
    }

    const LONG: Duration = Duration::from_secs(60);

    /// Whoever it was left to may not collect it.
    fn lives(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
    }

    #[test]
    fn what_is_said_and_the_status_arrive_however_much_it_is() {
        let (said, _) = heard("head -c 3000000 /dev/zero | tr '\\0' x; echo why >&2; exit 3", LONG);
        assert!(matches!(said.end, End::Exited(status) if status.code() == Some(3)), "{:?}", said.end);
        assert_eq!((said.out.len(), said.err.as_str()), (KEPT, "why\n"));
    }

    #[test]
    fn a_helper_that_holds_the_output_open_holds_up_nobody() {
        // It ignores the polite signal, as one that waits for a person may.
        let helper = "(trap '' TERM; sh -c 'echo $PPID'; echo hi >&2; sleep 600) & sleep 0.2;";
        for (script, limit, timed_out) in [
            (format!("{helper} sleep 600"), Duration::from_millis(500), true),
            (format!("{helper} exit 0"), LONG, false),
        ] {
            let (said, took) = heard(&script, limit);
            assert_eq!(said.end == End::TimedOut, timed_out, "{:?}", said.end);
            assert!(took < Duration::from_secs(10), "{took:?}");
            assert_eq!(said.err, "hi\n");
            let until = Instant::now() + Duration::from_secs(10);
            while lives(said.out.trim()) {
                assert!(Instant::now() < until, "the helper lives");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_conversation_is_stopped_when_it_is_asked_to() {
        let stop = Cancel::default();
        let asks = stop.clone();
        let mut child = sh("echo begun; sleep 600");
        let mut out = child.stdout.take().unwrap();
        let asking = std::thread::spawn(move || {
            let mut word = [0; 6];
            out.read_exact(&mut word).unwrap();
            asks.cancel("the daemon stops");
        });
        let begun = Instant::now();
        assert_eq!(listen(child, LONG, &stop).unwrap().end, End::Stopped);
        assert!(begun.elapsed() < Duration::from_secs(10));
        asking.join().unwrap();
    }
}
