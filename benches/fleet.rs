//! One spec changed of 10,000: from the new tree to the touched models, beside git2's diff of the same trees; and the cold load of all
//! specs beside reading and parsing their blobs alone.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says so by panicking")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use git2::Oid;
use std::{hint::black_box, process::Command};
use support::{Fleet, spec};
use trimtab::{model::*, ports::*, spec::Loaded};

const MODELS: usize = 10_000;

fn bench(c: &mut Criterion) {
    let fleet = Fleet::new(MODELS, true);
    let (repo, path) = (&fleet.repo, &fleet.path);
    let source = fleet.source(fleet.folder.path());
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
    fleet.commit(&[spec(7, 8, true)]);
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
                .arg(path)
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
