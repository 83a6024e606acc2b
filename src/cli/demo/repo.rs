//! The demo's repository: a bare one, as a team's forge holds it, and what Ada commits to it.

use crate::cli::fail::Failure;
use git2::{Commit, Oid, Repository, Signature, build::TreeUpdateBuilder};
use std::path::{Path, PathBuf};

/// The specs that the repository begins with: those of `specs/`.
const FILES: &[(&str, &str)] = &[
    ("specs/trimtab.toml", include_str!("../../../specs/trimtab.toml")),
    ("specs/environments/staging.toml", include_str!("../../../specs/environments/staging.toml")),
    ("specs/environments/production.toml", include_str!("../../../specs/environments/production.toml")),
    ("specs/datasets/breast-cancer.toml", include_str!("../../../specs/datasets/breast-cancer.toml")),
    (MODEL, include_str!("../../../specs/models/tumour/model.toml")),
    ("specs/models/tumour/check.py", include_str!("../../../specs/models/tumour/check.py")),
    ("specs/models/tumour/train.py", include_str!("../../../specs/models/tumour/train.py")),
    ("specs/models/tumour/serve.py", include_str!("../../../specs/models/tumour/serve.py")),
    ("specs/models/tumour/requirements.txt", include_str!("../../../specs/models/tumour/requirements.txt")),
];
const MODEL: &str = "specs/models/tumour/model.toml";
/// The demo's data, laid where a dataset's `path` leads.
pub const DATA: &str = include_str!("../../../specs/data/breast_cancer.csv");
/// What the change of the story replaces.
const BEFORE: &str = "max_depth = 2, n_estimators = 20";
const AFTER: &str = "max_depth = 3, n_estimators = 120";

/// A bare repository on branch `main`.
pub struct Repo {
    repo: Repository,
    pub path: PathBuf,
}

impl From<git2::Error> for Failure {
    fn from(e: git2::Error) -> Self {
        Self::new(format!("git: {}", e.message()))
    }
}

impl Repo {
    /// Makes it with the specs as its first commit.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let mut options = git2::RepositoryInitOptions::new();
        let repo = Repository::init_opts(path, options.bare(true).initial_head("main"))?;
        let mut tree = TreeUpdateBuilder::new();
        for (file, text) in FILES {
            tree.upsert(*file, repo.blob(text.as_bytes())?, git2::FileMode::Blob);
        }
        let empty = repo.treebuilder(None)?.write()?;
        let tree = tree.create_updated(&repo, &repo.find_tree(empty)?)?;
        let this = Self { repo, path: path.to_owned() };
        this.commit(tree, "tumour: first model", &[])?;
        Ok(this)
    }

    fn commit(&self, tree: Oid, message: &str, parents: &[&Commit]) -> Result<Oid, Failure> {
        let ada = Signature::now("Ada", "ada@example.com")?;
        let tree = self.repo.find_tree(tree)?;
        Ok(self.repo.commit(Some("refs/heads/main"), &ada, &ada, message, &tree, parents)?)
    }

    fn head(&self) -> Result<Commit<'_>, Failure> {
        Ok(self.repo.find_reference("refs/heads/main")?.peel_to_commit()?)
    }

    /// Ada's change: deeper and more trees.
    pub fn change(&self) -> Result<Oid, Failure> {
        let head = self.head()?;
        let spec = head.tree()?.get_path(Path::new(MODEL))?.to_object(&self.repo)?.peel_to_blob()?;
        let text = String::from_utf8_lossy(spec.content()).replace(BEFORE, AFTER);
        let mut update = TreeUpdateBuilder::new();
        update.upsert(MODEL, self.repo.blob(text.as_bytes())?, git2::FileMode::Blob);
        let tree = update.create_updated(&self.repo, &head.tree()?)?;
        self.commit(tree, "tumour: deeper trees, and more of them", &[&head])
    }

    /// `git revert` of a commit.
    pub fn revert(&self, commit: Oid) -> Result<Oid, Failure> {
        let (head, target) = (self.head()?, self.repo.find_commit(commit)?);
        let mut index = self.repo.revert_commit(&target, &head, 0, None)?;
        let tree = index.write_tree_to(&self.repo)?;
        self.commit(tree, "Revert \"tumour: deeper trees, and more of them\"", &[&head])
    }
}
