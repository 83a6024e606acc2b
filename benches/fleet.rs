//! One spec changed of 10,000: from the new tree to the touched models, beside git2's diff of the same trees; and the cold load of all
//! specs beside reading and parsing their blobs alone.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says so by panicking")]

use criterion::{Criterion, criterion_group, criterion_main};
use git2::{Oid, Repository, Signature, build::TreeUpdateBuilder};
use std::{hint::black_box, process::Command, time::Duration};
use trimtab::{
    model::*,
    ports::*,
    source::{Credentials, GitSource, SourceConfig},
    spec::Loaded,
};

const MODELS: usize = 10_000;

/// The specs of the repo's own example, with its model's folder once for each.
const MODEL: &str = include_str!("../specs/models/tumour/model.toml");
const CODE: [(&str, &str); 4] = [
    ("check.py", include_str!("../specs/models/tumour/check.py")),
    ("requirements.txt", include_str!("../specs/models/tumour/requirements.txt")),
    ("serve.py", include_str!("../specs/models/tumour/serve.py")),
    ("train.py", include_str!("../specs/models/tumour/train.py")),
];
const SHARED: [(&str, &str); 3] = [
    ("datasets/breast-cancer.toml", include_str!("../specs/datasets/breast-cancer.toml")),
    ("environments/production.toml", include_str!("../specs/environments/production.toml")),
    ("environments/staging.toml", include_str!("../specs/environments/staging.toml")),
];

fn spec(n: usize, depth: u32) -> (String, String) {
    let text =
        MODEL.replace("\"tumour\"", &format!("\"m{n}\"")).replace("max_depth = 2", &format!("max_depth = {depth}"));
    (format!("specs/models/m{n}/model.toml"), text)
}

fn fleet() -> Vec<(String, String)> {
    let code = |n: usize| CODE.map(|(file, text)| (format!("specs/models/m{n}/{file}"), text.to_owned()));
    let shared = SHARED.map(|(file, text)| (format!("specs/{file}"), text.to_owned()));
    (0..MODELS).flat_map(|n| code(n).into_iter().chain([spec(n, 6)])).chain(shared).collect()
}

fn commit(repo: &Repository, files: &[(String, String)]) -> Oid {
    let parent = repo.find_reference("refs/heads/main").ok().map(|r| r.peel_to_commit().unwrap());
    let mut update = TreeUpdateBuilder::new();
    for (path, text) in files {
        update.upsert(path.as_str(), repo.blob(text.as_bytes()).unwrap(), git2::FileMode::Blob);
    }
    let empty = repo.treebuilder(None).unwrap().write().unwrap();
    let base = parent.as_ref().map_or_else(|| repo.find_tree(empty).unwrap(), |p| p.tree().unwrap());
    let tree = repo.find_tree(update.create_updated(repo, &base).unwrap()).unwrap();
    let who = Signature::now("Ada", "ada@example.com").unwrap();
    let parents: Vec<&git2::Commit> = parent.iter().collect();
    repo.commit(Some("refs/heads/main"), &who, &who, "change", &tree, &parents).unwrap()
}

fn bench(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("models.git");
    let mut options = git2::RepositoryInitOptions::new();
    let repo = Repository::init_opts(&path, options.bare(true).initial_head("main")).unwrap();
    commit(&repo, &fleet());
    // As a clone and a push of many files leave it.
    let packed = Command::new("git").arg("-C").arg(&path).args(["repack", "-adq"]).status().unwrap();
    assert!(packed.success());
    let config = SourceConfig {
        location: path.display().to_string(),
        branch: Some("main".into()),
        folder: "specs".into(),
        state: dir.path().into(),
        credentials: Credentials::default(),
        timeout: Duration::from_secs(10),
        ca: None,
        random: || 0,
    };
    let source = GitSource::open(&config).unwrap();
    let head = || match source.fetch(None).unwrap() {
        Fetched::Head { revision, .. } => revision,
        other => unreachable!("{other:?}"),
    };
    let first = head();
    let load = |old: &Loaded, from: Option<&ObjectId>, to: &Revision| {
        let changes = source.changes(from, &to.tree, "specs").unwrap();
        Loaded::update(old, &changes, to, "specs", &source).unwrap()
    };
    let (loaded, all) = load(&Loaded::default(), None, &first);
    assert_eq!(all.len(), MODELS);
    commit(&repo, &[spec(7, 8)]);
    let second = head();

    let mut group = c.benchmark_group("one of 10,000 specs");
    group.bench_function("commit to touched models", |b| {
        b.iter(|| {
            let revision = head();
            let (next, touched) = load(&loaded, Some(&first.tree), &revision);
            assert_eq!(touched.len(), 1);
            black_box(next)
        });
    });
    group.bench_function("git2 diff alone", |b| {
        let tree = |id: &ObjectId| repo.find_tree(Oid::from_str(&id.0).unwrap()).unwrap();
        b.iter(|| {
            black_box(
                repo.diff_tree_to_tree(Some(&tree(&first.tree)), Some(&tree(&second.tree)), None)
                    .unwrap()
                    .deltas()
                    .len(),
            )
        });
    });
    group.bench_function("git diff --name-only", |b| {
        b.iter(|| {
            let out = Command::new("git")
                .arg("-C")
                .arg(&path)
                .args(["diff", "--name-only", &first.commit.0, &second.commit.0])
                .output()
                .unwrap();
            assert!(out.status.success());
        });
    });
    group.finish();

    let mut group = c.benchmark_group("cold load of 10,000 specs");
    group.sample_size(10);
    group.bench_function("load", |b| b.iter_with_large_drop(|| load(&Loaded::default(), None, &second)));
    group.bench_function("read and parse alone", |b| {
        let mut changes = source.changes(None, &second.tree, "specs").unwrap();
        changes.retain(|c| c.path.ends_with(".toml"));
        b.iter(|| {
            for change in &changes {
                let blob = repo.find_blob(Oid::from_str(&change.new.as_ref().unwrap().id.0).unwrap()).unwrap();
                black_box(toml::from_str::<toml::Table>(std::str::from_utf8(blob.content()).unwrap()).unwrap());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
