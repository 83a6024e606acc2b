//! A fleet of N models in a real repository: the model, code, dataset and environments of the example in `specs/`, N times.

use git2::{Oid, Repository, Signature, build::TreeUpdateBuilder};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use trimtab::source::{Credentials, GitSource, SourceConfig};

const MODEL: &str = include_str!("../../specs/models/tumour/model.toml");
const CODE: [(&str, &str); 4] = [
    ("check.py", include_str!("../../specs/models/tumour/check.py")),
    ("requirements.txt", include_str!("../../specs/models/tumour/requirements.txt")),
    ("serve.py", include_str!("../../specs/models/tumour/serve.py")),
    ("train.py", include_str!("../../specs/models/tumour/train.py")),
];
const SHARED: [(&str, &str); 4] = [
    ("specs/datasets/breast-cancer.toml", include_str!("../../specs/datasets/breast-cancer.toml")),
    ("specs/environments/production.toml", include_str!("../../specs/environments/production.toml")),
    ("specs/environments/staging.toml", include_str!("../../specs/environments/staging.toml")),
    ("specs/trimtab.toml", "schema = \"trimtab/v1\"\n[bot]\npush = false\n[reconcile]\nmax_concurrent_training = 8\n"),
];

/// The spec of model `n`; `served`: with the serving and deployment of the example.
pub fn spec(n: usize, depth: u32, served: bool) -> (String, String) {
    let name = format!("\"m{n}\"");
    let text = MODEL.replace("\"tumour\"", &name).replace("max_depth = 2", &format!("max_depth = {depth}"));
    let trained = text.split("[serve]").next().unwrap_or_default();
    (format!("specs/models/m{n}/model.toml"), if served { text } else { trained.to_owned() })
}

const MAIN: &str = "refs/heads/main";

/// A bare repository with the fleet in its first commit, packed as a clone and a push of many files leave it.
pub struct Fleet {
    /// Goes with the fleet.
    pub folder: tempfile::TempDir,
    pub path: PathBuf,
    pub repo: Repository,
}

impl Fleet {
    pub fn new(models: usize, served: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.git");
        let mut options = git2::RepositoryInitOptions::new();
        let repo = Repository::init_opts(&path, options.bare(true).initial_head("main")).unwrap();
        let fleet = Self { folder, path, repo };
        let code = |n: usize| CODE.map(|(file, text)| (format!("specs/models/m{n}/{file}"), text.to_owned()));
        let models = (0..models).flat_map(|n| code(n).into_iter().chain([spec(n, 2, served)]));
        let shared = SHARED.map(|(file, text)| (file.to_owned(), text.to_owned()));
        fleet.commit(&models.chain(shared).collect::<Vec<_>>());
        let packed = Command::new("git").arg("-C").arg(&fleet.path).args(["repack", "-adq"]).status().unwrap();
        assert!(packed.success());
        fleet
    }

    pub fn commit(&self, files: &[(String, String)]) -> Oid {
        let commit = self.make(files);
        self.publish(commit);
        commit
    }

    /// A commit on the newest one that the branch does not have yet.
    pub fn make(&self, files: &[(String, String)]) -> Oid {
        let repo = &self.repo;
        let parent = repo.find_reference(MAIN).ok().map(|r| r.peel_to_commit().unwrap());
        let mut update = TreeUpdateBuilder::new();
        for (path, text) in files {
            update.upsert(path.as_str(), repo.blob(text.as_bytes()).unwrap(), git2::FileMode::Blob);
        }
        let empty = repo.treebuilder(None).unwrap().write().unwrap();
        let base = parent.as_ref().map_or_else(|| repo.find_tree(empty).unwrap(), |p| p.tree().unwrap());
        let tree = repo.find_tree(update.create_updated(repo, &base).unwrap()).unwrap();
        let who = Signature::now("Ada", "ada@example.com").unwrap();
        let parents: Vec<&git2::Commit> = parent.iter().collect();
        repo.commit(None, &who, &who, "change", &tree, &parents).unwrap()
    }

    /// Moves the branch there.
    pub fn publish(&self, commit: Oid) {
        self.repo.reference(MAIN, commit, true, "push").unwrap();
    }

    pub fn source(&self, state: &Path) -> GitSource {
        let config = SourceConfig {
            location: self.path.display().to_string(),
            branch: Some("main".into()),
            folder: "specs".into(),
            state: state.into(),
            credentials: Credentials::default(),
            timeout: Duration::from_secs(10),
            ca: None,
            random: || 0,
        };
        GitSource::open(&config).unwrap()
    }
}
