//! Damaged objects are found before libgit2 reads them: at a loose object that ends early it never returns (1.9: its inflating asks for more
//! input for ever). Such objects are what a power cut leaves, since git writes them without a barrier. What is wrong with packs, or with
//! what an object says, libgit2 tells by itself.

use super::tree::failed;
use crate::{model::SourceReason, ports::*};
use flate2::{Decompress, FlushDecompress, Status};
use git2::{Oid, Repository};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::DefaultHasher},
    fs::{self, File},
    hash::{Hash, Hasher},
    io::{self, BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How closely is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Into folders in which something came or went; costs little, for whenever somebody waits.
    New,
    /// At every file that changed.
    All,
}

/// What was seen of one of the 256 folders of objects.
#[derive(Debug, Default)]
struct Folder {
    modified: (i64, i64),
    /// Files that are whole, by name, size, change time and inode; in order.
    whole: Vec<u64>,
    damaged: BTreeMap<Oid, PathBuf>,
}

/// Loose objects that are damaged.
#[derive(Debug, Default)]
pub(super) struct Loose {
    folders: Mutex<HashMap<PathBuf, Folder>>,
    any: AtomicBool,
    /// When every file was looked at last.
    all: Mutex<Option<Instant>>,
}

/// Least time between two looks at every file when nothing moved: their cost is that of all loose objects.
const ALL_EVERY: Duration = Duration::from_secs(60);

impl Loose {
    /// Whether every file was looked at long enough ago.
    pub fn is_due(&self) -> bool {
        let last = *self.all.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|at| at.elapsed() >= ALL_EVERY)
    }

    /// Looks at the objects in this folder (`objects` of a repository) and in those that it borrows from.
    pub fn look(&self, objects: &Path, how: Look) {
        if how == Look::All {
            *self.all.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        let mut known = self.lock();
        let places: Vec<(PathBuf, Option<Folder>)> = lenders(objects)
            .iter()
            .flat_map(|objects| (0..=255u8).map(|n| objects.join(format!("{n:02x}"))))
            .map(|path| (path.clone(), known.remove(&path)))
            .collect();
        let seen = places.into_par_iter().filter_map(|(path, before)| Some((path.clone(), seen(&path, before, how)?)));
        *known = seen.collect();
        self.any.store(known.values().any(|f| !f.damaged.is_empty()), Ordering::Release);
    }

    /// A damaged object, if there is any.
    pub fn first(&self) -> Option<PathBuf> {
        self.lock().values().find_map(|f| f.damaged.values().next().cloned())
    }

    /// Refuses a damaged object.
    pub fn refuse(&self, id: Oid) -> PortResult<()> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        self.lock().values().find_map(|f| f.damaged.get(&id)).map_or(Ok(()), |path| Err(ends_early(path)))
    }

    /// Refuses while any is damaged: for what reads objects of which nobody knows beforehand.
    pub fn refuse_any(&self) -> PortResult<()> {
        self.first().map_or(Ok(()), |path| Err(ends_early(&path)))
    }

    /// Refuses a history in which a commit is damaged.
    pub fn refuse_history(&self, repo: &Repository, heads: &[Oid]) -> PortResult<()> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let (mut open, mut seen) = (heads.to_vec(), HashSet::new());
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            self.refuse(id)?;
            match repo.find_commit(id) {
                Ok(commit) => open.extend(commit.parent_ids()),
                // What is not here (any more) is read by nobody.
                Err(e) if e.code() == git2::ErrorCode::NotFound => {}
                Err(e) => return Err(failed(&e)),
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ends_early(path: &Path) -> PortError {
    PortError::retryable(format!("the object {} ends early or is garbled", path.display()))
        .because(SourceReason::Damaged)
}

/// A folder of objects and all that it borrows from (`git clone --shared`).
fn lenders(objects: &Path) -> Vec<PathBuf> {
    /// As deep as git itself goes.
    const DEEP: usize = 5;
    let (mut all, mut at) = (vec![objects.to_owned()], 0);
    for _ in 0..DEEP {
        let end = all.len();
        for place in at..end {
            let from = all[place].clone();
            let text = fs::read_to_string(from.join("info/alternates")).unwrap_or_default();
            let named = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(|l| from.join(l));
            let new: Vec<PathBuf> = named.filter(|p| !all.contains(p)).collect();
            all.extend(new);
        }
        at = end;
    }
    all
}

/// What stands in a folder now; `None` where there is none.
fn seen(path: &Path, before: Option<Folder>, how: Look) -> Option<Folder> {
    let meta = fs::metadata(path).ok()?;
    let modified = (meta.mtime(), meta.mtime_nsec());
    let before = match before {
        Some(same) if how == Look::New && same.modified == modified && same.damaged.is_empty() => return Some(same),
        other => other.unwrap_or_default(),
    };
    let mut now = Folder { modified, ..Folder::default() };
    for entry in fs::read_dir(path).ok()?.flatten() {
        let (file, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
        let Some(id) = object(path, &entry.file_name()).filter(|_| meta.is_file()) else { continue };
        let mut sum = DefaultHasher::new();
        (id.as_bytes(), meta.size(), meta.ctime(), meta.ctime_nsec(), meta.ino()).hash(&mut sum);
        let sum = sum.finish();
        // What cannot be opened libgit2 cannot open either, and says so.
        if before.whole.binary_search(&sum).is_ok() || is_whole(&file).unwrap_or(true) {
            now.whole.push(sum);
        } else {
            now.damaged.insert(id, file);
        }
    }
    now.whole.sort_unstable();
    Some(now)
}

/// The object that a file holds by its name.
fn object(folder: &Path, name: &std::ffi::OsStr) -> Option<Oid> {
    let (folder, name) = (folder.file_name()?.to_str()?, name.to_str()?);
    (name.len() == 38).then(|| Oid::from_str(&format!("{folder}{name}")).ok()).flatten()
}

/// Whether the compressed stream in a file comes to its end.
fn is_whole(file: &Path) -> io::Result<bool> {
    let mut file = BufReader::new(File::open(file)?);
    let (mut inflate, mut out) = (Decompress::new(true), [0; 32 * 1024]);
    loop {
        let input = file.fill_buf()?;
        let (at_end, before) = (input.is_empty(), (inflate.total_in(), inflate.total_out()));
        let Ok(status) = inflate.decompress(input, &mut out, FlushDecompress::None) else { return Ok(false) };
        let (read, wrote) = (inflate.total_in() - before.0, inflate.total_out() - before.1);
        file.consume(read as usize);
        match status {
            Status::StreamEnd => return Ok(true),
            Status::Ok | Status::BufError if at_end && wrote == 0 => return Ok(false),
            Status::Ok | Status::BufError => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(repo: &Repository, id: Oid) -> PathBuf {
        let hex = id.to_string();
        repo.path().join("objects").join(&hex[..2]).join(&hex[2..])
    }

    /// Objects are written once and read-only.
    fn overwrite(path: &Path, bytes: &[u8]) {
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn an_object_that_ends_early_anywhere_is_found_and_one_that_is_whole_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let objects = repo.path().join("objects");
        let noise: Vec<u8> =
            (0..200_000u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..1].to_vec()).collect();
        let ids: Vec<Oid> = [&b""[..], b"x", &noise, &[b'a'; 1 << 20]].iter().map(|b| repo.blob(b).unwrap()).collect();
        let loose = Loose::default();
        loose.look(&objects, Look::All);
        assert_eq!(loose.first(), None);
        for id in ids {
            let path = path_of(&repo, id);
            let whole = fs::read(&path).unwrap();
            for cut in [0, 1, 2, whole.len() / 2, whole.len() - 1] {
                overwrite(&path, &whole[..cut]);
                loose.look(&objects, Look::All);
                assert_eq!(loose.first(), Some(path.clone()), "{cut} of {}", whole.len());
                assert_eq!(loose.refuse(id).unwrap_err().reason, Some(SourceReason::Damaged));
            }
            overwrite(&path, &whole);
            // What was damaged is looked at again without being asked to look at everything.
            loose.look(&objects, Look::New);
            assert!(loose.first().is_none() && loose.refuse(id).is_ok());
        }
    }

    #[test]
    fn a_history_is_refused_for_its_own_commits_and_borrowed_objects_count() {
        let dir = tempfile::tempdir().unwrap();
        let lender = Repository::init_bare(dir.path().join("lender")).unwrap();
        let repo = Repository::init_bare(dir.path().join("repo")).unwrap();
        let lent = lender.path().join("objects");
        fs::write(repo.path().join("objects/info/alternates"), format!("# all\n{}\n", lent.display())).unwrap();
        let who = git2::Signature::now("a", "a@x").unwrap();
        let tree = lender.find_tree(lender.treebuilder(None).unwrap().write().unwrap()).unwrap();
        let commit = |parents: &[Oid], text| {
            let parents: Vec<_> = parents.iter().map(|p| lender.find_commit(*p).unwrap()).collect();
            lender.commit(None, &who, &who, text, &tree, &parents.iter().collect::<Vec<_>>()).unwrap()
        };
        let first = commit(&[], "first");
        let (head, other) = (commit(&[first], "head"), commit(&[], "other"));
        overwrite(&path_of(&lender, first), b"");
        let loose = Loose::default();
        loose.look(&repo.path().join("objects"), Look::New);
        assert!(loose.refuse_history(&repo, &[other]).is_ok() && loose.refuse(head).is_ok());
        for refused in [loose.refuse_history(&repo, &[other, head]), loose.refuse(first), loose.refuse_any()] {
            assert!(refused.unwrap_err().message.contains("ends early"));
        }
    }
}
