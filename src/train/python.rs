//! Python environments, one for each content of a requirements file, built once.

use crate::{
    model::*,
    ports::*,
    process::{Mask, environment, keep_log},
};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{stage::LOG_LIMIT, workspace::io};

/// A built environment. It is not removed while this lives.
#[derive(Debug)]
pub struct Venv {
    _held: File,
    pub digest: Digest,
    pub bin: PathBuf,
    /// `name==version` of everything in it.
    pub packages: Vec<String>,
}

/// Where the environment of a digest lies.
pub fn folder(state: &Path, digest: &Digest) -> PathBuf {
    state.join("env").join(digest.hex())
}

/// Between two looks at a build and at who else builds: a cancel is heeded as fast.
const ASK: std::time::Duration = std::time::Duration::from_millis(100);
const MARKER: &str = ".complete";
const NO_PYTHON: &str = "python3 is not installed: install it (Debian: apt-get install python3 python3-venv)";

/// The environment of a requirements file; builds it when it is missing. Output of the build is appended to `log`. Others that want the same
/// one wait for it. A cancel ends the wait and the build.
pub fn environment(state: &Path, requirements: &Path, log: &Path, cancel: &Cancel) -> PortResult<Venv> {
    let content = contents(requirements, 0)?;
    let version = output(Command::new("python3").arg("--version")).map_err(|_| PortError::retryable(NO_PYTHON))?;
    let digest = Digest::of(&[content.as_slice(), version.as_bytes()].concat());
    let place = folder(state, &digest);
    let parent = state.join("env");
    fs::create_dir_all(&parent).map_err(io(&parent))?;
    let lock_path = parent.join(format!("{}.lock", digest.hex()));
    // Held by the kernel: a builder or a user that is killed lets go.
    let lock = File::create(&lock_path).map_err(io(&lock_path))?;
    loop {
        wait(&lock, &lock_path, cancel, File::try_lock_shared)?;
        if place.join(MARKER).exists() {
            let packages = fs::read_to_string(place.join(MARKER)).map_err(io(&place))?;
            let packages = packages.lines().map(str::to_owned).collect();
            return Ok(Venv { _held: lock, digest, bin: place.join("bin"), packages });
        }
        // Alone for building; whoever came first has built it then.
        lock.unlock().map_err(io(&lock_path))?;
        wait(&lock, &lock_path, cancel, File::try_lock)?;
        if !place.join(MARKER).exists() {
            build(&place, requirements, log, cancel)?;
        }
        lock.unlock().map_err(io(&lock_path))?;
    }
}

/// Takes a lock, unless it is cancelled first.
fn wait(lock: &File, path: &Path, cancel: &Cancel, take: fn(&File) -> Result<(), TryLockError>) -> PortResult<()> {
    while let Err(held) = take(lock) {
        match held {
            TryLockError::Error(e) => return Err(io(path)(e)),
            TryLockError::WouldBlock if cancel.is_cancelled() => return Err(cancel.error()),
            TryLockError::WouldBlock => std::thread::sleep(ASK),
        }
    }
    Ok(())
}

/// A requirements file with those that it includes, in their order.
fn contents(requirements: &Path, depth: usize) -> PortResult<Vec<u8>> {
    const DEEPEST: usize = 10;
    let mut all = fs::read(requirements).map_err(io(requirements))?;
    let text = String::from_utf8_lossy(&all).into_owned();
    let included = |line: &str| {
        let line = line.trim();
        let forms = ["--requirement", "--constraint", "-r", "-c"];
        let rest = forms.iter().find_map(|form| line.strip_prefix(form))?;
        Some(rest.trim_start_matches('=').trim().to_owned()).filter(|file| !file.is_empty())
    };
    for file in text.lines().filter_map(included) {
        if depth == DEEPEST {
            return Err(PortError::permanent(format!("{} includes files in a circle", requirements.display())));
        }
        // What is elsewhere, such as on a server, is known by its address alone.
        let place = requirements.with_file_name(&file);
        if place.is_file() {
            all.extend(contents(&place, depth + 1)?);
        }
    }
    Ok(all)
}

fn output(command: &mut Command) -> std::io::Result<String> {
    let done = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    if done.status.success() {
        Ok(text)
    } else {
        Err(std::io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()))
    }
}

/// Builds in place, since an environment cannot be moved; the marker at the end says that it is whole.
fn build(place: &Path, requirements: &Path, log: &Path, cancel: &Cancel) -> PortResult<()> {
    if place.exists() {
        fs::remove_dir_all(place).map_err(io(place))?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(log).map_err(io(log))?;
    let uv = output(Command::new("uv").arg("--version")).is_ok();
    let with = if uv { "uv" } else { "venv and pip" };
    writeln!(file, "trimtab: building the Python environment with {with}").map_err(io(log))?;
    let python = place.join("bin/python");
    let (mut make, mut install) =
        (Command::new(if uv { "uv" } else { "python3" }), Command::new(if uv { Path::new("uv") } else { &python }));
    if uv {
        make.args(["venv", "--quiet", "--python", "python3"]).arg(place);
        install.args(["pip", "install", "--python"]).arg(&python).arg("-r").arg(requirements);
    } else {
        make.args(["-m", "venv"]).arg(place);
        install.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r"]).arg(requirements);
    }
    run(&mut make, log, cancel, "cannot make a Python environment (Debian: apt-get install python3-venv)")?;
    run(
        &mut install,
        log,
        cancel,
        "cannot install the requirements (is there a network, and does every package exist?)",
    )?;
    let freeze = "import importlib.metadata as m; print('\\n'.join(sorted({f'{d.metadata[\"Name\"]}=={d.version}' for d in m.distributions()})))";
    let packages = output(Command::new(&python).args(["-c", freeze])).map_err(io(&python))?;
    let part = place.join(".part");
    fs::write(&part, packages).and_then(|()| fs::rename(&part, place.join(MARKER))).map_err(io(place))
}

fn run(command: &mut Command, log: &Path, cancel: &Cancel, hint: &str) -> PortResult<()> {
    let (mut output, out) = std::io::pipe().map_err(io(log))?;
    let err = out.try_clone().map_err(io(log))?;
    let environment = environment::clean(&[])?;
    // Packages may run code of their own while they are built: it sees what a run sees, and ends with the daemon, so that the next builder
    // has the folder to itself.
    command.env_clear().envs(environment.variables);
    // SAFETY: between fork and exec only prctl is called.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?));
    }
    let failed = |e: std::io::Error| PortError::retryable(format!("{hint}: {e}"));
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn().map_err(failed)?;
    // This process holds the other end no longer: the output ends with the last one that writes.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (path, mask) = (log.to_owned(), Mask::new(&environment.secrets));
    let logger = std::thread::spawn(move || keep_log(&mut output, &path, LOG_LIMIT, mask));
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if cancel.is_cancelled() {
            // With what it started: compilers of packages that are built here.
            let group = nix::unistd::Pid::from_raw(child.id() as i32);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            child.wait().map_err(failed)?;
            return Err(cancel.error());
        }
        std::thread::sleep(ASK);
    };
    // One that panicked has said so.
    let _ = logger.join();
    if status.success() {
        return Ok(());
    }
    Err(PortError::retryable(format!("{hint}:\n{}", super::workspace::tail(log, 6))))
}
