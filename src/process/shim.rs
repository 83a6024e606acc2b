//! The shim itself: one child, its log, its end.
//!
//! Guarantees: the child's whole process group ends with it, with a stop, a timeout, or the shim's own death; `exit.json` appears whole or
//! not at all, also on a disk that became full meanwhile; secrets reach this process through a pipe and never the disk.

use super::{identity::Identity, mask::Mask};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::{
        fs::{FileExt, OpenOptionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

/// What a shim is to run. Passed over its standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimSpec {
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: BTreeMap<String, String>,
    /// Values that the log must not show.
    pub mask: Vec<String>,
    pub cwd: PathBuf,
    pub log: PathBuf,
    /// Bytes; past it the log is moved to `LOG.1` and begun anew.
    pub log_limit: u64,
    pub timeout_ms: Option<u64>,
    /// Bytes of private memory that each process may take.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Time between SIGTERM and SIGKILL.
    pub grace_ms: u64,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub timed_out: bool,
    /// A stop was asked for.
    pub stopped: bool,
    /// Milliseconds that it ran.
    pub ran_ms: u64,
}
impl ExitRecord {
    /// Exit 0, unasked.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0) && !self.timed_out
    }
    /// For people.
    pub fn describe(&self) -> String {
        match (self.timed_out, self.code, self.signal) {
            (true, ..) => "stopped at its time limit".into(),
            (_, Some(code), _) => format!("exit {code}"),
            (_, None, Some(signal)) => format!("killed by signal {signal}"),
            _ => "ended in an unknown way".into(),
        }
    }
}

/// Name of the file with the shim's identity, and of the one with the child's end.
pub const IDENTITY: &str = "shim.json";
pub const EXIT: &str = "exit.json";
/// Held while a shim starts, so that of two that were asked for the same folder one runs the child and the other sees it.
const START_LOCK: &str = "start.lock";
/// A variable that every descendant inherits: by it they are found when their shim is gone.
const MARK: &str = "TRIMTAB_SHIM";

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Room on the disk for how the child ends, taken before it starts: a result that cannot be written is a run that runs again.
struct ExitFile {
    file: File,
    dir: PathBuf,
}

impl ExitFile {
    fn part(dir: &Path) -> PathBuf {
        dir.join(EXIT).with_extension("part")
    }

    fn reserve(dir: &Path) -> std::io::Result<Self> {
        /// More than any record has.
        const ROOM: usize = 1024;
        let mut file = File::create(Self::part(dir))?;
        file.write_all(&[b' '; ROOM])?;
        file.sync_all()?;
        Ok(Self { file, dir: dir.to_owned() })
    }

    fn write(&self, record: &ExitRecord) -> std::io::Result<()> {
        let bytes = serde_json::to_vec(record)?;
        self.file.write_all_at(&bytes, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        self.file.sync_all()?;
        std::fs::rename(Self::part(&self.dir), self.dir.join(EXIT))?;
        File::open(&self.dir)?.sync_all()
    }

    /// Where writing takes room even so (a file system that copies what is written to), this goes on until there is some, or until a stop is
    /// asked for: as long as this process lives, the run counts as running rather than as lost.
    fn write_in_the_end(&self, record: &ExitRecord, signals: &libc::sigset_t) -> std::io::Result<()> {
        const PAUSE: Duration = Duration::from_secs(1);
        loop {
            let written = self.write(record);
            if written.is_ok() || matches!(next_signal(signals, Some(PAUSE)), libc::SIGTERM | libc::SIGINT) {
                return written;
            }
        }
    }
}

/// Why nothing was started.
struct Refused {
    said: String,
    /// Not by what was asked for: the same may go through later.
    again: bool,
}

impl From<std::io::Error> for Refused {
    fn from(e: std::io::Error) -> Self {
        Self { said: e.to_string(), again: true }
    }
}

fn refused(said: impl Into<String>) -> Refused {
    Refused { said: said.into(), again: false }
}

/// What stands before an answer that says why the same may go through later.
pub const AGAIN: &str = "again: ";

/// The hidden command: reads its spec from standard input, answers `ok` or a sentence on standard output, and stays until the child ended.
pub fn main(dir: &Path) -> ExitCode {
    match start(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refused { said, again }) => {
            // Whoever started this may be gone.
            let _ = writeln!(std::io::stdout(), "{}{said}", if again { AGAIN } else { "" });
            ExitCode::FAILURE
        }
    }
}

fn start(dir: &Path) -> Result<(), Refused> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let spec: ShimSpec = serde_json::from_str(&text).map_err(|e| refused(e.to_string()))?;
    drop(text);
    let lock = File::create(dir.join(START_LOCK))?;
    lock.lock()?;
    if dir.join(IDENTITY).exists() || dir.join(EXIT).exists() {
        answer_ok();
        return Ok(());
    }
    let exit = ExitFile::reserve(dir)?;
    // A session of its own: signals of the daemon's terminal and group do not reach it.
    let _ = nix::unistd::setsid();
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let signals = block_signals();
    let (program, args) = spec.argv.split_first().ok_or_else(|| refused("the command is empty"))?;
    let (mut reader, writer) = std::io::pipe()?;
    let error_writer = writer.try_clone()?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(&spec.env).env(MARK, whole(dir)).current_dir(&spec.cwd);
    command.stdin(Stdio::null()).stdout(writer).stderr(error_writer).process_group(0);
    let memory = spec.memory;
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl, setrlimit and sigprocmask.
    unsafe {
        command.pre_exec(move || {
            if let Some(bytes) = memory {
                nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_DATA, bytes, bytes)?;
            }
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            nix::sys::signal::SigSet::empty().thread_set_mask()?;
            Ok(())
        });
    }
    let child = command.spawn().map_err(|e| refused(format!("cannot start `{program}`: {e}{}", hint(program, &e))))?;
    drop(command);
    let me = Identity::of(std::process::id() as i32).ok_or_else(|| refused("/proc is not readable"))?;
    let bytes = serde_json::to_vec(&me).map_err(|e| refused(e.to_string()))?;
    write_whole(&dir.join(IDENTITY), &bytes)?;
    drop(lock);
    answer_ok();
    let (log, limit, mask) = (spec.log.clone(), spec.log_limit, Mask::new(&spec.mask));
    let logger = std::thread::spawn(move || keep_log(&mut reader, &log, limit, mask));
    let record = watch(child.id() as i32, &spec, &signals);
    let _ = logger.join();
    Ok(exit.write_in_the_end(&record, &signals)?)
}

/// What helps when a program is not there.
fn hint(program: &str, e: &std::io::Error) -> &'static str {
    match (program, e.kind()) {
        ("python", std::io::ErrorKind::NotFound) => {
            "; write `python3`, or name a requirements file with `python = ...`: its environment has a `python`"
        }
        (_, std::io::ErrorKind::NotFound) => "; is it installed, and on the daemon's PATH?",
        _ => "",
    }
}

/// Answers and lets go of the daemon's pipe.
fn answer_ok() {
    let _ = writeln!(std::io::stdout(), "ok");
    let _ = std::io::stdout().flush();
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        for fd in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            // SAFETY: both descriptors are open; dup2 has no other condition.
            unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), fd) };
        }
    }
}

fn block_signals() -> libc::sigset_t {
    use nix::sys::signal::{SigSet, Signal};
    let mut set = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD, Signal::SIGHUP].into_iter().for_each(|s| set.add(s));
    let _ = set.thread_block();
    *set.as_ref()
}

/// Waits for one of the blocked signals, at most `limit`.
fn next_signal(set: &libc::sigset_t, limit: Option<Duration>) -> i32 {
    let time = limit.map(|d| libc::timespec { tv_sec: d.as_secs() as i64, tv_nsec: d.subsec_nanos().into() });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the set and the time live through the call; no information about the signal is asked for.
    unsafe { libc::sigtimedwait(set, std::ptr::null_mut(), time) }
}

/// Milliseconds of a clock that only goes forward.
fn monotonic_ms() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(0, |t| t.tv_sec() as u64 * 1000 + t.tv_nsec() as u64 / 1_000_000)
}

/// Sees the child to its end.
fn watch(child: i32, spec: &ShimSpec, signals: &libc::sigset_t) -> ExitRecord {
    let began = monotonic_ms();
    let mut record = ExitRecord { code: None, signal: None, timed_out: false, stopped: false, ran_ms: 0 };
    let mut deadline = spec.timeout_ms.map(|t| began.saturating_add(t));
    let mut terminating = false;
    loop {
        if let Some(status) = reap(child) {
            record.code = status.code();
            record.signal = status.signal();
            break;
        }
        let now = monotonic_ms();
        let left = deadline.map(|d| Duration::from_millis(d.saturating_sub(now)));
        let due = deadline.is_some_and(|d| now >= d);
        if due && terminating {
            signal_group(child, libc::SIGKILL);
            deadline = None;
        } else if due {
            record.timed_out = true;
            terminating = true;
            signal_group(child, libc::SIGTERM);
            deadline = Some(now.saturating_add(spec.grace_ms));
        } else if matches!(next_signal(signals, left), libc::SIGTERM | libc::SIGINT) {
            record.stopped = true;
            terminating = true;
            signal_group(child, libc::SIGTERM);
            deadline = Some(now.saturating_add(spec.grace_ms));
        }
    }
    signal_group(child, libc::SIGKILL);
    end_stragglers();
    record.ran_ms = monotonic_ms().saturating_sub(began);
    record
}

fn signal_group(leader: i32, signal: i32) {
    // SAFETY: kill has no memory effects; a group that is gone gives an error that changes nothing.
    unsafe { libc::kill(-leader, signal) };
}

/// Collects everything that ended; the child's status when it was among them.
fn reap(child: i32) -> Option<std::process::ExitStatus> {
    let mut found = None;
    loop {
        let mut status = 0;
        // SAFETY: the status is a plain integer that lives through the call.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            pid if pid == child => found = Some(std::process::ExitStatus::from_raw(status)),
            pid if pid > 0 => {}
            _ => return found,
        }
    }
}

/// Ends descendants that left the group: this process is their reaper, so they are its children now.
fn end_stragglers() {
    let me = std::process::id();
    for _ in 0..100 {
        let children = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
        let pids: Vec<i32> = children.split_whitespace().filter_map(|p| p.parse().ok()).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // SAFETY: as above; each is a child of this process, so its pid cannot have been given to another.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

/// One spelling for a folder, however it was named.
fn whole(dir: &Path) -> PathBuf {
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
}

/// Kills every process that carries the mark of the shim of this folder: what a shim that was itself killed could not end.
pub fn end_marked(dir: &Path) {
    use std::os::unix::ffi::OsStrExt;
    const ROUNDS: usize = 10;
    let mark = [MARK.as_bytes(), b"=", whole(dir).as_os_str().as_bytes()].concat();
    let marked = |pid: i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|v| v == mark)
    };
    // One that forks while it is looked for is found in the next round.
    for _ in 0..ROUNDS {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let found: Vec<Identity> = all
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .filter_map(Identity::of)
            .filter(|p| p.is_alive() && marked(p.pid))
            .collect();
        if found.is_empty() {
            return;
        }
        found.iter().for_each(|p| p.signal(libc::SIGKILL));
    }
}

/// Copies output to the log until every writer is gone. A log that cannot be written loses lines, never blocks the child.
pub fn keep_log(input: &mut impl Read, path: &Path, limit: u64, mut mask: Mask) {
    // The child may have put a pipe in its place: opening that must not wait.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let open = || OpenOptions::new().create(true).append(true).custom_flags(flags).open(path);
    let mut file = open().ok();
    let mut size = file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let bytes = mask.pass(&buffer[..read]);
        size += bytes.len() as u64;
        if size > limit {
            let _ = std::fs::rename(path, &older);
            file = open().ok();
            size = bytes.len() as u64;
        }
        if let Some(f) = file.as_mut() {
            let _ = f.write_all(&bytes);
        }
    }
    if let Some(f) = file.as_mut() {
        let _ = f.write_all(&mask.end());
    }
}
