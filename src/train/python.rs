//! Python environments, one for each content of a requirements file, built once.

use crate::{
    model::*,
    ports::*,
    process::{self, Handle, ShimSpec, State, environment},
};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    stage::LOG_LIMIT,
    workspace::{self, io},
};

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

/// What to build from.
struct Requirements<'a> {
    file: &'a Path,
    /// Allows no other version of the packages that it names.
    constraints: Option<&'a Path>,
}

/// The environment of a requirements file; builds it when it is missing. Output of the build is appended to `log`. Others that want the same
/// one wait for it. A cancel ends the wait and the build.
pub fn environment(state: &Path, exe: &Path, requirements: &Path, log: &Path, cancel: &Cancel) -> PortResult<Venv> {
    let digest = digest(requirements, &python_version()?)?;
    ensure(state, exe, digest, &Requirements { file: requirements, constraints: None }, log, cancel)
}

/// The programs of the environment that a version was trained in. Where it is gone it is built anew: from the version's own requirements,
/// which lie in its `code`, with the packages as they were recorded.
pub fn of_version(
    state: &Path,
    exe: &Path,
    version: &Version,
    code: &Path,
    log: &Path,
    cancel: &Cancel,
) -> PortResult<PathBuf> {
    /// Larger files are no requirements.
    const LARGEST: u64 = 1 << 20;
    let of = version.python.ok_or_else(|| PortError::permanent("the version has no Python environment"))?;
    let place = folder(state, &of);
    if is_whole(&place) {
        return Ok(place.join("bin"));
    }
    let python = python_version()?;
    let files = version.code_files.files.iter().filter(|f| f.size <= LARGEST).map(|f| code.join(&f.path));
    let file = files.into_iter().find(|file| digest(file, &python).is_ok_and(|d| d == of)).ok_or_else(|| {
        PortError::retryable(format!(
            "the Python environment {} is gone, and cannot be built anew with {python}, which is not the Python that {} was trained with: \
             install that one, or train the version again",
            of.short(),
            version.number
        ))
    })?;
    // Beside the code, so that they go with it.
    let constraints = code.with_file_name("constraints.txt");
    fs::write(&constraints, version.packages.join("\n")).map_err(io(&constraints))?;
    let requirements = Requirements { file: &file, constraints: Some(&constraints) };
    ensure(state, exe, of, &requirements, log, cancel).map(|venv| venv.bin)
}

/// Such as `Python 3.11.7`.
pub fn python_version() -> PortResult<String> {
    output(Command::new("python3").arg("--version")).map_err(|_| PortError::retryable(NO_PYTHON))
}

fn digest(requirements: &Path, python: &str) -> PortResult<Digest> {
    Ok(Digest::of(&[contents(requirements, 0)?.as_slice(), python.as_bytes()].concat()))
}

/// Whether it was built to its end, and the Python that it was built with is still there.
fn is_whole(place: &Path) -> bool {
    place.join(MARKER).exists() && place.join("bin/python").exists()
}

fn ensure(
    state: &Path,
    exe: &Path,
    digest: Digest,
    requirements: &Requirements,
    log: &Path,
    cancel: &Cancel,
) -> PortResult<Venv> {
    let place = folder(state, &digest);
    let parent = state.join("env");
    fs::create_dir_all(&parent).map_err(io(&parent))?;
    let lock_path = parent.join(format!("{}.lock", digest.hex()));
    // Held by the kernel: a builder or a user that is killed lets go.
    let lock = File::create(&lock_path).map_err(io(&lock_path))?;
    loop {
        wait(&lock, &lock_path, cancel, File::try_lock_shared)?;
        if is_whole(&place) {
            let packages = fs::read_to_string(place.join(MARKER)).map_err(io(&place))?;
            let packages = packages.lines().map(str::to_owned).collect();
            return Ok(Venv { _held: lock, digest, bin: place.join("bin"), packages });
        }
        // Alone for building; whoever came first has built it then.
        lock.unlock().map_err(io(&lock_path))?;
        wait(&lock, &lock_path, cancel, File::try_lock)?;
        if !is_whole(&place) {
            build(exe, &place, requirements, log, cancel)?;
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

/// Builds in place, since an environment cannot be moved; the marker at the end says that it is whole. Each step runs under a shim, so that
/// nothing that a package starts outlives it, and one that a killed daemon left behind is seen to its end.
fn build(exe: &Path, place: &Path, requirements: &Requirements, log: &Path, cancel: &Cancel) -> PortResult<()> {
    let Requirements { file, constraints } = requirements;
    let python = place.join("bin/python");
    let shims = place.with_extension("build");
    let install_shim = shims.join("install");
    let goes_on = process::adopt(&install_shim).filter(|handle| handle.state() == State::Running);
    let installing = match goes_on {
        Some(handle) => handle,
        None => {
            for step in ["make", "install"] {
                if let Some(left) = process::adopt(&shims.join(step)) {
                    left.kill();
                }
            }
            for folder in [place, &shims].into_iter().filter(|f| f.exists()) {
                fs::remove_dir_all(folder).map_err(io(folder))?;
            }
            let uv = output(Command::new("uv").arg("--version")).is_ok();
            workspace::note(
                log,
                &format!("building the Python environment with {}", if uv { "uv" } else { "venv and pip" }),
            );
            let text = |path: &Path| path.display().to_string();
            let (make, install) = if uv {
                let make = ["uv", "venv", "--quiet", "--python", "python3"].map(str::to_owned).to_vec();
                let install = ["uv", "pip", "install", "--python"].map(str::to_owned).to_vec();
                (make, [install, vec![text(&python)]].concat())
            } else {
                let make = ["python3", "-m", "venv"].map(str::to_owned).to_vec();
                let pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input"].map(str::to_owned);
                (make, [vec![text(&python)], pip.to_vec()].concat())
            };
            let made = start(exe, &shims.join("make"), [make, vec![text(place)]].concat(), file, log)?;
            finish(&made, log, cancel, "cannot make a Python environment (Debian: apt-get install python3-venv)")?;
            let bounds = constraints.iter().flat_map(|path| ["-c".into(), text(path)]).collect();
            start(exe, &install_shim, [install, vec!["-r".into(), text(file)], bounds].concat(), file, log)?
        }
    };
    let hint = "cannot install the requirements (is there a network, and does every package exist?)";
    finish(&installing, log, cancel, hint)?;
    let freeze = "import importlib.metadata as m; print('\\n'.join(sorted({f'{d.metadata[\"Name\"]}=={d.version}' for d in m.distributions()})))";
    let packages = output(Command::new(&python).args(["-c", freeze])).map_err(io(&python))?;
    let part = place.join(".part");
    fs::write(&part, packages).and_then(|()| fs::rename(&part, place.join(MARKER))).map_err(io(place))?;
    fs::remove_dir_all(&shims).map_err(io(&shims))
}

/// Packages may run code of their own while they are built: it sees what a run sees.
fn start(exe: &Path, shim: &Path, argv: Vec<String>, requirements: &Path, log: &Path) -> PortResult<Handle> {
    let environment = environment::clean(&[])?;
    let spec = ShimSpec {
        argv,
        env: environment.variables,
        mask: environment.secrets,
        cwd: requirements.parent().unwrap_or(Path::new("/")).to_owned(),
        log: log.to_owned(),
        log_limit: LOG_LIMIT,
        timeout_ms: None,
        memory: None,
        grace_ms: 1_000,
    };
    process::spawn(exe, shim, &spec)
}

fn finish(step: &Handle, log: &Path, cancel: &Cancel, hint: &str) -> PortResult<()> {
    match step.wait(|| cancel.is_cancelled()) {
        None => {
            step.stop();
            step.wait(|| false);
            Err(cancel.error())
        }
        Some(State::Ended(exit)) if exit.succeeded() => Ok(()),
        Some(State::Ended(_)) => Err(PortError::retryable(format!("{hint}:\n{}", workspace::tail(log, 6)))),
        Some(_) => {
            // Its descendants have nobody else to end them.
            step.kill();
            Err(PortError::retryable(format!("{hint}: it was killed from outside")))
        }
    }
}
