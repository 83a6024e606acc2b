//! The target's folders: `serve/ENV/MODEL/v7-1a2b3c4d5e6f/` holds `code`, `artifact`, `replica-0.log` and, for each process,
//! `replicas/0.3/` with its record and its shim's files.

use super::Key;
use crate::{
    model::*,
    ports::{PortError, PortResult},
    process,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What is written before a replica is started: enough to adopt it, or to end it decently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub release: Release,
    pub index: u32,
    pub address: SocketAddr,
    pub drain_ms: u64,
}

/// A live replica that an earlier daemon started.
#[derive(Debug, Clone)]
pub struct Adopted {
    pub record: Record,
    pub dir: PathBuf,
    pub handle: process::Handle,
}

/// Folder of a release.
pub fn release_dir(state: &Path, key: &Key, release: &Release) -> PathBuf {
    let name = format!("{}-{}", release.version, &release.serve.hex()[..12]);
    state.join("serve").join(key.0.as_str()).join(key.1.as_str()).join(name)
}

/// The log of a replica, whichever process it is now.
pub fn replica_log(state: &Path, environment: &Name, model: &Name, release: &Release, index: u32) -> PathBuf {
    release_dir(state, &(environment.clone(), model.clone()), release).join(format!("replica-{index}.log"))
}

/// Where the newest log stays of a release that did not come up and was given up.
pub fn kept_log(state: &Path, key: &Key) -> PathBuf {
    state.join("serve").join(key.0.as_str()).join(key.1.as_str()).join("rejected.log")
}

/// Keeps a replica's log while its release's folder goes.
pub fn keep_log(state: &Path, key: &Key, release: &Release, index: u32) {
    let log = replica_log(state, &key.0, &key.1, release, index);
    // A process that wrote nothing has none.
    let _ = fs::rename(log, kept_log(state, key));
}

/// Nothing of the model is left here.
pub fn forget_log(state: &Path, key: &Key) {
    // Mostly there is none.
    let _ = fs::remove_file(kept_log(state, key));
}

/// Makes a new folder for a process and notes in it what is about to start.
pub fn intend(release_dir: &Path, record: &Record) -> PortResult<PathBuf> {
    let failed =
        |e: io::Error| PortError::retryable(format!("cannot prepare a replica in {}: {e}", release_dir.display()));
    let all = release_dir.join("replicas");
    fs::create_dir_all(&all).map_err(failed)?;
    let mut n = 0u64;
    let dir = loop {
        let dir = all.join(format!("{}.{n}", record.index));
        match fs::create_dir(&dir) {
            Ok(()) => break dir,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => n += 1,
            Err(e) => return Err(failed(e)),
        }
    };
    let json = serde_json::to_vec(record).map_err(|e| PortError::permanent(e.to_string()))?;
    process::shim::write_whole(&dir.join("replica.json"), &json).map_err(failed)?;
    Ok(dir)
}

/// Removes a folder; one that stays is told, and found again by the next daemon.
pub fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => drop(fs::remove_file(dir)),
        Err(e) if e.kind() != io::ErrorKind::NotFound => tracing::warn!("cannot remove {}: {e}", dir.display()),
        _ => {}
    }
}

/// Removes the folders of all other releases of a model.
pub fn sweep(state: &Path, key: &Key, needed: &BTreeSet<Release>) {
    let mut keep: Vec<PathBuf> = needed.iter().map(|r| release_dir(state, key, r)).collect();
    if !needed.is_empty() {
        keep.push(kept_log(state, key));
    }
    let model = state.join("serve").join(key.0.as_str()).join(key.1.as_str());
    for entry in walkdir::WalkDir::new(model).min_depth(1).max_depth(1).into_iter().flatten() {
        if !keep.iter().any(|k| k == entry.path()) {
            remove(entry.path());
        }
    }
}

/// Every (environment, model) that has a folder.
pub fn keys(state: &Path) -> Vec<Key> {
    let root = state.join("serve");
    let models = walkdir::WalkDir::new(&root).min_depth(2).max_depth(2).into_iter().flatten();
    models.filter_map(|m| key_of(&root, m.path())).collect()
}

/// Every replica that lives. What is left of dead ones is removed.
pub fn scan(state: &Path) -> HashMap<Key, Vec<Adopted>> {
    let root = state.join("serve");
    let mut found: HashMap<Key, Vec<Adopted>> = HashMap::new();
    // serve/ENV/MODEL/RELEASE/replicas/0.3
    for entry in
        walkdir::WalkDir::new(&root).min_depth(5).max_depth(5).into_iter().filter_entry(is_on_the_way).flatten()
    {
        let dir = entry.path();
        let key = key_of(&root, dir);
        match key.and_then(|key| Some((key, adopt(dir)?))) {
            Some((key, adopted)) => found.entry(key).or_default().push(adopted),
            None => remove(dir),
        }
    }
    found
}

/// Of a release's folder only `replicas` is looked into.
fn is_on_the_way(entry: &walkdir::DirEntry) -> bool {
    entry.file_type().is_dir() && (entry.depth() != 4 || entry.file_name() == "replicas")
}

fn key_of(root: &Path, dir: &Path) -> Option<Key> {
    let mut parts = dir.strip_prefix(root).ok()?.iter();
    let mut name = || Name::new(parts.next()?.to_str()?).ok();
    Some((name()?, name()?))
}

fn adopt(dir: &Path) -> Option<Adopted> {
    let record: Record = serde_json::from_slice(&fs::read(dir.join("replica.json")).ok()?).ok()?;
    let handle = process::adopt(dir)?;
    (handle.state() == process::State::Running).then(|| Adopted { record, dir: dir.to_owned(), handle })
}

/// The last line of a log, for people.
pub fn last_line(log: &Path) -> Option<String> {
    use io::{Read, Seek, SeekFrom};
    const TAIL: i64 = 4096;
    let mut file = fs::File::open(log).ok()?;
    let size = i64::try_from(file.metadata().ok()?.len()).ok()?;
    file.seek(SeekFrom::End(-size.min(TAIL))).ok()?;
    let mut bytes = vec![];
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().map(str::trim).find(|l| !l.is_empty())?;
    Some(line.chars().take(200).collect())
}
