//! Datasets and their snapshots.

mod cache;
mod url;

use crate::{model::*, ports::*};
use cache::StatCache;
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use walkdir::WalkDir;

/// Where data comes from and goes to.
#[derive(Clone)]
pub struct DatasetsConfig {
    pub state: PathBuf,
    /// Datasets with a `path` lie below this folder.
    pub root: PathBuf,
    /// A download is given up when its server says nothing for so long.
    pub idle: Duration,
    /// Time limit of one download as a whole, however steadily it trickles.
    pub longest: Duration,
}

impl DatasetsConfig {
    /// With the usual limits of downloads.
    pub fn new(state: PathBuf, root: PathBuf) -> Self {
        const IDLE: Duration = Duration::from_secs(60);
        const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
        Self { state, root, idle: IDLE, longest: LONGEST }
    }
}

/// Datasets on local disks and web servers.
pub struct LocalDatasets {
    config: DatasetsConfig,
    artifacts: Arc<dyn ArtifactStore>,
    cache: StatCache,
    /// Where registered models are found; `None` where no daemon is.
    registry: Option<Arc<dyn Registry>>,
    /// Held while a snapshot is laid out, by its digest: models that read the same one come at once.
    laying: Mutex<BTreeMap<Digest, Arc<Mutex<()>>>>,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> PortError {
    let path = path.display().to_string();
    move |e| PortError::retryable(format!("{path}: {e}"))
}

impl LocalDatasets {
    /// Datasets below `config.root` and on the web, with snapshots in `artifacts`.
    pub fn new(config: DatasetsConfig, artifacts: Arc<dyn ArtifactStore>) -> Self {
        let cache = StatCache::open(&config.state.join("data-cache.json"));
        Self { config, artifacts, cache, registry: None, laying: Mutex::default() }
    }

    /// The same, with registered models.
    pub fn with_registry(self, registry: Arc<dyn Registry>) -> Self {
        Self { registry: Some(registry), ..self }
    }

    /// A registered model's files, and the metrics that it comes with.
    fn registered(&self, reference: &str) -> PortResult<Manifest> {
        let Some(registry) = &self.registry else {
            return Err(PortError::permanent(format!(
                "registry:{reference} is known to a daemon alone: commit the spec instead of running it here"
            )));
        };
        let RegisteredFiles { files, metrics } = registry.find(reference)?;
        let mut line = serde_json::to_vec(&metrics).unwrap_or_default();
        line.push(b'\n');
        let metrics = self.artifacts.put_bytes(&line, "metrics.jsonl")?;
        let moved = files.files.into_iter().map(|f| FileEntry { path: format!("files/{}", f.path), ..f });
        let mut files: Vec<FileEntry> = moved.chain([metrics]).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Manifest { files })
    }

    /// The real place of a dataset; links that lead out of the root are refused.
    fn place(&self, path: &str) -> PortResult<PathBuf> {
        let root = self.config.root.canonicalize().map_err(io(&self.config.root))?;
        let place = root.join(path);
        let real = place.canonicalize().map_err(|e| {
            PortError::retryable(format!(
                "there is no data at {}: {e} (datasets lie below {}, see --data)",
                place.display(),
                root.display()
            ))
        })?;
        if !real.starts_with(&root) {
            return Err(PortError::permanent(format!(
                "`{path}` leads outside the data folder through a symbolic link"
            )));
        }
        Ok(real)
    }

    fn take(&self, file: &Path, name: &str, cancel: &Cancel) -> PortResult<FileEntry> {
        if cancel.is_cancelled() {
            return Err(cancel.error());
        }
        let before = cache::Stat::of(file).map_err(io(file))?;
        // The store may have been put back from an older backup.
        let stored = |entry: &FileEntry| self.artifacts.has(&entry.digest);
        if let Some(known) = self.cache.get(file, &before).filter(stored) {
            return Ok(FileEntry { path: name.to_owned(), ..known });
        }
        let entry = self.artifacts.put_file(file, name)?;
        if cache::Stat::of(file).map_err(io(file))? != before {
            return Err(PortError::retryable(format!("{} changed while it was read", file.display())));
        }
        self.cache.put(file, before, entry.clone());
        Ok(entry)
    }

    fn local(&self, path: &str, cancel: &Cancel) -> PortResult<(Manifest, bool)> {
        let place = self.place(path)?;
        if place.is_file() {
            let name = path.rsplit('/').next().unwrap_or("data");
            return Ok((Manifest { files: vec![self.take(&place, name, cancel)?] }, true));
        }
        let mut found = Vec::new();
        for item in WalkDir::new(&place).sort_by_file_name() {
            let item = item.map_err(|e| PortError::retryable(e.to_string()))?;
            let relative = item.path().strip_prefix(&place).unwrap_or(item.path());
            let name = relative
                .to_str()
                .ok_or_else(|| PortError::permanent(format!("the file name {} is not UTF-8", relative.display())))?;
            if item.file_type().is_symlink() {
                return Err(PortError::permanent(format!(
                    "`{path}/{name}` is a symbolic link: a dataset holds plain files"
                )));
            }
            if item.file_type().is_file() {
                found.push((item.path().to_owned(), name.to_owned()));
            }
        }
        let files =
            found.par_iter().map(|(file, name)| self.take(file, name, cancel)).collect::<PortResult<Vec<_>>>()?;
        if files.is_empty() {
            return Err(PortError::retryable(format!("{} holds no files", place.display())));
        }
        Ok((Manifest { files }, false))
    }
}

impl LocalDatasets {
    /// Whether a layout of a snapshot holds its very files and nothing else; one that is not there yet is.
    fn is_intact(&self, snapshot: &Snapshot, folder: &Path) -> PortResult<bool> {
        if !folder.exists() {
            return Ok(true);
        }
        let there = WalkDir::new(folder).into_iter().flatten().filter(|e| !e.file_type().is_dir()).count();
        if there != snapshot.manifest.files.len() {
            return Ok(false);
        }
        let same = |file: &FileEntry| {
            let place = folder.join(&file.path);
            let stat = cache::Stat::of(&place).map_err(io(&place))?;
            if self.cache.get(&place, &stat).is_some_and(|known| known.digest == file.digest) {
                return Ok(true);
            }
            let (digest, size) = self.artifacts.digest(&place)?;
            if digest == file.digest {
                self.cache.put(&place, stat, FileEntry { size, ..file.clone() });
            }
            Ok(digest == file.digest)
        };
        // A file that cannot be read is none of the snapshot's.
        let all: PortResult<Vec<bool>> = snapshot.manifest.files.par_iter().map(same).collect();
        Ok(all.is_ok_and(|all| all.into_iter().all(|same| same)))
    }
}

impl Datasets for LocalDatasets {
    fn snapshot(&self, dataset: &DatasetSpec, now: WallMs, cancel: &Cancel) -> PortResult<Snapshot> {
        if cancel.is_cancelled() {
            return Err(cancel.error());
        }
        let (manifest, single_file) = match &dataset.source {
            DataSource::Path(path) => self.local(path, cancel)?,
            DataSource::Registry(reference) => (self.registered(reference)?, false),
            DataSource::Url(address) => (url::download(address, &self.config, self.artifacts.as_ref(), cancel)?, true),
        };
        self.cache.save();
        Ok(Snapshot::new(dataset.name.clone(), manifest, single_file, now))
    }

    fn locate(&self, snapshot: &Snapshot) -> PortResult<PathBuf> {
        let folder = self.config.state.join("snapshots").join(snapshot.digest.hex());
        fs::create_dir_all(self.config.state.join("snapshots")).map_err(io(&folder))?;
        let one =
            self.laying.lock().unwrap_or_else(PoisonError::into_inner).entry(snapshot.digest).or_default().clone();
        let _laying = one.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_intact(snapshot, &folder)? {
            // A run wrote into it: what it left is put aside at once, and removed.
            let aside = folder.with_extension("spoiled");
            let _ = fs::remove_dir_all(&aside);
            fs::rename(&folder, &aside).map_err(io(&folder))?;
            fs::remove_dir_all(&aside).map_err(io(&aside))?;
        }
        self.artifacts.materialise(&snapshot.manifest, &folder, Lay::Copied)?;
        Ok(match snapshot.manifest.files.first() {
            Some(file) if snapshot.single_file => folder.join(&file.path),
            _ => folder,
        })
    }
}

#[cfg(test)]
mod tests;
