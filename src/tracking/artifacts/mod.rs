//! Files that clients uploaded: one record each, under the file's whole path below the proxy's root. There are no folders but those that
//! the paths of files tell of; they are listed by skipping from one name to the next.

mod owner;
mod path;

pub use path::ArtifactPath;

use super::{Tracked, Tracker};
use crate::{
    model::{
        Digest,
        tracking::{ArtifactFile, TrackingError},
    },
    ports::Taken,
    store::{Batch, Step, Table},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Paths of files whose records are on their way into the store, with how many of each.
#[derive(Debug, Default)]
pub(super) struct Arriving(Mutex<BTreeMap<String, u32>>);

/// What stands in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    /// `None` for a folder.
    pub size: Option<u64>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    File(ArtifactFile),
    Folder,
    Nothing,
}

/// Removes that many records in one batch.
const AT_ONCE: usize = 10_000;

/// The end of a folder's range of keys: `0` comes right after `/`.
fn behind(folder: &str) -> String {
    format!("{folder}0")
}

fn below(folder: &str) -> String {
    if folder.is_empty() { String::new() } else { format!("{folder}/") }
}

fn is_folder(path: &str) -> TrackingError {
    TrackingError::invalid(format!("Artifact path refers to a directory, not a file: '{path}'"))
}

impl Tracker {
    /// Whether a file may be put or removed there: below something that exists.
    pub fn check_artifact(&self, path: &ArtifactPath) -> Tracked<()> {
        if !path.has_owner() {
            return Err(TrackingError::invalid(format!(
                "Invalid artifact path: '{}'. Files belong to a run, a logged model or a trace: \
                 '<experiment>/<run>/artifacts/…', as the artifact URI of each says.",
                path.as_str()
            )));
        }
        if self.artifact_owner(path).is_none() {
            return Err(TrackingError::missing(format!(
                "No run, logged model or trace has its artifacts at '{}'",
                path.as_str()
            )));
        }
        Ok(())
    }

    /// Whether a file could be put there now.
    pub fn check_upload(&self, path: &ArtifactPath) -> Tracked<()> {
        self.check_artifact(path)?;
        if !path.is_owned() {
            return Err(is_folder(path.as_str()));
        }
        self.fits(path.as_str(), &self.0.arriving.lock())
    }

    /// Notes a file that is in the artifact store; durable when the future ends, which tells whether another content was there. It must be
    /// let end: until then nothing else keeps the file.
    pub fn put_artifact(
        &self,
        path: &ArtifactPath,
        taken: Taken,
        upload: Option<Digest>,
    ) -> Tracked<impl Future<Output = Tracked<bool>> + Send + use<>> {
        let file = ArtifactFile { digest: taken.digest, size: taken.size, upload };
        let (this, path, hold) = (self.clone(), path.as_str().to_owned(), taken.hold);
        let (durable, replaced) = {
            let mut arriving = self.0.arriving.lock();
            self.fits(&path, &arriving)?;
            let replaced = self.artifact(&path)?.is_some_and(|old| old.digest != file.digest);
            *arriving.entry(path.clone()).or_default() += 1;
            // Handed in under the lock: whoever comes next finds it on its way or there.
            (self.0.store.submit(Batch::new().put_tracked(Table::Artifact, &path, &file)), replaced)
        };
        Ok(async move {
            let done = durable.await;
            this.0.arriving.arrived(&path);
            drop(hold);
            done.map(|_| replaced).map_err(Into::into)
        })
    }

    /// A file must not stand where a folder is, nor the reverse.
    fn fits(&self, path: &str, arriving: &BTreeMap<String, u32>) -> Tracked<()> {
        for folder in path::folders(path) {
            if arriving.contains_key(folder) || self.artifact(folder)?.is_some() {
                let words = format!("Artifact path refers to a file, not a directory: '{folder}'");
                return Err(TrackingError::invalid(words));
            }
        }
        let inside = below(path);
        let coming = arriving.range(inside.clone()..).next().is_some_and(|(p, _)| p.starts_with(&inside));
        if coming || self.any_artifact(&inside)? { Err(is_folder(path)) } else { Ok(()) }
    }

    fn artifact(&self, path: &str) -> Tracked<Option<ArtifactFile>> {
        Ok(self.0.store.tracked(Table::Artifact, path)?)
    }

    fn any_artifact(&self, prefix: &str) -> Tracked<bool> {
        let mut any = false;
        self.0.store.walk_tracked(Table::Artifact, prefix, |_, _: ArtifactFile| {
            any = true;
            Ok(Step::Stop)
        })?;
        Ok(any)
    }

    /// What is at a path.
    pub fn find_artifact(&self, path: &ArtifactPath) -> Tracked<Found> {
        Ok(match self.artifact(path.as_str())? {
            Some(file) => Found::File(file),
            None if self.any_artifact(&below(path.as_str()))? => Found::Folder,
            None => Found::Nothing,
        })
    }

    /// The file at a path, or MLflow's refusal.
    pub fn artifact_file(&self, path: &ArtifactPath) -> Tracked<ArtifactFile> {
        match self.find_artifact(path)? {
            Found::File(file) => Ok(file),
            Found::Folder => Err(is_folder(path.as_str())),
            Found::Nothing => Err(TrackingError::missing(format!("No such artifact: '{}'", path.as_str()))),
        }
    }

    /// What stands in a folder, by name; nothing where there is none. Folders inside are not read.
    pub fn list_artifacts(&self, folder: &ArtifactPath) -> Tracked<Vec<Listed>> {
        let inside = below(folder.as_str());
        let mut found = Vec::new();
        self.0.store.walk_tracked(Table::Artifact, &inside, |key, file: ArtifactFile| {
            let name = String::from_utf8_lossy(&key[inside.len()..]);
            Ok(match name.split_once('/') {
                Some((name, _)) => {
                    found.push(Listed { name: name.to_owned(), size: None });
                    Step::To(behind(&format!("{inside}{name}")).into_bytes())
                }
                None => {
                    found.push(Listed { name: name.into_owned(), size: Some(file.size) });
                    Step::Next
                }
            })
        })?;
        // `a.txt` stands before `a/` among keys, and after `a` among names.
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Forgets a file, or a folder with all in it; durable when the future ends. What is not there is gone already.
    pub fn delete_artifacts(&self, path: &ArtifactPath) -> Tracked<impl Future<Output = Tracked<()>> + Send + use<>> {
        let (path, inside) = (path.as_str(), below(path.as_str()));
        let mut keys = vec![path.to_owned()];
        let arriving = self.0.arriving.lock();
        self.0.store.walk_tracked(Table::Artifact, &inside, |key, _: ArtifactFile| {
            keys.push(String::from_utf8_lossy(key).into_owned());
            Ok(Step::Next)
        })?;
        let coming = arriving.range(inside..behind(path));
        keys.extend(coming.map(|(path, _)| path.clone()));
        let forget =
            |keys: &[String]| keys.iter().fold(Batch::new(), |batch, key| batch.delete_tracked(Table::Artifact, key));
        let commits: Vec<_> = keys.chunks(AT_ONCE).map(|keys| self.0.store.submit(forget(keys))).collect();
        drop(arriving);
        Ok(async move {
            for commit in commits {
                commit.await?;
            }
            Ok(())
        })
    }
}

impl Arriving {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, path: &str) {
        let mut all = self.lock();
        if let Some(count) = all.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                all.remove(path);
            }
        }
    }
}

#[cfg(test)]
mod tests;
