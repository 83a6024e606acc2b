//! A run's folder: a clean copy of the code, inputs, an empty output.

use crate::{
    model::*,
    ports::*,
    spec::{code_files, pipeline::variable},
};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Says which file it was.
pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> PortError {
    let path = path.display().to_string();
    move |e| PortError::retryable(format!("{path}: {e}"))
}

/// Checks the code folder of a revision out, complete or not at all. Links and submodules were refused with the spec; here once more.
pub fn checkout(source: &dyn GitTree, tree: &ObjectId, code_path: &str, to: &Path) -> PortResult<()> {
    if to.exists() {
        return Ok(());
    }
    let part = to.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).map_err(io(&part))?;
    }
    fs::create_dir_all(&part).map_err(io(&part))?;
    let entries = source.list(tree, code_path)?;
    for entry in code_files(&entries) {
        let inside = entry.path.strip_prefix(code_path).unwrap_or(&entry.path).trim_start_matches('/');
        let bad = inside.split('/').any(|p| p == ".." || p.is_empty() || p.eq_ignore_ascii_case(".git"));
        if bad || !matches!(entry.mode, 0o100644 | 0o100755 | 0o100664) {
            return Err(PortError::permanent(format!("`{}` cannot be checked out", entry.path)));
        }
        let file = part.join(inside);
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).map_err(io(dir))?;
        }
        let named = |e: PortError| PortError { message: format!("`{}`: {}", entry.path, e.message), ..e };
        fs::write(&file, source.blob(&entry.id, MAX_CODE_FILE).map_err(named)?).map_err(io(&file))?;
        let mode = if entry.mode == 0o100755 { 0o755 } else { 0o644 };
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).map_err(io(&file))?;
    }
    fs::rename(&part, to).map_err(io(to))
}

/// Adds a line of trimtab's own to a run's log; the run stands without it.
pub fn note(log: &Path, line: &str) {
    use std::io::Write;
    let file = own(fs::OpenOptions::new().create(true).append(true), log);
    let _ = file.and_then(|mut f| writeln!(f, "trimtab: {line}"));
}

/// Opens a file that a run may have replaced: never by a link, and never waiting for the other end of a pipe.
pub fn own(options: &mut fs::OpenOptions, path: &Path) -> std::io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is no plain file any more")) }
}

/// The bytes of a file that a run wrote, if they are not too many.
pub fn read_own(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let file = own(File::options().read(true), path)?;
    let mut bytes = Vec::new();
    if file.take(most + 1).read_to_end(&mut bytes)? as u64 > most {
        return Err(std::io::Error::other(format!("it is larger than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// The last lines of a log, at most 4 KiB of it.
pub fn tail(log: &Path, lines: usize) -> String {
    const LONGEST: u64 = 4096;
    let read = || {
        let mut file = own(File::options().read(true), log)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(LONGEST)))?;
        file.take(LONGEST).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Files below a folder that a stage made, by the outputs that it promised.
pub fn missing_outputs(out: &Path, promised: &[String]) -> Vec<String> {
    promised.iter().filter(|p| !out.join(p).exists()).cloned().collect()
}

/// Where an output of another stage is laid out for a stage that needs it.
pub fn input_place(run: &Path, name: &str) -> PathBuf {
    run.join("inputs").join(variable(name))
}
