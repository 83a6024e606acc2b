//! Python programs that judge what the daemon says: a real parser each, installed once into the target folder.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Checkers of OpenAPI documents, JSON schemas and Prometheus text.
const PACKAGES: &[&str] = &["openapi-spec-validator==0.9.0", "jsonschema==4.26.0", "prometheus-client==0.26.0"];

/// A Python that has [`PACKAGES`].
fn python() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("checkers");
    fs::create_dir_all(&dir).unwrap();
    // Tests are processes of their own: one installs, the others wait.
    let lock = fs::File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let (done, python) = (dir.join("done"), dir.join("env/bin/python"));
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&done).ok().as_deref() != Some(&wanted) {
        let needs = "these tests need python3 with its venv module (Debian: apt-get install python3 python3-venv)";
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir.join("env")), needs);
        let needs = "these tests install Python packages into the target folder, once: is there a network?";
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(&python).args(pip).args(PACKAGES), needs);
        fs::write(done, wanted).unwrap();
    }
    python
}

fn run(command: &mut Command, needs: &str) {
    let out = command.output().unwrap_or_else(|e| panic!("{needs}\n{command:?}: {e}"));
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success(), "{needs}\n{command:?}: {}", String::from_utf8_lossy(&said));
}

/// Runs `script` with `input` on its standard input; what it printed. Panics with its words when it fails.
pub fn judge(script: &str, input: &str) -> String {
    let mut child = Command::new(python())
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(out.status.success(), "{}{}", text(out.stdout), text(out.stderr));
    text(out.stdout)
}
