//! Finds what differs between two trees by object id, on the raw tree objects: `git2::Tree` would first build an entry for each name.

use super::{
    damage::Loose,
    folder::{Raw, damaged},
    tree::failed,
};
use crate::ports::*;
use git2::{Odb, OdbObject, Oid, Repository};
use std::{cmp::Ordering, sync::Arc};

/// As deep as git itself goes (`core.maxTreeDepth`).
const MAX_DEPTH: usize = 2048;
/// Files and folders that one walk looks at: the same tree may be named a thousand times a level, so that 4 KB make 10^12 files.
const MAX_VISITS: usize = 2_000_000;

/// A tree object and how far it was read.
struct Side<'r> {
    object: Option<OdbObject<'r>>,
    at: usize,
}

impl<'r> Side<'r> {
    fn open(odb: &'r Odb, loose: &Loose, oid: Option<&[u8]>) -> PortResult<Self> {
        let read = |oid: &[u8]| {
            let oid = Oid::from_bytes(oid).map_err(|e| failed(&e))?;
            loose.refuse(oid)?;
            odb.read(oid).map_err(|e| failed(&e))
        };
        Ok(Self { object: oid.map(read).transpose()?, at: 0 })
    }

    /// The next entry and where the one after it begins.
    fn peek(&self) -> PortResult<Option<(Raw<'_>, usize)>> {
        let Some(object) = &self.object else { return Ok(None) };
        let bytes = object.data();
        match bytes.get(self.at..).unwrap_or_default() {
            [] => Ok(None),
            rest => match Raw::first(rest) {
                Some((raw, after)) => Ok(Some((raw, bytes.len() - after.len()))),
                None => Err(damaged(object.id())),
            },
        }
    }

    /// Passes over what both have alike.
    fn skip_alike(&mut self, other: &mut Self) -> PortResult<()> {
        while let (Some((a, after_a)), Some((b, after_b))) = (self.peek()?, other.peek()?) {
            if a != b {
                break;
            }
            (self.at, other.at) = (after_a, after_b);
        }
        Ok(())
    }
}

/// A folder that is being compared.
struct Level<'r> {
    path: Arc<str>,
    old: Side<'r>,
    new: Side<'r>,
}

/// What one step of the comparison found.
enum Step {
    End,
    /// Folders to be entered, and files, of one name.
    Pair {
        path: String,
        trees: [Option<Vec<u8>>; 2],
        change: Option<TreeChange>,
    },
}

impl Level<'_> {
    fn step(&mut self) -> PortResult<Step> {
        self.old.skip_alike(&mut self.new)?;
        let (a, b) = (self.old.peek()?, self.new.peek()?);
        let side = match (&a, &b) {
            (None, None) => return Ok(Step::End),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((x, _)), Some((y, _))) => x.order(y),
        };
        let (a, b) = (a.filter(|_| side != Ordering::Greater), b.filter(|_| side != Ordering::Less));
        let name = b.or(a).map(|(e, _)| String::from_utf8_lossy(e.name)).unwrap_or_default();
        let path = if self.path.is_empty() { name.into_owned() } else { format!("{}/{name}", self.path) };
        let tree = |e: &Option<(Raw, usize)>| e.filter(|(e, _)| e.is_tree()).map(|(e, _)| e.oid.to_vec());
        let file = |e: &Option<(Raw, usize)>| e.filter(|(e, _)| !e.is_tree()).map(|(e, _)| e.file(&path)).transpose();
        let trees = [tree(&a), tree(&b)];
        let (old, new) = (file(&a)?, file(&b)?);
        let change = (old.is_some() || new.is_some()).then(|| TreeChange { path: path.clone(), old, new });
        let (after_a, after_b) = (a.map(|(_, after)| after), b.map(|(_, after)| after));
        self.old.at = after_a.unwrap_or(self.old.at);
        self.new.at = after_b.unwrap_or(self.new.at);
        Ok(Step::Pair { path, trees, change })
    }
}

/// Files that differ between two trees, named by their paths below `start`, in git's order.
pub(super) fn walk(
    repo: &Repository,
    loose: &Loose,
    old: Option<Oid>,
    new: Option<Oid>,
    start: &str,
) -> PortResult<Vec<TreeChange>> {
    let odb = repo.odb().map_err(|e| failed(&e))?;
    let level = |path: &str, old: Option<&[u8]>, new: Option<&[u8]>| {
        let side = |tree| Side::open(&odb, loose, tree);
        Ok::<_, PortError>(Level { path: path.into(), old: side(old)?, new: side(new)? })
    };
    let mut stack = vec![level(start, old.as_ref().map(Oid::as_bytes), new.as_ref().map(Oid::as_bytes))?];
    let (mut out, mut visits) = (Vec::new(), 0);
    while let Some(top) = stack.last_mut() {
        let (path, trees, change) = match top.step()? {
            Step::End => {
                stack.pop();
                continue;
            }
            Step::Pair { path, trees, change } => (path, trees, change),
        };
        visits += 1;
        if visits > MAX_VISITS {
            return Err(PortError::permanent(format!("more than {MAX_VISITS} files and folders below `{start}`")));
        }
        out.extend(change);
        if trees.iter().any(Option::is_some) {
            if stack.len() > MAX_DEPTH {
                let shown: String = path.chars().take(60).collect();
                return Err(PortError::permanent(format!("folders lie more than {MAX_DEPTH} deep in `{shown}…`")));
            }
            stack.push(level(&path, trees[0].as_deref(), trees[1].as_deref())?);
        }
    }
    Ok(out)
}

/// Names of files and folders at which two trees differ, without what lies below them.
pub(super) fn names(repo: &Repository, loose: &Loose, old: Option<Oid>, new: Option<Oid>) -> PortResult<Vec<String>> {
    let odb = repo.odb().map_err(|e| failed(&e))?;
    let side = |tree: Option<Oid>| Side::open(&odb, loose, tree.as_ref().map(Oid::as_bytes));
    let mut level = Level { path: "".into(), old: side(old)?, new: side(new)? };
    // A file that became a folder stands in two places.
    let mut out = std::collections::BTreeSet::new();
    while let Step::Pair { path, .. } = level.step()? {
        out.insert(path);
    }
    Ok(out.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::{super::folder::Folders, *};
    use crate::model::*;
    use proptest::{prelude::*, strategy::Strategy};
    use std::collections::BTreeMap;

    fn repo() -> (tempfile::TempDir, Repository) {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(folder.path()).unwrap();
        (folder, repo)
    }

    /// A tree of files by path: `dir` holds the file in it, however deep.
    fn tree_of(repo: &Repository, files: &BTreeMap<String, String>) -> Oid {
        let mut index = git2::Index::new().unwrap();
        for (path, text) in files {
            let id = repo.blob(text.as_bytes()).unwrap();
            let time = git2::IndexTime::new(0, 0);
            let entry = git2::IndexEntry {
                ctime: time,
                mtime: time,
                dev: 0,
                ino: 0,
                mode: 0o100644,
                uid: 0,
                gid: 0,
                file_size: 0,
                id,
                flags: 0,
                flags_extended: 0,
                path: path.as_bytes().to_vec(),
            };
            index.add(&entry).unwrap();
        }
        index.write_tree_to(repo).unwrap()
    }

    fn raw(entries: &[(&str, &str, Oid)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|(mode, name, id)| [format!("{mode} {name}\0").as_bytes(), id.as_bytes()].concat())
            .collect()
    }

    fn write(repo: &Repository, bytes: &[u8]) -> Oid {
        repo.odb().unwrap().write(git2::ObjectType::Tree, bytes).unwrap()
    }

    /// `depth` folders of one name, one in the other, and a file in the last.
    fn deep(repo: &Repository, depth: usize, copies: &[&str]) -> Oid {
        let blob = repo.blob(b"x").unwrap();
        let mut id = write(repo, &raw(&[("100644", "file", blob)]));
        for _ in 0..depth {
            let entries: Vec<_> = copies.iter().map(|name| ("40000", *name, id)).collect();
            id = write(repo, &raw(&entries));
        }
        id
    }

    #[test]
    fn a_file_is_found_however_deep_git_lets_it_lie() {
        let (_folder, repo) = repo();
        let found = walk(&repo, &Loose::default(), None, Some(deep(&repo, 2000, &["d"])), "").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, format!("{}file", "d/".repeat(2000)));
    }

    #[test]
    fn folders_without_end_are_refused_by_name() {
        let (_folder, repo) = repo();
        let error = walk(&repo, &Loose::default(), None, Some(deep(&repo, 5000, &["d"])), "models").unwrap_err();
        assert!(!error.retryable);
        assert!(error.message.contains("2048 deep in `models/d/d"), "{}", error.message);
    }

    #[test]
    fn a_tree_that_names_itself_a_thousandfold_is_refused() {
        let (_folder, repo) = repo();
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let error = walk(&repo, &Loose::default(), None, Some(deep(&repo, 10, &names)), "").unwrap_err();
        assert!(error.message.contains("files and folders"), "{}", error.message);
    }

    #[test]
    fn a_damaged_tree_is_an_error_and_no_end() {
        let (_folder, repo) = repo();
        let blob = repo.blob(b"x").unwrap();
        let good = raw(&[("100644", "a", blob), ("100644", "b", blob)]);
        for bytes in [&good[..good.len() - 1], b"100644 a", b"99 a\0", b"\xff\xfe"] {
            let error = walk(&repo, &Loose::default(), None, Some(write(&repo, bytes)), "").unwrap_err();
            assert!(error.message.contains("damaged"), "{}", error.message);
        }
    }

    fn paths(changes: &[TreeChange]) -> Vec<(String, Option<String>, Option<String>)> {
        let id = |e: &Option<TreeEntry>| e.as_ref().map(|e| e.id.0.to_string());
        let mut all: Vec<_> = changes.iter().map(|c| (c.path.clone(), id(&c.old), id(&c.new))).collect();
        all.sort();
        all
    }

    /// What libgit2 says of the same two trees: a file that became a folder is a deletion and additions there.
    fn oracle(repo: &Repository, old: Oid, new: Oid) -> Vec<(String, Option<String>, Option<String>)> {
        let (old, new) = (repo.find_tree(old).unwrap(), repo.find_tree(new).unwrap());
        let diff = repo.diff_tree_to_tree(Some(&old), Some(&new), None).unwrap();
        let side = |f: git2::DiffFile| (!f.id().is_zero()).then(|| f.id().to_string());
        let path = |d: &git2::DiffDelta| d.new_file().path().unwrap().to_string_lossy().into_owned();
        let mut all: Vec<_> = diff.deltas().map(|d| (path(&d), side(d.old_file()), side(d.new_file()))).collect();
        all.sort();
        all
    }

    fn files() -> impl Strategy<Value = BTreeMap<String, String>> {
        let name = prop::sample::select(vec!["a", "a.b", "a-b", "a0", "b", "é"]);
        let path = prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
        prop::collection::btree_map(path, "[xy]", 0..12).prop_map(|mut all| {
            // A path cannot be a file and a folder.
            let folders: Vec<String> =
                all.keys().flat_map(|p| p.match_indices('/').map(|(at, _)| p[..at].to_owned())).collect();
            all.retain(|path, _| !folders.contains(path));
            all
        })
    }

    proptest! {
        #[test]
        fn every_file_and_folder_is_found_by_its_path_and_nothing_else(files in files(), other in files()) {
            let (_folder, repo) = repo();
            let root = tree_of(&repo, &files);
            let tree = repo.find_tree(root).unwrap();
            let found = Folders::default();
            for path in files.keys().chain(other.keys()) {
                for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
                    let path = &path[..end];
                    let expected = tree.get_path(path.as_ref()).ok().map(|e| (e.filemode() as u32, e.id().to_string()));
                    let entry = found.entry(&repo, root, path).unwrap();
                    prop_assert_eq!(entry.map(|e| (e.mode, e.id.0.to_string())), expected, "{}", path);
                }
            }
        }

        #[test]
        fn any_two_trees_differ_where_libgit2_says_so(old in files(), new in files()) {
            let (_folder, repo) = repo();
            let (old, new) = (tree_of(&repo, &old), tree_of(&repo, &new));
            let first = |path: &str| path.split('/').next().unwrap().to_owned();
            let on_top: std::collections::BTreeSet<String> = oracle(&repo, old, new).iter().map(|(path, ..)| first(path)).collect();
            prop_assert_eq!(names(&repo, &Loose::default(), Some(old), Some(new)).unwrap(), Vec::from_iter(on_top));
            prop_assert_eq!(paths(&walk(&repo, &Loose::default(), Some(old), Some(new), "").unwrap()), oracle(&repo, old, new));
        }
    }
}
