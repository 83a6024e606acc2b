//! Commands of specs that print a figure.

use crate::{model::*, ports::*, process::environment};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

/// Bytes of output that are read.
const OUTPUT: u64 = 64 << 10;
/// What an ended process wrote is there at once, unless something that left its group holds the pipe.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a command in the code of the version; its last line is the figure, none is no data.
pub fn ask(run: &Command, timeout: Millis, serve: &Path, of: &Measured) -> Result<Answer, String> {
    let argv = match run {
        Command::Argv(argv) => argv.clone(),
        Command::Shell(line) => vec!["sh".into(), "-c".into(), line.clone()],
    };
    let (program, arguments) = argv.split_first().ok_or("the command is empty")?;
    let folder = serve.join(of.environment.as_str()).join(of.model.as_str());
    let environment = environment::clean(&[]).map_err(|e| e.message)?;
    let mut process = Process::new(program);
    process.args(arguments).env_clear().envs(environment.variables).envs(variables(of));
    process.current_dir(code_folder(&folder, of).ok_or("the code of the version is not laid out yet")?);
    // A group of its own, so that all that it started ends with it.
    process.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().map_err(|e| format!("cannot run `{program}`: {e}"))?;
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(|e| e.to_string())?);
    let (output, errors) = (read(child.stdout.take()), read(child.stderr.take()));
    let ended = in_thread(move || child.wait());
    let status = ended.recv_timeout(Duration::from_millis(timeout.0));
    // All of it, also what it left behind; none may be left.
    let _ = killpg(group, Signal::SIGKILL);
    let status = status.map_err(|_| format!("`{program}` did not end within {timeout}"))?.map_err(|e| e.to_string())?;
    if !status.success() {
        let said = errors.recv_timeout(LAST_WORDS).unwrap_or_default();
        return Err(format!("`{program}`: {status}: {}", said.lines().next_back().unwrap_or_default()));
    }
    figure(&output.recv_timeout(LAST_WORDS).unwrap_or_default())
}

fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (done, result) = channel();
    std::thread::spawn(move || {
        // Who waited may have given up.
        let _ = done.send(work());
    });
    result
}

fn read(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    in_thread(move || {
        let mut bytes = vec![];
        // What cannot be read is not there.
        let _ = from.map(|from| from.take(OUTPUT).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What the last line says.
fn figure(output: &str) -> Result<Answer, String> {
    let Some(last) = output.lines().map(str::trim).rfind(|l| !l.is_empty()) else { return Ok(Answer::NoData) };
    let new: f64 = last.parse().map_err(|_| format!("its last line is no number: {last}"))?;
    Ok(Answer::Figures { new, stable: None })
}

fn variables(of: &Measured) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("TRIMTAB_MODEL", of.model.to_string()),
        ("TRIMTAB_ENVIRONMENT", of.environment.to_string()),
        ("TRIMTAB_VERSION", of.version.to_string()),
    ];
    all.extend(of.stable.map(|v| ("TRIMTAB_STABLE", v.to_string())));
    all.extend(of.preview.clone().map(|url| ("TRIMTAB_PREVIEW", url)));
    all
}

/// The code that the new release's replicas run from.
fn code_folder(folder: &Path, of: &Measured) -> Option<PathBuf> {
    let prefix = format!("{}-", of.version);
    let mut all =
        std::fs::read_dir(folder).ok()?.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(&prefix));
    Some(all.next()?.path().join("code")).filter(|code| code.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str, timeout: u64) -> Result<Answer, String> {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(state.path().join("production/fraud/v7-0123/code")).unwrap();
        let name = |s| Name::new(s).unwrap();
        let of = Measured {
            environment: name("production"),
            model: name("fraud"),
            version: VersionNumber(7),
            stable: Some(VersionNumber(6)),
            compared_with: None,
            preview: None,
        };
        ask(&Command::Shell(line.into()), Millis(timeout), state.path(), &of)
    }

    #[test]
    fn the_last_line_is_the_figure() {
        let figure = |new| Ok(Answer::Figures { new, stable: None });
        assert_eq!(asked("echo loading; echo 0.25", 5_000), figure(0.25));
        assert_eq!(asked("echo ${TRIMTAB_VERSION#v}${TRIMTAB_STABLE#v}", 5_000), figure(76.0));
        assert_eq!(asked("true", 5_000), Ok(Answer::NoData));
        assert_eq!(asked("echo fine", 5_000), Err("its last line is no number: fine".into()));
        assert_eq!(asked("echo no such table >&2; exit 3", 5_000), Err("`sh`: exit status: 3: no such table".into()));
    }

    #[test]
    fn what_hangs_is_ended_with_all_that_it_started() {
        let begun = std::time::Instant::now();
        assert_eq!(asked("sleep 60 & sleep 60", 200), Err("`sh` did not end within 200ms".into()));
        assert!(begun.elapsed() < Duration::from_secs(20));
        // What is left behind holds the output open and the answer up no longer than it takes to end it.
        assert_eq!(asked("sleep 60 & echo 1", 5_000), Ok(Answer::Figures { new: 1.0, stable: None }));
    }
}
